"""Back-channel logout: what is owed survives, is tried again in time, and reaches each client once."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest

from idp.crypto.jose import verify
from idp.crypto.password import PasswordHasher
from idp.domain.audit import AuditAction
from idp.domain.client import Client, ClientStatus, SubjectType
from idp.domain.logout import LogoutDelivery
from idp.domain.signing_key import SigningAlgorithm
from idp.domain.user import UserStatus
from idp.observe.metrics import Metrics
from idp.outbound.client import Fetched, Forbidden, OutboundError
from idp.services.accounts import Accounts, save_user
from idp.services.backchannel_logout import AT_A_TIME, DELAYS, GIVEN_UP_AFTER, LEASE, BackchannelLogout, owe, retry
from idp.services.sessions import Sessions, SessionTimes
from idp.services.signing_keys import KeyTimes, SigningKeys
from idp.services.subjects import Subjects
from idp.store.database import Database
from idp.store.errors import NotFound
from idp.store.store import Store, Transaction
from tests.support.app import Installed, add_all, decoded
from tests.support.clock import START, FakeClock
from tests.support.factories import (
    CLIENT_ID,
    ISSUER,
    SESSION_ID,
    USER_ID,
    make_client,
    make_grant,
    make_logout_delivery,
    make_session,
    make_user,
)

PORTAL, OTHER = "https://portal.example.org/backchannel", "https://other.example.org/backchannel"
SECOND = timedelta(seconds=1)
TIMES = KeyTimes(jwks_max_age=timedelta(minutes=1), longest_token=timedelta(minutes=1), rotation=timedelta())
BODY = b"a body that nobody repeats"


@dataclass
class Applications:
    """The other side of the outbound client: what arrived, and what is answered at which address."""

    answers: dict[str, Any] = field(default_factory=dict)
    received: list[tuple[str, str]] = field(default_factory=list)
    now: int = 0
    most: int = 0

    async def post_form(self, url: str, form: dict[str, str]) -> Fetched:
        assert list(form) == ["logout_token"]
        self.received.append((url, form["logout_token"]))
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            answer = self.answers.get(url, 200)
            if isinstance(answer, asyncio.Event):
                await answer.wait()
                answer = 200
            if isinstance(answer, Exception):
                raise answer
            return Fetched(answer, "text/html", BODY, None)
        finally:
            self.now -= 1

    @property
    def tokens(self) -> list[str]:
        return [token for _, token in self.received]


@dataclass
class Node:
    store: Store
    keys: SigningKeys
    subjects: Subjects
    metrics: Metrics
    job: BackchannelLogout

    async def turn(self) -> None:
        await self.job.begin()
        await self.job.finish()


@pytest.fixture
def applications() -> Applications:
    return Applications()


@pytest.fixture
async def nodes(
    database_url: str, installed: Installed, applications: Applications, clock: FakeClock
) -> AsyncIterator[list[Node]]:
    """Two nodes over one database."""
    nodes = []
    for _ in range(2):
        store, subjects, metrics = Store(Database(database_url)), Subjects(installed.data_keys), Metrics()
        keys = SigningKeys(store, installed.data_keys, clock, TIMES)
        job = BackchannelLogout(store, keys, subjects, applications, clock, metrics, issuer=ISSUER)
        nodes.append(Node(store, keys, subjects, metrics, job))
    await add_all(nodes[0].store, [*installed.rows, make_user()])
    yield nodes
    for node in nodes:
        await node.job.finish()
        await node.store.close()


@pytest.fixture
def node(nodes: list[Node]) -> Node:
    return nodes[0]


def portal(**changes: Any) -> Client:
    return make_client(backchannel_logout_uri=PORTAL, **changes)


def other(**changes: Any) -> Client:
    return make_client(client_id="other", backchannel_logout_uri=OTHER, **changes)


async def owed(node: Node, client: Client | None = None, **changes: Any) -> None:
    await add_all(node.store, [client or portal(), make_logout_delivery(**changes)])


async def deliveries(node: Node) -> list[LogoutDelivery]:
    async with node.store.read() as tx:
        return await tx.logout_deliveries.all()


async def only(node: Node) -> LogoutDelivery:
    (delivery,) = await deliveries(node)
    return delivery


async def failures(node: Node) -> list[Any]:
    async with node.store.read() as tx:
        return [e for e in await tx.audit_events.all() if e.action is AuditAction.LOGOUT_DELIVERY_FAILED]


# ── The token ───────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_a_logout_token_is_posted_signed_and_complete_backchannel_logout_s2_5(
    node: Node, applications: Applications
) -> None:
    await owed(node)

    await node.turn()

    ((url, token),) = applications.received
    jwks = json.loads(await node.keys.jwks())["keys"]
    header, claims = verify(token, jwks, algorithms=["RS256"])
    assert url == PORTAL
    assert (header["typ"], header["alg"]) == ("logout+jwt", "RS256")
    assert {**claims, "jti": "", "exp": 0} == {
        "iss": ISSUER,
        "aud": CLIENT_ID,
        "sub": USER_ID,
        "sid": SESSION_ID,
        "iat": int(START.timestamp()),
        "events": {"http://schemas.openid.net/event/backchannel-logout": {}},
        "jti": "",
        "exp": 0,
    }
    delivery = await only(node)
    assert (delivery.delivered_at, delivery.next_attempt_at, delivery.claimed_until) == (START, None, None)
    assert (delivery.attempts, delivery.last_error) == (1, None)


@pytest.mark.parametrize("registered", [*SigningAlgorithm, "none"])
async def test_it_is_signed_as_the_clients_id_tokens_are_and_never_unsigned_backchannel_logout_s2_6(
    node: Node, applications: Applications, registered: str
) -> None:
    await owed(node, portal(id_token_signed_response_alg=str(registered)))

    await node.turn()

    (token,) = applications.tokens
    assert decoded(token)[0]["alg"] == ("RS256" if registered == "none" else registered)


async def test_it_names_user_and_session_as_the_client_knows_them_core_s8_1(
    node: Node, applications: Applications
) -> None:
    client = portal(subject_type=SubjectType.PAIRWISE)
    await owed(node, client)

    await node.turn()

    (token,) = applications.tokens
    assert decoded(token)[1]["sub"] == node.subjects.of(client, USER_ID) != USER_ID
    assert decoded(token)[1]["sid"] == node.subjects.sid(client, SESSION_ID) != SESSION_ID


# ── Answers and attempts ────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("status", [200, 204])
async def test_200_and_204_mean_delivered_backchannel_logout_s2_8(
    node: Node, applications: Applications, status: int
) -> None:
    applications.answers[PORTAL] = status
    await owed(node)

    await node.turn()

    assert (await only(node)).delivered_at == START


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (400, "HTTP 400"),
        (503, "HTTP 503"),
        (201, "HTTP 201"),
        (OutboundError("https://portal.example.org: a long story"), "no valid answer"),
        (Forbidden("https://portal.example.org is at no public address"), "address not allowed"),
    ],
)
async def test_any_other_answer_is_a_failure_with_a_fixed_text(
    node: Node, applications: Applications, answer: Any, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    applications.answers[PORTAL] = answer
    await owed(node)

    await node.turn()

    delivery = await only(node)
    assert (delivery.delivered_at, delivery.last_error, delivery.claimed_until) == (None, text, None)
    assert delivery.next_attempt_at == START + DELAYS[0]
    assert "logout_delivery.failed" in caplog.text
    # What helps the operator stands in the log; what the other side sent stands nowhere.
    assert str(answer) in caplog.text
    assert BODY.decode() not in caplog.text


async def test_it_is_tried_again_later_and_later_each_time_with_a_new_token_and_then_given_up(
    node: Node, applications: Applications, clock: FakeClock
) -> None:
    applications.answers[PORTAL] = 503
    await owed(node)
    await node.turn()
    for attempts, delay in enumerate(DELAYS, start=1):
        clock.advance(delay - SECOND)
        await node.turn()
        assert len(applications.received) == attempts
        assert not await failures(node)
        clock.advance(SECOND)
        await node.turn()
        assert len(applications.received) == attempts + 1

    given_up = await only(node)
    assert (given_up.next_attempt_at, given_up.delivered_at, given_up.last_error) == (None, None, "HTTP 503")
    assert clock() - START <= GIVEN_UP_AFTER
    clock.advance(timedelta(days=1))
    await node.turn()
    assert len(applications.received) == len(DELAYS) + 1

    claims = [decoded(token)[1] for token in applications.tokens]
    assert len({claim["jti"] for claim in claims}) == len(claims)
    assert all(0 < claim["exp"] - claim["iat"] <= 120 for claim in claims)
    assert [claim["iat"] for claim in claims] == sorted({claim["iat"] for claim in claims})
    (event,) = await failures(node)
    assert (event.target, event.succeeded) == (CLIENT_ID, False)
    assert event.detail == {"session": SESSION_ID, "attempts": len(DELAYS) + 1, "reason": "HTTP 503"}


async def test_a_client_that_comes_back_gets_its_token_at_the_next_attempt(
    node: Node, applications: Applications, clock: FakeClock
) -> None:
    applications.answers[PORTAL] = OutboundError("out of reach")
    await owed(node)
    await node.turn()
    applications.answers.clear()
    clock.advance(DELAYS[0])

    await node.turn()

    delivery = await only(node)
    assert (delivery.delivered_at, delivery.attempts, delivery.last_error) == (clock(), 2, None)


@pytest.mark.parametrize("changes", [{"backchannel_logout_uri": None}, {"status": ClientStatus.DISABLED}])
async def test_a_client_that_is_not_told_any_more_is_given_up_at_once(
    node: Node, applications: Applications, changes: dict[str, Any]
) -> None:
    await owed(node, replace(portal(), **changes))

    await node.turn()

    assert not applications.received
    assert (await only(node)).next_attempt_at is None
    assert (await failures(node))[0].detail["reason"] == "the client is not told any more"


async def test_attempts_are_counted_by_their_outcome_and_what_was_given_up_by_its_number(
    node: Node, applications: Applications, clock: FakeClock
) -> None:
    applications.answers[PORTAL] = 503
    await owed(node)
    await add_all(node.store, [other(), make_logout_delivery(id="l_other", client_id="other")])
    await node.turn()
    for delay in DELAYS:
        clock.advance(delay)
        await node.turn()
    await node.job.count()

    told = node.metrics.render()[0].decode()

    for outcome, number in (("delivered", 1), ("failed", len(DELAYS)), ("given_up", 1)):
        assert f'idp_logout_deliveries_total{{outcome="{outcome}"}} {number}.0' in told
    assert "idp_logout_deliveries_given_up 1.0" in told


# ── Several nodes, crashes, and clients that hang ───────────────────────────────────────────────────────────────────
async def test_two_nodes_deliver_each_token_once(nodes: list[Node], applications: Applications) -> None:
    await owed(nodes[0], id="l_0")
    await add_all(nodes[0].store, [make_logout_delivery(id=f"l_{n}", session_id=f"s_{n}") for n in range(1, 12)])

    for _ in range(12):
        await asyncio.gather(*(node.turn() for node in nodes))

    sids = [decoded(token)[1]["sid"] for token in applications.tokens]
    assert len(sids) == len(set(sids)) == 12
    assert all(delivery.attempts == 1 for delivery in await deliveries(nodes[0]))


async def test_what_a_dead_node_had_taken_is_taken_by_another_one_after_its_lease(
    nodes: list[Node], applications: Applications, clock: FakeClock
) -> None:
    await owed(nodes[0])
    async with nodes[0].store.write() as tx:
        assert len(await tx.logout_deliveries.claim_due(now=clock(), until=clock() + LEASE, limit=8)) == 1

    clock.advance(LEASE - SECOND)
    await nodes[1].turn()
    assert not applications.received
    clock.advance(SECOND)
    await nodes[1].turn()

    assert len(applications.received) == 1
    assert (await only(nodes[1])).delivered_at == clock()


async def test_an_attempt_that_outlives_its_lease_leaves_the_record_to_the_node_that_has_it_now(
    nodes: list[Node], applications: Applications, clock: FakeClock
) -> None:
    hanging = applications.answers[PORTAL] = asyncio.Event()
    await owed(nodes[0])
    await nodes[0].job.begin()
    async with asyncio.timeout(10):
        while not applications.received:
            await asyncio.sleep(0)
    clock.advance(LEASE)
    applications.answers[PORTAL] = 503
    await nodes[1].turn()

    hanging.set()
    await nodes[0].job.finish()

    delivery = await only(nodes[0])
    assert (delivery.attempts, delivery.last_error, delivery.delivered_at) == (1, "HTTP 503", None)


async def test_a_client_that_hangs_holds_up_nobody_else(node: Node, applications: Applications) -> None:
    hanging = applications.answers[PORTAL] = asyncio.Event()
    await owed(node, id="l_0")
    more = [make_logout_delivery(id=f"l_{n}", session_id=f"s_{n}") for n in range(1, 20)]
    others = [make_logout_delivery(id=f"m_{n}", client_id="other", session_id=f"s_{n}") for n in range(3)]
    await add_all(node.store, [other(), *more, *others])

    async with asyncio.timeout(10):
        while len([url for url, _ in applications.received if url == OTHER]) < 3:
            await node.job.begin()
            await asyncio.sleep(0)

    assert [url for url, _ in applications.received if url == PORTAL] == [PORTAL]
    hanging.set()


async def test_no_more_than_a_few_are_posted_at_a_time(node: Node, applications: Applications) -> None:
    slow = asyncio.Event()
    clients = [make_client(client_id=f"c_{n}", backchannel_logout_uri=f"{OTHER}/{n}") for n in range(AT_A_TIME + 4)]
    owed_to = [make_logout_delivery(id=f"l_{client.client_id}", client_id=client.client_id) for client in clients]
    await add_all(node.store, [*clients, *owed_to])
    applications.answers |= {str(client.backchannel_logout_uri): slow for client in clients}

    for _ in range(3):
        await node.job.begin()
    async with asyncio.timeout(10):
        while applications.now < AT_A_TIME:
            await asyncio.sleep(0)
    slow.set()
    await node.job.finish()
    await node.turn()

    assert applications.most == AT_A_TIME
    assert len(applications.received) == len(clients)


async def test_clients_that_hang_again_and_again_hold_up_nobodys_first_attempt(
    node: Node, applications: Applications
) -> None:
    hanging = asyncio.Event()
    clients = [make_client(client_id=f"c_{n}", backchannel_logout_uri=f"{OTHER}/{n}") for n in range(AT_A_TIME)]
    failed = [
        make_logout_delivery(id=f"l_{n}", client_id=f"c_{n}", attempts=1, next_attempt_at=START - SECOND)
        for n in range(AT_A_TIME)
    ]
    new = make_logout_delivery(id="m_0", client_id="c_0", session_id="s_new")
    await owed(node)
    await add_all(node.store, [*clients, *failed, new])
    applications.answers |= {str(client.backchannel_logout_uri): hanging for client in clients}

    await node.job.begin()
    async with asyncio.timeout(10):
        while len(applications.received) < AT_A_TIME:
            await asyncio.sleep(0)

    hanging.set()
    told = {url: decoded(token)[1]["sid"] for url, token in applications.received}

    # The new client at once, and a client's new session before an old one.
    assert (told.get(PORTAL), told.get(f"{OTHER}/0")) == (SESSION_ID, "s_new")


async def test_a_client_that_is_deleted_while_it_is_told_takes_its_deliveries_along(
    node: Node, applications: Applications
) -> None:
    hanging = applications.answers[PORTAL] = asyncio.Event()
    await owed(node)
    await node.job.begin()
    async with asyncio.timeout(10):
        while not applications.received:
            await asyncio.sleep(0)
    async with node.store.write() as tx:
        await tx.clients.delete(CLIENT_ID)

    hanging.set()
    await node.job.finish()

    assert await deliveries(node) == []


async def test_an_attempt_that_breaks_here_is_logged_and_repeated_after_its_lease(
    node: Node, applications: Applications, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    applications.answers[PORTAL] = RuntimeError("a defect of ours")
    await owed(node)
    await node.turn()
    assert "deliver_logout_tokens" in caplog.text
    applications.answers.clear()

    clock.advance(LEASE)
    await node.turn()

    assert (await only(node)).delivered_at == clock()


# ── The job ─────────────────────────────────────────────────────────────────────────────────────────────────────────
async def turn_of_job(job: BackchannelLogout) -> None:
    await job.due()
    await job.begin()


async def test_a_node_begins_with_what_was_left_when_it_starts(node: Node, applications: Applications) -> None:
    await owed(node)

    await turn_of_job(node.job)
    await node.job.finish()

    assert len(applications.received) == 1


async def test_what_is_owed_now_wakes_the_job(node: Node, applications: Applications) -> None:
    await turn_of_job(node.job)
    waiting = asyncio.create_task(turn_of_job(node.job))
    await owed(node)

    node.job.wake()
    await waiting
    await node.job.finish()

    assert len(applications.received) == 1


async def test_the_end_of_an_attempt_wakes_the_job_for_the_next_one(node: Node, applications: Applications) -> None:
    await owed(node)
    await add_all(node.store, [make_logout_delivery(id="l_second", session_id="s_second")])

    for _ in range(2):
        await turn_of_job(node.job)
        await node.job.finish()

    assert len(applications.received) == 2


# ── What is owed ────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_every_client_that_had_a_grant_in_the_session_is_told_whatever_became_of_it(
    node: Node, clock: FakeClock
) -> None:
    uri = {"backchannel_logout_uri": OTHER}
    told = [make_client(client_id=name, **uri) for name in ("valid", "offline", "expired", "revoked")]
    silent = [
        make_client(client_id="without_uri"),
        make_client(client_id="disabled", status=ClientStatus.DISABLED, **uri),
        make_client(client_id="elsewhere", **uri),
        make_client(client_id="never", **uri),
    ]
    grants = [
        make_grant(id="g_1", client_id="valid"),
        make_grant(id="g_2", client_id="valid"),
        make_grant(id="g_3", client_id="offline", offline=True),
        make_grant(id="g_4", client_id="expired", expires_at=START),
        make_grant(id="g_5", client_id="revoked", revoked_at=START),
        make_grant(id="g_6", client_id="without_uri"),
        make_grant(id="g_7", client_id="disabled"),
        make_grant(id="g_8", client_id="elsewhere", session_id="s_other"),
    ]
    await add_all(node.store, [*told, *silent, *grants])

    async with node.store.write() as tx:
        clients = await owe(tx, SESSION_ID, USER_ID, now=clock())
        again = await owe(tx, SESSION_ID, USER_ID, now=clock())

    assert clients == again
    assert {client.client_id for client in clients} == {*(c.client_id for c in told), "without_uri", "disabled"}
    assert sorted(delivery.client_id for delivery in await deliveries(node)) == sorted(c.client_id for c in told)
    for delivery in await deliveries(node):
        assert (delivery.session_id, delivery.user_id, delivery.next_attempt_at) == (SESSION_ID, USER_ID, START)


async def test_the_end_of_a_session_owes_the_news_and_wakes_the_job_once(node: Node, clock: FakeClock) -> None:
    woken = []
    times = SessionTimes(idle=timedelta(hours=1), absolute=timedelta(hours=12))
    sessions = Sessions(node.store, clock, times, on_end=lambda: woken.append(clock()))
    session = make_session()
    await add_all(node.store, [portal(), session, make_grant()])

    first = await sessions.end(session, now=clock())
    second = await sessions.end(session, now=clock())

    assert [client.client_id for client in first] == [CLIENT_ID]
    assert not second
    assert (await only(node)).client_id == CLIENT_ID
    assert len(woken) == 1


async def test_a_client_that_is_signed_in_at_the_very_moment_of_the_end_is_told(
    node: Node, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = make_session()
    sessions = Sessions(node.store, clock, SessionTimes(idle=timedelta(hours=1), absolute=timedelta(hours=12)))
    await add_all(node.store, [portal(), other(), session, make_grant()])
    write, begun = node.store.write, []

    @asynccontextmanager
    async def late_grant() -> AsyncIterator[Transaction]:
        if begun:
            # The session has ended, and its grants are about to be revoked.
            await node.store.commit.append(make_grant(id="g_late", client_id="other"))
        begun.append(None)
        async with write() as tx:
            yield tx

    monkeypatch.setattr(node.store, "write", late_grant)
    await sessions.end(session, now=clock())

    assert {delivery.client_id for delivery in await deliveries(node)} == {"other", CLIENT_ID}


async def test_an_account_that_is_disabled_is_signed_out_of_its_applications(node: Node, clock: FakeClock) -> None:
    await add_all(node.store, [portal(), make_session(), make_grant()])
    alice = make_user()

    async with node.store.write() as tx:
        await save_user(tx, replace(alice, status=UserStatus.DISABLED, updated_at=clock()), before=alice)

    assert (await only(node)).client_id == CLIENT_ID


async def test_a_replaced_password_signs_out_of_applications_in_every_session(node: Node, clock: FakeClock) -> None:
    hasher = PasswordHasher(memory_kib=64, time_cost=1)
    sessions = [make_session(id=f"s_{n}", hash=f"hash {n}") for n in range(2)]
    grants = [make_grant(id=f"g_{n}", session_id=f"s_{n}") for n in range(2)]
    await add_all(node.store, [portal(), *sessions, *grants])
    accounts = Accounts(node.store, hasher, clock, password_min_length=8)

    await accounts.set_password("alice@example.org", "correct-horse-battery", actor="cli")

    hasher.close()
    assert sorted(delivery.session_id for delivery in await deliveries(node)) == ["s_0", "s_1"]


# ── By hand ─────────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_what_was_given_up_can_be_tried_again_with_all_its_attempts(
    node: Node, applications: Applications, clock: FakeClock
) -> None:
    await owed(node, attempts=9, next_attempt_at=None, last_error="HTTP 503", expires_at=START)
    clock.advance(timedelta(days=3))

    again = await retry(node.store, "l_portal", now=clock())

    assert again == await only(node)
    assert (again.attempts, again.next_attempt_at) == (0, clock())
    applications.answers[PORTAL] = 503
    await node.turn()
    assert (await only(node)).next_attempt_at == clock() + DELAYS[0]


async def test_what_was_delivered_or_is_unknown_cannot_be_tried_again(node: Node) -> None:
    await owed(node, delivered_at=START, next_attempt_at=None)

    for delivery_id in ("l_portal", "l_unknown"):
        with pytest.raises(NotFound, match=delivery_id):
            await retry(node.store, delivery_id, now=START)
