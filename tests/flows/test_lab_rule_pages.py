"""The page of a lab's rules: its admins read it, whoever administers the installation writes on it."""

import re
from html import unescape

import httpx2
import pytest

from idp.domain.lab import LabRole, LabStatus
from idp.domain.lab_rule import LabRule
from idp.domain.upstream import LinkedAccount
from idp.domain.user import AdminRole
from tests.support.app import BOB, BOB_ID, App, Browser, Start, add_all
from tests.support.clock import START
from tests.support.factories import make_credential, make_membership, make_user

PAGE = "/labs/bio/rules"
CAROL, DORA = "carol@example.org", "dora@example.org"
RULE = {"provider": "google", "claim": "hd", "value": "Example.ORG", "role": "member"}


@pytest.fixture
async def app(start: Start, password_hash: str) -> App:
    """Bob administers the installation, Dora may only read it; Carol, who belongs to nothing, signed in with Google."""
    app = await start(google_client_id="us", google_client_secret="a-secret-of-google")
    people = [make_user(id="u_carol", email=CAROL), make_user(id="u_dora", email=DORA, roles=(AdminRole.VIEWER,))]
    account = LinkedAccount(
        id="la_carol",
        issuer="https://accounts.google.com",
        sub="1",
        user_id="u_carol",
        provider="google",
        created_at=START,
        claims={"hd": "example.org"},
    )
    keys = [make_credential(id=f"cred_{user.id}", user_id=user.id, secret=password_hash) for user in people]
    await add_all(app.store, [*people, account, *keys])
    return app


@pytest.fixture
async def root(app: App) -> Browser:
    return await signed_in(app, BOB)


async def signed_in(app: App, user: str) -> Browser:
    browser = app.browser()
    await browser.sign_in(user=user)
    return browser


async def rules(app: App) -> list[LabRule]:
    async with app.store.read() as tx:
        return list(await tx.lab_rules.of_lab("lab_bio"))


def make_rule() -> LabRule:
    return LabRule(
        id="lr_1",
        lab_id="lab_bio",
        provider="google",
        claim="hd",
        value="example.org",
        role=LabRole.MEMBER,
        created_by=BOB_ID,
        created_at=START,
    )


def texts(page: httpx2.Response) -> str:
    """What people read, in one line."""
    return unescape(" ".join(re.sub(r"<[^>]*>", "", page.text).split()))


async def test_a_rule_is_previewed_before_it_is_created(app: App, root: Browser):
    preview = await root.submit(await root.get(PAGE), **RULE)
    assert "1 person comes in when they sign in next." in texts(preview)
    assert CAROL in texts(preview)
    assert "signs in with Google from the organisation example.org: member" in texts(preview)
    assert await rules(app) == []
    done = await root.submit(preview, action="create")
    assert "Done." in texts(done)
    (rule,) = await rules(app)
    assert (rule.provider, rule.claim, rule.value, rule.role) == ("google", "hd", "example.org", "member")
    assert rule.created_by == BOB_ID
    assert "0 members by it" in texts(done)


async def test_what_cannot_be_a_rule_is_told_beside_its_field_and_kept(app: App, root: Browser):
    for changes, told in (
        ({"value": "gmail.com"}, "Anybody gets an address there"),
        ({"role": "admin"}, "It must be member or viewer"),
        ({"provider": "other"}, "There is no such provider."),
        ({"claim": ""}, "It must be 1 to 200 letters"),
    ):
        refused = await root.post(await root.get(PAGE), **{**RULE, **changes})
        assert refused.status_code == 422
        assert told in texts(refused)
        assert 'value="hd"' in refused.text or "claim" in changes
    await add_all(app.store, [make_rule()])
    twice = await root.post(await root.get(PAGE), **RULE)
    assert (twice.status_code, "The lab has a rule for this already" in texts(twice)) == (422, True)


async def test_removing_a_rule_says_before_who_leaves_with_it(app: App, root: Browser):
    await add_all(app.store, [make_rule(), make_membership(user_id="u_carol", granted_by="lr_1")])
    asked = await root.get(f"{PAGE}?remove=lr_1")
    assert "1 person belongs to the lab by this rule" in texts(asked)
    assert CAROL in texts(asked)
    done = await root.submit(asked, remove="lr_1")
    assert "Done. The rule is gone" in texts(done)
    assert await rules(app) == []
    async with app.store.read() as tx:
        assert await tx.memberships.find("lab_bio", "u_carol") is None
    for gone in ("lr_1", "lr_é"):
        assert (await root.post(await root.get(PAGE), remove=gone)).status_code == 409
    assert "Remove this rule?" not in texts(await root.get(f"{PAGE}?remove=lr_1"))


async def test_a_members_page_tells_by_which_rule_they_belong_to_the_lab(app: App, root: Browser):
    await add_all(app.store, [make_rule(), make_membership(user_id="u_carol", granted_by="lr_1")])
    page = "/labs/bio/members/u_carol"
    told = "by rule: whoever signs in with Google from the organisation example.org"
    assert told in texts(await root.get(page))
    await app.change("memberships", ["lab_bio", "u_carol"], granted_by="lr_gone")
    assert "by rule" not in texts(await root.get(page))
    await app.change("memberships", ["lab_bio", "u_carol"], granted_by=BOB_ID)
    assert "by rule" not in texts(await root.get(page))


async def test_an_admin_of_the_lab_reads_its_rules_in_words_and_changes_none(app: App, root: Browser, browser: Browser):
    await add_all(app.store, [make_rule()])
    await browser.sign_in()
    page = await browser.get(f"{PAGE}?remove=lr_1")
    assert "signs in with Google from the organisation example.org: member" in texts(page)
    assert "Whoever runs this server writes the rules." in texts(page)
    assert "<form" not in page.text
    form = await browser.get("/labs/bio/settings")
    csrf = re.search(r'name="csrf" value="([^"]+)"', form.text)
    assert csrf is not None
    for sent in ({**RULE, "value": "example.com"}, {**RULE, "value": "example.com", "action": "create"}, _REMOVE):
        answer = await browser.http.post(
            PAGE, data={"csrf": csrf[1], **sent}, headers={"Origin": app.issuer, "Sec-Fetch-Site": "same-origin"}
        )
        assert answer.status_code == 403
    assert await rules(app) == [make_rule()]


_REMOVE = {"remove": "lr_1"}


async def test_others_do_not_see_the_rules(app: App, browser: Browser):
    assert (await browser.http.get(PAGE)).headers["location"] == "/login?next=%2Flabs%2Fbio%2Frules"
    assert (await (await signed_in(app, DORA)).get(PAGE)).status_code == 403
    assert (await (await signed_in(app, CAROL)).get(PAGE)).status_code == 404


async def test_an_archived_lab_takes_no_new_rules(app: App, root: Browser):
    form = await root.get(PAGE)
    await app.change("labs", ["lab_bio"], status=LabStatus.ARCHIVED)
    refused = await root.post(form, **RULE)
    assert (refused.status_code, "The lab is archived." in texts(refused)) == (403, True)
    assert "Add a rule" not in texts(await root.get(PAGE))


async def test_where_nobody_signs_in_through_others_there_is_nothing_to_write(start: Start):
    app = await start()
    page = await (await signed_in(app, BOB)).get(PAGE)
    assert "Nobody can sign in through another provider here yet" in texts(page)
    assert "<form" not in page.text
