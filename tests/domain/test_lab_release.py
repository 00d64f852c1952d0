"""Which labs are told of, and why others are not."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idp.domain.consent import DECLINED, LATER, NOT_HELD
from idp.domain.lab import LabMembership, LabRole, LabStatus
from idp.domain.lab_release import ENDING, AllowedLabs, LabReason, LabRelease, release_labs
from idp.domain.lab_scope import read_lab_request
from tests.support.clock import START
from tests.support.factories import make_lab_membership

SECOND = timedelta(seconds=1)
ADMIN, MEMBER, VIEWER = LabRole


def release(
    memberships: Sequence[LabMembership],
    scope: str = "labs groups",
    *,
    allowed: AllowedLabs = "*",
    consent: Mapping[str, str] | None = None,
    **more: Any,
) -> LabRelease:
    return release_labs(
        memberships, read_lab_request(scope.split()), allowed=allowed, consent=consent, now=START, **more
    )


def told(released: LabRelease) -> dict[str, LabRole]:
    return {lab.lab.slug: lab.role for lab in released.labs}


BIO_AND_CHEM = [make_lab_membership("bio", ADMIN), make_lab_membership("chem", VIEWER)]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"membership": {"expires_at": START}}, LabReason.ENDED),
        ({"membership": {"not_before": START + SECOND}}, LabReason.NOT_YET),
        ({"lab": {"status": LabStatus.ARCHIVED}}, LabReason.ARCHIVED),
        ({"allowed": ("chem",)}, LabReason.NOT_ALLOWED),
        ({"reader": ("chem",)}, LabReason.HIDDEN_FROM_READER),
        ({"scope": "lab:chem"}, LabReason.NOT_REQUESTED),
        ({"scope": "lab:bio:admin"}, LabReason.ROLE_TOO_LOW),
        ({"consent": {}}, LabReason.NOT_CONSENTED),
        ({"consent": {"bio": DECLINED, LATER: "admin"}}, LabReason.NOT_CONSENTED),
        ({"consent": {"bio": NOT_HELD}}, LabReason.NOT_CONSENTED),
        ({"consent": {"bio": "viewer"}, "scope": "lab:bio:member"}, LabReason.ROLE_TOO_LOW),
        ({"membership": {"expires_at": START + ENDING}, "ending": ENDING}, LabReason.ENDS_AT_ONCE),
    ],
)
def test_whatever_keeps_a_lab_back_is_said(changes: dict[str, Any], reason: LabReason):
    membership = make_lab_membership("bio", lab=changes.pop("lab", None), **changes.pop("membership", {}))
    released = release([membership], **changes)
    assert released.labs == ()
    assert released.reasons["bio"] is reason


def test_a_lab_that_is_named_without_being_held_is_no_membership():
    assert release([], "lab:bio").reasons == {"bio": LabReason.NOT_A_MEMBER}
    assert release(BIO_AND_CHEM, "labs lab:dust").reasons == {"dust": LabReason.NOT_A_MEMBER}


def test_without_a_question_about_labs_nothing_is_looked_at():
    assert release(BIO_AND_CHEM, "openid profile") == LabRelease(read_lab_request(["openid", "profile"]), (), {})


def test_all_labs_are_told_with_the_named_ones_first_in_the_order_of_the_request():
    memberships = [make_lab_membership(slug) for slug in ("astro", "bio", "chem", "dust")]
    assert list(told(release(memberships, "lab:dust labs lab:bio"))) == ["dust", "bio", "astro", "chem"]
    assert list(told(release(memberships, "lab:dust lab:bio groups"))) == ["dust", "bio"]


@pytest.mark.parametrize(
    ("held", "scope", "role"),
    [
        (ADMIN, "lab:bio", ADMIN),
        (ADMIN, "lab:bio:member", MEMBER),
        (ADMIN, "lab:bio:viewer lab:bio:member", MEMBER),
        (ADMIN, "lab:bio:viewer lab:bio", ADMIN),
        (MEMBER, "lab:bio:admin", None),
        (MEMBER, "lab:bio:admin lab:bio:viewer", VIEWER),
        (MEMBER, "lab:bio:admin lab:bio", MEMBER),
        (ADMIN, "labs lab:bio:viewer", VIEWER),
        (MEMBER, "labs lab:bio:admin", MEMBER),
        (VIEWER, "lab:bio", VIEWER),
    ],
)
def test_a_scope_caps_the_role_and_the_highest_cap_that_is_held_wins(held: LabRole, scope: str, role: LabRole | None):
    assert told(release([make_lab_membership("bio", held)], scope)).get("bio") is role


def test_consent_caps_the_role_that_is_told():
    consent = {"bio": "viewer", LATER: "member"}
    assert told(release(BIO_AND_CHEM, consent=consent)) == {"bio": VIEWER, "chem": VIEWER}


@pytest.mark.parametrize(("acr", "role"), [("1", MEMBER), (None, MEMBER), ("2", ADMIN)])
def test_a_lab_may_demand_a_stronger_sign_in_of_its_admins(acr: str | None, role: LabRole):
    membership = make_lab_membership("bio", ADMIN, lab={"admin_acr": "2"})
    assert told(release([membership], acr=acr)) == {"bio": role}
    assert told(release([make_lab_membership("bio", MEMBER, lab={"admin_acr": "2"})], acr=acr)) == {"bio": MEMBER}


def test_of_a_scope_those_labs_are_granted_that_are_told_with_the_role_they_name():
    scope = ("openid", "lab:bio:member", "lab:bio", "lab:chem", "lab:chem:member", "lab:dust", "wlcg.groups:/bio/admin")
    assert release(BIO_AND_CHEM, " ".join(scope)).scope(scope) == (
        "openid",
        "lab:bio:member",
        "lab:bio",
        "lab:chem",
        "wlcg.groups:/bio/admin",
    )
    assert release(BIO_AND_CHEM, "openid labs").scope(("openid", "labs")) == ("openid", "labs")


@pytest.mark.parametrize(
    ("scope", "granted"),
    [
        ("openid lab:dust labs:write", ("openid",)),
        ("openid lab:dust lab:chem labs:write", ("openid", "lab:chem", "labs:write")),
        ("openid labs:write", ("openid", "labs:write")),
    ],
)
def test_with_none_left_of_the_labs_that_were_named_there_is_none_to_look_after(scope: str, granted: tuple[str, ...]):
    assert release(BIO_AND_CHEM, scope).scope(scope.split()) == granted


def test_the_earliest_end_and_an_admins_role_are_known():
    end = START + timedelta(days=1)
    released = release(
        [
            make_lab_membership("bio", expires_at=end + SECOND),
            make_lab_membership("chem", expires_at=end),
            make_lab_membership("dust"),
        ]
    )
    assert released.ends_at == end
    assert not released.as_admin
    assert release(BIO_AND_CHEM).as_admin
    assert release(BIO_AND_CHEM).ends_at is None


# ── Never more than membership ∩ client ∩ consent ∩ request ──────────────────────────────────────────────────────────
slugs = st.sampled_from(["a", "b", "c", "d"])
roles = st.sampled_from(LabRole)
moments = st.none() | st.integers(-2, 2).map(lambda seconds: START + seconds * SECOND)
answers = st.sampled_from([*map(str, LabRole), DECLINED, NOT_HELD])
tokens = st.one_of(
    st.sampled_from(["openid", "labs", "groups", "entitlements"]),
    slugs.map("lab:{}".format),
    st.builds("lab:{}:{}".format, slugs, roles),
)
allowed_labs = st.just("*") | st.lists(slugs, unique=True).map(tuple)


@st.composite
def held_labs(draw: st.DrawFn) -> list[LabMembership]:
    return [
        make_lab_membership(
            slug,
            draw(roles),
            lab={"status": draw(st.sampled_from(LabStatus)), "admin_acr": draw(st.sampled_from([None, "1", "2"]))},
            not_before=draw(moments),
            expires_at=draw(moments),
        )
        for slug in draw(st.lists(slugs, unique=True))
    ]


@given(
    held=held_labs(),
    scope=st.lists(tokens, unique=True),
    allowed=allowed_labs,
    reader=allowed_labs,
    consent=st.none() | st.dictionaries(slugs | st.just(LATER), answers),
    acr=st.sampled_from([None, "1", "2"]),
    ending=st.sampled_from([timedelta(0), SECOND]),
)
def test_never_more_is_told_than_membership_and_client_and_consent_and_request_allow(
    held: list[LabMembership],
    scope: list[str],
    allowed: AllowedLabs,
    reader: AllowedLabs,
    consent: Mapping[str, str] | None,
    acr: str | None,
    ending: timedelta,
):
    released = release(held, " ".join(scope), allowed=allowed, reader=reader, consent=consent, acr=acr, ending=ending)
    by_slug = {each.lab.slug: each for each in held}
    for lab, role, expires_at in released.labs:
        membership = by_slug[lab.slug].membership
        assert membership.role.contains(role)
        assert membership.valid(now=START)
        assert expires_at == membership.expires_at
        assert expires_at is None or expires_at > START + ending
        assert lab.status is LabStatus.ACTIVE
        assert allowed == "*" or lab.slug in allowed
        assert reader == "*" or lab.slug in reader
        if role is ADMIN and lab.admin_acr is not None:
            assert acr is not None
            assert acr >= lab.admin_acr
        if consent is not None:
            answer = consent.get(lab.slug, NOT_HELD)
            answer = consent.get(LATER, DECLINED) if answer == NOT_HELD else answer
            assert LabRole(answer).contains(role)
        named = [token.removeprefix("lab:").split(":") for token in scope if token.startswith("lab:")]
        caps = [rest for slug, *rest in named if slug == lab.slug]
        assert caps or "labs" in scope or (not named and not {"groups", "entitlements"}.isdisjoint(scope))
        if caps and [] not in caps and "labs" not in scope:
            assert any(LabRole(cap).contains(role) for (cap,) in caps)
    # Each lab that is held or named is told of, or has a reason.
    asked = {token.split(":")[1] for token in scope if token.startswith("lab:")}
    if released.request.claims:
        assert {*told(released), *released.reasons} == {*by_slug, *asked}
    assert not set(told(released)) & set(released.reasons)
    granted = released.scope(scope)
    assert list(granted) == [token for token in scope if token in granted]
    assert {token.split(":")[1] for token in granted if token.startswith("lab:")} <= set(told(released))


@given(held=held_labs(), scope=st.lists(tokens, min_size=1, unique=True), dropped=st.data())
def test_asking_for_fewer_labs_tells_of_no_more(held: list[LabMembership], scope: list[str], dropped: st.DataObject):
    fewer = [token for token in scope if token != dropped.draw(st.sampled_from(scope))]
    if "labs" in fewer or not any(token.startswith("lab:") for token in fewer):
        # All labs are meant then, which naming one narrows.
        return
    assert set(told(release(held, " ".join(fewer)))) <= set(told(release(held, " ".join(scope))))
