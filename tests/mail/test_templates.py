"""What mails say: every purpose has its texts, and what others chose stays text on its own line."""

import re
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import Any

import pytest
from jinja2 import UndefinedError

from idp.domain.lab import LabRole
from idp.domain.mail import MailPurpose
from idp.mail.templates import MailTemplates
from idp.resources import templates_dir

URL = "https://id.example.org/invitations/a-secret"
AT = datetime(2026, 3, 12, 10, 5, tzinfo=UTC)
EVIL = "<script>x</script>\r\nBcc: everybody@example.org\n\u202egnp.exe\x1b[2J"
FLAT = "<script>x</script> Bcc: everybody@example.org gnp. exe [2J"
CONTEXTS: dict[MailPurpose, dict[str, Any]] = {
    MailPurpose.INVITATION: {
        "lab_name": "Biology",
        "inviter": "Ada",
        "role": LabRole.MEMBER,
        "url": URL,
        "expires_at": AT,
        "ends_at": AT,
    },
    MailPurpose.MEMBERSHIP_ENDS: {"lab_name": "Biology", "role": LabRole.VIEWER, "ends_at": AT, "url": URL},
    MailPurpose.LAB_MEMBERSHIP_ENDS: {
        "lab_name": "Biology",
        "members": [{"member": "Ada", "ends_at": AT}, {"member": "Bea", "ends_at": AT}],
        "url": URL,
    },
    MailPurpose.JOIN_REQUEST: {"lab_name": "Biology", "person": "Ada", "message": "Hi,\nlet me in.", "url": URL},
    MailPurpose.JOIN_REQUEST_DECIDED: {"lab_name": "Biology", "accepted": True, "url": URL},
    MailPurpose.LINKED_ACCOUNT_ADDED: {"provider": "Biology", "label": "Ada", "at": AT, "url": URL},
    MailPurpose.LINKED_ACCOUNT_REMOVED: {"provider": "Biology", "label": "Ada", "at": AT, "url": URL},
    MailPurpose.SECOND_FACTOR_ADDED: {"at": AT, "url": URL},
    MailPurpose.SECOND_FACTOR_REMOVED: {"at": AT, "url": URL},
    MailPurpose.RECOVERY_CODES_CREATED: {"at": AT, "url": URL},
    MailPurpose.RECOVERY_CODE_USED: {"left": 9, "at": AT, "url": URL},
    MailPurpose.EMAIL_CHANGED: {"new": "Ada@Biology.example", "at": AT, "url": URL},
}
# In their subjects stands nothing that others chose.
ACCOUNT_CONTEXTS: dict[MailPurpose, dict[str, Any]] = {
    MailPurpose.SIGN_UP: {"url": URL},
    MailPurpose.SIGN_UP_KNOWN: {"url": URL},
    MailPurpose.SIGN_UP_REFUSED: {"url": URL},
    MailPurpose.RECOVERY: {"url": URL},
    MailPurpose.RECOVERY_ELSEWHERE: {"url": URL, "provider": "Biology"},
    MailPurpose.PASSWORD_CHANGED: {"url": URL, "at": AT},
    MailPurpose.EMAIL_CODE: {"code": "123 456", "minutes": 10},
}
VARIANTS = [
    *CONTEXTS.items(),
    (MailPurpose.INVITATION, {**CONTEXTS[MailPurpose.INVITATION], "ends_at": None}),
    (
        MailPurpose.LAB_MEMBERSHIP_ENDS,
        {**CONTEXTS[MailPurpose.LAB_MEMBERSHIP_ENDS], "members": [{"member": "Ada", "ends_at": AT}]},
    ),
    (MailPurpose.JOIN_REQUEST, {**CONTEXTS[MailPurpose.JOIN_REQUEST], "message": None}),
    (MailPurpose.RECOVERY_CODE_USED, {**CONTEXTS[MailPurpose.RECOVERY_CODE_USED], "left": 1}),
    (MailPurpose.JOIN_REQUEST_DECIDED, {**CONTEXTS[MailPurpose.JOIN_REQUEST_DECIDED], "accepted": False}),
]
# Those that say what somebody chose to be called.
NAMING = [purpose for purpose, context in CONTEXTS.items() if "Biology" in str(context)]
TEMPLATES = MailTemplates(templates_dir(), service_name="Lab ID", issuer="https://id.example.org")

every_variant = pytest.mark.parametrize(("purpose", "context"), VARIANTS)


class _Elements(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_every_purpose_has_its_texts_and_every_text_its_purpose() -> None:
    names = {path.name for path in (templates_dir() / "email").iterdir()} - {"layout.txt", "layout.html"}
    assert names == {f"{purpose}.{kind}" for purpose in MailPurpose for kind in ("txt", "html")}
    assert CONTEXTS.keys() | ACCOUNT_CONTEXTS.keys() == set(MailPurpose)


@every_variant
def test_text_and_html_say_the_same_and_lead_to_the_same_place(purpose: MailPurpose, context: dict[str, Any]) -> None:
    content = TEMPLATES.render(purpose, context)
    page = _Elements(content.html)

    # What is about the account alone names nobody else.
    assert ("Biology" if purpose in NAMING else "Lab ID") in content.subject
    assert content.text.startswith("Hello,\n\n")
    assert "\n\n\n" not in content.text
    assert f"\n{URL}\n" in content.text
    links = {attributes["href"] for tag, attributes in page.elements if tag == "a"}
    assert links == {URL, "https://id.example.org"}
    for value in ("Biology", "Ada", "would be: member", "role: viewer", "let me in.", "12 March 2026, 10:05 UTC"):
        assert (value in content.text) == (value in page.text), value
    for text in (content.text, page.text):
        assert "None" not in text
        assert not re.search(r"[.:][A-Z]", text), "a space is missing"


@pytest.mark.parametrize(("purpose", "context"), ACCOUNT_CONTEXTS.items())
def test_mail_about_ones_account_says_the_same_in_both_and_leads_to_the_same_place(
    purpose: MailPurpose, context: dict[str, Any]
) -> None:
    content = TEMPLATES.render(purpose, context)
    page = _Elements(content.html)

    assert "Lab ID" in content.subject or purpose is MailPurpose.PASSWORD_CHANGED
    assert "123" not in content.subject, "a locked screen shows it"
    assert content.text.startswith("Hello,\n\n")
    assert "\n\n\n" not in content.text
    assert (f"\n{URL}\n" in content.text) == ("url" in context)
    links = {attributes["href"] for tag, attributes in page.elements if tag == "a"}
    assert links == {"https://id.example.org"} | ({URL} if "url" in context else set())
    # Line by line, but for the address and what leads to it.
    said = [line for line in content.text.split("\n\n") if URL not in line and not line.endswith("here:")]
    for line in said[:-1]:
        if not line.startswith(("The first page", "Hello", "-- ")):
            assert line in page.text, line
    assert not {tag for tag, _ in page.elements} & {"img", "style", "link", "script", "form", "iframe"}


@every_variant
def test_html_needs_nothing_from_elsewhere_and_no_style_sheet(purpose: MailPurpose, context: dict[str, Any]) -> None:
    page = _Elements(TEMPLATES.render(purpose, context).html)
    assert not {tag for tag, _ in page.elements} & {"img", "style", "link", "script", "form", "iframe"}
    assert not [attributes for _, attributes in page.elements if attributes.keys() & {"src", "class", "onclick"}]
    assert ("meta", {"name": "color-scheme", "content": "light dark"}) in page.elements


def called(purpose: MailPurpose, chosen: str) -> dict[str, Any]:
    """The context of a purpose where everybody and everything is called so."""
    context = CONTEXTS[purpose]
    names = {name: chosen for name in ("lab_name", "inviter", "person", "provider", "label", "new") if name in context}
    members = [{**each, "member": chosen} for each in context.get("members", ())]
    return {**context, **names, **({"members": members} if members else {})}


@pytest.mark.parametrize("purpose", NAMING)
def test_a_name_that_others_chose_is_text_on_one_line(purpose: MailPurpose) -> None:
    content = TEMPLATES.render(purpose, called(purpose, EVIL))

    assert FLAT in content.subject
    assert content.subject.isprintable()
    assert FLAT in content.text
    assert FLAT in _Elements(content.html).text
    assert "<script" not in content.html
    assert not re.search(r"^Bcc", content.text, re.M)


@pytest.mark.parametrize("purpose", NAMING)
def test_a_name_that_others_chose_leads_nowhere(purpose: MailPurpose) -> None:
    for chosen, shown in (
        ("Sign in at https://evil.example/login now", "Sign in at https: //evil. example/login now"),
        ("WWW.evil.example", "WWW. evil. example"),
        ("help@evil.example/login", "help@evil. example/login"),
        ("\u202ehttps\u200b://x.org", "https : //x. org"),
        # What people are really called.
        ("Dr. A. B. Smith, release 2.0", "Dr. A. B. Smith, release 2.0"),
        ("Eve (eve@example.org)", "Eve (eve@example.org)"),
    ):
        content = TEMPLATES.render(purpose, called(purpose, chosen))
        for text in (content.subject, content.text, _Elements(content.html).text):
            assert shown in text
            assert chosen == shown or chosen not in text


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("ada.new@mail.example.org", "ada.new@mail.example.org"),
        ("a@evil.example/login", "a@evil. example/login"),
        ("https://evil.example/@b.example", "https: //evil. example/@b. example"),
        ("a@b.example\r\nBcc: c@d.example", "a@b.example Bcc: c@d.example"),
    ],
)
def test_the_address_that_an_account_has_now_is_told_as_it_is_and_leads_nowhere(address: str, shown: str) -> None:
    content = TEMPLATES.render(MailPurpose.EMAIL_CHANGED, {**CONTEXTS[MailPurpose.EMAIL_CHANGED], "new": address})
    assert content.subject == f"The email address of your account is now {shown}"
    page = _Elements(content.html)
    for text in (content.text, page.text):
        assert f"your account at Lab ID is {shown}. Mail about" in text
        assert "If that was not you, somebody else may be using your account: tell whoever runs Lab ID." in text
    assert {attributes["href"] for tag, attributes in page.elements if tag == "a"} == {URL, "https://id.example.org"}


def test_a_persons_own_words_keep_their_lines_and_are_set_off() -> None:
    message = f"Dear all,\n\nhttps://id.example.org\n-- \n{EVIL}"
    context = {**CONTEXTS[MailPurpose.JOIN_REQUEST], "message": message}
    content = TEMPLATES.render(MailPurpose.JOIN_REQUEST, context)
    assert "> Dear all,\n> \n> https://id.example.org\n> --\n> <script>x</script>\n> Bcc: everybody" in content.text
    assert "Dear all,\n\nhttps://id.example.org" in _Elements(content.html).text
    assert not {"\x1b", "\u202e"} & set(content.text + content.html)


@pytest.mark.parametrize(
    ("purpose", "name"), [(purpose, name) for purpose, context in CONTEXTS.items() for name in context]
)
def test_a_name_that_is_missing_is_an_error_and_no_gap(purpose: MailPurpose, name: str) -> None:
    with pytest.raises(UndefinedError):
        TEMPLATES.render(purpose, {key: value for key, value in CONTEXTS[purpose].items() if key != name})
