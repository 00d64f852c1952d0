"""IDP_SMTP_URL and IDP_MAIL_FROM: what they mean, and what is refused without being repeated."""

import pytest

from idp.mail.server import Mailbox, SmtpServer, parse_mailbox, parse_smtp_url

SECRET = "correct-horse"


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("smtp://mail.example.org", SmtpServer("mail.example.org", 587, tls=False, starttls=True)),
        ("smtp://mail.example.org:25/", SmtpServer("mail.example.org", 25, tls=False, starttls=True)),
        ("smtps://mail.example.org", SmtpServer("mail.example.org", 465, tls=True, starttls=False)),
        ("smtp://[2001:db8::7]:2525", SmtpServer("2001:db8::7", 2525, tls=False, starttls=True)),
        ("smtp://localhost:25", SmtpServer("localhost", 25, tls=False, starttls=False)),
        ("smtp://127.0.0.1", SmtpServer("127.0.0.1", 587, tls=False, starttls=False)),
        ("smtp://[::1]", SmtpServer("::1", 587, tls=False, starttls=False)),
        ("smtps://localhost", SmtpServer("localhost", 465, tls=True, starttls=False)),
        ("smtp://localhost.example.org", SmtpServer("localhost.example.org", 587, tls=False, starttls=True)),
        (
            "smtp://idp%40example.org:a%2Fb%3A%40c@mail.example.org",
            SmtpServer("mail.example.org", 587, tls=False, starttls=True, user="idp@example.org", password="a/b:@c"),
        ),
    ],
)
def test_a_connection_beyond_loopback_is_encrypted_whatever_the_url_says(url: str, server: SmtpServer) -> None:
    assert parse_smtp_url(url) == server


@pytest.mark.parametrize(
    ("url", "wrong"),
    [
        (f"mail://u:{SECRET}@h", "must begin with smtp:// or smtps://"),
        (f"u:{SECRET}@h", "must begin with smtp:// or smtps://"),
        ("mail.example.org:587", "must begin with smtp:// or smtps://"),
        (f"smtp://u:{SECRET}/x@h", "special characters of a password"),
        (f"smtp://u:x@{SECRET}@h", "special characters of a password"),
        (f"smtp://u:{SECRET}@h?starttls=no", "must end after host and port"),
        (f"smtp://u:{SECRET}@h/path", "must end after host and port"),
        (f"smtp://{SECRET}@h", "must have both user and password"),
        (f"smtp://u:{SECRET}@", "must name a host"),
        (f"smtp://u:{SECRET}@h:0", "must name a host"),
        (f"smtp://u:{SECRET}@h h", "must name a host"),
        (f"smtp://u:{SECRET}@h:99999", "must have a host and a port"),
    ],
)
def test_anything_else_is_refused_without_being_repeated(url: str, wrong: str) -> None:
    with pytest.raises(ValueError, match="must ") as caught:
        parse_smtp_url(url)
    assert wrong in str(caught.value)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "mailbox"),
    [
        ("no-reply@example.org", Mailbox("", "no-reply@example.org")),
        ("Lab ID <no-reply@example.org>", Mailbox("Lab ID", "no-reply@example.org")),
        ('"Labor, Zürich" <id@example.org>', Mailbox("Labor, Zürich", "id@example.org")),
        ("<id@example.org>", Mailbox("", "id@example.org")),
    ],
)
def test_whom_mail_is_from_is_an_address_with_or_without_a_name(text: str, mailbox: Mailbox) -> None:
    assert parse_mailbox(text) == mailbox
    assert parse_mailbox(str(mailbox)) == mailbox


@pytest.mark.parametrize(
    "text",
    [
        "",
        "example.org",
        "a@b@c",
        "a@b, c@d",
        "Lab <a@b> x",
        "ä@example.org",
        "a@example.org\nBcc: everybody@example.org",
        "Lab\r\nBcc: everybody@example.org <a@example.org>",
        "Lab\0 <a@example.org>",
    ],
)
def test_what_could_begin_another_header_field_or_name_somebody_else_is_refused_rfc5322_s2_2(text: str) -> None:
    with pytest.raises(ValueError, match="must be an address"):
        parse_mailbox(text)
