"""Handing mail to a mail server: encrypted, signed in, and told apart what may work later from what never will."""

import ssl
from dataclasses import replace
from datetime import UTC, datetime
from email.message import EmailMessage

import pytest

from idp.mail.mailer import MailError, PermanentMailError, TemporaryMailError
from idp.mail.message import compose
from idp.mail.server import Mailbox, SmtpServer
from idp.mail.smtp import SmtpMailer
from idp.mail.templates import Content
from tests.outbound.conftest import Authority
from tests.support.smtp import MailServer, StartMailServer

PASSWORD = "correct:horse@battery/staple"
ALICE = "alice@example.org"
AT = datetime(2026, 3, 12, 10, tzinfo=UTC)


def a_mail(to: str = ALICE) -> EmailMessage:
    content = Content("Grüße", "Hello,\n.\nhttps://id.example.org/secret\n", "<p>Hello</p>")
    sender = Mailbox("Lab ID", "no-reply@id.example.org")
    return compose(content, sender=sender, to=to, mail_id="m_1", host="id.example.org", at=AT)


def mailer_for(mail_server: MailServer, authority: Authority | None = None, **changes: object) -> SmtpMailer:
    server = replace(SmtpServer("127.0.0.1", mail_server.port, tls=False, starttls=False), **changes)
    ca_file = None if authority is None else authority.ca_file
    return SmtpMailer(server, ca_file=ca_file, local_name="id.example.org")


async def failure(mailer: SmtpMailer, to: str = ALICE) -> MailError:
    with pytest.raises(MailError) as caught:
        await mailer.send(a_mail(to))
    error = caught.value
    assert error.__cause__ is None
    assert error.__suppress_context__
    for secret in (PASSWORD, ALICE, "secret"):
        assert secret not in f"{error!r} {error} {error.detail}"
    return error


async def test_a_mail_arrives_as_it_was_written_with_our_name_in_the_greeting(mail_server: MailServer) -> None:
    await mailer_for(mail_server).send(a_mail())

    (message,) = mail_server.received
    assert mail_server.envelopes == [("no-reply@id.example.org", [ALICE])]
    assert mail_server.greeted_by == ["id.example.org"]
    assert message["Subject"] == "Grüße"
    assert mail_server.texts() == ["Hello,\n.\nhttps://id.example.org/secret\n"]


@pytest.mark.parametrize("kind", ["starttls", "tls"])
async def test_both_kinds_of_encryption_check_the_certificate_against_the_given_authorities_rfc8314_s3(
    start_mail_server: StartMailServer, authority: Authority, other_authority: Authority, kind: str
) -> None:
    mail_server = await start_mail_server(**{kind: authority.server("127.0.0.1")}, password=PASSWORD)
    signed_in = {kind: True, "user": "idp", "password": PASSWORD}

    await mailer_for(mail_server, authority, **signed_in).send(a_mail())
    for mistrusted in (None, other_authority):
        error = await failure(mailer_for(mail_server, mistrusted, **signed_in))
        assert isinstance(error, TemporaryMailError)
        assert str(error) == "no secure connection"
        assert "certificate" in error.detail

    assert mail_server.secure == [True]
    assert mail_server.signed_in == [("idp", PASSWORD)]


@pytest.mark.parametrize("kind", ["starttls", "tls"])
async def test_a_certificate_for_another_name_is_refused(
    start_mail_server: StartMailServer, authority: Authority, kind: str
) -> None:
    mail_server = await start_mail_server(**{kind: authority.server("mail.example")})
    error = await failure(mailer_for(mail_server, authority, **{kind: True}))
    assert (type(error), str(error)) == (TemporaryMailError, "no secure connection")
    assert not mail_server.received


async def test_nothing_is_said_in_clear_to_a_server_that_does_not_offer_starttls_rfc3207_s4(
    start_mail_server: StartMailServer,
) -> None:
    mail_server = await start_mail_server(password=PASSWORD)
    error = await failure(mailer_for(mail_server, starttls=True, user="idp", password=PASSWORD))
    assert (type(error), str(error)) == (TemporaryMailError, "no secure connection or no way to sign in")
    assert not mail_server.signed_in
    assert not mail_server.received


async def test_a_wrong_password_may_be_mended_and_is_told_without_it_rfc4954_s6(
    start_mail_server: StartMailServer,
) -> None:
    mail_server = await start_mail_server(password="another")
    error = await failure(mailer_for(mail_server, user="idp", password=PASSWORD))
    assert (type(error), str(error)) == (TemporaryMailError, "SMTP 535 5.7.8")


@pytest.mark.parametrize(
    ("command", "answer", "kind", "text"),
    [
        ("MAIL", f"550 5.7.1 {ALICE} may not", TemporaryMailError, "SMTP 550 5.7.1"),
        ("MAIL", "451 4.3.0 later", TemporaryMailError, "SMTP 451 4.3.0"),
        ("RCPT", f"450 4.2.0 <{ALICE}>: Greylisted", TemporaryMailError, "SMTP 450 4.2.0"),
        ("RCPT", f"550 5.1.1 <{ALICE}>: unknown", PermanentMailError, "SMTP 550 5.1.1"),
        ("RCPT", "530 5.7.0 Authentication required", TemporaryMailError, "SMTP 530 5.7.0"),
        ("DATA", "452 full", TemporaryMailError, "SMTP 452"),
        ("DATA", "554 5.6.0 https://id.example.org/secret looks bad", PermanentMailError, "SMTP 554 5.6.0"),
        ("DATA", "421 4.3.2 going down", TemporaryMailError, "SMTP 421 4.3.2"),
    ],
)
async def test_what_may_work_later_is_told_from_what_never_will_rfc5321_s4_2_1(
    mail_server: MailServer, command: str, answer: str, kind: type[MailError], text: str
) -> None:
    mail_server.answers[command] = [answer]
    error = await failure(mailer_for(mail_server))
    assert (type(error), str(error)) == (kind, text)


async def test_a_server_out_of_reach_or_silent_may_answer_later(mail_server: MailServer) -> None:
    error = await failure(mailer_for(replace(mail_server, port=1)))
    assert (type(error), str(error)) == (TemporaryMailError, "no connection")
    assert error.detail

    mail_server.answers["DATA"] = [None]
    server = SmtpServer("127.0.0.1", mail_server.port, tls=False, starttls=False)
    error = await failure(SmtpMailer(server, ca_file=None, local_name="localhost", seconds=0.05))
    assert (type(error), str(error)) == (TemporaryMailError, "no answer in time")


async def test_a_mail_that_was_taken_stays_taken_however_the_conversation_ends(mail_server: MailServer) -> None:
    mail_server.answers["QUIT"] = ["421 too late"]
    await mailer_for(mail_server).send(a_mail())
    assert len(mail_server.received) == 1


async def test_letters_of_other_scripts_in_a_host_name_reach_any_server_and_in_a_name_only_some_rfc6531(
    mail_server: MailServer,
) -> None:
    await mailer_for(mail_server).send(a_mail("alice@bücher.example"))
    assert mail_server.envelopes[0][1] == ["alice@xn--bcher-kva.example"]

    error = await failure(mailer_for(mail_server), "älice@example.org")
    assert (type(error), str(error)) == (PermanentMailError, "the mail server takes only addresses in ASCII")


def test_the_password_is_in_no_description() -> None:
    server = SmtpServer("mail.example.org", 587, tls=False, starttls=True, user="idp", password=PASSWORD)
    assert PASSWORD not in f"{server!r} {server}"
    assert isinstance(SmtpMailer(server, ca_file=None, local_name="localhost")._tls, ssl.SSLContext)
