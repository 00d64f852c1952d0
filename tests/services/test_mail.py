"""Mail: sent exactly if its cause was committed, tried again in time, and readable to nobody on the way."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from idp.crypto.envelope import CannotUnseal, unseal
from idp.domain.audit import AuditAction
from idp.domain.mail import Mail, MailPurpose
from idp.mail.mailer import NoMailer
from idp.mail.server import Mailbox, SmtpServer
from idp.mail.smtp import SECONDS, SmtpMailer
from idp.mail.templates import MailTemplates
from idp.observe.metrics import Metrics
from idp.resources import templates_dir
from idp.services.mail import AT_A_TIME, DELAYS, GIVEN_UP_AFTER, LEASE, Outbox
from idp.store.database import Database
from idp.store.store import Store
from tests.support.app import Installed, Start, add_all
from tests.support.clock import START, FakeClock
from tests.support.factories import make_mail
from tests.support.smtp import MailServer, StartMailServer, mail_server, start_mail_server

__all__ = ["mail_server", "start_mail_server"]

SECOND = timedelta(seconds=1)
ALICE = "alice@example.org"
LINK = "https://id.example.org/invitations/a-link-that-acts"
PASSWORD = "correct-horse"
INVITATION = {
    "lab_name": "Biology",
    "inviter": "Ada",
    "role": "member",
    "url": LINK,
    "expires_at": START + timedelta(days=7),
    "ends_at": None,
}
SECRETS = (ALICE, LINK, "a-link-that-acts", "Biology", PASSWORD)


@dataclass
class Node:
    store: Store
    outbox: Outbox
    metrics: Metrics

    async def put(self, to: str = ALICE, **changes: Any) -> None:
        async with self.store.write() as tx:
            context = {**INVITATION, **changes}
            await self.outbox.put(tx, to=to, purpose=MailPurpose.INVITATION, context=context, now=START)

    async def turn(self) -> None:
        await self.outbox.begin()
        await self.outbox.finish()

    async def mails(self) -> list[Mail]:
        async with self.store.read() as tx:
            return await tx.mails.all()

    async def only(self) -> Mail:
        (mail,) = await self.mails()
        return mail

    async def failures(self) -> list[Any]:
        async with self.store.read() as tx:
            return [event for event in await tx.audit_events.all() if event.action is AuditAction.MAIL_FAILED]


def outbox(store: Store, installed: Installed, mailer: Any, clock: FakeClock, metrics: Metrics) -> Outbox:
    templates = MailTemplates(templates_dir(), service_name="Lab ID", issuer="https://id.example.org")
    sender = Mailbox("Lab ID", "no-reply@id.example.org")
    return Outbox(store, installed.data_keys, mailer, templates, clock, metrics, sender=sender, host="id.example.org")


@pytest.fixture
async def nodes(
    database_url: str, installed: Installed, mail_server: MailServer, clock: FakeClock
) -> AsyncIterator[list[Node]]:
    """Two nodes over one database, with one mail server."""
    nodes = []
    for _ in range(2):
        store, metrics = Store(Database(database_url)), Metrics()
        server = SmtpServer("127.0.0.1", mail_server.port, tls=False, starttls=False)
        mailer = SmtpMailer(server, ca_file=None, local_name="id.example.org")
        nodes.append(Node(store, outbox(store, installed, mailer, clock, metrics), metrics))
    yield nodes
    for node in nodes:
        await node.outbox.finish()
        await node.store.close()


@pytest.fixture
def node(nodes: list[Node]) -> Node:
    return nodes[0]


# ── What is sent ────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_a_mail_is_sent_once_and_nothing_of_it_is_left(node: Node, mail_server: MailServer) -> None:
    await node.put()
    written = await node.only()
    assert (written.purpose, written.expires_at - written.created_at) == (MailPurpose.INVITATION, GIVEN_UP_AFTER)

    for _ in range(2):
        await node.turn()

    (message,) = mail_server.received
    assert (message["To"], message["Subject"]) == (ALICE, "Ada invites you to Biology")
    assert message["Message-ID"] == f"<{written.id}@id.example.org>"
    assert LINK in mail_server.texts()[0]
    sent = await node.only()
    assert (sent.delivered_at, sent.next_attempt_at, sent.claimed_until) == (START, None, None)
    assert (sent.attempts, sent.last_error, sent.sealed) == (1, None, b"")


async def test_a_mail_whose_cause_is_not_committed_is_never_sent(node: Node, mail_server: MailServer) -> None:
    with suppress(ZeroDivisionError):
        async with node.store.write() as tx:
            await node.outbox.put(tx, to=ALICE, purpose=MailPurpose.INVITATION, context=INVITATION, now=START)
            raise ZeroDivisionError

    await node.turn()

    assert await node.mails() == []
    assert not mail_server.received


async def test_what_waits_is_readable_neither_in_the_database_nor_under_another_mails_id(
    node: Node, installed: Installed
) -> None:
    await node.put()
    waiting = await node.only()

    async with node.store.database.read() as connection:
        row = str((await connection.execute(text("SELECT * FROM mails"))).one())
    for secret in SECRETS:
        assert secret not in row
        assert secret.encode() not in waiting.sealed
    with pytest.raises(CannotUnseal):
        unseal(installed.data_keys.seal, waiting.sealed, associated="mail:m_other")
    document = json.loads(unseal(installed.data_keys.seal, waiting.sealed, associated=f"mail:{waiting.id}"))
    assert document["to"] == ALICE


# ── Attempts ────────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_a_mail_that_is_not_taken_now_is_tried_later_and_later_with_the_same_id_and_then_given_up(
    node: Node, mail_server: MailServer, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    mail_server.answers["RCPT"] = [f"450 4.2.1 <{ALICE}> is busy"] * (len(DELAYS) + 2)
    await node.put()
    await node.turn()
    for attempts, delay in enumerate(DELAYS, start=1):
        clock.advance(delay - SECOND)
        await node.turn()
        assert (await node.only()).attempts == attempts
        assert not await node.failures()
        clock.advance(SECOND)
        await node.turn()
    clock.advance(timedelta(days=1))
    await node.turn()

    given_up = await node.only()
    assert (given_up.attempts, given_up.next_attempt_at, given_up.delivered_at) == (len(DELAYS) + 1, None, None)
    assert (given_up.last_error, given_up.sealed) == ("SMTP 450 4.2.1", b"")
    assert GIVEN_UP_AFTER - timedelta(hours=4) < sum(DELAYS, timedelta()) < GIVEN_UP_AFTER
    (event,) = await node.failures()
    assert (event.target, event.actor, event.succeeded) == (given_up.id, "schedule", False)
    assert event.detail == {"purpose": "invitation", "attempts": len(DELAYS) + 1, "reason": "SMTP 450 4.2.1"}
    await node.outbox.count()
    told = node.metrics.render()[0].decode()
    assert f'idp_mails_total{{outcome="failed"}} {len(DELAYS)}.0' in told
    assert 'idp_mails_total{outcome="given_up"} 1.0' in told
    assert "idp_mails_given_up 1.0" in told
    assert "mail.failed" in caplog.text
    for secret in SECRETS:
        assert secret not in f"{caplog.text} {given_up} {event} {told}"


async def test_a_server_that_comes_back_gets_the_mail_at_the_next_attempt(
    node: Node, mail_server: MailServer, clock: FakeClock
) -> None:
    mail_server.answers["DATA"] = ["451 4.3.0 later"]
    await node.put()
    await node.turn()
    first = await node.only()
    clock.advance(DELAYS[0])

    await node.turn()

    (message,) = mail_server.received
    assert message["Message-ID"] == f"<{first.id}@id.example.org>"
    assert message["Date"].datetime == START
    sent = await node.only()
    assert (sent.delivered_at, sent.attempts, sent.last_error) == (clock(), 2, None)
    assert 'idp_mails_total{outcome="delivered"} 1.0' in node.metrics.render()[0].decode()


async def test_what_will_never_be_taken_is_given_up_at_once(node: Node, mail_server: MailServer) -> None:
    mail_server.answers["RCPT"] = [f"550 5.1.1 <{ALICE}> does not exist"]
    await node.put()
    await node.put("nobody\nBcc: everybody@example.org")

    await node.turn()

    assert not mail_server.received
    given_up = await node.mails()
    assert sorted(str(mail.last_error) for mail in given_up) == ["SMTP 550 5.1.1", "no valid address"]
    assert [mail.next_attempt_at for mail in given_up] == [None, None]
    assert [mail.sealed for mail in given_up] == [b"", b""]
    assert {event.detail["attempts"] for event in await node.failures()} == {1}


async def test_without_a_mail_server_mails_wait_for_one(
    node: Node, installed: Installed, mail_server: MailServer, clock: FakeClock
) -> None:
    await node.put()
    silent = replace(node, outbox=outbox(node.store, installed, NoMailer(), clock, node.metrics))
    await silent.turn()
    waiting = await node.only()
    assert (waiting.last_error, waiting.next_attempt_at) == ("no mail server", START + DELAYS[0])

    clock.advance(DELAYS[0])
    await node.turn()

    assert len(mail_server.received) == 1


# ── Several nodes and crashes ───────────────────────────────────────────────────────────────────────────────────────
async def test_two_nodes_send_each_mail_once(nodes: list[Node], mail_server: MailServer) -> None:
    for number in range(2 * AT_A_TIME + 1):
        await nodes[0].put(f"user{number}@example.org")

    for _ in range(3):
        await asyncio.gather(*(node.turn() for node in nodes))

    sent_to = [recipient for _, recipients in mail_server.envelopes for recipient in recipients]
    assert len(sent_to) == len(set(sent_to)) == 2 * AT_A_TIME + 1
    assert {mail.attempts for mail in await nodes[0].mails()} == {1}


async def test_what_a_dead_node_had_taken_is_sent_by_another_one_after_its_lease(
    nodes: list[Node], mail_server: MailServer, clock: FakeClock
) -> None:
    assert timedelta(seconds=SECONDS) < LEASE
    await nodes[0].put()
    async with nodes[0].store.write() as tx:
        assert len(await tx.mails.claim_due(now=clock(), until=clock() + LEASE, limit=8)) == 1

    clock.advance(LEASE - SECOND)
    await nodes[1].turn()
    assert not mail_server.received
    clock.advance(SECOND)
    await nodes[1].turn()

    assert len(mail_server.received) == 1


async def test_a_mail_that_cannot_be_opened_is_logged_and_left_for_later(
    node: Node, mail_server: MailServer, caplog: pytest.LogCaptureFixture
) -> None:
    await add_all(node.store, [make_mail(sealed=b"sealed elsewhere")])
    await node.turn()
    assert "send_mail" in caplog.text
    assert not mail_server.received
    assert (await node.only()).attempts == 0


# ── The application ─────────────────────────────────────────────────────────────────────────────────────────────────
async def test_what_waits_survives_a_restart_and_leaves_through_the_server_of_the_settings(
    node: Node,
    start_mail_server: StartMailServer,
    start: Start,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("idp.services.outbox._POLL_SECONDS", 0.02)
    await node.put()
    mail_server = await start_mail_server(password=PASSWORD)

    await start(smtp_url=f"smtp://idp:{PASSWORD}@127.0.0.1:{mail_server.port}", mail_from="Lab <lab@id.example.org>")
    async with asyncio.timeout(20):
        while not (await node.only()).delivered_at:
            await asyncio.sleep(0)

    assert [str(message["From"]) for message in mail_server.received] == ["Lab <lab@id.example.org>"]
    assert mail_server.signed_in == [("idp", PASSWORD)]
    assert not [secret for secret in SECRETS if secret in caplog.text]


@pytest.mark.parametrize(("issuer", "shown"), [("http://localhost:8000", True), ("https://id.example.org", False)])
async def test_only_on_this_machine_alone_a_mail_without_a_server_is_shown_on_the_terminal_and_never_in_the_log(
    node: Node,
    start: Start,
    issuer: str,
    shown: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("idp.services.outbox._POLL_SECONDS", 0.02)
    await node.put()

    await start(issuer=issuer)
    async with asyncio.timeout(20):
        while not (await node.only()).attempts:
            await asyncio.sleep(0)

    mail = await node.only()
    assert (mail.delivered_at, mail.last_error) == ((START, None) if shown else (None, "no mail server"))
    assert (f"\n{LINK}\n" in capsys.readouterr().err) is shown
    assert LINK not in caplog.text
