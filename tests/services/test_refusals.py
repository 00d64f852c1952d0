"""Refusal tickets: kept sealed under a reference for a week, a bounded number for each caller, and never in the way."""

import asyncio
import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_network
from typing import Any

import pytest

from idp.crypto.envelope import CannotUnseal
from idp.domain.refusal import Refusal
from idp.domain.user import AdminRole
from idp.protocol.parameters import Parameters
from idp.services import refusals as module
from idp.services.audit import caller_address
from idp.services.refusals import Allowance, Audience, Refusals, RefusedRequest, Ticket, may_read
from idp.store.group_commit import GroupCommit
from tests.support.app import App, basic, out_of_reach
from tests.support.clock import START
from tests.support.factories import make_user

ADDRESS = "192.0.2.7"


@pytest.fixture(autouse=True)
def _caller() -> Iterator[None]:
    token = caller_address.set(ADDRESS)
    yield
    caller_address.reset(token)


@pytest.fixture
def refusals(app: App) -> Refusals:
    return app.services["refusals"]


def refused(authorization: str | None = None, **changes: Any) -> RefusedRequest:
    defaults = {
        "error": "invalid_scope",
        "description": "Fixed.",
        "detail": "nothing is left",
        "route": "/token",
        "params": Parameters({"client_id": "portal", "scope": "openid nonsense", "state": "a-secret-state"}),
    }
    return RefusedRequest(**{**defaults, **changes}, authorization=authorization)


async def ticket_of(refusals: Refusals, request: RefusedRequest) -> Ticket:
    ticket = await refusals.find(await refusals.keep(request))
    assert ticket is not None
    return ticket


async def rows(app: App) -> list[Refusal]:
    async with app.store.read() as tx:
        return await tx.refusals.all()


# ── Keeping and finding ─────────────────────────────────────────────────────────────────────────────────────────────
async def test_what_is_kept_is_found_by_its_reference_in_whatever_way_it_is_typed(refusals: Refusals) -> None:
    reference = await refusals.keep(refused())

    for typed in (reference, reference.lower(), reference.replace("-", ""), reference.replace("-", " ")):
        ticket = await refusals.find(typed)
        assert ticket is not None
        assert ticket.refusal.reference == reference
    assert (ticket.refusal.client_id, ticket.refusal.error, ticket.refusal.address) == (
        "portal",
        "invalid_scope",
        ADDRESS,
    )
    assert ticket.explanation.cause.operator == "nothing is left"
    assert ticket.explanation.sent["state"] == "present, 14 characters"
    assert [item.parameter for item in ticket.explanation.compared] == ["scope"]


@pytest.mark.parametrize("text", ["", "K7Q2", "K7Q2-M9XD", "K7Q2-M9XD-", "0000-0000", "K7Q2-M9XDX", "\x00", "ﬁﬁﬁﬁﬁﬁﬁﬁ"])
async def test_what_is_no_reference_or_nobodys_finds_nothing(refusals: Refusals, text: str) -> None:
    assert await refusals.find(text) is None


async def test_it_is_found_for_seven_days(app: App, refusals: Refusals) -> None:
    reference = await refusals.keep(refused())
    app.clock.advance(timedelta(days=7) - timedelta(seconds=1))
    assert await refusals.find(reference) is not None
    app.clock.advance(seconds=1)
    assert await refusals.find(reference) is None


async def test_the_row_tells_nothing_and_opens_only_in_its_own_place(app: App, refusals: Refusals) -> None:
    first, second = await refusals.keep(refused()), await refusals.keep(refused())
    one, other = sorted(await rows(app), key=lambda row: row.reference != first)
    assert b"nothing is left" not in one.sealed
    async with app.store.write() as tx:
        await tx.refusals.save(replace(other, sealed=one.sealed))
    with pytest.raises(CannotUnseal):
        await refusals.find(second)


async def test_a_reference_that_is_taken_is_not_used_for_another_refusal(
    refusals: Refusals, monkeypatch: pytest.MonkeyPatch
) -> None:
    minted = iter(["K7Q2-M9XD", "K7Q2-M9XD", "K7Q2-M9XE"])
    monkeypatch.setattr(module, "mint_reference", lambda: next(minted))
    assert [await refusals.keep(refused()), await refusals.keep(refused(detail="other"))] == ["K7Q2-M9XD", "K7Q2-M9XE"]
    ticket = await refusals.find("K7Q2-M9XD")
    assert ticket is not None
    assert ticket.explanation.cause.operator == "nothing is left"


# ── Whose request it was ────────────────────────────────────────────────────────────────────────────────────────────
async def test_the_client_is_the_one_that_the_request_names(app: App, refusals: Refusals) -> None:
    tokens = await app.browser().tokens("trusted", scope="openid")
    nobody = Parameters({})
    for request, client_id in (
        (refused(params=Parameters({"client_id": "spa"})), "spa"),
        (refused(basic("portal", "x")["Authorization"], params=nobody), "portal"),
        (refused(params=Parameters({"id_token_hint": tokens["id_token"]})), "trusted"),
        (refused("Bearer x", params=nobody), None),
        (refused("Basic ÿ", params=nobody), None),
        (refused(params=nobody), None),
    ):
        ticket = await ticket_of(refusals, request)
        assert ticket.refusal.client_id == ticket.explanation.client_id == client_id


@pytest.mark.parametrize("client_id", ["unknown", "x" * 4000, "nul\0", "\u202e"])
async def test_what_an_unknown_client_sent_is_explained_too_and_belongs_to_nobody(
    refusals: Refusals, client_id: str
) -> None:
    ticket = await ticket_of(refusals, refused(params=Parameters({"client_id": client_id})))
    assert ticket.refusal.client_id is None
    assert ticket.explanation.client_id
    assert len(ticket.explanation.client_id) < 600
    assert ticket.explanation.compared == ()


async def test_it_is_told_how_the_client_tried_to_authenticate(refusals: Refusals) -> None:
    assertion = {"client_id": "spa", "client_assertion": "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJzcGEifQ.c2ln"}
    for request, method in (
        (refused(basic("spa", "x")["Authorization"], params=Parameters({})), "client_secret_basic"),
        (refused(params=Parameters({"client_id": "spa", "client_secret": "x"})), "client_secret_post"),
        (refused(params=Parameters(assertion)), "private_key_jwt"),
        (refused(params=Parameters({"client_id": "spa", "client_assertion": "no.jwt"})), "private_key_jwt"),
        (
            refused(params=Parameters({**assertion, "client_assertion": "eyJhbGciOiJIUzI1NiJ9.e30.c2ln"})),
            "client_secret_jwt",
        ),
    ):
        ticket = await ticket_of(refusals, replace(request, error="invalid_client"))
        assert [item.sent for item in ticket.explanation.compared] == [method]


async def test_on_a_page_of_a_transaction_the_stored_request_is_explained(app: App, refusals: Refusals) -> None:
    page = await app.browser().request(prompt="login", scope="openid email")
    handle = page.url.params["interaction"]
    ticket = await ticket_of(refusals, refused(params=Parameters({"interaction": handle, "password": "x"})))
    assert ticket.refusal.client_id == "portal"
    assert ticket.explanation.sent["scope"] == "openid email"
    gone = await ticket_of(refusals, refused(params=Parameters({"interaction": "unknown"})))
    assert gone.explanation.sent == {}


# ── Never in the way ────────────────────────────────────────────────────────────────────────────────────────────────
async def test_while_the_database_is_out_of_reach_there_is_a_reference_all_the_same(
    app: App, refusals: Refusals, caplog: pytest.LogCaptureFixture
) -> None:
    with out_of_reach(app):
        reference = await refusals.keep(refused())
    assert await refusals.find(reference) is None
    (record,) = [record for record in caplog.records if reference in record.getMessage()]
    assert "refusal.not_kept" in record.getMessage()


async def test_a_slow_database_holds_no_refusal_up(
    refusals: Refusals, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def never(*arguments: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(module, "_PATIENCE_SECONDS", 0.01)
    monkeypatch.setattr(GroupCommit, "append", never)
    assert await refusals.keep(refused())
    assert "TimeoutError" in caplog.text


async def test_a_defect_of_ours_costs_the_explanation_and_not_the_answer(
    refusals: Refusals, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*arguments: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(module, "sent_parameters", broken)
    reference = await refusals.keep(refused())
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert reference in record.getMessage()
    assert "ZeroDivisionError" in record.getMessage()


# ── The allowance ───────────────────────────────────────────────────────────────────────────────────────────────────
async def test_past_its_allowance_a_caller_gets_references_and_nothing_is_kept(app: App, refusals: Refusals) -> None:
    limit = app.settings.refusals_per_address
    references = [await refusals.keep(refused()) for _ in range(limit + 1)]
    assert len(set(references)) == limit + 1
    assert len(await rows(app)) == limit
    caller_address.set("192.0.2.8")
    assert await refusals.find(await refusals.keep(refused())) is not None


def test_an_allowance_lasts_an_hour():
    allowance = Allowance(2)
    assert [allowance.take(ADDRESS, now=START) for _ in range(3)] == [True, True, False]
    assert not allowance.take(ADDRESS, now=START + timedelta(minutes=59))
    assert allowance.take(ADDRESS, now=START + timedelta(hours=1))


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.7", "192.0.2.8", False),
        ("2001:db8::1", "2001:db8::ffff:ffff:ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.7", "192.0.2.7", True),
        ("::ffff:192.0.2.7", "::ffff:192.0.2.8", False),
        (None, "no address", True),
    ],
)
def test_an_ipv6_caller_has_a_whole_network_to_send_from(one: str | None, other: str, same: bool):
    allowance = Allowance(1)
    assert allowance.take(one, now=START)
    assert allowance.take(other, now=START) is not same


def test_an_allowance_of_none_keeps_nothing_and_exempt_networks_are_not_counted():
    allowance = Allowance(0, exempt=[ip_network("10.0.0.0/8"), ip_network("::1/128")])
    taken = [allowance.take(address, now=START) for address in ("10.1.2.3", "::1", "::ffff:10.1.2.3", "11.0.0.1", None)]
    assert taken == [True, True, True, False, False]


def test_the_memory_of_callers_is_bounded_and_room_comes_back_with_time(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "_MAX_NETWORKS", 2)
    allowance = Allowance(5)
    assert allowance.take("192.0.2.1", now=START)
    assert allowance.take("192.0.2.2", now=START + timedelta(minutes=30))
    late = START + timedelta(minutes=59)
    assert not allowance.take("192.0.2.3", now=late)
    assert not allowance.take("192.0.2.3", now=late)
    assert allowance.take("192.0.2.2", now=late)
    after = START + timedelta(hours=1)
    assert allowance.take("192.0.2.3", now=after)
    assert not allowance.take("192.0.2.4", now=after)


# ── Who reads what ──────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("roles", "audience"),
    [
        (None, Audience.ANYBODY),
        ((), Audience.ANYBODY),
        ((AdminRole.VIEWER,), Audience.CLIENT_ADMIN),
        ((AdminRole.ADMIN,), Audience.CLIENT_ADMIN),
        ((AdminRole.ADMIN, AdminRole.SUPER_ADMIN), Audience.OPERATOR),
    ],
)
def test_who_has_a_role_reads_the_reason_and_super_admins_the_exact_one(
    roles: tuple[AdminRole, ...] | None, audience: Audience
):
    refusal = Refusal(
        reference="K7Q2-M9XD",
        client_id="portal",
        error="invalid_scope",
        address=None,
        created_at=START,
        expires_at=START,
        sealed=b"",
    )
    assert may_read(None if roles is None else make_user(roles=roles), refusal) is audience


async def test_which_lab_cause_it_was_only_operators_read(refusals: Refusals) -> None:
    params = Parameters({"client_id": "portal", "scope": "lab:bio"})
    causes = [
        {audience: (await ticket_of(refusals, refused(params=params, detail=detail))).cause(audience)
         for audience in (Audience.CLIENT_ADMIN, Audience.OPERATOR)}
        for detail in ("no such lab", "not a member")
    ]  # fmt: skip
    assert causes[0][Audience.CLIENT_ADMIN] == causes[1][Audience.CLIENT_ADMIN]
    assert [cause[Audience.OPERATOR] for cause in causes] == ["no such lab", "not a member"]
