from typing import Any

import pytest

from idp.domain.audit import AuditAction
from idp.domain.client import ApplicationType, Client, ClientAuthMethod, GrantType
from idp.services.client_input import ClientInput, register
from idp.services.clients import secret_hash
from idp.services.input import InputRefused
from idp.services.installation import DataKeys
from idp.store.store import Store
from tests.support.clock import START, FakeClock
from tests.support.factories import make_client

KEYS = DataKeys(lookup=b"l" * 32, refresh=b"r" * 32, csrf=b"c" * 32, seal=b"s" * 32)
PUBLIC = {"token_endpoint_auth_method": "none"}


def raw(**changes: Any) -> dict[str, Any]:
    return {"client_id": "portal", "redirect_uris": ["https://portal.example.org/callback"], **changes}


def client(**changes: Any) -> Client:
    return ClientInput.read(raw(**changes)).client(None, secrets=(), now=START)


def faults(**changes: Any) -> dict[str, str]:
    with pytest.raises(InputRefused) as refused:
        ClientInput.read(raw(**changes))
    return refused.value.errors


def test_what_is_absent_is_at_the_default_of_rfc7591_s2():
    made = client()
    assert made == Client(
        client_id="portal",
        client_name="portal",
        created_at=START,
        updated_at=START,
        redirect_uris=("https://portal.example.org/callback",),
    )
    assert made.grant_types == (GrantType.AUTHORIZATION_CODE,)
    assert made.response_types == ("code",)
    assert made.token_endpoint_auth_method is ClientAuthMethod.CLIENT_SECRET_BASIC


def test_every_setting_reaches_the_client():
    settings = {
        "client_name": "Portal",
        "status": "disabled",
        "application_type": "native",
        "token_endpoint_auth_method": "client_secret_post",
        "grant_types": ["authorization_code", "refresh_token", "client_credentials"],
        "response_types": ["code"],
        "redirect_uris": ["org.example.portal:/callback", "http://127.0.0.1/callback"],
        "post_logout_redirect_uris": ["https://portal.example.org/"],
        "scope": "openid  labs openid",
        "client_uri": "https://portal.example.org",
        "id_token_signed_response_alg": "ES256",
        "default_max_age": 3600,
        "require_auth_time": True,
        "require_pkce": False,
        "trusted": True,
        "web_origins": ["https://portal.example.org:8443"],
        "allowed_labs": ["bio", "chem"],
    }
    made = client(**settings)
    assert made.application_type is ApplicationType.NATIVE
    for name, value in settings.items():
        expected = tuple(value) if isinstance(value, list) else "openid labs" if name == "scope" else value
        assert getattr(made, name) == expected, name


def test_an_unknown_name_is_refused_with_the_one_that_was_meant():
    assert faults(redirect_uri="https://x.example") == {
        "redirect_uri": "It is not known here; did you mean redirect_uris?"
    }


@pytest.mark.parametrize("name", ["lab_grants", "require_lab", "profile", "access_token_format"])
def test_what_is_not_there_yet_is_said_to_be_so(name: str):
    assert faults(**{name: "x"}) == {name: "It is not supported by this version."}


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("https://a.example/#x", "It has a fragment."),
        ("http://a.example/", "Plain http is only allowed on localhost, 127.0.0.1 and [::1]: use https."),
        ("javascript:alert(1)", "Its scheme is not allowed."),
        ("org.example.app:/cb", "Only native applications may use a scheme of their own."),
        ("https://*.example.org/", "Wildcards and user names in it are not allowed."),
    ],
)
@pytest.mark.parametrize("field", ["redirect_uris", "post_logout_redirect_uris"])
def test_each_uri_is_refused_with_its_own_reason(field: str, uri: str, reason: str):
    assert faults(**{field: ["https://ok.example/", uri]}) == {f"{field}[1]": reason}


@pytest.mark.parametrize("client_id", ["u_", "u_faf32560d36024978fe7331b"])
def test_a_client_cannot_be_called_as_a_person_is_rfc9700_s4_15(client_id: str):
    assert faults(client_id=client_id) == {"client_id": "It must not begin with u_, as people's ids do."}


@pytest.mark.parametrize("client_id", ["u", "portal-u_", "ubuntu"])
def test_other_ids_are_fine(client_id: str):
    assert client(client_id=client_id).client_id == client_id


def test_a_uri_twice_is_refused():
    assert list(faults(redirect_uris=["https://a.example/", "https://a.example/"])) == ["redirect_uris"]


def test_the_code_grant_needs_a_redirect_uri_and_others_do_not():
    assert list(faults(redirect_uris=[])) == ["redirect_uris"]
    made = client(redirect_uris=[], grant_types=["client_credentials"])
    assert made.response_types == ()


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"grant_types": ["client_credentials"]}, "grant_types"),
        ({"client_secret": "secret"}, "client_secret"),
        ({"require_pkce": False}, "require_pkce"),
    ],
)
def test_a_public_client_cannot_have_what_needs_a_secret(changes: dict[str, Any], field: str):
    assert list(faults(**PUBLIC, **changes)) == [field]
    assert ClientInput.read(raw(**changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"response_types": ["token"]},
        {"response_types": ["code", "id_token"]},
        {"response_types": []},
        {"grant_types": ["client_credentials"], "response_types": ["code"]},
    ],
)
def test_grant_and_response_types_must_say_the_same_rfc7591_s2_1(changes: dict[str, Any]):
    assert list(faults(**changes)) == ["response_types"]


@pytest.mark.parametrize("kinds", [[], ["refresh_token"], ["authorization_code", "authorization_code"], ["password"]])
def test_grant_types_that_make_no_sense_are_refused(kinds: list[str]):
    assert [place.partition("[")[0] for place in faults(grant_types=kinds)] == ["grant_types"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("client_id", "pörtal"),
        ("client_id", " portal"),
        ("client_id", ""),
        ("client_id", 7),
        ("client_id", "x" * 2049),
        ("client_name", "a\0b"),
        ("client_secret", "schlüssel"),
        ("client_secret", "a\nb"),
        ("scope", 'openid "x"'),
        ("scope", ["openid"]),
        ("client_uri", "javascript:x"),
        ("id_token_signed_response_alg", "none"),
        ("id_token_signed_response_alg", "HS256"),
        ("default_max_age", -1),
        ("default_max_age", "60"),
        ("default_max_age", True),
        ("web_origins", ["https://a.example/"]),
        ("web_origins", ["https://A.example"]),
        ("web_origins", ["*"]),
        ("allowed_labs", "bio"),
        ("allowed_labs", ["Bio"]),
        ("allowed_labs", ["*"]),
        ("trusted", "perhaps"),
        ("application_type", "desktop"),
    ],
)
def test_a_wrong_value_is_refused_at_its_place(field: str, value: object):
    assert [place.partition("[")[0] for place in faults(**{field: value})] == [field]


def test_several_faults_are_told_at_once():
    assert len(faults(client_name="", scope="\\", default_max_age=-1, redirect_uris=["x", "https://a.example/#"])) == 5


def test_a_secret_is_never_part_of_what_is_said_or_shown():
    secret = "geheim-\u00fc-geheim"
    assert "geheim" not in str(faults(client_secret=secret))
    assert "s3cr3t" not in repr(ClientInput.read(raw(client_secret="s3cr3t")))


def test_an_existing_client_keeps_when_it_was_made_and_by_whom():
    present = make_client(trusted=True)
    changed = ClientInput.read(raw(scope="openid")).client(present, secrets=present.secrets, now=START)
    assert (changed.created_at, changed.managed_by, changed.trusted) == (present.created_at, present.managed_by, False)


# ── Registering ─────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_a_registered_client_gets_an_id_and_a_secret_that_is_stored_as_a_keyed_hash(
    store: Store, clock: FakeClock
):
    settings = {name: value for name, value in raw().items() if name != "client_id"}
    made, secret = await register(store, KEYS, clock, settings, actor="cli")
    assert secret is not None
    assert [held.hash for held in made.secrets] == [secret_hash(KEYS, secret)]
    async with store.read() as tx:
        assert await tx.clients.get(made.client_id) == made
        (event,) = await tx.audit_events.all()
    assert (event.action, event.target) == (AuditAction.CLIENT_CREATED, made.client_id)


async def test_a_public_client_gets_no_secret(store: Store, clock: FakeClock):
    made, secret = await register(store, KEYS, clock, raw(**PUBLIC), actor="cli")
    assert secret is None
    assert made.secrets == ()


async def test_an_id_in_use_is_refused(store: Store, clock: FakeClock):
    await register(store, KEYS, clock, raw(), actor="cli")
    with pytest.raises(InputRefused, match="there is a client with this id already"):
        await register(store, KEYS, clock, raw(), actor="cli")
