"""Subjects of which each sector knows its own (OpenID Connect Core §8)."""

import json
import re
from collections.abc import Mapping
from typing import Any

import httpx2
import pytest

from idp.domain.client import SubjectType
from tests.support.app import ALICE_ID, BOB, BOB_ID, ISSUER, App, Browser, answer_of, decoded
from tests.support.factories import make_resource

PAIRWISE = ("portal", "other", "hybrid")
DATA = make_resource(client_id="other", scopes=("data:read",))


@pytest.fixture(autouse=True)
async def pairwise(app: App) -> None:
    """Three clients, each at a host of its own."""
    for client_id in PAIRWISE:
        await app.change("clients", [client_id], subject_type=SubjectType.PAIRWISE)
    await app.store.commit.append(DATA)


def sub_of(token: str) -> str:
    return str(decoded(token)[1]["sub"])


async def sub(browser: Browser, client_id: str = "portal", **changes: str | None) -> str:
    return sub_of((await browser.tokens(client_id, **changes))["id_token"])


async def test_everything_that_a_client_gets_names_the_user_alike_s8(app: App, browser: Browser) -> None:
    tokens = await browser.tokens(scope="openid offline_access")
    refreshed = (await app.refresh(tokens["refresh_token"])).json()

    subjects = {sub_of(each[kind]) for each in (tokens, refreshed) for kind in ("id_token", "access_token")}
    for each in (tokens["access_token"], refreshed["access_token"]):
        subjects |= {(await app.userinfo(each)).json()["sub"], (await app.introspect(each))["sub"]}
    subjects.add((await app.introspect(refreshed["refresh_token"]))["sub"])

    assert len(subjects) == 1
    assert ALICE_ID not in subjects


async def test_hybrid_answers_name_the_user_as_their_code_does_s3_3_3_6(app: App, browser: Browser) -> None:
    answer = await browser.authorize("hybrid", response_type="code id_token token")
    tokens = (await app.redeem(answer, "hybrid")).json()
    several = (answer.params["id_token"], answer.params["access_token"], tokens["id_token"], tokens["access_token"])
    assert len({sub_of(token) for token in several}) == 1
    assert sub_of(tokens["id_token"]) != ALICE_ID


async def test_a_session_has_another_sid_in_each_sector_and_one_for_all_that_a_client_gets_s8_1(
    app: App, browser: Browser
) -> None:
    sids = []
    for client_id in (*PAIRWISE, "trusted"):
        tokens = await browser.tokens(client_id, scope="openid")
        again = await browser.tokens(client_id, scope="openid")
        refreshed = (await app.refresh(tokens["refresh_token"], client_id)).json() if client_id == "portal" else again
        (sid,) = {str(decoded(each["id_token"])[1]["sid"]) for each in (tokens, again, refreshed)}
        sids.append(sid)
    assert len(set(sids)) == 4

    for client_id in ("portal", "other"):
        await app.change("clients", [client_id], sector_identifier_uri="https://sector.example.org/uris.json")
    joined = {decoded((await browser.tokens(name, scope="openid"))["id_token"])[1]["sid"] for name in PAIRWISE[:2]}
    assert len(joined) == 1


async def test_a_frame_names_the_session_as_the_id_token_did_frontchannel_logout_s3(app: App, browser: Browser) -> None:
    sids = []
    for client_id in ("portal", "other"):
        await app.change("clients", [client_id], frontchannel_logout_uri=f"https://{client_id}.example.org/out")
        sids.append(decoded((await browser.tokens(client_id, scope="openid"))["id_token"])[1]["sid"])

    page = await browser.submit(await browser.get("/logout"))

    assert re.findall(r'<iframe src="https://(\w+)\.[^"]+sid=(\w+)"', page.text) == [
        ("other", sids[1]),
        ("portal", sids[0]),
    ]


async def test_sectors_and_people_are_told_apart_and_stay_the_same_s8_1(app: App, browser: Browser) -> None:
    alice = [await sub(browser, client_id, scope="openid") for client_id in PAIRWISE]
    again = [await sub(app.browser(), client_id, scope="openid") for client_id in PAIRWISE]
    bob = [await sub(app.browser(), client_id, scope="openid", user=BOB) for client_id in PAIRWISE]

    assert alice == again
    assert len({*alice, *bob, ALICE_ID, BOB_ID}) == 8


async def test_clients_of_one_sector_know_the_user_by_the_same_name_s8_1(app: App, browser: Browser) -> None:
    uri = "https://sector.example.org/uris.json"
    before = await sub(browser)
    for client_id in ("portal", "other"):
        await app.change("clients", [client_id], sector_identifier_uri=uri)

    assert await sub(browser) == await sub(browser, "other", scope="openid")
    assert await sub(browser) != before


async def test_an_id_token_hint_names_the_user_as_its_client_knows_them_s3_1_2_1(app: App, browser: Browser) -> None:
    hint = (await browser.tokens())["id_token"]
    assert answer_of(await browser.request(id_token_hint=hint, prompt="none")).error is None

    bobs = app.browser()
    await bobs.tokens(user=BOB)
    assert answer_of(await bobs.request(id_token_hint=hint, prompt="none")).error == "login_required"
    assert (await bobs.request(id_token_hint=hint)).url.path == "/login"


async def test_a_hint_of_another_client_names_the_same_user_s3_1_2_1(app: App, browser: Browser) -> None:
    of_other = (await browser.tokens("other", scope="openid"))["id_token"]
    await browser.authorize()
    for client_id in ("portal", "trusted"):
        answer = answer_of(await browser.request(client_id, scope="openid", id_token_hint=of_other, prompt="none"))
        assert answer.error is None

    bobs = app.browser()
    await bobs.tokens(user=BOB)
    assert answer_of(await bobs.request(id_token_hint=of_other, prompt="none")).error == "login_required"
    # A client that is gone knows nobody any more.
    async with app.store.write() as tx:
        await tx.clients.delete("other")
    app.services["clients"].forget("other")
    assert answer_of(await browser.request(id_token_hint=of_other, prompt="none")).error == "login_required"


async def test_a_demanded_subject_is_the_pairwise_one_s5_5_1(browser: Browser) -> None:
    mine = await sub(browser)
    others = await sub(browser, "other", scope="openid")
    for value, error in ((mine, None), (others, "login_required"), (ALICE_ID, "login_required")):
        asked = json.dumps({"id_token": {"sub": {"value": value}}})
        assert answer_of(await browser.request(prompt="none", claims=asked)).error == error


async def test_a_logout_hint_ends_the_session_without_a_question_rp_initiated_logout_s2(
    app: App, browser: Browser
) -> None:
    bye = "https://portal.example.org/bye"
    hint = (await browser.tokens())["id_token"]

    response = await browser.get("/logout", id_token_hint=hint, post_logout_redirect_uri=bye, state="s")

    assert response.headers["location"] == f"{bye}?state=s"
    assert answer_of(await browser.request(prompt="none")).error == "login_required"


async def test_an_api_knows_the_user_as_the_client_does_that_calls_it(app: App, browser: Browser) -> None:
    scope = "openid data:read"
    await app.change("clients", ["portal"], scope=scope)
    token = (await browser.tokens(scope=scope, resource=DATA.audience))["access_token"]

    answer = await app.introspect(token, "other")
    assert answer["sub"] == sub_of(token)
    assert answer["sub"] != await sub(browser, "other", scope="openid")


def read(value: Any) -> str:
    """Return all that stands in an answer, JWTs and what is in them included."""
    if isinstance(value, Mapping):
        return " ".join(f"{name} {read(part)}" for name, part in value.items())
    if isinstance(value, list | tuple):
        return " ".join(map(read, value))
    if isinstance(value, str) and value.count(".") == 2 and value.startswith("ey"):
        return read(decoded(value))
    return str(value)


async def test_the_ids_of_user_and_session_are_nowhere_in_what_a_client_can_see_s8_1(
    app: App, browser: Browser
) -> None:
    seen: list[Any] = []
    asked = json.dumps({"userinfo": {"groups": None, "sub": None}, "id_token": {"email": None, "sub": None}})
    request = {
        "response_type": "code id_token token",
        "scope": "openid profile email phone groups offline_access data:read",
        "claims": asked,
    }
    posted = await browser.authorize("hybrid", response_mode="form_post", **request)
    answer = await browser.authorize("hybrid", **request)
    seen += [posted.location, posted.params, answer.location, answer.params]
    tokens = (await app.redeem(answer, "hybrid")).json()
    refreshed = (await app.refresh(tokens["refresh_token"], "hybrid")).json()
    seen += [tokens, refreshed, await app.introspect(refreshed["refresh_token"], "hybrid")]
    for token in (answer.params["access_token"], tokens["access_token"], refreshed["access_token"]):
        seen += [await app.introspect(token, "hybrid"), (await app.userinfo(token)).json()]
    await app.change("clients", ["hybrid"], userinfo_signed_response_alg="ES256")
    signed: httpx2.Response = await app.userinfo(refreshed["access_token"])
    seen += [signed.text, dict(signed.headers)]
    for refused in ({"id_token_hint": tokens["id_token"] + "x"}, {"prompt": "none", "max_age": "0"}):
        seen.append(answer_of(await browser.request("hybrid", **refused)).params)
    replayed = await app.redeem(answer, "hybrid")
    seen += [replayed.json(), dict(replayed.headers)]

    text = read(seen)
    assert sub_of(tokens["id_token"]) in text
    assert ISSUER in text
    async with app.store.read() as tx:
        (session,) = await tx.sessions.all()
    assert ALICE_ID not in text
    assert session.id not in text
