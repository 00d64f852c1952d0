"""Consent by lab: each with a box, remembered, narrowed at once, and never more than what was shown and ticked."""

import json
import re
from datetime import timedelta
from typing import Any

import pytest

from idp.domain.audit import AuditAction
from idp.domain.client import RequireLab
from idp.domain.consent import Consent
from idp.domain.lab import LabRole
from tests.support.app import ALICE_ID, App, Browser, add_all, answer_of, decoded, form_of
from tests.support.clock import START
from tests.support.factories import make_lab, make_membership

ALLOW = {"decision": "allow"}
KEEP_BIO, KEEP_CHEM = {"lab.bio": None}, {"lab.chem": None}
INCLUDE = {"include_granted_scopes": "true"}
ALL = "openid labs groups"


async def consent_of(app: App, client_id: str = "portal") -> Consent:
    async with app.store.read() as tx:
        return await tx.consents.get(ALICE_ID, client_id)


async def join(app: App, slug: str, role: LabRole = LabRole.MEMBER, **changes: Any) -> None:
    """Make a new lab, and Alice one of its people."""
    lab = make_lab(id=f"lab_{slug}", slug=slug, name=slug.title())
    await add_all(app.store, [lab, make_membership(lab_id=lab.id, user_id=ALICE_ID, role=role, **changes)])


async def told(app: App, token: str) -> list[str]:
    """Return the groups that a token tells of, the same wherever one asks."""
    groups = (await app.userinfo(token)).json().get("groups")
    assert groups == (await app.introspect(token)).get("groups")
    return list(groups or [])


async def silently(browser: Browser, scope: str, **changes: str | None) -> tuple[str, list[str]]:
    """Return scope and groups of a request under prompt=none."""
    answer = answer_of(await browser.request(scope=scope, prompt="none", **changes))
    assert answer.error is None, answer.params
    tokens = (await browser.app.redeem(answer)).json()
    return tokens["scope"], decoded(tokens["access_token"])[1].get("groups", [])


def boxes(page: Any) -> dict[str, bool]:
    """Return the boxes of the page, and whether they are ticked."""
    assert page.url.path in {"/consent", "/account/apps/labs"}, page.url
    ticked = form_of(page).fields
    names = re.findall(r'<input type="checkbox"[^>]* name="([^"]*)"', page.text)
    return {name: name in ticked for name in names}


async def test_the_page_names_each_lab_with_role_and_end_and_has_a_box_for_each(app: App, browser: Browser) -> None:
    await app.change("labs", ["lab_chem"], name="<i>Chemistry</i>")

    page = await browser.sign_in(await browser.request(scope="openid labs lab:dust:member"))

    assert boxes(page) == {"lab.bio": True, "lab.chem": True, "later_labs": False}
    for shown in (
        "<bdi>Biology</bdi>",
        "you are admin",
        "&lt;i&gt;Chemistry&lt;/i&gt;",
        "viewer",
        f'<time datetime="{(START + timedelta(days=3)).isoformat()}"',
        "Also labs that I join later",
        "<b>dust</b>",
        "lab:dust:member",
    ):
        assert shown in page.text
    # Later ones are asked about only where all are asked for; where nothing is held there is no box.
    assert boxes(await browser.request(scope="openid lab:chem lab:dust")) == {"lab.chem": True}
    capped = await browser.request(scope="openid lab:bio:viewer")
    assert "you are admin" not in capped.text
    assert boxes(await browser.request("spa", scope="openid")) == {}
    # A client sees its own.
    assert boxes(await browser.request("other", scope="openid labs")) == {"lab.chem": True, "later_labs": False}


async def test_a_lab_that_is_not_ticked_is_told_nowhere_and_is_not_asked_about_again(
    app: App, browser: Browser
) -> None:
    page = await browser.sign_in(await browser.request(scope=f"{ALL} lab:bio lab:chem"))

    tokens = (await app.redeem(answer_of(await browser.submit(page, **ALLOW, **KEEP_BIO)))).json()

    assert tokens["scope"] == f"{ALL} lab:chem"
    assert decoded(tokens["access_token"])[1]["groups"] == ["chem:viewer"]
    assert await told(app, tokens["access_token"]) == ["chem:viewer"]
    refreshed = (await app.refresh(tokens["refresh_token"])).json()
    assert decoded(refreshed["access_token"])[1]["groups"] == ["chem:viewer"]
    assert await told(app, refreshed["access_token"]) == ["chem:viewer"]
    assert (await consent_of(app)).labs == {"bio": "declined", "chem": "viewer"}
    # Remembered, by whichever scope it is asked.
    for scope in (ALL, "openid lab:chem lab:bio", "openid lab:chem lab:bio:viewer"):
        answer = answer_of(await browser.request(scope=scope))
        assert decoded((await app.redeem(answer)).json()["access_token"])[1]["groups"] == ["chem:viewer"]
    assert answer_of(await browser.request(scope="lab:bio")).error == "invalid_scope"
    # Only prompt=consent asks again, and shows what was said.
    assert boxes(await browser.request(scope=ALL, prompt="consent")) == {
        "lab.bio": False,
        "lab.chem": True,
        "later_labs": False,
    }
    async with app.store.read() as tx:
        (event,) = [event for event in await tx.audit_events.all() if event.action is AuditAction.CONSENT_GIVEN]
    assert event.detail["labs"] == {"bio": "declined", "chem": "viewer"}


async def test_labs_that_are_joined_later_are_told_only_where_that_was_ticked(app: App, browser: Browser) -> None:
    tokens = await browser.tokens(scope=ALL)
    await join(app, "dust")
    await join(app, "nano", LabRole.ADMIN)
    before = ["bio:admin", "bio:member", "bio:viewer", "chem:viewer"]
    assert await told(app, tokens["access_token"]) == before
    assert (await silently(browser, ALL))[1] == before
    assert answer_of(await browser.request(scope=ALL)).error is None
    # Not undecided, since nobody named it, yet not ticked either when the page is shown again.
    page = await browser.request(scope=ALL, prompt="consent")
    assert boxes(page) == {
        "lab.bio": True,
        "lab.chem": True,
        "lab.dust": False,
        "lab.nano": False,
        "later_labs": False,
    }
    await browser.submit(page, **ALLOW, **{"lab.dust": "yes", "later_labs": "yes"})
    assert (await silently(browser, ALL))[1] == [*before, "dust:member", "dust:viewer"]

    await join(app, "zinc")
    assert (await silently(browser, ALL))[1][-2:] == ["zinc:member", "zinc:viewer"]
    page = await browser.request(scope=ALL, prompt="consent")
    assert (boxes(page)["lab.zinc"], boxes(page)["later_labs"], boxes(page)["lab.nano"]) == (True, True, False)
    # Taken back, it is so at once, also for what is told by an earlier grant.
    token = (await app.redeem(answer_of(await browser.request(scope=ALL)))).json()["access_token"]
    await browser.submit(page, **ALLOW, **{"later_labs": None, "lab.zinc": None})
    assert await told(app, token) == [*before, "dust:member", "dust:viewer"]


async def test_a_lab_that_is_named_without_being_held_is_remembered_and_asked_about_once_it_is(
    app: App, browser: Browser
) -> None:
    page = await browser.sign_in(await browser.request(scope="openid lab:dust"))
    assert boxes(page) == {}
    answer = await browser.finish(page)
    assert (await app.redeem(answer)).json()["scope"] == "openid"
    assert (await consent_of(app)).labs == {"dust": "not_held"}
    assert answer_of(await browser.request(scope="openid lab:dust")).error is None

    await join(app, "dust")

    assert await silently(browser, "openid lab:dust") == ("openid", [])
    page = await browser.request(scope="openid lab:dust")
    assert boxes(page) == {"lab.dust": True}
    tokens = (await app.redeem(await browser.finish(page))).json()
    assert (tokens["scope"], await told(app, tokens["access_token"])) == (
        "openid lab:dust",
        ["dust:member", "dust:viewer"],
    )


async def test_a_promotion_is_asked_about_and_is_silently_told_as_it_was_agreed_to(app: App, browser: Browser) -> None:
    await browser.authorize(scope="openid lab:chem")
    await app.change("memberships", ["lab_chem", ALICE_ID], role=LabRole.ADMIN)

    assert await silently(browser, "openid lab:chem") == ("openid lab:chem", ["chem:viewer"])
    assert await silently(browser, "openid lab:chem:member") == ("openid", [])
    page = await browser.request(scope="openid lab:chem")
    assert boxes(page) == {"lab.chem": True}
    assert "you are admin" in page.text

    assert (await browser.finish(page, decision="deny")).error == "access_denied"
    assert await silently(browser, "openid lab:chem") == ("openid lab:chem", ["chem:viewer"])
    await browser.finish(await browser.request(scope="openid lab:chem"))
    assert (await silently(browser, "openid lab:chem"))[1][0] == "chem:admin"


async def test_what_is_taken_back_is_gone_at_once_from_what_was_given_before(app: App, browser: Browser) -> None:
    tokens = await browser.tokens(scope=ALL)
    code = answer_of(await browser.request(scope="openid lab:bio lab:chem"))
    other = await browser.tokens("other", scope="openid labs")

    await browser.submit(await browser.request(scope=ALL, prompt="consent"), **ALLOW, **KEEP_BIO)

    assert await told(app, tokens["access_token"]) == ["chem:viewer"]
    refreshed = (await app.refresh(tokens["refresh_token"])).json()
    assert decoded(refreshed["access_token"])[1]["groups"] == ["chem:viewer"]
    assert (await app.redeem(code)).json()["scope"] == "openid lab:chem"
    # Another client's own consent is another one.
    assert [lab["slug"] for lab in (await app.userinfo(other["access_token"])).json()["labs"]] == ["chem"]

    # Given again, it is so from then on: what was taken back does not come back by itself.
    page = await browser.request(scope=ALL, prompt="consent")
    await browser.submit(page, **ALLOW, **{"lab.bio": "yes"})
    assert (await silently(browser, ALL))[1][0] == "bio:admin"
    assert await told(app, refreshed["access_token"]) == ["chem:viewer"]


async def test_which_labs_an_application_is_told_of_can_be_chosen_anew(app: App, browser: Browser) -> None:
    page = await browser.sign_in(await browser.request(scope=ALL))
    tokens = (await app.redeem(answer_of(await browser.submit(page, **ALLOW)))).json()
    listed = await browser.get("/account/apps")
    assert "/account/apps/labs?client_id=portal" in listed.text
    page = await browser.get("/account/apps/labs?client_id=portal")
    assert boxes(page) == {"lab.bio": True, "lab.chem": True, "later_labs": False}

    saved = await browser.submit(page, **KEEP_CHEM)

    assert boxes(saved) == {"lab.bio": True, "lab.chem": False, "later_labs": False}
    assert await told(app, tokens["access_token"]) == ["bio:admin", "bio:member", "bio:viewer"]
    stolen = await browser.http.post(str(saved.url), data={"csrf": "wrong", "lab.chem": "yes"})
    assert stolen.status_code == 403
    # Nobody else's, and nothing where nobody was asked.
    for client_id in ("other", "nobody", ""):
        assert (await browser.get(f"/account/apps/labs?client_id={client_id}")).url.path == "/account/apps"
    await browser.submit(saved, **{"lab.chem": "yes", "later_labs": "yes"})
    again = (await app.redeem(answer_of(await browser.request(scope=ALL)))).json()
    assert await told(app, again["access_token"]) == ["bio:admin", "bio:member", "bio:viewer", "chem:viewer"]


async def test_who_says_no_has_said_nothing_about_labs(app: App, browser: Browser) -> None:
    await browser.authorize(scope="openid lab:chem")
    page = await browser.request(scope="openid lab:bio lab:chem")

    assert (await browser.finish(page, decision="deny")).error == "access_denied"

    assert (await consent_of(app)).labs == {"chem": "viewer"}
    assert boxes(await browser.request(scope="openid lab:bio lab:chem")) == {"lab.bio": True, "lab.chem": True}


async def test_a_form_gives_only_what_the_page_showed_with_the_role_it_showed(app: App, browser: Browser) -> None:
    await join(app, "dust", LabRole.ADMIN)
    page = await browser.sign_in(await browser.request(scope="openid lab:bio:viewer lab:nano"))
    made_up = {
        "lab.bio": "admin",
        "lab.chem": "yes",
        "lab.dust": "yes",
        "lab.nano": "yes",
        "lab.*": "yes",
        "lab.": "yes",
        "later_labs": "yes",
        "role.bio": "admin",
    }

    tokens = (await app.redeem(answer_of(await browser.submit(page, **ALLOW, **made_up)))).json()

    assert tokens["scope"] == "openid lab:bio:viewer"
    assert await told(app, tokens["access_token"]) == ["bio:viewer"]
    assert (await consent_of(app)).labs == {"bio": "viewer", "nano": "not_held"}


@pytest.mark.parametrize("what", ["ended", "demoted", "joined", "the client may see less"])
async def test_what_changed_about_labs_while_the_page_was_open_is_shown_before_it_counts(
    app: App, browser: Browser, what: str
) -> None:
    page = await browser.sign_in(await browser.request(scope=ALL))
    if what == "ended":
        await app.change("memberships", ["lab_chem", ALICE_ID], expires_at=app.clock())
    elif what == "demoted":
        await app.change("memberships", ["lab_bio", ALICE_ID], role=LabRole.VIEWER)
    elif what == "joined":
        await join(app, "dust")
    else:
        await app.change("clients", ["portal"], allowed_labs=("chem",))

    again = await browser.post(page, **ALLOW)

    assert (again.status_code, "location" in again.headers) == (409, False)
    assert "Something changed" in again.text
    expected = {
        "ended": {"lab.bio": True},
        "demoted": {"lab.bio": True, "lab.chem": True},
        "joined": {"lab.bio": True, "lab.chem": True, "lab.dust": True},
        "the client may see less": {"lab.chem": True},
    }
    assert boxes(again) == {**expected[what], "later_labs": False}
    async with app.store.read() as tx:
        assert await tx.consents.all() == []
    assert answer_of(await browser.submit(again, **ALLOW)).error is None


async def test_the_form_of_somebody_in_three_hundred_labs_is_taken(app: App, browser: Browser) -> None:
    labs = [
        make_lab(id=f"lab_{number}", slug=f"a-lab-with-quite-a-long-name-no-{number:03}", name=f"Lab {number}")
        for number in range(300)
    ]
    await add_all(app.store, [*labs, *(make_membership(lab_id=lab.id, user_id=ALICE_ID) for lab in labs)])
    page = await browser.sign_in(await browser.request(scope=ALL))
    assert len(boxes(page)) == 303

    tokens = (await app.redeem(answer_of(await browser.submit(page, **ALLOW, **KEEP_CHEM)))).json()

    slugs = [lab["slug"] for lab in (await app.introspect(tokens["access_token"]))["labs"]]
    assert (len(slugs), "chem" in slugs) == (301, False)


async def test_consent_for_single_labs_adds_up_where_the_client_asks_for_that(app: App, browser: Browser) -> None:
    await browser.authorize(scope="openid lab:bio:viewer")
    page = await browser.request(scope="openid lab:chem", **INCLUDE)
    assert boxes(page) == {"lab.chem": True, "lab.bio": True}
    tokens = (await app.redeem(await browser.finish(page))).json()
    # What was given before is added with the role that was given.
    assert set(tokens["scope"].split()) == {"openid", "lab:chem", "lab:bio:viewer"}
    assert await told(app, tokens["access_token"]) == ["chem:viewer", "bio:viewer"]

    assert await silently(browser, "openid", **INCLUDE) == (
        "openid lab:bio:viewer lab:chem:viewer",
        ["bio:viewer", "chem:viewer"],
    )
    assert await silently(browser, "openid") == ("openid", [])
    # What was declined is not added, nor what the client may not see any more.
    await browser.submit(await browser.request(scope="openid lab:bio", prompt="consent"), **ALLOW, **KEEP_BIO)
    assert await silently(browser, "openid", **INCLUDE) == ("openid lab:chem:viewer", ["chem:viewer"])
    await app.change("clients", ["portal"], allowed_labs=("bio",))
    assert await silently(browser, "openid", **INCLUDE) == ("openid", [])


async def test_incremental_authorization_never_names_more_than_twenty_labs(app: App, browser: Browser) -> None:
    labs = [make_lab(id=f"lab_{number:02}", slug=f"lab-{number:02}", name=f"Lab {number}") for number in range(25)]
    await add_all(app.store, [*labs, *(make_membership(lab_id=lab.id, user_id=ALICE_ID) for lab in labs)])
    for some in (labs[:15], labs[15:]):
        await browser.authorize(scope=" ".join(["openid", *(f"lab:{lab.slug}" for lab in some)]))

    scope, _ = await silently(browser, "openid lab:lab-24", **INCLUDE)

    named = [token for token in scope.split() if token.startswith("lab:")]
    assert (named[0], len(named), len(set(named))) == ("lab:lab-24", 20, 20)


async def test_a_trusted_client_asks_nobody_but_an_answer_that_was_asked_for_counts(app: App, browser: Browser) -> None:
    await app.change("clients", ["portal"], trusted=True)
    page = await browser.sign_in(await browser.request(scope="openid groups lab:bio:member lab:chem lab:dust"))
    tokens = (await app.redeem(answer_of(page))).json()
    assert tokens["scope"] == "openid groups lab:bio:member lab:chem"
    assert await told(app, tokens["access_token"]) == ["bio:member", "bio:viewer", "chem:viewer"]

    page = await browser.request(scope=ALL, prompt="consent")
    await browser.submit(page, **ALLOW, **KEEP_CHEM)
    # What was refused is gone from what was given without asking, too.
    assert await told(app, tokens["access_token"]) == ["bio:member", "bio:viewer"]
    token = (await app.redeem(answer_of(await browser.request(scope=ALL)))).json()["access_token"]
    assert await told(app, token) == ["bio:admin", "bio:member", "bio:viewer"]
    await join(app, "dust")
    assert await told(app, token) == ["bio:admin", "bio:member", "bio:viewer", "dust:member", "dust:viewer"]


async def test_a_claim_about_labs_that_is_asked_for_by_name_has_the_boxes_too_oidc_core_s5_5(
    app: App, browser: Browser
) -> None:
    claims = json.dumps({"userinfo": {"groups": None}, "id_token": {"groups": None}})
    page = await browser.sign_in(await browser.request(scope="openid", claims=claims))
    assert boxes(page) == {"lab.bio": True, "lab.chem": True, "later_labs": False}

    tokens = (await app.redeem(answer_of(await browser.submit(page, **ALLOW, **KEEP_BIO)))).json()

    assert (await app.userinfo(tokens["access_token"])).json() == {"sub": ALICE_ID, "groups": ["chem:viewer"]}
    # Asked for of userinfo and the ID token, which has none: others read neither.
    assert "groups" not in decoded(tokens["access_token"])[1]
    assert "groups" not in decoded(tokens["id_token"])[1]
    assert answer_of(await browser.request(scope="openid", claims=claims)).error is None
    # A client without the scope is not asked for it.
    assert boxes(await browser.request("spa", scope="openid", claims=claims)) == {}


async def test_nobody_is_asked_about_labs_that_can_never_be_told(app: App, browser: Browser) -> None:
    # The ID token tells of none that is asked for by name, …
    claims = json.dumps({"id_token": {"groups": {"essential": True}}})
    page = await browser.sign_in(await browser.request(scope="openid", claims=claims))
    assert 'type="checkbox"' not in page.text
    assert answer_of(await browser.submit(page, **ALLOW)).error is None
    # … and a client that may see none is told of none, until it may.
    await app.change("clients", ["portal"], allowed_labs=())
    page = await browser.request(scope=ALL)
    assert 'type="checkbox"' not in page.text
    await browser.submit(page, **ALLOW)
    await app.change("clients", ["portal"], allowed_labs="*")
    assert boxes(await browser.request(scope=ALL)) == {"lab.bio": True, "lab.chem": True, "later_labs": False}


async def test_whom_no_answer_would_let_in_is_not_asked_for_one(app: App, browser: Browser) -> None:
    await app.change("clients", ["portal"], allowed_labs=("dust",), require_lab=RequireLab.ANY)
    for scope in ("openid", "openid groups", "openid lab:dust"):
        page = await browser.request(scope=scope)
        page = page if page.url.path != "/login" else await browser.sign_in(page)
        assert answer_of(page).error == "access_denied", scope


async def test_what_was_allowed_before_is_marked(app: App, browser: Browser) -> None:
    page = await browser.sign_in(await browser.request(scope="openid lab:bio:viewer"))
    assert "allowed before" not in page.text
    await browser.submit(page, **ALLOW)
    page = await browser.request(scope="openid lab:bio:viewer lab:chem", prompt="consent")
    # The scope openid, and the role in one of the labs.
    assert page.text.count("allowed before") == 2
    page = await browser.request(scope="openid lab:bio", prompt="consent")
    assert page.text.count("allowed before") == 1
