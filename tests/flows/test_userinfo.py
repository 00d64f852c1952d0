"""UserInfo (OpenID Connect Core §5.3): what the account holds now, for whoever was allowed to ask."""

from dataclasses import replace
from datetime import timedelta

from idp.crypto.jose import verify
from idp.crypto.opaque import hash_token
from idp.domain.client import ClientStatus
from idp.domain.lab import LabRole, LabStatus
from tests.support.app import ALICE, ALICE_ID, EVERY_SCOPE, App, Browser, add_all, bearer, decoded
from tests.support.clock import START
from tests.support.factories import make_access_token, make_lab, make_membership

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


async def test_every_claim_of_the_granted_scopes_comes_with_its_json_type(app: App, browser: Browser) -> None:
    tokens = await browser.tokens(scope=EVERY_SCOPE)

    response = await app.userinfo(tokens["access_token"])

    assert response.headers["content-type"] == "application/json"
    assert response.headers["cache-control"] == "no-store"
    chem_ends = int((START + timedelta(days=3)).timestamp())
    assert response.json() == {
        "sub": ALICE_ID,
        "name": "Alice Liddell",
        "given_name": "Alice",
        "family_name": "Liddell",
        "preferred_username": "alice",
        "updated_at": int(START.timestamp()),
        "email": ALICE,
        "email_verified": True,
        "address": {"locality": "Oxford", "country": "UK"},
        "phone_number": "+44 1865 000000",
        "phone_number_verified": False,
        "labs": [
            {"id": "lab_bio", "slug": "bio", "name": "Biology", "role": "admin"},
            {"id": "lab_chem", "slug": "chem", "name": "Chemistry", "role": "viewer", "exp": chem_ends},
        ],
        "groups": ["bio:admin", "bio:member", "bio:viewer", "chem:viewer"],
    }
    id_token = verify(tokens["id_token"], (await app.http().get("/jwks")).json()["keys"], algorithms=["RS256"])
    assert id_token.claims["sub"] == response.json()["sub"]


async def test_only_the_granted_scopes_are_answered(app: App, browser: Browser) -> None:
    token = (await browser.tokens(scope="openid email"))["access_token"]

    assert (await app.userinfo(token)).json() == {"sub": ALICE_ID, "email": ALICE, "email_verified": True}


async def test_a_client_sees_only_labs_that_it_is_allowed_to(app: App, browser: Browser) -> None:
    token = (await browser.tokens("other", scope="openid labs"))["access_token"]

    assert [lab["slug"] for lab in (await app.userinfo(token)).json()["labs"]] == ["chem"]


async def test_the_token_may_come_in_the_header_or_in_a_posted_form_rfc6750_s2(app: App, browser: Browser) -> None:
    token, http = (await browser.tokens())["access_token"], app.http()

    answers = [
        await http.get("/userinfo", headers=bearer(token)),
        await http.get("/userinfo", headers={"Authorization": f"bEaReR  {token} "}),
        await http.post("/userinfo", headers=bearer(token)),
        await http.post("/userinfo", headers={**bearer(token), **FORM}),
        await http.post("/userinfo", headers=bearer(token), json={"any": "body"}),
        await http.post("/userinfo", data={"access_token": token}),
    ]

    assert [answer.status_code for answer in answers] == [200] * len(answers)
    assert len({answer.text for answer in answers}) == 1


async def test_a_token_that_does_not_count_is_401_with_a_challenge(app: App, browser: Browser) -> None:
    token, http = (await browser.tokens())["access_token"], app.http()
    id_token = (await browser.tokens())["id_token"]

    for refused in (
        await app.userinfo("x"),
        await app.userinfo(token + "x"),
        await app.userinfo(token[:-1]),
        await app.userinfo(id_token),
        await http.post("/userinfo", data={"access_token": "x"}),
    ):
        assert refused.status_code == 401
        assert refused.json()["error"] == "invalid_token"
        assert 'Bearer realm="lab-id", error="invalid_token"' in refused.headers["www-authenticate"]


async def test_a_request_that_is_no_bearer_request_gets_nothing(app: App, browser: Browser) -> None:
    token, http = (await browser.tokens())["access_token"], app.http()

    for refused in (
        await http.get("/userinfo"),
        await http.get("/userinfo", params={"access_token": token}),  # RFC 6750 §2.3 is not offered
        await http.get("/userinfo", headers={"Authorization": token}),
        await http.get("/userinfo", headers={"Authorization": f"Basic {token}"}),
        await http.get("/userinfo", headers={"Authorization": "Bearer"}),
        await http.post("/userinfo", headers=FORM),
        await http.post("/userinfo", json={"access_token": token}),
        await http.post("/userinfo", headers=bearer(token), data={"access_token": token}),
        await http.post("/userinfo", content=f"access_token={token}&access_token={token}", headers=FORM),
    ):
        assert refused.status_code in {400, 401}
        assert refused.headers["www-authenticate"].startswith("Bearer ")
        assert "sub" not in refused.json()


async def test_an_expired_token_is_refused(app: App, browser: Browser) -> None:
    token = (await browser.tokens())["access_token"]
    app.clock.advance(seconds=599)
    assert (await app.userinfo(token)).status_code == 200

    app.clock.advance(seconds=1)

    assert (await app.userinfo(token)).status_code == 401


async def test_a_token_for_another_audience_is_refused(app: App, browser: Browser) -> None:
    await browser.tokens()
    async with app.store.write() as tx:
        (grant,) = await tx.grants.all()
        await tx.access_tokens.add(
            make_access_token(hash=hash_token("foreign"), grant_id=grant.id, audience="https://data.example.org")
        )

    refused = await app.userinfo("foreign")

    assert (refused.status_code, refused.json()["error"]) == (401, "invalid_token")


async def test_without_openid_the_scope_is_insufficient_rfc6750_s3_1(app: App, browser: Browser) -> None:
    token = (await browser.tokens(scope="profile"))["access_token"]

    refused = await app.userinfo(token)

    assert (refused.status_code, refused.json()["error"]) == (403, "insufficient_scope")
    assert 'error="insufficient_scope"' in refused.headers["www-authenticate"]


# ── Freshness: what changed a moment ago is what the next answer says ───────────────────────────────────────────────
async def test_the_next_answer_lacks_a_membership_that_was_just_taken_away(app: App, browser: Browser) -> None:
    token = (await browser.tokens(scope="openid labs groups"))["access_token"]
    assert (await app.userinfo(token)).json()["groups"][0] == "bio:admin"
    async with app.store.write() as tx:
        await tx.memberships.delete("lab_bio", ALICE_ID)

    assert (await app.userinfo(token)).json()["groups"] == ["chem:viewer"]
    assert (await app.introspect(token))["groups"] == ["chem:viewer"]
    assert [lab["slug"] for lab in (await app.introspect(token))["labs"]] == ["chem"]


async def test_a_role_that_was_just_lowered_and_a_lab_that_was_archived_are_seen_at_once(
    app: App, browser: Browser
) -> None:
    token = (await browser.tokens(scope="openid groups"))["access_token"]
    await app.change("memberships", ["lab_bio", ALICE_ID], role=LabRole.VIEWER)
    assert (await app.userinfo(token)).json()["groups"] == ["bio:viewer", "chem:viewer"]

    await app.change("labs", ["lab_chem"], status=LabStatus.ARCHIVED)

    assert (await app.userinfo(token)).json()["groups"] == ["bio:viewer"]


async def test_a_changed_name_is_seen_at_once(app: App, browser: Browser) -> None:
    token = (await browser.tokens())["access_token"]
    await app.change("users", [ALICE_ID], name="Alice Hargreaves")

    assert (await app.userinfo(token)).json()["name"] == "Alice Hargreaves"


async def test_a_user_without_labs_has_empty_claims_and_not_none(app: App, browser: Browser) -> None:
    token = (await browser.tokens(scope="openid labs groups"))["access_token"]
    async with app.store.write() as tx:
        for lab_id in ("lab_bio", "lab_chem"):
            await tx.memberships.delete(lab_id, ALICE_ID)

    assert (await app.userinfo(token)).json() == {"sub": ALICE_ID, "labs": [], "groups": []}


async def test_a_disabled_clients_tokens_end_within_the_age_of_its_cache(app: App, browser: Browser) -> None:
    token = (await browser.tokens())["access_token"]
    async with app.store.write() as tx:
        client = await tx.clients.get("portal")
        await tx.clients.save(replace(client, status=ClientStatus.DISABLED))
    app.clock.advance(seconds=5)

    assert (await app.userinfo(token)).status_code == 401


async def test_many_labs_are_left_out_of_a_token_whole_and_asked_for_at_userinfo(app: App, browser: Browser) -> None:
    labs = [make_lab(id=f"lab_{number}", slug=f"lab-{number}", name=f"Lab {number}") for number in range(40)]
    await add_all(app.store, [*labs, *(make_membership(lab_id=lab.id, user_id=ALICE_ID) for lab in labs)])

    token = (await browser.tokens(scope="openid labs groups"))["access_token"]

    claims = decoded(token)[1]
    assert (claims["labs_overflow"], "labs" in claims, "groups" in claims) == (True, False, False)
    assert len((await app.userinfo(token)).json()["labs"]) == 42
    assert len((await app.introspect(token))["labs"]) == 42
