"""What a client would be told about somebody, and why."""

import pytest

from idp.domain.audit import AuditAction
from idp.domain.consent import DECLINED
from idp.domain.lab import LabRole
from idp.services.claims_preview import Asked, ClaimsPreview
from idp.services.input import InputRefused
from idp.services.lab_permissions import OPERATOR, Actor, Forbidden
from idp.store.errors import NotFound
from idp.store.store import Store
from tests.support.clock import FakeClock
from tests.support.factories import make_client, make_consent, make_lab, make_membership, make_user

SCOPE = "openid email phone groups lab:bio lab:dust"


@pytest.fixture
async def preview(store: Store, clock: FakeClock) -> ClaimsPreview:
    """Alice, admin of Biology and viewer of Chemistry, and a client that may see both and a lab she is not in."""
    await store.commit.append(
        make_user(),
        make_client(scope="openid email phone labs groups", allowed_labs=("bio", "chem", "dust")),
        *(make_lab(id=f"lab_{slug}", slug=slug, name=slug.title()) for slug in ("bio", "chem")),
        make_membership(lab_id="lab_bio", role=LabRole.ADMIN),
        make_membership(lab_id="lab_chem", role=LabRole.VIEWER),
    )
    return ClaimsPreview(store, clock, namespace=None)


async def test_it_tells_every_claim_with_its_reason_as_tokens_would(preview: ClaimsPreview) -> None:
    found = await preview.of(OPERATOR, "portal", "alice@example.org", SCOPE)

    assert found.consent is Asked.ALL_TICKED
    assert found.scope == ("openid", "email", "phone", "groups", "lab:bio")
    assert found.userinfo["groups"] == ["bio:admin", "bio:member", "bio:viewer"]
    assert found.access_token.keys() == {"labs", "groups"}
    assert found.id_token == {}
    assert found.labs == {"bio": "released as admin", "chem": "not_requested", "dust": "not_a_member"}
    told = {name: reason for name, reason in found.claims.items() if name in {"email", "phone_number", "nickname"}}
    assert told == {"email": "released", "phone_number": "not_on_file", "nickname": "not_requested"}


async def test_what_the_person_said_counts(preview: ClaimsPreview, store: Store) -> None:
    await store.commit.append(make_consent(labs={"bio": "viewer", "chem": DECLINED}))

    found = await preview.of(OPERATOR, "portal", "alice@example.org", "openid groups")

    assert found.consent is Asked.ON_FILE
    assert found.userinfo["groups"] == ["bio:viewer"]
    assert found.labs == {"bio": "released as viewer", "chem": "not_consented"}


async def test_what_was_refused_of_a_client_that_need_not_ask_stays_refused(
    preview: ClaimsPreview, store: Store
) -> None:
    await store.commit.append(
        make_client(client_id="trusted", scope="openid groups entitlements", allowed_labs="*", trusted=True),
        make_consent(client_id="trusted", labs={"bio": DECLINED}),
    )

    found = await preview.of(OPERATOR, "trusted", "alice@example.org", "openid groups entitlements")

    assert found.consent is Asked.NOT_ASKED
    assert found.labs == {"bio": "not_consented", "chem": "released as viewer"}
    # Without a namespace there is no such scope.
    assert found.scope == ("openid", "groups")


async def test_it_is_audited_and_gives_nothing(preview: ClaimsPreview, store: Store) -> None:
    await preview.of(OPERATOR, "portal", "alice@example.org", SCOPE)

    async with store.read() as tx:
        (event,) = await tx.audit_events.all()
        assert await tx.consents.all() == await tx.grants.all() == await tx.access_tokens.all() == []
    assert (event.action, event.actor, event.target) == (AuditAction.CLAIMS_PREVIEWED, "cli", "u_alice")


async def test_what_would_be_refused_is_refused(preview: ClaimsPreview) -> None:
    for scope in ("lab:physics", "lab:Bio", "unknown"):
        with pytest.raises(InputRefused):
            await preview.of(OPERATOR, "portal", "alice@example.org", scope)
    with pytest.raises(NotFound):
        await preview.of(OPERATOR, "other", "alice@example.org", SCOPE)
    with pytest.raises(NotFound):
        await preview.of(OPERATOR, "portal", "nobody@example.org", SCOPE)
    with pytest.raises(Forbidden):
        await preview.of(Actor(id="u_alice"), "portal", "alice@example.org", SCOPE)
