"""The pages of a lab in the browser: who sees what, members, invitations, requests, services, applications, CSV."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from html import unescape

import httpx2
import pytest

from idp.domain.audit import AuditAction
from idp.domain.lab import Lab, LabRole, LabStatus, ManagedBy, Membership
from idp.domain.user import AdminRole
from tests.support.app import ALICE_ID, BOB, BOB_ID, ISSUER, App, Browser, add_all, form_of
from tests.support.clock import START
from tests.support.factories import (
    make_credential,
    make_invitation,
    make_join_request,
    make_lab_logo,
    make_membership,
    make_user,
)

CAROL, DORA, ERIN = "carol@example.org", "dora@example.org", "erin@example.org"
DAY = timedelta(days=1)
BIO, CHEM = "/labs/bio", "/labs/chem"
SUB_PAGES = ("/invitations", "/requests", "/rules", "/services", "/applications", "/settings", "/import")
EVIL = "<b>Evil</b>"


@pytest.fixture(autouse=True)
async def others(app: App, password_hash: str) -> None:
    """Carol belongs to no lab, Dora may read everything in the installation, Erin belongs to both labs."""
    async with app.store.write() as tx:
        for email, roles in ((CAROL, ()), (DORA, (AdminRole.VIEWER,)), (ERIN, ())):
            name = email.partition("@")[0]
            user_id = f"u_{name}"
            await tx.users.add(make_user(id=user_id, email=email, name=f"{name.title()} Mbeki", roles=roles))
            await tx.credentials.add(make_credential(id=f"cred_{name}", user_id=user_id, secret=password_hash))
        await tx.memberships.add(make_membership(user_id="u_erin", expires_at=START + 5 * DAY))
        await tx.memberships.add(make_membership(user_id="u_erin", lab_id="lab_chem", role=LabRole.ADMIN))


@pytest.fixture
async def alice(browser: Browser) -> Browser:
    """Signed in as the admin of `bio`, a mere viewer in `chem`."""
    await browser.sign_in()
    return browser


async def signed_in(app: App, user: str) -> Browser:
    browser = app.browser()
    await browser.sign_in(user=user)
    return browser


async def membership(app: App, user_id: str, lab_id: str = "lab_bio") -> Membership | None:
    async with app.store.read() as tx:
        return await tx.memberships.find(lab_id, user_id)


async def lab(app: App, slug: str = "bio") -> Lab:
    async with app.store.read() as tx:
        found = await tx.labs.find_by_slug(slug)
    assert found is not None
    return found


async def actions(app: App) -> set[AuditAction]:
    async with app.store.read() as tx:
        return {event.action for event in await tx.audit_events.all()}


def listed(page: httpx2.Response) -> list[str]:
    """The rows of the page's table by their heads."""
    assert page.status_code == 200, page.text
    return re.findall(r'<th scope="row">(?:<a [^>]*>)?<bdi>([^<]*)', page.text)


def texts(page: httpx2.Response) -> str:
    """What people read, in one line."""
    return unescape(" ".join(re.sub(r"<[^>]*>", " ", page.text).split()))


def day(text: str, *, end: bool = True) -> datetime:
    return datetime.fromisoformat(f"{text}T{'23:59:59' if end else '00:00:00'}").replace(tzinfo=UTC)


# ── Who sees what ───────────────────────────────────────────────────────────────────────────────────────────────────
async def test_who_is_not_signed_in_signs_in_first_and_comes_back(app: App, browser: Browser) -> None:
    for path in (BIO, "/labs/nothing", *(BIO + sub_page for sub_page in SUB_PAGES)):
        assert (await browser.http.get(path)).headers["location"] == f"/login?next={path.replace('/', '%2F')}"
    posted = await browser.http.post(BIO + "/settings", data={"name": "Mine"})
    assert posted.headers["location"] == "/login?next=%2Flabs%2Fbio%2Fsettings"
    back = await browser.sign_in(await browser.get(f"{BIO}/settings"))
    assert (back.status_code, back.url.path) == (200, f"{BIO}/settings")


async def test_a_lab_admin_sees_their_lab_a_member_its_profile_and_a_stranger_nothing(app: App, alice: Browser) -> None:
    carol, dora, bob = [await signed_in(app, user) for user in (CAROL, DORA, BOB)]
    statuses = {
        "alice, bio": [(await alice.get(BIO + path)).status_code for path in ("", *SUB_PAGES, "/members/u_erin")],
        "alice, chem": [(await alice.get(CHEM + path)).status_code for path in ("", *SUB_PAGES, "/members/u_erin")],
        "bob, chem": [(await bob.get(CHEM + path)).status_code for path in ("", *SUB_PAGES, "/members/u_erin")],
        "dora, bio": [(await dora.get(BIO + path)).status_code for path in ("", *SUB_PAGES, "/members.csv")],
        "carol, bio": [(await carol.get(BIO + path)).status_code for path in ("", *SUB_PAGES, "/join", "/members.csv")],
        "carol, none": [(await carol.get("/labs/none" + path)).status_code for path in ("", *SUB_PAGES, "/join")],
        "alice, odd": [
            (await alice.get(f"/labs/{odd}")).status_code for odd in ("me", "B", "x_y", "%00", "%ff", "a--b")
        ],
    }
    assert statuses == {
        "alice, bio": [200] * 9,
        "alice, chem": [200] + [403] * 8,
        "bob, chem": [200] * 9,
        "dora, bio": [200] + [403] * 8,
        "carol, bio": [404] * 10,
        "carol, none": [404] * 9,
        "alice, odd": [404] * 6,
    }
    refused = await alice.http.get(f"{CHEM}/settings", headers={"Accept": "text/html"})
    assert "You may not do this" in refused.text
    assert "Only an admin of the lab may see this." in refused.text
    profile = texts(await alice.get(CHEM))
    assert "viewer, until 8 Jan 2026 ends soon" in profile
    assert f"Erin Mbeki {ERIN}" in profile
    assert "ask one of them to move the end" in profile
    read_only = await dora.get(BIO)
    assert "/labs/bio/members/" not in read_only.text
    assert listed(read_only) == [ALICE_ID.removeprefix("u_") + "@example.org", BOB, ERIN]


async def test_every_form_is_refused_to_who_may_not_send_it_whatever_it_says(app: App, alice: Browser) -> None:
    csrf = form_of(await alice.get(f"{BIO}/settings")).fields["csrf"]
    carol = await signed_in(app, CAROL)
    await app.change("labs", ["lab_bio"], accepts_join_requests=True)
    of_carol = form_of(await carol.get(BIO)).fields["csrf"]
    await app.change("labs", ["lab_bio"], accepts_join_requests=False)
    forms: list[tuple[str, dict[str, str]]] = [
        ("/members/u_erin", {"role": "admin", "lab": "bio"}),
        ("/members/u_erin", {"remove": "yes"}),
        ("/invitations", {"email": "me@example.org", "role": "admin"}),
        ("/requests", {"user": "u_carol", "decision": "accept", "role": "admin"}),
        ("/rules", {"provider": "google", "claim": "hd", "value": "example.org", "action": "create"}),
        ("/rules", {"remove": "lr_1"}),
        ("/services", {"client_id": "robot", "role": "admin"}),
        ("/applications", {"client_id": "other"}),
        ("/settings", {"name": "Mine", "status": "active"}),
    ]
    before = await actions(app)
    for path, fields in forms:
        assert (await alice.http.post(CHEM + path, data={"csrf": csrf, **fields})).status_code == 403, path
        assert (await carol.http.post(BIO + path, data={"csrf": of_carol, **fields})).status_code == 404, path
    assert (await carol.http.post(f"{BIO}/join", data={"csrf": of_carol})).status_code == 404
    assert await actions(app) == before


async def test_a_form_from_elsewhere_or_from_before_somebody_signed_in_does_nothing(app: App, alice: Browser) -> None:
    page = await alice.get(f"{BIO}/settings")
    assert (await alice.post(page, {"Origin": "https://evil.example"}, name="Evil")).status_code == 403
    stale = await alice.post(page, csrf="x", name="Evil")
    assert (stale.status_code, "please try again" in stale.text) == (403, True)
    assert (await lab(app)).name == "Biology"
    assert form_of(stale, "name").fields["name"] == "Biology"


# ── The list ────────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_members_are_listed_with_what_there_is_to_say_of_their_time(app: App, alice: Browser) -> None:
    later = make_user(id="u_later", email="later@example.org", name=EVIL)
    gone = make_user(id="u_gone", email=None, username="gone")
    await add_all(app.store, [later, gone])
    begins = make_membership(user_id="u_later", not_before=START + 40 * DAY, role=LabRole.VIEWER)
    await add_all(app.store, [begins, make_membership(user_id="u_gone", expires_at=START)])

    page = await alice.get(BIO)

    assert listed(page) == ["alice@example.org", BOB, ERIN, "later@example.org", "gone"]
    assert EVIL not in page.text
    read = texts(page)
    assert "5 members in all" in read
    assert f"{BOB} – member 5 Jan 2026 –" in read
    assert f"{ERIN} Erin Mbeki member 5 Jan 2026 10 Jan 2026 ends soon" in read
    assert f"later@example.org {EVIL} viewer 14 Feb 2026 not yet –" in read
    assert "gone – member 5 Jan 2026 5 Jan 2026 ended" in read
    assert page.text.count("aria-sort") == 1


async def test_the_list_is_searched_filtered_and_turned_by_its_address_alone(app: App, alice: Browser) -> None:
    async with app.store.write() as tx:
        for number in range(60):
            await tx.users.add(make_user(id=f"u_{number:02}", email=f"p{number:02}@example.org", name="Pat Okafor"))
            await tx.memberships.add(make_membership(user_id=f"u_{number:02}", role=LabRole.VIEWER))

    assert listed(await alice.get(BIO, q="mbeki")) == [ERIN]
    assert listed(await alice.get(BIO, role="admin")) == ["alice@example.org"]
    nobody = await alice.get(BIO, q="mbeki", role="admin")
    assert "Nobody matches." in nobody.text
    assert f'<a href="{BIO}">Clear filters</a>' in nobody.text
    assert form_fields(nobody) == {"q": "mbeki", "role": "admin"}

    first = await alice.get(BIO, q="okafor", role="viewer")
    assert "First page" not in first.text
    (onward,) = re.findall(r'href="([^"]*)">Next<', first.text)
    second = await alice.get(unescape(onward))
    assert listed(first) + listed(second) == [f"p{number:02}@example.org" for number in range(60)]
    assert ">Next<" not in second.text
    # They are counted where the list begins, and nowhere else.
    everybody = await alice.get(BIO)
    assert "63 members in all" in everybody.text
    (onward,) = re.findall(r'href="([^"]*)">Next<', everybody.text)
    for page in (first, second, await alice.get(unescape(onward))):
        assert "members in all" not in page.text
    (back,) = re.findall(r'href="([^"]*)">First page<', second.text)
    assert listed(await alice.get(unescape(back))) == listed(first)
    for odd in ({"after": "x"}, {"after": "W10"}, {"q": "x" * 400}):
        refused = await alice.get(BIO, **odd)
        assert (refused.status_code, "There is no such page of this list" in refused.text) == (422, True)


def form_fields(page: httpx2.Response) -> dict[str, str]:
    """What the form for searching holds."""
    (search,) = re.findall(r'name="q" type="search" value="([^"]*)"', page.text)
    (role,) = re.findall(r'<option value="([^"]*)" selected>', page.text)
    return {"q": search, "role": role}


# ── One member ──────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_a_membership_is_changed_and_a_moment_that_is_not_touched_stays_as_it_is(
    app: App, alice: Browser
) -> None:
    page = await alice.get(f"{BIO}/members/u_erin")
    assert form_of(page).fields | {"csrf": ""} == {
        "csrf": "",
        "role": "member",
        "not_before": "",
        "expires_at": "2026-01-10",
    }

    saved = await alice.submit(page, role="viewer", not_before="2026-01-06", lab="chem", user=BOB_ID, granted_by="x")

    assert "Saved." in saved.text
    held = await membership(app, "u_erin")
    assert held is not None
    assert (held.role, held.not_before) == (LabRole.VIEWER, day("2026-01-06", end=False))
    assert held.expires_at == START + 5 * DAY
    await alice.submit(saved, not_before="", expires_at="2026-12-31")
    held = await membership(app, "u_erin")
    assert held is not None
    assert (held.not_before, held.expires_at) == (None, day("2026-12-31"))
    assert AuditAction.MEMBERSHIP_UPDATED in await actions(app)


async def test_what_is_wrong_with_a_membership_stands_above_the_form_and_at_its_field(app: App, alice: Browser) -> None:
    page = await alice.get(f"{BIO}/members/u_erin")
    before = await membership(app, "u_erin")
    for changes, field in (
        ({"role": "king"}, "role"),
        ({"role": ""}, "role"),
        ({"expires_at": "soon"}, "expires_at"),
        ({"not_before": "2026-03-01", "expires_at": "2026-02-01"}, "expires_at"),
    ):
        refused = await alice.submit(page, **changes)
        assert refused.status_code == 422, changes
        assert f'<a href="#{field}">' in refused.text
        assert f'id="{field}-error"' in refused.text
    assert form_of(refused, "role").fields["not_before"] == "2026-03-01"
    assert await membership(app, "u_erin") == before


async def test_only_who_belongs_to_the_lab_is_changed_there(app: App, alice: Browser) -> None:
    csrf = form_of(await alice.get(f"{BIO}/members/u_erin")).fields["csrf"]
    for who in ("u_carol", "u_nobody", "%00", "%ED%A0%80", "x" * 500):
        assert (await alice.get(f"{BIO}/members/{who}")).status_code == 404, who
        posted = await alice.http.post(f"{BIO}/members/{who}", data={"csrf": csrf, "role": "admin"})
        assert posted.status_code == 404, who
    assert await membership(app, "u_carol") is None


async def test_a_member_is_removed_after_a_question_and_the_last_admin_is_not(app: App, alice: Browser) -> None:
    asked = await alice.get(f"{BIO}/members/u_erin", remove="1")
    assert "Remove Erin Mbeki from Biology ?" in texts(asked)
    assert await membership(app, "u_erin") is not None

    done = await alice.submit(asked, remove="yes")

    assert "The membership has ended" in done.text
    assert await membership(app, "u_erin") is None
    assert await membership(app, "u_erin", "lab_chem") is not None
    assert (await alice.post(asked, remove="yes")).status_code == 404
    own = await alice.get(f"{BIO}/members/{ALICE_ID}")
    for changes in ({"role": "member"}, {"expires_at": "2026-02-01"}, {"remove": "yes"}):
        refused = await alice.http.post(f"{BIO}/members/{ALICE_ID}", data={**form_of(own).fields, **changes})
        assert (refused.status_code, "The lab would have no admin." in refused.text) == (403, True), changes
    assert await membership(app, ALICE_ID) is not None


# ── Invitations ─────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_a_link_is_shown_once_and_a_mail_goes_to_whom_it_is_meant_for(app: App, alice: Browser) -> None:
    page = await alice.get(f"{BIO}/invitations")
    assert "No invitation waits" in page.text

    linked = await alice.submit(page, email="", role="viewer", ends_at="2026-06-30")

    (link,) = re.findall(r"data-copy>([^<]*)<", linked.text)
    assert link.startswith(f"{ISSUER}/invitations/")
    assert 'id="copy"' in linked.text
    carol = await signed_in(app, CAROL)
    await carol.submit(await carol.get(link.removeprefix(ISSUER)), decision="accept")
    held = await membership(app, "u_carol")
    assert held is not None
    assert (held.role, held.expires_at) == (LabRole.VIEWER, day("2026-06-30"))
    mailed = await alice.submit(linked, email="New@Example.org", role="admin")
    assert "on its way" in mailed.text
    assert ISSUER not in mailed.text
    assert "new@example.org admin · can be accepted until 19 Jan 2026" in texts(mailed)
    assert "by link · viewer · 5 Jan 2026 accepted" in texts(mailed)


async def test_an_invitation_that_cannot_be_is_refused_at_its_field(app: App, alice: Browser) -> None:
    page = await alice.get(f"{BIO}/invitations")
    for given, field in (
        ({"email": "", "role": "admin"}, "role"),
        ({"email": "nobody", "role": "member"}, "email"),
        ({"email": BOB, "role": "member"}, "email"),
        ({"email": "x@example.org", "ends_at": "2026-01-01"}, "ends_at"),
        ({"email": "x@example.org", "expires_at": "2027-01-01"}, "expires_at"),
        ({"email": "x@example.org", "role": "owner"}, "role"),
    ):
        refused = await alice.submit(page, **given)
        assert (refused.status_code, f'<a href="#{field}">' in refused.text) == (422, True), given
        assert form_of(refused, "email").fields["email"] == given["email"]
    assert AuditAction.INVITATION_CREATED not in await actions(app)


async def test_an_invitation_is_taken_back_in_its_own_lab_only(app: App, alice: Browser) -> None:
    of_chem = make_invitation(id="inv_chem", hash="h", lab_id="lab_chem", email="x@example.org")
    answered = make_invitation(id="inv_used", hash="i", accepted_at=START)
    await add_all(app.store, [make_invitation(email="y@example.org"), of_chem, answered])
    page = await alice.get(f"{BIO}/invitations")
    assert "x@example.org" not in page.text

    statuses = [(await alice.post(page, revoke=id)).status_code for id in ("inv_1", "inv_chem", "inv_x", "inv_used")]

    assert statuses == [200, 404, 404, 409]
    async with app.store.read() as tx:
        assert {id: (await tx.invitations.get(id)).revoked_at is None for id in ("inv_1", "inv_chem", "inv_used")} == {
            "inv_1": False,
            "inv_chem": True,
            "inv_used": True,
        }


async def test_what_does_not_fit_on_a_page_follows_on_the_next_ones(app: App, alice: Browser) -> None:
    people = [make_user(id=f"u_{n}", email=f"{n}@example.org") for n in range(51)]
    waits = [make_invitation(id=f"inv_{n}", hash=f"h{n}", email=f"{n}@example.org") for n in range(51)]
    past = make_invitation(id="inv_past", hash="h", email="past@example.org", revoked_at=START)
    asked = [make_join_request(user_id=user.id) for user in people]
    await add_all(app.store, [*people, *waits, past, *asked])
    assert "51 people ask to join." in (await alice.get(BIO)).text
    for path, first, second in (("/invitations", "49@example.org", "past@example.org"), ("/requests", "u_0", "u_9")):
        page = await alice.get(f"{BIO}{path}")
        (following,) = re.findall(r'<a class="button" href="([^"]*)">Next', page.text)
        end = await alice.get(unescape(following))
        assert (first in page.text, second in page.text) == (True, False), path
        assert (second in end.text, f'href="{BIO}{path}">First page' in end.text, ">Next<" in end.text) == (
            True,
            True,
            False,
        )
        assert (await alice.http.get(f"{BIO}{path}", params={"after": "x"})).status_code == 422


# ── Requests to join ────────────────────────────────────────────────────────────────────────────────────────────────
async def test_a_stranger_asks_and_an_admin_takes_them_in_for_a_time(app: App, alice: Browser) -> None:
    await app.change("labs", ["lab_bio"], accepts_join_requests=True, description=EVIL, homepage="https://bio.example")
    carol = await signed_in(app, CAROL)
    profile = await carol.get(BIO)
    assert EVIL not in profile.text
    assert "alice@example.org" not in profile.text
    too_long = await carol.submit(profile, message="x" * 2001)
    assert (too_long.status_code, '<a href="#message">' in too_long.text) == (422, True)

    asked = await carol.submit(profile, message="I am new.\r\nHello")

    assert "You have asked." in asked.text
    assert "It waits for the lab’s admins since 5 Jan 2026" in texts(asked)
    assert (await carol.post(profile, message="again")).status_code == 403
    assert "1 person asks to join." in (await alice.get(BIO)).text
    page = await alice.get(f"{BIO}/requests")
    assert "Carol Mbeki" in page.text
    assert "I am new.\nHello" in page.text
    for changes in ({"role": "king"}, {"ends_at": "2025-01-01"}):
        refused = await alice.submit(page, decision="accept", **changes)
        assert (refused.status_code, f'<a href="#{next(iter(changes))}-1">' in refused.text) == (422, True)
    await alice.submit(page, decision="accept", role="viewer", ends_at="2026-03-01")
    held = await membership(app, "u_carol")
    assert held is not None
    assert (held.role, held.expires_at) == (LabRole.VIEWER, day("2026-03-01"))
    assert (await alice.post(page, decision="deny")).status_code == 409
    assert "Your membership viewer, until 1 Mar 2026" in texts(await carol.get(BIO))


async def test_a_request_is_withdrawn_or_declined_and_nobody_else_is_decided_on(app: App, alice: Browser) -> None:
    await app.change("labs", ["lab_bio"], accepts_join_requests=True)
    carol = await signed_in(app, CAROL)
    profile = await carol.get(BIO)
    asked = await carol.submit(profile, message="")
    page = await alice.get(f"{BIO}/requests")
    withdrawn = await carol.submit(asked, withdraw="yes")
    assert "You do not ask to join any more" in withdrawn.text
    assert "You withdrew your request. You may ask again from 6 Jan 2026 ." in texts(withdrawn)
    assert (await alice.post(page, decision="accept")).status_code == 409
    await app.change("join_requests", ["lab_bio", "u_carol"], withdrawn_at=None)
    await add_all(app.store, [make_join_request(lab_id="lab_chem", user_id="u_dora")])
    assert (await alice.post(page, decision="accept", user="u_dora")).status_code == 409
    assert "told so by mail" in (await alice.submit(page, decision="deny")).text
    assert await membership(app, "u_carol") is None
    declined = await carol.get(BIO)
    assert "The lab’s admins declined your request. You may ask again from 4 Feb 2026 ." in texts(declined)
    assert 'name="message"' not in declined.text
    again = await carol.post(profile, message="")
    assert (again.status_code, "You may ask again" in again.text) == (403, True)


# ── Services and applications ───────────────────────────────────────────────────────────────────────────────────────
async def test_a_service_is_given_a_role_for_a_year_at_most_and_loses_it(app: App, alice: Browser) -> None:
    page = await alice.get(f"{BIO}/services")
    for given, field in (
        ({"client_id": "nothing"}, "client_id"),
        ({"client_id": "spa"}, "client_id"),
        ({"client_id": "robot", "expires_at": "2027-02-01"}, "expires_at"),
        ({"client_id": "robot", "expires_at": "2025-01-01"}, "expires_at"),
        ({"client_id": "robot", "role": "root"}, "role"),
    ):
        refused = await alice.submit(page, **given)
        assert (refused.status_code, f'<a href="#{field}">' in refused.text) == (422, True), given

    given = await alice.submit(page, client_id="robot", role="viewer", expires_at="2026-02-01", lab="chem")

    assert "Robot robot · viewer · until 1 Feb 2026" in texts(given)
    async with app.store.read() as tx:
        (grant,) = await tx.lab_grants.all()
    assert (grant.lab_id, grant.role, grant.granted_by) == ("lab_bio", LabRole.VIEWER, ALICE_ID)
    assert "does not belong to the lab any more" in (await alice.submit(given, withdraw="robot")).text
    assert (await alice.post(given, withdraw="robot")).status_code == 409


async def test_an_application_is_named_for_the_lab_and_not_any_more(app: App, alice: Browser) -> None:
    page = await alice.get(f"{BIO}/applications")
    assert "Lab Portal portal · portal.example.org sees all labs" in texts(page)
    assert (await alice.post(page, client_id="nothing")).status_code == 422

    allowed = await alice.submit(page, client_id="other")

    assert "Other other · other.example.org Take back" in texts(allowed)
    assert "Done. It is not told" in (await alice.submit(allowed, disallow="other")).text
    assert (await alice.post(allowed, disallow="other")).status_code == 409
    assert (await alice.post(allowed, disallow="portal")).status_code == 403
    await app.change("clients", ["trusted"], allowed_labs="*")
    await app.change("clients", ["robot"], allowed_labs=("bio",))
    told = texts(await alice.get(f"{BIO}/applications"))
    assert "Trusted trusted · trusted.example.org asks nobody sees all labs" in told
    assert "Robot robot a service Take back" in told
    await app.change("clients", ["spa"], managed_by=ManagedBy.REGISTRATION)
    assert "it registered itself" in (await alice.submit(page, client_id="spa")).text
    async with app.store.read() as tx:
        assert [(await tx.clients.get(id)).allowed_labs for id in ("other", "portal", "spa")] == [("chem",), "*", ()]


# ── Settings ────────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_an_admin_says_what_the_lab_is_and_how_it_lets_people_in(app: App, alice: Browser) -> None:
    page = await alice.get(f"{BIO}/settings")
    said = {"name": "Botany", "description": "Plants.\r\nAll", "homepage": "https://b.example", "contact": "Office"}

    saved = await alice.submit(page, **said, accepts_join_requests="yes", admin_acr="1", slug="x", managed_by="apply")

    found = await lab(app)
    assert "Saved." in saved.text
    assert (found.name, found.description, found.homepage) == ("Botany", "Plants.\nAll", "https://b.example")
    assert (found.contact, found.accepts_join_requests, found.admin_acr) == ("Office", True, "1")
    assert (found.slug, found.managed_by) == ("bio", ManagedBy.ADMIN)
    await alice.submit(saved, description="", homepage="", contact="", admin_acr="", accepts_join_requests=None)
    cleared = dict.fromkeys(("description", "homepage", "contact", "admin_acr"))
    assert await lab(app) == replace(found, **cleared, accepts_join_requests=False)
    for changes, field in (
        ({"name": ""}, "name"),
        ({"homepage": "javascript:alert(1)"}, "homepage"),
        ({"logo_uri": "//evil.example/x"}, "logo_uri"),
        ({"admin_acr": "9"}, "admin_acr"),
        ({"admin_acr": "2"}, "admin_acr"),
    ):
        refused = await alice.submit(saved, **changes)
        assert (refused.status_code, f'<a href="#{field}">' in refused.text) == (422, True), changes


async def test_only_who_administers_the_installation_archives_a_lab(app: App, alice: Browser) -> None:
    page = await alice.get(f"{BIO}/settings")
    assert "Archive" not in page.text
    assert (await alice.post(page, action="archive")).status_code == 403
    assert (await lab(app)).status is LabStatus.ACTIVE
    bob, inviting = await signed_in(app, BOB), await alice.get(f"{BIO}/invitations")
    archived = await bob.submit(await bob.get(f"{BIO}/settings"), action="archive")
    assert (await lab(app)).status is LabStatus.ARCHIVED
    refused = await alice.submit(inviting, email="x@example.org")
    assert (refused.status_code, "The lab is archived." in refused.text) == (403, True)
    # Nor is anything offered that would be refused.
    offers = {"": "/import", "/invitations": 'name="email"', "/services": 'name="client_id"', "/import": 'name="file"'}
    for path, offer in offers.items():
        assert offer not in (await alice.get(BIO + path)).text
    await bob.submit(archived, action="restore")
    assert (await lab(app)).status is LabStatus.ACTIVE


async def test_an_admin_who_signed_in_too_weakly_counts_as_a_member_and_is_told_so(app: App, alice: Browser) -> None:
    bob = await signed_in(app, BOB)
    await bob.submit(await bob.get(f"{BIO}/settings"), admin_acr="2")

    page = await alice.get(BIO)

    assert "it demands a stronger sign-in of its admins" in texts(page)
    assert (await alice.get(f"{BIO}/settings")).status_code == 403


async def test_a_lab_is_shown_with_its_picture_from_our_own_origin(app: App, alice: Browser) -> None:
    content = b"\x89PNG"
    digest = sha256(content).hexdigest()
    await app.change("labs", ["lab_bio"], logo_uri="https://bio.example.org/logo.svg")
    await add_all(app.store, [make_lab_logo(uri="https://bio.example.org/logo.svg", digest=digest, content=content)])

    page = await alice.get(BIO)

    assert f'<img class="logo" src="/logo/{digest}.png"' in page.text
    assert "logo.svg" not in page.text
    assert (await alice.http.get(f"/logo/{digest}.png")).content == content


# ── CSV ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
async def send(browser: Browser, page: httpx2.Response, file: bytes = b"", **fields: str) -> httpx2.Response:
    """Send the page's form as browsers do that has a field for a file."""
    form = form_of(page, *fields)
    lines = {name: value.replace("\r\n", "\n").replace("\n", "\r\n") for name, value in fields.items()}
    data = {name: re.sub(r"\r?\n", "\r\n", value) for name, value in form.fields.items()} | lines
    files = {"file": ("members.csv" if file else "", file, "text/csv")}
    return await browser.http.post(form.action, data=data, files=files, headers={"Origin": ISSUER})


TABLE = "email,role,expires_at\nnew@example.org,member,2026-06-30\nerin@example.org,viewer,2026-06-30\n"


async def test_a_table_is_looked_at_and_then_done_exactly_as_it_was_shown(app: App, alice: Browser) -> None:
    page = await alice.get(f"{BIO}/import")
    as_file = await send(alice, page, b"\xef\xbb\xbf" + TABLE.encode(), content="what does not count")

    planned = await send(alice, page, content=TABLE)

    pasted = await alice.post(page, content=TABLE)
    digests = {form_of(each, "digest").fields["digest"] for each in (as_file, planned, pasted)}
    assert len(digests) == 1
    assert listed(planned) == ["new@example.org", ERIN]
    assert "This would happen changed: 1 · invited by mail: 1" in texts(planned)
    assert f"{ERIN} 3 changed member → viewer – 10 Jan 2026 → 30 Jun 2026" in texts(planned)
    before = await membership(app, "u_erin")
    assert before is not None
    assert before.role is LabRole.MEMBER
    done = await alice.post(as_file)
    assert "This was done" in done.text
    held = await membership(app, "u_erin")
    assert held is not None
    assert (held.role, held.expires_at) == (LabRole.VIEWER, day("2026-06-30"))
    async with app.store.read() as tx:
        assert [each.email for each in await tx.invitations.all()] == ["new@example.org"]


async def test_what_somebody_changed_meanwhile_is_shown_and_confirmed_anew(app: App, alice: Browser) -> None:
    planned = await send(alice, await alice.get(f"{BIO}/import"), content=TABLE)
    await app.change("memberships", ["lab_bio", "u_erin"], expires_at=None)

    for confirmed in ({}, {"content": TABLE.replace("viewer", "admin")}, {"digest": "x"}):
        again = await send(alice, planned, **confirmed)
        assert (again.status_code, "Somebody changed the members" in again.text) == (409, True)

    assert await membership(app, "u_erin") == make_membership(user_id="u_erin")
    assert AuditAction.INVITATION_CREATED not in await actions(app)


async def test_a_table_with_faults_is_explained_line_by_line_and_nothing_is_done(app: App, alice: Browser) -> None:
    table = f"{TABLE}=1+1,member,\nx@example.org,king,\nerin@example.org,admin,\ny@example.org,member,1999-01-01\n"

    planned = await send(alice, await alice.get(f"{BIO}/import"), content=table)

    assert "Nothing was done" in planned.text
    assert listed(planned)[-2:] == ["new@example.org", ERIN]
    assert "refused: 4" in texts(planned)
    assert 'name="digest"' not in planned.text
    assert form_of(planned).fields["content"] == table


async def test_what_is_no_such_table_is_refused_plainly(alice: Browser) -> None:
    page = await alice.get(f"{BIO}/import")
    for file, told in (
        (b"", "Choose a file, or paste its lines."),
        ("email,role\nå@example.org,member\n".encode("latin-1"), "is not UTF-8"),
        ("email,role\nx@example.org,member\n".encode("utf-16"), "UTF-16"),
        (b"email,rank\nx@example.org,member\n", "not known here"),
        (b"email,role\n" + b"x@example.org,member\n" * 2900, "more than can be confirmed at once"),
    ):
        refused = await send(alice, page, file)
        assert (refused.status_code, told in texts(refused)) == (422, True), told


async def test_an_upload_is_bounded_and_of_one_kind(app: App, alice: Browser) -> None:
    page = await alice.get(f"{BIO}/import")
    too_large = await send(alice, page, b"x" * 70_000)
    assert (too_large.status_code, too_large.headers["connection"]) == (413, "close")
    assert "more than can be confirmed at once" in texts(too_large)
    assert form_of(too_large, "file").action == f"{BIO}/import"
    assert (await send(alice, page, TABLE.encode(), csrf="x")).status_code == 403
    for content_type, body in (
        ("text/csv", TABLE.encode()),
        ("multipart/form-data", b""),
        ("multipart/form-data; boundary=b", b"--b\r\nnonsense"),
        ("multipart/form-data; boundary=b", b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--\r\n"),
        ("multipart/form-data; boundary=b; charset=utf-7", part("csrf", b"+2AA-")),
        ("multipart/form-data; boundary=b", part("csrf", b"a\0b")),
        ("multipart/form-data; boundary=b", part("csrf", b"a") + part("csrf", b"b")),
    ):
        sent = await alice.http.post(f"{BIO}/import", content=body, headers={"Content-Type": content_type})
        assert sent.status_code in {400, 403}, (content_type, body)


def part(name: str, value: bytes) -> bytes:
    return b'--b\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n--b--\r\n' % (name.encode(), value)


async def test_members_are_taken_along_as_csv_by_who_looks_after_them(app: App, alice: Browser) -> None:
    exported = await alice.http.get(f"{BIO}/members.csv")

    assert exported.headers["content-type"] == "text/csv; charset=utf-8"
    assert exported.headers["content-disposition"] == 'attachment; filename="bio-members.csv"'
    assert exported.headers["cache-control"] == "no-store"
    assert exported.text.splitlines()[0].startswith("email,role")
    assert f"{BOB},member,," in exported.text
    assert AuditAction.LAB_EXPORTED in await actions(app)
    unchanged = await send(alice, await alice.get(f"{BIO}/import"), exported.content)
    assert "There is nothing to do as before: 3" in texts(unchanged)
    assert 'name="digest"' not in unchanged.text
