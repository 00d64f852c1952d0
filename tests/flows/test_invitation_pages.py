"""Invitations and one's own labs in the browser: answering, leaving, and coming back after signing in."""

import re
from dataclasses import replace
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import pytest

from idp.crypto.opaque import hash_token
from idp.domain.audit import AuditAction
from idp.domain.lab import LabRole, LabStatus, Membership
from idp.services.invitations import InvitationInput
from idp.services.lab_permissions import OPERATOR
from tests.support.app import ALICE, ALICE_ID, BOB, BOB_ID, ISSUER, PASSWORD, App, Browser, add_all, form_of
from tests.support.factories import make_invitation, make_lab, make_membership, make_user

PAGE = "/account/labs"
DAY = timedelta(days=1)
PHYSICS = make_lab(
    id="lab_phys", slug="phys", name="Physics", description="<b>Waves</b>", homepage="https://phys.example.org"
)


@pytest.fixture
async def physics(app: App) -> None:
    """A lab to which nobody belongs yet, and which can be asked; Bob has proved his address."""
    await add_all(app.store, [replace(PHYSICS, accepts_join_requests=True)])
    await app.change("users", [BOB_ID], email_verified=True)


async def invite(app: App, **given: Any) -> str:
    """Invite into the lab, and return where to answer."""
    read = InvitationInput.read({"lab": "phys", **given})
    _, url = await app.services["invitations"].invite(OPERATOR, read)
    return url.removeprefix(ISSUER)


async def membership(app: App, user_id: str = ALICE_ID, lab_id: str = "lab_phys") -> Membership | None:
    async with app.store.read() as tx:
        return await tx.memberships.find(lab_id, user_id)


# ── Coming back after signing in ────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.usefixtures("physics")
async def test_one_signs_in_sees_who_invites_whereto_and_as_whom_and_accepts(app: App, browser: Browser) -> None:
    url = await invite(app, email=ALICE, role="viewer", ends_at="2026-06-30")

    login = await browser.get(url)
    assert (login.url.path, "Sign in to answer your invitation." in login.text) == ("/login", True)
    page = await browser.sign_in(login)

    assert (page.status_code, page.url.path) == (200, url)
    for told in ("Join <bdi>Physics</bdi>?", "An administrator", "viewer", "30 Jun 2026", "19 Jan 2026", ALICE):
        assert told in page.text
    assert "&lt;b&gt;Waves&lt;/b&gt;" in page.text
    assert await membership(app) is None
    after = await browser.submit(page, decision="accept")
    assert "Welcome to <bdi>Physics</bdi>" in after.text
    held = await membership(app)
    assert held is not None
    assert held.role is LabRole.VIEWER
    again = await browser.get(url)
    assert (again.status_code, "You have accepted this invitation" in again.text) == (410, True)


async def test_after_signing_in_one_comes_back_to_a_page_of_ours_and_to_nothing_else(browser: Browser) -> None:
    failed = await browser.post(await browser.get("/login", next="/labs/bio/members.csv"), username=ALICE)
    assert failed.status_code == 401
    signed_in = await browser.post(failed, username=ALICE, password=PASSWORD)
    assert signed_in.headers["location"] == "/labs/bio/members.csv"
    for path, leads_to in (("/invitations/abc-_1", "/invitations/abc-_1"), ("//evil.example", "/"), ("/logout", "/")):
        assert (await browser.http.get("/login", params={"next": path})).headers["location"] == leads_to
        adding = await browser.get("/login", add="1", next=path)
        assert form_of(adding).action.startswith(f"/login?add=1{'' if leads_to == '/' else '&next='}")
        assert "evil" not in adding.text
        assert (await browser.post(adding, username=ALICE, password=PASSWORD)).headers["location"] == leads_to


async def test_where_one_goes_on_to_survives_another_account(app: App, browser: Browser) -> None:
    await browser.sign_in()
    await browser.sign_in(await browser.get("/login", add="1", next=PAGE), user=BOB)
    assert f"<b><bdi>{BOB}</bdi></b>" in (await browser.get(PAGE)).text

    choice = await browser.get("/select-account", next=PAGE)
    assert f'href="/login?next={quote(PAGE, safe="")}&amp;add=1"' in choice.text
    (alice,) = re.findall(r'name="account" value="([^"]+)">\s*<span[^>]*>A<', choice.text)
    assert (await browser.post(choice, account=alice)).headers["location"] == PAGE
    leaving = await browser.post(await browser.get("/select-account", next=PAGE), sign_out=alice)
    assert leaving.headers["location"] == f"/select-account?next={quote(PAGE, safe='')}"
    evil = await browser.get("/select-account", next="//evil.example")
    assert form_of(evil).action == "/select-account"


# ── The page of an invitation ───────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.usefixtures("physics")
async def test_opening_the_link_answers_nothing_whoever_opens_it_and_however(app: App, browser: Browser) -> None:
    url = await invite(app)
    await browser.sign_in()
    for method in ("GET", "HEAD"):
        for query in ("", "?decision=accept", "?decision=decline"):
            assert (await browser.http.request(method, f"{url}{query}")).status_code == 200
    assert (await browser.get(url)).headers["referrer-policy"] == "same-origin"
    assert (await browser.get(url)).headers["cache-control"] == "no-store"
    async with app.store.read() as tx:
        invitation = await tx.invitations.find_by_hash(hash_token(url.rpartition("/")[2]))
    assert invitation is not None
    assert invitation.answered_by is None


@pytest.mark.usefixtures("physics")
async def test_only_our_own_form_of_this_account_answers(app: App, browser: Browser) -> None:
    url = await invite(app)
    assert (await browser.http.post(url, data={"decision": "accept"})).headers["location"].startswith("/login?next=")
    await browser.sign_in()
    page = await browser.get(url)
    for forged in ({"csrf": "x"}, {"csrf": ""}):
        assert (await browser.post(page, decision="accept", **forged)).status_code == 403
    elsewhere = await browser.post(page, {"Origin": "https://evil.example"}, decision="accept")
    assert elsewhere.status_code == 403
    await browser.sign_in(await browser.get("/login", add="1"), user=BOB)
    stale = await browser.post(page, decision="accept")
    assert (stale.status_code, "please answer again" in stale.text, BOB in stale.text) == (403, True, True)
    assert (await membership(app), await membership(app, BOB_ID)) == (None, None)
    for nothing in ({}, {"decision": "maybe"}):
        assert (await browser.submit(stale, **nothing)).status_code == 200
    assert await membership(app, BOB_ID) is None
    # What else the form says counts for nothing.
    await browser.submit(stale, decision="accept", role="admin", lab="bio", user=ALICE_ID, ends_at="")
    held = await membership(app, BOB_ID)
    assert held is not None
    assert held.role is LabRole.MEMBER


@pytest.mark.usefixtures("physics")
async def test_declining_is_told_and_makes_nobody_a_member(app: App, browser: Browser) -> None:
    url = await invite(app)
    await browser.sign_in()
    page = await browser.submit(await browser.get(url), decision="decline")
    assert "You declined the invitation" in page.text
    assert await membership(app) is None
    again = await browser.get(url)
    assert (again.status_code, "You have declined this invitation" in again.text) == (410, True)


@pytest.mark.usefixtures("physics")
async def test_what_cannot_be_answered_says_why_without_a_form(app: App, browser: Browser) -> None:
    now = app.clock()
    usual = {"lab_id": "lab_phys", "invited_by": "cli", "expires_at": now + DAY}
    cases: dict[str, tuple[dict[str, Any], int, str]] = {
        "used": ({"accepted_at": now, "answered_by": ALICE_ID}, 410, "This invitation was used already"),
        "declined": ({"declined_at": now, "answered_by": ALICE_ID}, 410, "This invitation was declined"),
        "revoked": ({"revoked_at": now}, 410, "This invitation was taken back"),
        "expired": ({"expires_at": now}, 410, "This invitation has expired"),
        "stranger": ({"email": "secret.name@example.org"}, 403, "This invitation is for another account"),
        "unverified": ({"email": BOB}, 403, "Your address is not verified yet"),
        "demoted": ({"invited_by": BOB_ID}, 410, "This invitation does not count any more"),
        "archived": ({"lab_id": "lab_chem"}, 410, "This lab takes nobody in"),
    }
    await app.change("users", [BOB_ID], email_verified=False, roles=())
    await app.change("labs", ["lab_chem"], status=LabStatus.ARCHIVED)
    invitations = [
        make_invitation(**{**usual, "id": f"inv_{number}", "hash": hash_token(f"token-{number}"), **changes})
        for number, (changes, _, _) in enumerate(cases.values())
    ]
    await add_all(app.store, invitations)
    await browser.sign_in(user=BOB)

    for number, (_, status, heading) in enumerate(cases.values()):
        page = await browser.get(f"/invitations/token-{number}")
        assert (page.status_code, heading in page.text, "<form" in page.text) == (status, True, False), heading
        assert "secret.name" not in page.text
    assert "s…@example.org" in (await browser.get("/invitations/token-4")).text
    # The id is in the page for others; it opens nothing.
    for unknown in ("inv_4", "inv_" + "0" * 24, "x", "%00", "%ED%A0%80", "x" * 5000):
        page = await browser.get(f"/invitations/{unknown}")
        assert (page.status_code, "There is no such invitation" in page.text) == (404, True)


async def test_an_invitation_that_is_taken_back_while_its_page_is_open_is_explained(app: App, browser: Browser) -> None:
    await add_all(app.store, [PHYSICS])
    url = await invite(app)
    await browser.sign_in()
    page = await browser.get(url)
    async with app.store.write() as tx:
        invitation = await tx.invitations.find_by_hash(hash_token(url.rpartition("/")[2]))
        assert invitation is not None
        await tx.invitations.save(replace(invitation, revoked_at=app.clock()))
    after = await browser.post(page, decision="accept")
    assert (after.status_code, "This invitation was taken back" in after.text) == (410, True)
    assert await membership(app) is None


# ── One's own labs ──────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.usefixtures("physics")
async def test_the_page_lists_labs_with_role_and_end_what_waits_and_whom_one_can_ask(
    app: App, browser: Browser
) -> None:
    await invite(app, email=ALICE)
    await add_all(app.store, [make_lab(id="lab_geo", slug="geo", name="Geology", accepts_join_requests=True)])
    await app.services["join_requests"].ask(make_user(id=ALICE_ID), "geo", None)
    assert (await browser.get(PAGE)).url.path == "/login"
    home = await browser.sign_in()
    assert f'href="{PAGE}"' in home.text

    page = await browser.get(PAGE)

    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page.text))
    for told in (
        "Biology admin",
        "Chemistry viewer ends soon until 8 Jan 2026",
        "Ask to stay in Chemistry",
        "Physics As member, invited by An administrator",
        "Geology Its admins have not decided yet.",
    ):
        assert told in text, text
    # To what one is invited, one need not ask; but one may.
    assert re.findall(r'href="/labs/(\w+)">Ask to join', page.text) == ["phys"]
    assert len(re.findall(r"<form", page.text)) == 1


@pytest.mark.usefixtures("physics")
async def test_what_waits_is_answered_and_withdrawn_there(app: App, browser: Browser) -> None:
    await invite(app, email=ALICE)
    await app.services["join_requests"].ask(make_user(id=ALICE_ID), "phys", None)
    await browser.sign_in()
    page = await browser.get(PAGE)
    (invitation_id,) = re.findall(r'name="accept" value="([^"]+)"', page.text)

    page = await browser.submit(page, withdraw="phys")
    assert "Your request is withdrawn." in page.text
    gone = await browser.submit(page, withdraw="phys")
    assert (gone.status_code, "no longer there" in gone.text) == (409, True)
    page = await browser.submit(page, accept=invitation_id)
    assert "You belong to the lab now." in page.text
    for again in ({"accept": invitation_id}, {"decline": invitation_id}, {"accept": "x"}):
        assert (await browser.submit(page, **again)).status_code == 409
    held = await membership(app)
    assert held is not None
    # Somebody else's invitation is nobody's to answer by its id.
    await invite(app, email=BOB)
    async with app.store.read() as tx:
        (bobs,) = await tx.invitations.open_for(BOB, now=app.clock())
    assert (await browser.submit(page, decline=bobs.id)).status_code == 409
    await browser.sign_in(await browser.get("/login", add="1"), user=BOB)
    assert "You declined" in (await browser.submit(await browser.get(PAGE), decline=bobs.id)).text


async def test_one_leaves_a_lab_after_being_asked_and_its_last_admin_cannot(app: App, browser: Browser) -> None:
    await browser.sign_in()
    asked = await browser.get("/account/labs/chem/leave")
    assert "Leave <bdi>Chemistry</bdi>?" in asked.text
    assert "To come back you need an invitation." in asked.text
    await app.change("labs", ["lab_chem"], accepts_join_requests=True)
    assert "you can ask to join again" in (await browser.get("/account/labs/chem/leave")).text
    assert await membership(app, lab_id="lab_chem") is not None

    left = await browser.submit(asked, leave="chem")

    assert (left.url.path, "You have left the lab." in left.text) == (PAGE, True)
    assert await membership(app, lab_id="lab_chem") is None
    async with app.store.read() as tx:
        assert AuditAction.MEMBERSHIP_ENDED_BY_MEMBER in {event.action for event in await tx.audit_events.all()}
    for slug in ("chem", "unknown"):
        assert (await browser.get(f"/account/labs/{slug}/leave")).status_code == 404
        assert (await browser.submit(left, leave=slug)).status_code == 409
    kept = await browser.submit(left, leave="bio")
    assert (kept.status_code, "no admin" in kept.text) == (403, True)
    forged = await browser.post(left, {"Sec-Fetch-Site": "cross-site"}, leave="bio")
    assert forged.status_code == 403
    assert await membership(app, lab_id="lab_bio") is not None


async def test_the_page_says_in_words_what_has_ended_begins_later_or_is_archived(app: App, browser: Browser) -> None:
    now = app.clock()
    states = {
        "old": make_membership(lab_id="lab_old", user_id=ALICE_ID, expires_at=now - DAY),
        "gone": make_membership(lab_id="lab_gone", user_id=ALICE_ID, expires_at=now - DAY),
        "later": make_membership(lab_id="lab_later", user_id=ALICE_ID, not_before=now + DAY),
        "closed": make_membership(lab_id="lab_closed", user_id=ALICE_ID),
    }
    labs = [
        make_lab(
            id=f"lab_{slug}",
            slug=slug,
            name=slug.title(),
            accepts_join_requests=slug != "gone",
            status=LabStatus.ARCHIVED if slug == "closed" else LabStatus.ACTIVE,
        )
        for slug in states
    ]
    await add_all(app.store, [*labs, *states.values()])
    await browser.sign_in()
    page = await browser.get(PAGE)
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page.text))
    # A lab that is not there for them, and cannot be asked, is not linked to.
    assert "Gone member ended until 4 Jan 2026 Leave" in text
    assert '/labs/gone"' not in page.text
    assert "Old member ended until 4 Jan 2026 · Ask to come back" in text
    assert "Later member not yet from 6 Jan 2026" in text
    assert "Closed member archived" in text
    assert text.index("Old") > text.index("Later")


async def test_who_is_in_no_lab_is_told_how_to_get_into_one(app: App, browser: Browser) -> None:
    await app.change("users", [BOB_ID], roles=())
    async with app.store.write() as tx:
        await tx.memberships.delete("lab_bio", BOB_ID)
    await browser.sign_in(user=BOB)
    assert "You are in no lab yet." in (await browser.get(PAGE)).text
