"""The pages as a browser reads them: headers, escaping, labels, and the static files beside them."""

import gzip
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest
from jinja2 import UndefinedError
from starlette.applications import Starlette

from idp.domain.lab import LabRole
from idp.domain.provider import ProviderKind
from idp.protocol.lab_consent import LabChoice, LabChoices
from idp.services.opened_invitation import InvitationFault
from idp.services.second_factors import Held
from idp.web.pages import Pages, StaticFiles, allow_frames
from tests.support import lab_pages
from tests.support.factories import make_lab, make_lab_membership

TEMPLATES = Path(__file__).parents[2] / "templates"
STATIC = Path(__file__).parents[2] / "idp" / "web" / "static"
EVIL = """<script>alert(1)</script>"' onload='alert(1)' {{ 7 * 7 }} %(x)s"""


def account(text: str, minutes: int) -> dict[str, Any]:
    at = datetime(2026, 11, 20, 9, 0, 12, tzinfo=UTC)
    return {"sid": f"{text}{minutes}", "name": text, "label": f"also {text}", "at": at, "minutes": minutes}


def described(text: str, **changes: Any) -> dict[str, Any]:
    """An application as `describe` returns it."""
    uris = {name: f"https://{text}/{name}" for name in ("uri", "policy_uri", "tos_uri")}
    return {"name": text, "unverified": True, "logo": f"/logo/{text}.png", **uris, **changes}


def provider(text: str, kind: str) -> dict[str, Any]:
    """A provider as the pages are told of it."""
    return {"name": text, "display_name": text, "kind": kind, "action": f"/login/{text}"}


def linked_account(text: str, kind: str, **changes: Any) -> dict[str, Any]:
    at = datetime(2026, 11, 20, 9, 0, 12, tzinfo=UTC)
    usual = {"last_used": None, "removable": True, "since": at}
    return {"id": text, "provider": text, "display_name": text, "kind": kind, "label": text, **usual, **changes}


def unknown_client(name: str) -> dict[str, Any]:
    return {**dict.fromkeys(described(name)), "name": name}


def everything(text: str) -> dict[str, dict[str, Any]]:
    """Each page with all that it can show, `text` in every place that holds a text."""
    accounts = [(text, text, text)]
    form = {"csrf": text, "action": text}
    at = datetime(2026, 11, 20, 9, 0, 12, tzinfo=UTC)
    rows = [(text, [(text, False), (text, True)])]
    ages = (0, 1, 59, 60, 120, 1440, 10_000)
    signed_in = [account(text, minutes) for minutes in ages]
    return {
        "signup.html": {
            **form,
            "login_url": text,
            "open": True,
            "domains": (),
            "by_invitation": True,
            "values": {"email": text, "name": text},
            "errors": dict.fromkeys(("", "email", "name", "password"), text),
        },
        "sign_up_done.html": {"email": text, "login_url": text},
        "verify_email.html": {
            **form,
            "pending": SimpleNamespace(email=text, here=False),
            "errors": {"password": text},
        },
        "mail_sent.html": {"email": text, "login_url": text, "for_what": "sign_up"},
        "link_gone.html": {"again_url": text},
        "recover.html": {**form, "email": text, "login_url": text, "errors": {"email": text}},
        "recover_password.html": {**form, "user_label": text, "errors": {"password": text}},
        "recover_done.html": {"login_url": text, "strength": text},
        "sign_in_link.html": {**form, "user_label": text, "error": text},
        "email_code_ask.html": {**form, "email": text, "login_url": text, "error": text},
        "email_code.html": {
            **form,
            "login_url": text,
            "again_url": text,
            "waiting": SimpleNamespace(email=text, attempts_left=3, resend_in_seconds=30),
            "notice": text,
            "error": text,
        },
        "account/password.html": {
            **form,
            "user_label": text,
            "has_password": True,
            "notice": None,
            "errors": {"": text, "password": text},
        },
        "login.html": {
            **form,
            "mailed": dict.fromkeys(("code_url", "recover_url", "sign_up_url"), text),
            "client": described(text),
            "identifier": text,
            "error": text,
            "notice": text,
            "choose_account_url": text,
            "demo_accounts": accounts,
            "providers": [provider(text, kind) for kind in ProviderKind],
            "password_first": False,
            "other_ways_url": text,
            "one_tap": {"client_id": text, "nonce": text, "login_uri": text, "style_nonce": text},
        },
        "upstream_refused.html": {
            "title": text,
            "message": text,
            "who": text,
            "code": text,
            "reference": text,
            "again_url": text,
            "other_ways_url": text,
            "provider": text,
            "address": text,
        },
        "link_account.html": {
            **form,
            "step": "confirm",
            "provider": text,
            "kind": ProviderKind.GOOGLE,
            "upstream_label": text,
            "user_label": text,
            "recreated": True,
            "error": text,
        },
        "changed_address.html": {
            **form,
            "provider": text,
            "old": text,
            "new": text,
            "taken": False,
            "user_label": text,
            "error": text,
        },
        "login_mfa.html": {
            **form,
            "gone": False,
            "client": described(text),
            "user_label": text,
            "error": text,
            "wait_minutes": None,
            "held": SimpleNamespace(totp=SimpleNamespace(created_at=at, last_used_at=at), recovery_codes=1),
            "restart_url": text,
            "declinable": True,
            "setup_url": None,
        },
        "account/security.html": {
            **form,
            "user_label": text,
            "error": text,
            "notice": text,
            "held": SimpleNamespace(totp=SimpleNamespace(created_at=at, last_used_at=at), recovery_codes=1),
        },
        "account/totp.html": {
            **form,
            "user_label": text,
            "error": text,
            "setup": text,
            "secret": [text, text],
            "picture": text,
            "back_url": text,
        },
        "account/recovery_codes.html": {"user_label": text, "issuer": text, "codes": [text], "onward": text},
        "account/linked.html": {
            **form,
            "user_label": text,
            "accounts": [linked_account(text, kind, removable=kind != "oidc", last_used=at) for kind in ProviderKind],
            "providers": [provider(text, kind) for kind in ProviderKind],
            "notice": text,
            "error": text,
        },
        "account/activity.html": {
            "user_label": text,
            "events": [
                {
                    **dict.fromkeys(("what", "client", "provider", "address"), text),
                    "by_other": True,
                    "failed": True,
                    "at": at,
                }
            ],
        },
        "account/data.html": {
            "user_label": text,
            "download_url": text,
            "sections": [("account", [[(text, text)]]), ("labs", [[(text, text)], [(text, text)]])],
        },
        "account/profile.html": {
            **form,
            **dict.fromkeys(("user_label", "email", "username", "notice", "error"), text),
            "email_verified": False,
            "values": {"name": text, "address.street_address": text, "address.formatted": text},
            "errors": {"name": text, "address.formatted": text},
        },
        "account/sessions.html": {
            **form,
            "user_label": text,
            "sessions": [
                {
                    "id": "s_1",
                    "browser": text,
                    "system": text,
                    "address": text,
                    "began": at,
                    "last_seen": at,
                    "current": current,
                }
                for current in (True, False)
            ],
            "notice": text,
            "error": text,
        },
        "select_account.html": {
            **form,
            "accounts": signed_in,
            "active_sid": signed_in[0]["sid"],
            "client_name": text,
            "add_account_url": text,
            "error": text,
        },
        "form_post.html": {"action": text, "host": text, "params": {text: text, "state": text}},
        "consent.html": {
            **form,
            "mark": text,
            "notice": text,
            "client": described(text),
            "host": text,
            "user_label": text,
            "switch_account_url": text,
            "items": [(text, text, text, False), (text, text, "offline_access", True)],
            "lab_scopes": [text, text],
            "labs": LabChoices(
                (
                    LabChoice(text, make_lab(name=text), LabRole.ADMIN, at, ticked=True),
                    LabChoice("chem", make_lab(slug="chem", name=text), LabRole.VIEWER),
                    LabChoice(text, named=True),
                ),
                all_labs=True,
                asked=True,
            ),
            "later_labs": True,
            "administers": True,
        },
        "account/app_labs.html": {
            **form,
            "user_label": text,
            "error": text,
            "notice": text,
            "client": described(text),
            "labs": [(make_lab_membership(lab={"name": text}, expires_at=at), LabRole.VIEWER)],
            "later_labs": False,
        },
        "error.html": {
            "title": text,
            "message": text,
            "who": text,
            "code": text,
            "reference": text,
            "at": at,
            "client_name": text,
            "details": rows,
            "explained": True,
            "onward": (f"https://{text}", text),
        },
        "explain.html": {
            "ticket": SimpleNamespace(
                refusal=SimpleNamespace(error=text, reference=text, created_at=at),
                explanation=SimpleNamespace(description=text),
            ),
            "cause": f"Why: {text}",
            "compared": [(text, text, rows), (text, text, rows)],
            "jwts": [(text, rows, [text]), (text, rows, [])],
            "request_rows": rows,
        },
        "signed_out.html": {
            "applications": [text],
            "frames": [text, f"https://{text}"],
            "location": text,
            "automatic": True,
            "client_name": text,
            "remaining": [text],
            "upstreams": [{"provider": text, "url": f"https://{text}"}],
        },
        "logout_confirm.html": {**form, "client_name": text, "user_labels": [text], "error": text},
        "home.html": {
            **form,
            "user_label": text,
            "applications": [
                {"title": text, "unverified": True, "logo": f"/logo/{text}.png", "uri": f"https://{text}"},
                {"title": text, "unverified": False, "logo": None, "uri": None},
            ],
            "others": signed_in,
            "administers": True,
            "demo": accounts,
            "rp_url": text,
        },
        "setup.html": {
            **form,
            "errors": {"email": text, "name": text, "password": text, "": text},
            "values": {"email": text, "name": text},
        },
        "setup_done.html": {},
        "invitation.html": {
            **form,
            "error": text,
            "why_not": None,
            "opened": SimpleNamespace(
                lab=lab(text),
                invitation=SimpleNamespace(role="admin", ends_at=at, expires_at=at),
                inviter=text,
                masked_email=text,
            ),
            "logo": f"/logo/{text}.png",
            "user_label": text,
            "switch_account_url": text,
        },
        "invitation_answered.html": {
            "lab": lab(text),
            "membership": SimpleNamespace(role="member", expires_at=at),
        },
        "account/labs.html": {
            **form,
            "user_label": text,
            "error": text,
            "notice": text,
            "logos": {text: f"/logo/{text}.png"},
            "memberships": [
                {
                    "lab": lab(text),
                    "role": role,
                    "begins": at,
                    "ends": at,
                    "seen": soon,
                    "archived": False,
                    "step_up_url": text if role == "admin" else None,
                    "ended": ended,
                    "soon": soon,
                }
                for role, ended, soon in (("admin", False, True), ("member", True, False), ("viewer", False, False))
            ],
            "invitations": [
                SimpleNamespace(
                    lab=lab(text),
                    invitation=SimpleNamespace(id=text, role="viewer", ends_at=at, expires_at=at),
                    inviter=text,
                )
            ],
            "requests": [
                (SimpleNamespace(open=True, created_at=at), lab(text)),
                (SimpleNamespace(open=False, denied_at=at, repeatable_at=at), lab(text)),
                (SimpleNamespace(open=False, denied_at=None, repeatable_at=at), lab(text)),
            ],
            "joinable": [lab(text)],
        },
        "account/leave.html": {**form, "lab": lab(text)},
        **lab_pages.everything(text),
    }


def lab(text: str) -> SimpleNamespace:
    return SimpleNamespace(
        id=text, slug=text, name=text, description=text, homepage=f"https://{text}", accepts_join_requests=True
    )


def nothing_optional() -> dict[str, dict[str, Any]]:
    """Each page with only what it must have."""
    absent: dict[str, dict[str, Any]] = {
        "signup.html": {"open": False, "domains": (), "by_invitation": False, "values": {}, "errors": {}},
        "verify_email.html": {"pending": SimpleNamespace(email="text", here=True), "errors": {}},
        "mail_sent.html": {"for_what": "recovery"},
        "link_gone.html": {"again_url": None},
        "recover.html": {"errors": {}},
        "recover_password.html": {"errors": {}},
        "sign_in_link.html": {"error": None},
        "email_code_ask.html": {"error": None},
        "email_code.html": {
            "waiting": SimpleNamespace(email="text", attempts_left=5, resend_in_seconds=0),
            "notice": None,
            "error": None,
        },
        "account/password.html": {"has_password": False, "notice": "text", "errors": {}},
        "login.html": {
            "mailed": dict.fromkeys(("code_url", "recover_url", "sign_up_url")),
            **dict.fromkeys(("client", "error", "notice", "choose_account_url")),
            "identifier": "",
            "demo_accounts": [],
            "providers": [],
        },
        "upstream_refused.html": dict.fromkeys(("again_url", "other_ways_url", "provider", "address")),
        "link_account.html": {
            "step": "prove",
            "user_label": None,
            "recreated": False,
            "sign_in_url": "/login",
            "error": None,
        },
        "changed_address.html": {"taken": True, "error": None},
        "login_mfa.html": {
            **dict.fromkeys(("client", "error", "restart_url")),
            "wait_minutes": 3,
            "held": Held(totp=None, recovery_codes=0),
            "declinable": False,
            "setup_url": "/account/security/totp",
        },
        "account/security.html": {"held": Held(totp=None, recovery_codes=0), "notice": None, "error": None},
        "account/totp.html": {"error": None},
        "account/linked.html": {"accounts": [], "providers": [], "notice": None, "error": None},
        "account/activity.html": {"events": []},
        "account/data.html": {"sections": []},
        "account/profile.html": {
            **dict.fromkeys(("email", "username", "notice", "error")),
            "email_verified": True,
            "values": {},
            "errors": {},
        },
        "account/sessions.html": {"sessions": [], "notice": None, "error": None},
        "select_account.html": {
            "accounts": [account("text", 0)],
            "active_sid": None,
            "client_name": None,
            "error": None,
        },
        "form_post.html": {"params": {}},
        "consent.html": {"client": unknown_client("App"), "items": [], "notice": None, "labs": LabChoices()},
        "account/app_labs.html": {"client": unknown_client("App"), "labs": [], "error": None, "notice": None},
        "error.html": {"client_name": None, "details": [], "explained": False, "onward": None},
        "explain.html": {"ticket": None, "cause": None, "compared": [], "jwts": [], "request_rows": []},
        "signed_out.html": {
            **dict.fromkeys(("applications", "frames", "remaining", "upstreams"), ()),
            **dict.fromkeys(("location", "automatic", "client_name")),
        },
        "logout_confirm.html": {"client_name": None, "user_labels": ["text", "text"], "error": None},
        "home.html": {
            "user_label": None,
            "applications": [],
            "others": [],
            "administers": False,
            "csrf": None,
            "demo": [],
            "rp_url": None,
        },
        "setup.html": {"errors": {}, "values": {}},
        "invitation.html": {"opened": None, "why_not": "unknown", "error": None},
        "invitation_answered.html": {"membership": None},
        "account/labs.html": {
            **dict.fromkeys(("memberships", "invitations", "requests", "joinable"), ()),
            **dict.fromkeys(("error", "notice")),
        },
        **lab_pages.nothing_optional(),
    }
    return {name: {**context, **absent.get(name, {})} for name, context in everything("text").items()}


NAMES = sorted(everything(""))
HEBREW = "מעבדה"
CONTEXTS = {"full": everything("Ada Moreau"), "minimal": nothing_optional(), "hostile": everything(EVIL)}


class Page(HTMLParser):
    """The elements of a page, and its visible text."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        # Each piece of text with the element that it follows the start of.
        self.texts: list[tuple[str, str]] = []
        self.feed(markup)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data
        self.texts.append((self.elements[-1][0] if self.elements else "", data))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def pages() -> Pages:
    return Pages(service_name="Lab ID", templates_dir=TEMPLATES)


@pytest.fixture
def client(pages: Pages) -> httpx2.AsyncClient:
    transport = httpx2.ASGITransport(app=Starlette(routes=pages.static.routes()))
    return httpx2.AsyncClient(
        transport=transport, base_url="http://localhost:8000", headers={"Accept-Encoding": "identity"}
    )


def read(pages: Pages, name: str, context: Mapping[str, Any]) -> Page:
    return Page(bytes(pages.render(name, **context).body).decode())


every_page = pytest.mark.parametrize("name", NAMES)
every_context = pytest.mark.parametrize("context", sorted(CONTEXTS))


def test_every_template_that_is_a_page_is_tested_here():
    # check_session.html is no page for people: nothing in it is ever shown.
    shared = {"layout.html", "macros.html", "check_session.html"}
    # Folders such as account/ and admin/ belong to the tests of their handlers, unless a page is listed here too.
    assert {path.name for path in TEMPLATES.glob("*.html")} - shared == {name for name in NAMES if "/" not in name}


@every_page
@every_context
def test_a_page_has_one_heading_a_title_a_language_and_a_skip_link(pages: Pages, name: str, context: str):
    page = read(pages, name, CONTEXTS[context][name])
    assert len(page.all("h1")) == 1
    assert len(page.all("title")) == 1
    assert page.all("html") == [{"lang": "en", "dir": "ltr"}]
    assert page.all("a")[0]["href"] == "#main"
    assert [main["id"] for main in page.all("main")] == ["main"]


@every_page
@every_context
def test_every_input_has_a_label_and_every_reference_its_target(pages: Pages, name: str, context: str):
    page = read(pages, name, CONTEXTS[context][name])
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    labelled = {label["for"] for label in page.all("label")}
    fields = [field for tag in ("input", "select", "textarea") for field in page.all(tag)]
    assert {field["id"] for field in fields if field.get("type") != "hidden" and "hidden" not in field} == labelled
    for _, attributes in page.elements:
        for reference in ("aria-describedby", "aria-labelledby"):
            assert set((attributes.get(reference) or "").split()) <= set(ids)
        href = attributes.get("href") or ""
        assert not href.startswith("#") or href[1:] in ids


@every_page
@every_context
def test_a_page_holds_no_inline_script_style_or_handler(pages: Pages, name: str, context: str):
    page = read(pages, name, CONTEXTS[context][name])
    assert page.all("style") == []
    assert all((script["src"] or "").startswith("/static/") for script in page.all("script"))
    for tag, attributes in page.elements:
        # "on" begins no attribute but a handler's.
        assert not [key for key in attributes if key == "style" or key.startswith("on")], tag


@every_page
def test_texts_from_outside_are_inert_and_shown_as_they_are(pages: Pages, name: str):
    hostile, harmless = (read(pages, name, CONTEXTS[kind][name]) for kind in ("hostile", "full"))
    assert [tag for tag, _ in hostile.elements] == [tag for tag, _ in harmless.elements]
    assert [sorted(found) for _, found in hostile.elements] == [sorted(found) for _, found in harmless.elements]
    assert hostile.text.count(EVIL) == harmless.text.count("Ada Moreau")


NAMED: dict[str, dict[str, Any]] = {
    "login.html": {"client": described(HEBREW), "providers": [provider(HEBREW, kind) for kind in ProviderKind]},
    "upstream_refused.html": {"provider": HEBREW, "address": HEBREW},
    "link_account.html": {"provider": HEBREW, "upstream_label": HEBREW, "user_label": HEBREW},
    "changed_address.html": {"provider": HEBREW, "old": HEBREW, "new": HEBREW, "user_label": HEBREW},
    "account/linked.html": everything(HEBREW)["account/linked.html"] | {"error": None, "notice": None},
    "login_mfa.html": {"client": described(HEBREW), "user_label": HEBREW},
    "account/security.html": {"user_label": HEBREW},
    "account/totp.html": {"user_label": HEBREW},
    "account/recovery_codes.html": {"user_label": HEBREW},
    "select_account.html": {"client_name": HEBREW, "accounts": [account(HEBREW, 5)]},
    "form_post.html": {"host": HEBREW},
    "consent.html": {"client": described(HEBREW), "host": HEBREW, "user_label": HEBREW},
    "error.html": {"client_name": HEBREW, "onward": ("https://app.example.org", HEBREW)},
    "signed_out.html": {"applications": [HEBREW], "client_name": HEBREW, "remaining": [HEBREW]},
    "logout_confirm.html": {"client_name": HEBREW, "user_labels": [HEBREW, HEBREW]},
    "home.html": {
        "user_label": HEBREW,
        "applications": [
            {"title": HEBREW, "unverified": True, "logo": None, "uri": uri} for uri in (None, "https://x")
        ],
        "others": [account(HEBREW, 5)],
    },
    "invitation.html": {
        "user_label": HEBREW,
        "opened": SimpleNamespace(
            lab=lab(HEBREW),
            invitation=CONTEXTS["full"]["invitation.html"]["opened"].invitation,
            inviter=HEBREW,
            masked_email=HEBREW,
        ),
    },
    "invitation_answered.html": {"lab": lab(HEBREW)},
    "account/labs.html": everything(HEBREW)["account/labs.html"] | {"error": None, "notice": None},
    "account/leave.html": {"lab": lab(HEBREW)},
    **lab_pages.everything("text", name=HEBREW),
}


@pytest.mark.parametrize("name", sorted(NAMED))
def test_a_name_that_others_chose_cannot_turn_the_text_around_it(pages: Pages, name: str):
    page = read(pages, name, CONTEXTS["full"][name] | NAMED[name])
    holders = {holder for holder, text in page.texts if HEBREW in text}
    assert holders - {"title"} == {"bdi"}


def test_the_service_name_is_escaped_too():
    page = read(Pages(service_name=EVIL, templates_dir=TEMPLATES), "setup_done.html", {})
    assert page.all("script") == []
    assert EVIL in page.text


@pytest.mark.parametrize("uri", ["javascript:alert(1)", "data:text/html,x", "//evil.example", " https://evil.example"])
def test_an_application_cannot_place_a_link_that_is_not_a_web_address(pages: Pages, uri: str):
    shown = described("App", uri=uri, policy_uri=uri, tos_uri=uri)
    listed = [{"title": "App", "unverified": False, "logo": None, "uri": uri}]
    for name in ("login.html", "consent.html", "home.html"):
        page = read(pages, name, CONTEXTS["full"][name] | {"client": shown, "applications": listed})
        assert uri not in [link["href"] for link in page.all("a")]


def test_what_an_application_links_to_learns_nothing_of_the_page_and_gets_no_hold_on_it(pages: Pages):
    for name in ("login.html", "consent.html", "home.html"):
        outward = [
            link for link in read(pages, name, CONTEXTS["full"][name]).all("a") if "https://" in str(link["href"])
        ]
        assert outward
        assert {link["rel"] for link in outward} == {"noopener noreferrer"}


@pytest.mark.parametrize("name", ["login.html", "consent.html"])
def test_policy_and_terms_of_an_application_are_linked_to_where_it_has_them(pages: Pages, name: str):
    def text(**changes: Any) -> str:
        return " ".join(
            read(pages, name, CONTEXTS["full"][name] | {"client": described("App", **changes)}).text.split()
        )

    assert "Privacy policy · Terms of use of App" in text()
    assert "Privacy policy of App" in text(tos_uri=None)
    assert "Terms of use of App" in (only_terms := text(policy_uri=None))
    assert "Privacy policy" not in only_terms
    assert "of App" not in text(policy_uri=None, tos_uri=None)


@pytest.mark.parametrize("name", ["login.html", "consent.html", "home.html"])
def test_a_logo_is_shown_from_our_own_origin_and_none_where_there_is_none(pages: Pages, name: str):
    full, minimal = (read(pages, name, CONTEXTS[kind][name]).all("img") for kind in ("full", "minimal"))
    logos = [[image for image in images if str(image["src"]).startswith("/logo/")] for images in (full, minimal)]
    assert [len(found) for found in logos] == [1, 0]
    assert all(str(image["src"]).startswith(("/static/", "/logo/")) for image in full)
    assert {image["alt"] for image in full} == {""}


def test_consent_warns_of_an_application_that_nobody_checked(pages: Pages):
    warned, calm = (
        read(
            pages,
            "consent.html",
            CONTEXTS["full"]["consent.html"] | {"client": described("App", unverified=unverified)},
        )
        for unverified in (True, False)
    )
    assert "Nobody at Lab ID has checked this application" in warned.text
    assert "Nobody" not in calm.text


@every_page
def test_a_name_missing_from_the_context_is_an_error_and_not_a_gap(pages: Pages, name: str):
    for key in CONTEXTS["full"][name]:
        context = {other: value for other, value in CONTEXTS["full"][name].items() if other != key}
        with pytest.raises(UndefinedError, match=key):
            pages.render(name, **context)


def test_a_page_carries_the_security_headers(pages: Pages):
    response = pages.render("setup_done.html", status=429)
    assert response.status_code == 429
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    assert response.headers["Content-Security-Policy"] == (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["Referrer-Policy"] == "same-origin"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["X-Frame-Options"] == "DENY"


def test_a_page_inside_a_transaction_omits_form_action_and_nothing_else(pages: Pages):
    response = pages.render("setup_done.html", transaction=True)
    assert response.headers["Content-Security-Policy"] == (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; frame-ancestors 'none'"
    )


@pytest.mark.parametrize(("language", "direction"), [("de", "ltr"), ("ar", "rtl"), ("he-IL", "rtl")])
def test_a_page_names_its_language_and_direction(pages: Pages, language: str, direction: str):
    response = pages.render("setup_done.html", language=language)
    assert Page(bytes(response.body).decode()).all("html") == [{"lang": language, "dir": direction}]


@every_page
def test_a_cold_page_weighs_at_most_100_kb_and_takes_at_most_5_requests(pages: Pages, name: str):
    response = pages.render(name, **CONTEXTS["full"][name])
    urls = set(re.findall(rb'(?:src|srcset|href)="(/static/[^"#]+)', bytes(response.body)))
    sources = [path.read_bytes() for path in STATIC.iterdir() if pages.static.url(path.name).encode() in urls]
    assert len(sources) == len(urls)
    assert 1 + len(urls) <= 5
    assert len(response.body) + sum(map(len, sources)) <= 100_000


def test_login_lets_password_managers_and_pasting_work(pages: Pages):
    page = read(pages, "login.html", CONTEXTS["minimal"]["login.html"])
    fields = {str(field["name"]): field for field in page.all("input")}
    assert set(fields) == {"csrf", "username", "password"}
    assert fields["username"]["autocomplete"] == "username webauthn"
    assert fields["password"]["autocomplete"] == "current-password"
    assert "autofocus" in fields["username"]
    assert page.all("form") == [{"class": "stack", "id": "sign-in", "method": "post", "action": "text"}]


def test_login_keeps_what_was_typed_and_describes_both_fields_by_the_error(pages: Pages):
    context = CONTEXTS["minimal"]["login.html"] | {"identifier": "ada@example.org", "error": "Wrong."}
    page = read(pages, "login.html", context)
    fields = {str(field["name"]): field for field in page.all("input")}
    assert fields["username"]["value"] == "ada@example.org"
    assert "autofocus" not in fields["username"]
    assert "autofocus" in fields["password"]
    assert "value" not in fields["password"]
    assert {fields[name]["aria-describedby"] for name in ("username", "password")} == {"error"}


def buttons(page: Page) -> list[tuple[str | None, str | None]]:
    return [(button.get("name"), button.get("value")) for button in page.all("button")]


def words(page: Page) -> str:
    return " ".join(page.text.split())


def test_login_starts_at_each_provider_with_a_form_of_its_own_above_the_password(pages: Pages):
    providers = [provider(name, kind) for name, kind in (("google", "google"), ("campus", "oidc"))]
    page = read(pages, "login.html", CONTEXTS["minimal"]["login.html"] | {"providers": providers, "csrf": "a-token"})
    assert [(form["method"], form["action"]) for form in page.all("form")] == [
        ("post", "/login/google"),
        ("post", "/login/campus"),
        ("post", "text"),
    ]
    assert [field["value"] for field in page.all("input") if field["name"] == "csrf"] == ["a-token"] * 3
    assert [button["class"] for button in page.all("button")] == ["provider google", "provider", "primary"]
    assert "Sign in with google Sign in with campus or Email or user name" in words(page)


def test_login_without_providers_shows_no_divider(pages: Pages):
    page = read(pages, "login.html", CONTEXTS["minimal"]["login.html"])
    assert [button["class"] for button in page.all("button")] == ["primary"]
    assert not [text for _, text in page.texts if text.strip() == "or"]


def test_login_that_asks_for_a_password_offers_no_provider_and_no_other_account(pages: Pages):
    page = read(pages, "login.html", CONTEXTS["full"]["login.html"] | {"password_first": True, "client": None})
    assert [button.get("formaction") for button in page.all("button")] == [
        None,
        CONTEXTS["full"]["login.html"]["mailed"]["code_url"],
    ]
    assert page.all("button")[0]["class"] == "primary"


@pytest.mark.parametrize("kind", [*ProviderKind, "of tomorrow"])
def test_every_kind_of_provider_has_a_mark_for_light_and_for_dark_ground(pages: Pages, kind: str):
    context = CONTEXTS["minimal"]["login.html"] | {"providers": [provider("text", kind)]}
    page = read(pages, "login.html", context)
    [dark], light = page.all("source"), page.all("img")[-1]
    assert (dark["media"], light["alt"]) == ("(prefers-color-scheme: dark)", "")
    drawn = {view["id"] for view in Page((STATIC / "mark.svg").read_text()).all("view")}
    for address, name in ((light["src"], kind), (dark["srcset"], f"{kind}-dark")):
        url, _, view = str(address).partition("#")
        assert url == pages.static.url("mark.svg")
        assert view in drawn
        assert view == name.replace("of tomorrow", "oidc")


def test_a_refused_sign_in_names_the_provider_and_offers_what_there_is_to_do(pages: Pages):
    context = CONTEXTS["full"]["upstream_refused.html"] | {
        "provider": "Google",
        "code": "access_denied",
        "reference": "K7Q2-M9XD",
        "again_url": "/again",
        "other_ways_url": "/others",
    }
    page = Page(bytes(pages.render("upstream_refused.html", status=403, **context).body).decode())
    assert "You were signing in with Google." in words(page)
    assert "access_denied · HTTP 403 · reference K7Q2-M9XD" in words(page)
    assert [(link["href"], link.get("class")) for link in page.all("a")][1:] == [
        ("/again", "button primary"),
        ("/others", "button"),
    ]
    [copy] = page.all("button")
    assert "hidden" in copy
    assert page.all("script") == [{"src": pages.static.url("copy.js"), "defer": None}]
    final = read(pages, "upstream_refused.html", context | {"again_url": None})
    assert [(link["href"], link.get("class")) for link in final.all("a")][1:] == [("/others", "button primary")]
    minimal = read(pages, "upstream_refused.html", CONTEXTS["minimal"]["upstream_refused.html"])
    assert "signing in" not in minimal.text
    assert [link["href"] for link in minimal.all("a")] == ["#main"]


LINK = {**everything("text")["link_account.html"], "provider": "ORCID", "sign_in_url": "/login/again", "error": None}


@pytest.mark.parametrize(
    ("user_label", "recreated", "said", "unsaid"),
    [
        ("Ada", False, "There is already an account with this address", "may have been deleted"),
        ("Ada", True, "This is another ORCID account than the one that is connected", "No account here"),
        (None, False, "No account here is connected with this ORCID account yet", "already an account"),
    ],
)
def test_whoever_has_not_proven_an_account_can_sign_in_to_it_and_connect_nothing(
    pages: Pages, user_label: str | None, recreated: bool, said: str, unsaid: str
):
    page = read(pages, "link_account.html", {**LINK, "step": "prove", "user_label": user_label, "recreated": recreated})
    assert said in words(page)
    assert unsaid not in words(page)
    assert (page.all("form"), page.all("button")) == ([], [])
    assert [link["href"] for link in page.all("a")] == ["#main", "/login/again"]


@pytest.mark.parametrize("user_label", [HEBREW, None])
def test_what_the_page_before_the_proof_shows_cannot_turn_the_text_either(pages: Pages, user_label: str | None):
    names = {"provider": HEBREW, "upstream_label": HEBREW, "user_label": user_label}
    page = read(pages, "link_account.html", {**LINK, **names, "step": "prove"})
    assert {holder for holder, text in page.texts if HEBREW in text} - {"title"} == {"bdi"}


def test_connecting_shows_both_accounts_and_takes_a_decision(pages: Pages):
    shown = {"upstream_label": "0000-0002-1825-0097", "user_label": "ada@example.org"}
    page = read(pages, "link_account.html", {**LINK, **shown, "recreated": False})
    assert buttons(page) == [("decision", "link"), ("decision", "cancel")]
    assert {"ORCID", "0000-0002-1825-0097", "Lab ID", "ada@example.org"} <= {text for _, text in page.texts}


def test_a_changed_address_can_be_used_or_kept_and_a_taken_one_only_be_kept(pages: Pages):
    context = CONTEXTS["full"]["changed_address.html"]
    free, taken = (read(pages, "changed_address.html", {**context, "taken": taken}) for taken in (False, True))
    assert buttons(free) == [("decision", "use"), ("decision", "keep")]
    assert buttons(taken) == [("decision", "keep")]
    assert "another account here already uses it" in words(taken)
    assert "already uses" not in words(free)


def test_connected_accounts_are_told_apart_and_the_last_way_in_stays(pages: Pages):
    accounts = [
        linked_account("1", "google", display_name="Google", label="ada@example.org"),
        linked_account("2", "google", display_name="Google", label="ada@lab.example"),
        linked_account("3", "oidc", display_name="Campus", removable=False),
    ]
    context = CONTEXTS["minimal"]["account/linked.html"]
    page = read(
        pages, "account/linked.html", {**context, "accounts": accounts, "providers": [provider("hub", "github")]}
    )
    assert buttons(page) == [("unlink", "1"), ("unlink", "2"), ("link", "hub")]
    assert "Disconnect Google ada@example.org" in words(page)
    assert "Disconnect Google ada@lab.example" in words(page)
    assert words(page).count("This is your only way to sign in") == 1
    assert [link["href"] for link in page.all("a")][1:] == [
        "/account/profile",
        "/account/security",
        "/account/apps",
        "/account/labs",
        "/account/sessions",
        "/account/activity",
        "/account/data",
        "/",
    ]


ACCOUNT_PAGES = ("activity", "apps", "data", "labs", "linked", "profile", "security", "sessions")


@pytest.mark.parametrize("name", ACCOUNT_PAGES)
def test_every_page_of_the_account_leads_to_the_others(pages: Pages, name: str):
    page = read(pages, "account/sessions.html", CONTEXTS["minimal"]["account/sessions.html"])
    assert {f"/account/{other}" for other in ACCOUNT_PAGES[:-1]} | {"/"} <= {link["href"] for link in page.all("a")}
    assert f'{{{{ account_links("{name}") }}}}' in (TEMPLATES / "account" / f"{name}.html").read_text()


def test_consent_offers_both_decisions_and_marks_lasting_access(pages: Pages):
    page = read(pages, "consent.html", CONTEXTS["full"]["consent.html"])
    decisions = [(button["name"], button["value"]) for button in page.all("button")]
    assert decisions == [("decision", "allow"), ("decision", "deny")]
    chips = [span["class"] for span in page.all("span") if "chip" in (span.get("class") or "")]
    # The scopes of its rows, then those about labs.
    assert chips == ["chip", "chip warn", "chip", "chip"]


def test_consent_marks_what_was_agreed_to_before(pages: Pages):
    items = [("New", "a", "email", False), ("Old", "b", "profile", True)]
    page = read(pages, "consent.html", CONTEXTS["full"]["consent.html"] | {"items": items})
    assert " ".join(page.text.split()).count("profile allowed before") == page.text.count("allowed before") == 1


def test_the_error_page_marks_the_characters_that_differ_and_nothing_around_them(pages: Pages):
    sent = ("Sent", [("http", False), ("s", True), ("://app.example/cb", False)])
    markup = bytes(pages.render("error.html", **CONTEXTS["full"]["error.html"] | {"details": [sent]}).body).decode()
    assert '<code dir="ltr">http<mark>s</mark>://app.example/cb</code>' in markup


def test_the_error_page_tells_status_code_and_time_with_its_zone(pages: Pages):
    response = pages.render("error.html", status=400, **CONTEXTS["full"]["error.html"] | {"code": "invalid_request"})
    page = Page(bytes(response.body).decode())
    assert "invalid_request · HTTP 400 · " in page.text
    assert "2026-11-20 09:00 UTC" in page.text
    assert page.all("time") == [{"datetime": "2026-11-20T09:00:12+00:00"}]


def test_the_copy_button_is_hidden_until_its_script_shows_it(pages: Pages):
    page = read(pages, "error.html", CONTEXTS["full"]["error.html"])
    [button] = page.all("button")
    assert "hidden" in button
    assert button["type"] == "button"
    assert page.all("script") == [{"src": pages.static.url("copy.js"), "defer": None}]


def test_an_invitation_that_cannot_be_answered_has_a_heading_of_its_own_and_no_form(pages: Pages):
    context = {**CONTEXTS["full"]["invitation.html"], **NAMED["invitation.html"], "error": None}
    every = [*InvitationFault, f"own_{InvitationFault.USED}", f"own_{InvitationFault.DECLINED}", None]
    shown = {why_not: read(pages, "invitation.html", {**context, "why_not": why_not}) for why_not in every}
    assert len({"".join(text for holder, text in page.texts if holder == "h1") for page in shown.values()}) == len(
        shown
    )
    assert [why_not for why_not, page in shown.items() if page.all("form")] == [None]
    assert len(shown[None].all("button")) == 2
    for page in shown.values():
        assert {holder for holder, text in page.texts if HEBREW in text} - {"title"} == {"bdi"}


def test_setup_links_every_problem_to_its_field(pages: Pages):
    context = CONTEXTS["minimal"]["setup.html"] | {
        "errors": {"email": "Enter an address.", "": "Expired."},
        "values": {"email": "ada", "name": "Ada"},
    }
    page = read(pages, "setup.html", context)
    fields = {str(field["name"]): field for field in page.all("input")}
    assert fields["email"]["aria-invalid"] == "true"
    assert fields["email"]["aria-describedby"] == "email-error"
    assert (fields["email"]["value"], fields["name"]["value"]) == ("ada", "Ada")
    assert "aria-invalid" not in fields["name"]
    assert "value" not in fields["password"]
    assert [link["href"] for link in page.all("a")] == ["#main", "#email"]
    assert "Expired." in page.text


def test_home_offers_to_sign_out_and_to_add_an_account_only_to_who_is_signed_in(pages: Pages):
    context = CONTEXTS["minimal"]["home.html"]
    signed_in = read(pages, "home.html", context | {"user_label": "ada@example.org"})
    signed_out = read(pages, "home.html", context)
    assert [link["href"] for link in signed_in.all("a")][1:-1] == [
        "/account/profile",
        "/account/labs",
        "/account/security",
        "/account/linked",
        "/account/sessions",
        "/login?add=1",
        "/logout",
    ]
    assert [link["href"] for link in signed_out.all("a")][1:-1] == ["/login"]


def test_each_account_has_a_button_that_chooses_it_and_one_that_signs_it_out_by_name(pages: Pages):
    accounts = [account("Ada", 0), account("Bea", 60)]
    page = read(pages, "select_account.html", CONTEXTS["full"]["select_account.html"] | {"accounts": accounts})
    buttons = [(button["name"], button["value"]) for button in page.all("button")]
    assert buttons == [("account", "Ada0"), ("sign_out", "Ada0"), ("account", "Bea60"), ("sign_out", "Bea60")]
    assert "Sign out Ada" in page.text
    assert "Sign out Bea" in page.text


@pytest.mark.parametrize(
    ("minutes", "text"),
    [
        (0, "signed in just now"),
        (1, "signed in 1 minute ago"),
        (59, "signed in 59 minutes ago"),
        (60, "signed in 1 hour ago"),
        (1439, "signed in 23 hours ago"),
        (1440, "signed in 1 day ago"),
        (4000, "signed in 2 days ago"),
    ],
)
def test_an_account_tells_since_when_it_is_signed_in(pages: Pages, minutes: int, text: str):
    context = CONTEXTS["minimal"]["select_account.html"] | {"accounts": [account("Ada", minutes)]}
    page = read(pages, "select_account.html", context)
    assert f"{text}\n" in page.text
    assert [time["title"] for time in page.all("time")] == ["2026-11-20 09:00 UTC"]


def test_form_post_carries_every_parameter_hidden_and_posts_it_with_a_button_too_form_post_s2(pages: Pages):
    params = {"code": "a-code", "state": 'x"><script>&amp;', "iss": "https://idp.example.org"}
    context = {"action": "https://app.example/cb?tenant=1&x=2", "host": "app.example", "params": params}
    page = read(pages, "form_post.html", context)
    [form] = page.all("form")
    assert (form["method"], form["action"]) == ("post", context["action"])
    assert {field["name"]: field["value"] for field in page.all("input")} == params
    assert {field["type"] for field in page.all("input")} == {"hidden"}
    assert page.all("script") == [{"src": pages.static.url("form_post.js"), "defer": None}]
    assert "Continue to app.example" in page.text
    assert len(page.all("button")) == 1


def test_the_signed_out_page_goes_on_by_script_by_itself_and_by_hand(pages: Pages):
    target = "https://app.example/bye?state=a&b='\""
    page = read(pages, "signed_out.html", CONTEXTS["full"]["signed_out.html"] | {"location": target})
    assert page.all("script") == [{"src": pages.static.url("logout.js"), "defer": None}]
    assert {"http-equiv": "refresh", "content": f"5; url={target}"} in page.all("meta")
    assert [link["href"] for link in page.all("a") if link.get("id") == "onwards"] == [target]


def test_the_signed_out_page_offers_a_way_on_that_nobody_proved_as_a_link_only(pages: Pages):
    page = read(pages, "signed_out.html", CONTEXTS["full"]["signed_out.html"] | {"automatic": False})
    assert not page.all("script")
    assert not [meta for meta in page.all("meta") if "http-equiv" in meta]
    assert [link["id"] for link in page.all("a") if "id" in link] == ["onwards"]


def test_frames_of_applications_cannot_leave_their_frame_or_ask_anything(pages: Pages):
    frames = ["https://app.example/out?iss=a&sid=b", "https://other.example/out"]
    page = read(pages, "signed_out.html", CONTEXTS["full"]["signed_out.html"] | {"frames": frames})
    assert [frame["src"] for frame in page.all("iframe")] == frames
    for frame in page.all("iframe"):
        assert (frame["sandbox"], "hidden" in frame) == ("allow-scripts allow-same-origin allow-forms", True)


@pytest.mark.parametrize("transaction", [True, False])
def test_a_page_frames_the_origins_that_it_names_and_no_others(pages: Pages, transaction: bool):
    response = pages.render("setup_done.html", transaction=transaction)
    before = response.headers["Content-Security-Policy"]
    allow_frames(response, ["https://a.example", "http://localhost:9000"])
    assert response.headers["Content-Security-Policy"] == f"{before}; frame-src https://a.example http://localhost:9000"
    assert "frame-src" not in before
    assert "default-src 'none'" in before


def test_a_page_without_frames_names_none(pages: Pages):
    response = pages.render("setup_done.html")
    allow_frames(response, [])
    assert "frame-src" not in response.headers["Content-Security-Policy"]


def test_what_any_site_may_frame_holds_one_script_and_nothing_to_click_session_management_s3_2(pages: Pages):
    response = pages.render_frame("check_session.html", cookie=EVIL)
    page = Page(bytes(response.body).decode())
    script = {"src": pages.static.url("check_session.js"), "data-cookie": EVIL, "defer": None}
    assert page.all("script") == [script]
    assert not {tag for tag, _ in page.elements} - {"html", "head", "meta", "title", "script", "body"}
    assert response.headers["Content-Security-Policy"] == (
        "default-src 'none'; script-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors *"
    )
    assert "X-Frame-Options" not in response.headers


def luminance(colour: str) -> float:
    digits = colour if len(colour) == 6 else "".join(digit * 2 for digit in colour)
    channels = [int(digits[start : start + 2], 16) / 255 for start in (0, 2, 4)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(
    ("front", "back", "least"),
    [
        ("text", "page", 4.5),
        ("text", "card", 4.5),
        ("text", "soft", 4.5),
        ("text", "chip", 4.5),
        ("text", "bad-soft", 4.5),
        ("muted", "page", 4.5),
        ("muted", "card", 4.5),
        ("muted", "soft", 4.5),
        ("accent", "page", 4.5),
        ("accent", "card", 4.5),
        ("accent", "soft", 4.5),
        ("accent-strong", "card", 4.5),
        ("on-accent", "accent", 4.5),
        ("on-accent", "accent-strong", 4.5),
        ("text", "warn-soft", 4.5),
        ("warn", "warn-soft", 4.5),
        ("bad", "card", 4.5),
        ("bad", "bad-soft", 4.5),
        ("edge", "card", 3.0),
        ("google-text", "google", 4.5),
        ("google-text", "google-hover", 4.5),
        ("google-edge", "card", 3.0),
    ],
)
def test_colours_stand_out_as_wcag_2_2_s1_4_3_and_s1_4_11_ask(scheme: int, front: str, back: str, least: float):
    blocks = re.findall(r":root \{(.*?)\}", (STATIC / "base.css").read_text(), re.DOTALL)
    colours = dict(re.findall(r"--([\w-]+): #(\w+);", blocks[scheme]))
    dark, light = sorted((luminance(colours[front]), luminance(colours[back])))
    assert (light + 0.05) / (dark + 0.05) >= least


@pytest.mark.parametrize(
    ("name", "media_type"),
    [
        ("base.css", "text/css; charset=utf-8"),
        ("copy.js", "text/javascript; charset=utf-8"),
        ("form_post.js", "text/javascript; charset=utf-8"),
        ("mark.svg", "image/svg+xml"),
    ],
)
async def test_a_static_file_is_served_for_good_under_its_hashed_name(
    pages: Pages, client: httpx2.AsyncClient, name: str, media_type: str
):
    url = pages.static.url(name)
    stem, suffix = name.split(".")
    assert re.fullmatch(rf"/static/{stem}\.[0-9a-f]{{8}}\.{suffix}", url)
    response = await client.get(url)
    assert response.status_code == 200
    assert response.content == (STATIC / name).read_bytes()
    assert response.headers["Content-Type"] == media_type
    assert response.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Vary"] == "Accept-Encoding"
    assert "Content-Encoding" not in response.headers


async def test_head_of_a_static_file_has_the_headers_of_get_and_no_body(pages: Pages, client: httpx2.AsyncClient):
    url = pages.static.url("base.css")
    head = await client.head(url)
    assert head.status_code == 200
    assert head.content == b""
    assert head.headers == (await client.get(url)).headers


@pytest.mark.parametrize("accepted", ["gzip", "br, GZIP;q=0.5", "gzip, deflate, br, zstd"])
async def test_a_static_file_goes_compressed_to_who_accepts_gzip(
    pages: Pages, client: httpx2.AsyncClient, accepted: str
):
    url = pages.static.url("base.css")
    plain = await client.get(url)
    async with client.stream("GET", url, headers={"Accept-Encoding": accepted}) as packed:
        raw = b"".join([chunk async for chunk in packed.aiter_raw()])
    assert packed.headers["Content-Encoding"] == "gzip"
    assert packed.headers["ETag"] != plain.headers["ETag"]
    assert len(raw) < len(plain.content) / 2
    assert gzip.decompress(raw) == plain.content


@pytest.mark.parametrize("accepted", ["gzip;q=0", "br, gzip ; q=0.0, deflate", "br", ""])
async def test_a_static_file_goes_plain_to_who_refuses_gzip(pages: Pages, client: httpx2.AsyncClient, accepted: str):
    response = await client.get(pages.static.url("base.css"), headers={"Accept-Encoding": accepted})
    assert "Content-Encoding" not in response.headers


async def test_a_file_that_compression_would_lengthen_goes_plain(tmp_path: Path):
    (tmp_path / "tiny.css").write_text("a{}")
    static = StaticFiles(tmp_path)
    transport = httpx2.ASGITransport(app=Starlette(routes=static.routes()))
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost:8000") as client:
        response = await client.get(static.url("tiny.css"), headers={"Accept-Encoding": "gzip"})
    assert response.content == b"a{}"
    assert "Content-Encoding" not in response.headers


async def test_a_known_etag_is_answered_304_rfc9110_s13_1_2(pages: Pages, client: httpx2.AsyncClient):
    url = pages.static.url("base.css")
    etag = (await client.get(url)).headers["ETag"]
    known = await client.get(url, headers={"If-None-Match": f'"other", {etag}'})
    assert (known.status_code, known.content, known.headers["ETag"]) == (304, b"", etag)
    assert (await client.get(url, headers={"If-None-Match": '"other"'})).status_code == 200


@pytest.mark.parametrize("path", ["base.css", "base.00000000.css", "..%2fpages.py", "", "%2e%2e/pages.py"])
async def test_any_other_path_under_static_is_not_found(client: httpx2.AsyncClient, path: str):
    assert (await client.get(f"/static/{path}")).status_code == 404


async def test_a_static_file_cannot_be_posted_to(pages: Pages, client: httpx2.AsyncClient):
    assert (await client.post(pages.static.url("base.css"))).status_code == 405


def test_the_name_of_a_static_file_changes_with_its_content_only(tmp_path: Path):
    file = tmp_path / "a.css"
    file.write_text("a{}")
    first = StaticFiles(tmp_path).url("a.css")
    assert StaticFiles(tmp_path).url("a.css") == first
    file.write_text("b{}")
    assert StaticFiles(tmp_path).url("a.css") != first


def test_a_template_cannot_refer_to_a_static_file_that_is_not_there(tmp_path: Path):
    (tmp_path / "note.txt").write_text("not for the web")
    with pytest.raises(KeyError):
        StaticFiles(tmp_path).url("note.txt")
