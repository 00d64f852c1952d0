import json
from functools import cache
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idp.crypto.jose import generate_key
from idp.domain.audit import AuditAction
from idp.domain.client import ApplicationType, Client, ClientAuthMethod, GrantType, SubjectType
from idp.domain.lab import ManagedBy
from idp.domain.signing_key import SigningAlgorithm
from idp.protocol.response_type import RESPONSE_TYPES
from idp.services.client_input import ClientInput, register
from idp.services.clients import open_secret, secret_hash
from idp.services.input import InputRefused
from idp.services.installation import DataKeys
from idp.store.store import Store
from tests.support.clock import START, FakeClock
from tests.support.factories import make_client

OWN = "https://login.example.org"
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


@cache
def jwks(alg: str = "ES256") -> dict[str, Any]:
    """A key set with the public half of a key."""
    _, public = generate_key(SigningAlgorithm(alg))
    return {"keys": [public]}


@cache
def encryption_keys() -> dict[str, Any]:
    """A key set with a key that may be used for anything."""
    (key,) = jwks()["keys"]
    return {"keys": [{name: key[name] for name in ("kty", "crv", "x", "y")}]}


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
        "logo_uri": "https://portal.example.org/logo.png",
        "policy_uri": "https://portal.example.org/policy#privacy",
        "tos_uri": "http://portal.example.org/terms",
        "contacts": ["office@portal.example.org", "https://portal.example.org/help", "tel:+43-1-58801"],
        "software_id": "4NRB1-0XZABZI9E6-5SM3R",
        "software_version": "2.1",
        "jwks_uri": "https://portal.example.org/keys",
        "subject_type": "pairwise",
        "sector_identifier_uri": "https://portal.example.org/redirect_uris.json",
        "id_token_signed_response_alg": "ES256",
        "id_token_encrypted_response_alg": "ECDH-ES",
        "id_token_encrypted_response_enc": "A256GCM",
        "userinfo_signed_response_alg": "PS256",
        "userinfo_encrypted_response_alg": "RSA-OAEP-256",
        "userinfo_encrypted_response_enc": "A128GCM",
        "request_object_signing_alg": "EdDSA",
        "require_signed_request_object": True,
        "request_uris": ["https://portal.example.org/request.jwt#GkurKxf5T0Y-mnPFCHqWOMiZi4VS138cQO_V7PZHAdM"],
        "default_max_age": 3600,
        "require_auth_time": True,
        "default_acr_values": ["urn:mace:incommon:iap:silver", "1"],
        "initiate_login_uri": "https://portal.example.org/start?from=lab",
        "frontchannel_logout_session_required": True,
        "backchannel_logout_uri": "https://portal.example.org/logged-out",
        "backchannel_logout_session_required": True,
        "access_token_format": "opaque",
        "require_pkce": False,
        "trusted": True,
        "web_origins": ["https://portal.example.org:8443"],
        "allowed_labs": ["bio", "chem"],
        "require_lab": "all",
        "id_token_lab_claims": True,
        "profile": "aarc-g069",
        "group_format": "slug",
        "group_min_role": "viewer",
        "claim_aliases": {"entitlements": "eduperson_entitlement", "groups": "https://example.org/claims/roles"},
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


# ── Labs ────────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("settings", "field", "fault"),
    [
        ({"require_lab": "any"}, "require_lab", "It needs allowed_labs: without, nobody could sign in."),
        ({"require_lab": "some", "allowed_labs": "*"}, "require_lab", "It must be any or all."),
        ({"group_format": "role:slug"}, "group_format", "It must be slug:role, slug or /slug/role."),
        ({"profile": "wlcg2"}, "profile", "It must be plain, aarc-g069 or wlcg."),
        (
            {"group_min_role": "admin"},
            "group_min_role",
            "It is for groups that name no role: group_format: slug, or profile: wlcg.",
        ),
        ({"scope": "openid lab:bio:boss"}, "scope", "It names a lab that cannot exist."),
        ({"scope": "openid wlcg.groups:bio"}, "scope", "It names a lab that cannot exist."),
        ({"claim_aliases": ["groups"]}, "claim_aliases", "It must be a mapping of names to values."),
        (
            {"claim_aliases": {"email": "mail"}},
            "claim_aliases",
            "It gives other names to entitlements, groups, labs, wlcg.groups only.",
        ),
        (
            {"claim_aliases": {"groups": "roles", "labs": "roles"}},
            "claim_aliases",
            "It gives one name twice.",
        ),
        ({"lab_grants": [{"lab": "Bio"}]}, "lab_grants[0].lab", "It must be at most 39 lower-case letters"),
        ({"lab_grants": [{"lab": "bio", "role": "boss"}]}, "lab_grants[0].role", "It must be admin, member or viewer."),
        ({"lab_grants": [{"lab": "bio"}, {"lab": "bio"}]}, "lab_grants", "It names a lab twice."),
    ],
)
def test_what_is_wrong_about_labs_is_told(settings: dict[str, Any], field: str, fault: str):
    told = faults(grant_types=["client_credentials"], **settings)
    assert told.keys() == {field}
    assert told[field].startswith(fault)


@pytest.mark.parametrize(
    "settings",
    [
        {"require_lab": "any", "allowed_labs": "*"},
        {"require_lab": "all", "allowed_labs": ["bio"]},
        {"require_lab": "all", "allowed_labs": "*"},
        {"scope": "openid lab:bio wlcg.groups:/bio/admin"},
        {"group_min_role": "admin", "profile": "wlcg"},
        {"claim_aliases": {"labs": "x" * 200, "wlcg.groups": "eduperson_entitlement", "groups": "_a.b:c/d-9"}},
    ],
)
def test_settings_about_labs_that_fit_together_are_taken(settings: dict[str, Any]):
    assert client(**settings) != client()


@pytest.mark.parametrize("name", ["", "x" * 201, "a b", "rôle", "roles\n"])
def test_a_claim_is_called_only_what_can_be_a_name(name: str):
    assert faults(claim_aliases={"groups": name}) == {
        "claim_aliases.groups": "It must be 1 to 200 letters, digits and _ . : / -."
    }


@pytest.mark.parametrize(
    "name",
    [
        *("iss", "sub", "aud", "exp", "nbf", "iat", "jti", "azp", "nonce", "auth_time", "acr", "amr", "sid"),
        *("at_hash", "c_hash", "s_hash", "client_id", "scope", "act", "cnf", "active", "token_type", "username"),
        *("error", "email", "email_verified", "name", "preferred_username", "updated_at", "address"),
        *("labs", "groups", "entitlements", "wlcg.groups", "wlcg.ver", "labs_overflow"),
    ],
)
def test_a_claim_about_labs_never_takes_the_name_of_another_claim(name: str):
    assert faults(claim_aliases={"groups": name}) == {"claim_aliases.groups": "It is the name of another claim."}


def test_lab_grants_are_for_clients_that_act_for_themselves_rfc6749_s4_4():
    fault = "It is for clients with the grant type client_credentials, which act for themselves."
    assert faults(lab_grants=[{"lab": "bio"}]) == {"lab_grants": fault}
    assert client(lab_grants=[]) == client()
    assert ClientInput.read(raw()).lab_grants is None


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
        ("response_types", "code"),
        ("response_types", ["token"]),
        ("response_types", ["none"]),
        ("response_types", ["code code"]),
        ("response_types", [""]),
        ("logo_uri", "data:image/png;base64,AAAA"),
        ("policy_uri", "/policy"),
        ("tos_uri", "https://user@portal.example.org/"),
        ("contacts", "office@portal.example.org"),
        ("contacts", ["javascript:alert(1)"]),
        ("contacts", ["somebody"]),
        ("contacts", ["tel:\0"]),
        ("contacts", ["mailto:nobody"]),
        ("contacts", ["a@b.example", "a@b.example"]),
        ("software_id", ""),
        ("software_version", 2.1),
        ("subject_type", "private"),
        ("userinfo_signed_response_alg", "HS256"),
        ("request_object_signing_alg", "HS256"),
        ("request_object_signing_alg", "none "),
        ("id_token_encrypted_response_alg", "RSA1_5"),
        ("id_token_encrypted_response_alg", "dir"),
        ("userinfo_encrypted_response_enc", "A128CBC-HS256"),
        ("require_signed_request_object", "perhaps"),
        ("default_acr_values", ["1 2"]),
        ("default_acr_values", ["1", "1"]),
        ("default_acr_values", "1"),
        ("access_token_format", "saml"),
        ("frontchannel_logout_session_required", "perhaps"),
        ("registration_access_token_hash", "x"),
        ("managed_by", "registration"),
        ("secrets", []),
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


# ── Response types ──────────────────────────────────────────────────────────────────────────────────────────────────
BOTH = ["authorization_code", "implicit"]
GRANTS_OF = {
    "code": ["authorization_code"],
    "id_token": ["implicit"],
    "id_token token": ["implicit"],
    "code id_token": BOTH,
    "code token": BOTH,
    "code id_token token": BOTH,
}


@pytest.mark.parametrize("kind", RESPONSE_TYPES)
def test_a_response_type_is_stored_in_one_order_whatever_order_it_came_in_multiple_response_types_s5(kind: str):
    for words in permutations(kind.split()):
        assert client(response_types=[" ".join(words)], grant_types=GRANTS_OF[kind]).response_types == (kind,)


def test_one_response_type_in_two_orders_is_one():
    made = client(response_types=["token id_token", "id_token token"], grant_types=["implicit"])
    assert made.response_types == ("id_token token",)


@pytest.mark.parametrize(("kind", "grant_types"), GRANTS_OF.items())
def test_a_response_type_needs_each_of_its_grant_types_rfc7591_s2_1(kind: str, grant_types: list[str]):
    for missing in grant_types:
        held = [grant for grant in [*BOTH, "client_credentials"] if grant != missing]
        (place, fault), *others = faults(response_types=[kind], grant_types=held).items()
        assert (place, others) == ("response_types", [])
        assert f"needs the grant type {missing}" in fault


def test_a_grant_type_too_many_does_no_harm_rfc7591_s2_1():
    assert client(grant_types=BOTH, response_types=["id_token"]).response_types == ("id_token",)
    assert client(grant_types=BOTH).response_types == ("code",)


def test_implicit_alone_says_which_tokens_it_means():
    assert list(faults(grant_types=["implicit"])) == ["response_types"]


@pytest.mark.parametrize("grant_types", [["authorization_code"], ["implicit"]])
def test_the_grants_of_the_authorization_endpoint_need_a_response_type_and_a_redirect_uri(grant_types: list[str]):
    assert list(faults(grant_types=grant_types, response_types=[])) == ["response_types"]
    kind = "code" if grant_types == ["authorization_code"] else "id_token"
    assert list(faults(grant_types=grant_types, response_types=[kind], redirect_uris=[])) == ["redirect_uris"]


def test_a_client_without_them_has_no_response_type():
    assert list(faults(grant_types=["client_credentials"], response_types=["code"])) == ["response_types"]
    assert client(grant_types=["client_credentials"], response_types=[]).response_types == ()


def test_an_unsigned_id_token_never_comes_from_the_authorization_endpoint_oidc_core_s2():
    assert client(id_token_signed_response_alg="none").id_token_signed_response_alg == "none"
    for kind in ("id_token", "code id_token"):
        told = faults(id_token_signed_response_alg="none", response_types=["code", kind], grant_types=BOTH)
        assert list(told) == ["id_token_signed_response_alg"]
    assert client(id_token_signed_response_alg="none", response_types=["code token"], grant_types=BOTH)


# ── Client authentication and keys ──────────────────────────────────────────────────────────────────────────────────
PRIVATE_KEY_JWT = {"token_endpoint_auth_method": "private_key_jwt"}
SECRET_JWT = {"token_endpoint_auth_method": "client_secret_jwt"}


def test_private_key_jwt_needs_the_clients_public_keys_oidc_core_s9():
    assert list(faults(**PRIVATE_KEY_JWT)) == ["token_endpoint_auth_method"]
    assert client(**PRIVATE_KEY_JWT, jwks=jwks()).jwks == jwks()
    uri = "https://portal.example.org/keys"
    assert client(**PRIVATE_KEY_JWT, jwks_uri=uri).jwks_uri == uri


def test_private_key_jwt_needs_a_key_that_signs():
    (key,) = encryption_keys()["keys"]
    only_encrypts = {"keys": [{**key, "use": "enc"}]}
    assert list(faults(**PRIVATE_KEY_JWT, jwks=only_encrypts)) == ["token_endpoint_auth_method"]
    told = faults(**PRIVATE_KEY_JWT, jwks=jwks("ES256"), token_endpoint_auth_signing_alg="EdDSA")
    assert told == {"token_endpoint_auth_signing_alg": "Jwks holds no key for it."}
    assert client(**PRIVATE_KEY_JWT, jwks=jwks("EdDSA"), token_endpoint_auth_signing_alg="EdDSA")


def test_keys_are_given_by_value_or_by_reference_and_not_both_oidc_registration_s2():
    assert list(faults(jwks=jwks(), jwks_uri="https://portal.example.org/keys")) == ["jwks_uri"]


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"keys": []},
        {"keys": {}},
        {"keys": ["x"]},
        {"keys": [{"kty": "oct", "k": "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75"}]},
        {"keys": [{"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}]},
        [],
        "https://portal.example.org/keys",
    ],
)
def test_what_is_no_set_of_public_keys_is_refused_rfc7517_s5(value: object):
    assert [place.partition("[")[0] for place in faults(jwks=value)] == ["jwks"]


def test_a_private_key_is_refused_and_not_repeated_rfc7517_s9_2():
    (key,) = jwks()["keys"]
    told = faults(jwks={"keys": [{**key, "d": "geheim"}]})
    assert told == {"jwks": "The JWK Set holds private or symmetric keys."}


@pytest.mark.parametrize("member", ["\0", "\ud800", float("inf"), float("nan"), ["\0"], {"\0": 1}])
def test_keys_that_no_database_can_store_are_refused(member: object):
    (key,) = jwks()["keys"]
    assert list(faults(jwks={"keys": [{**key, "x-note": member}]})) == ["jwks"]


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    )
)
def test_any_further_member_of_a_key_is_stored_as_it_is_or_refused(member: object):
    (key,) = jwks()["keys"]
    given_keys = {"keys": [{**key, "x-note": member}]}
    try:
        made = client(jwks=given_keys)
    except InputRefused:
        return
    assert made.jwks == given_keys
    assert json.loads(json.dumps(made.jwks, allow_nan=False, ensure_ascii=False).encode()) == given_keys


@pytest.mark.parametrize(
    ("method", "alg"),
    [
        ("client_secret_basic", "RS256"),
        ("none", "RS256"),
        ("client_secret_jwt", "RS256"),
        ("client_secret_jwt", "none"),
        ("private_key_jwt", "HS256"),
        ("private_key_jwt", "none"),
        ("private_key_jwt", "RS512"),
    ],
)
def test_the_algorithm_of_assertions_fits_the_method_oidc_core_s9(method: str, alg: str):
    settings = {"jwks": jwks()} if method == "private_key_jwt" else {}
    told = faults(token_endpoint_auth_method=method, token_endpoint_auth_signing_alg=alg, **settings)
    assert list(told) == ["token_endpoint_auth_signing_alg"]


@pytest.mark.parametrize(("alg", "least"), [(None, 32), ("HS256", 32), ("HS384", 48), ("HS512", 64)])
def test_a_secret_that_makes_macs_is_as_long_as_the_hash_rfc7518_s3_2(alg: str | None, least: int):
    settings = {**SECRET_JWT, "token_endpoint_auth_signing_alg": alg}
    assert list(faults(**settings, client_secret="x" * (least - 1))) == ["client_secret"]
    assert ClientInput.read(raw(**settings, client_secret="x" * least))
    assert ClientInput.read(raw(client_secret="x" * (least - 1)))


def test_a_client_with_a_key_of_its_own_has_no_secret():
    assert list(faults(**PRIVATE_KEY_JWT, jwks=jwks(), client_secret="x" * 64)) == ["client_secret"]


# ── Encryption and request objects ──────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("answer", ["id_token", "userinfo"])
def test_encryption_needs_keys_of_the_client_that_fit_oidc_registration_s2(answer: str):
    field = f"{answer}_encrypted_response_alg"
    assert list(faults(**{field: "ECDH-ES"})) == [field]
    assert list(faults(**{field: "RSA-OAEP-256"}, jwks=encryption_keys())) == [field]
    # A key for signatures is none to encrypt to (RFC 7517 §4.2).
    assert list(faults(**{field: "ECDH-ES"}, jwks=jwks())) == [field]
    made = client(**{field: "ECDH-ES"}, jwks=encryption_keys())
    assert getattr(made, field) == "ECDH-ES"
    assert client(**{field: "RSA-OAEP-256"}, jwks_uri="https://portal.example.org/keys")


@pytest.mark.parametrize("answer", ["id_token", "userinfo"])
def test_content_is_encrypted_with_a128gcm_unless_said_otherwise(answer: str):
    alg, enc = f"{answer}_encrypted_response_alg", f"{answer}_encrypted_response_enc"
    settings = {alg: "ECDH-ES", "jwks": encryption_keys()}
    assert getattr(client(**settings), enc) == "A128GCM"
    assert getattr(client(**settings, **{enc: "A256GCM"}), enc) == "A256GCM"
    assert getattr(client(), enc) is None


@pytest.mark.parametrize("answer", ["id_token", "userinfo"])
def test_a_content_encryption_without_a_key_encryption_is_refused_oidc_registration_s2(answer: str):
    field = f"{answer}_encrypted_response_enc"
    assert list(faults(**{field: "A128GCM"})) == [field]


def test_signed_request_objects_need_keys_of_the_client_rfc9101_s10_5():
    assert list(faults(request_object_signing_alg="RS256")) == ["request_object_signing_alg"]
    assert list(faults(request_object_signing_alg="RS256", jwks=jwks())) == ["request_object_signing_alg"]
    assert list(faults(require_signed_request_object=True)) == ["require_signed_request_object"]
    made = client(request_object_signing_alg="ES256", require_signed_request_object=True, jwks=jwks())
    assert (made.request_object_signing_alg, made.require_signed_request_object) == ("ES256", True)


def test_unsigned_request_objects_need_no_key_and_exclude_demanding_a_signature_rfc9101_s10_5():
    assert client(request_object_signing_alg="none").request_object_signing_alg == "none"
    told = faults(request_object_signing_alg="none", require_signed_request_object=True, jwks=jwks())
    assert list(told) == ["require_signed_request_object"]


# ── Addresses ───────────────────────────────────────────────────────────────────────────────────────────────────────
SERVER_URIS = ("jwks_uri", "sector_identifier_uri", "initiate_login_uri", "backchannel_logout_uri", "request_uris")


def with_uri(field: str, uri: str) -> dict[str, Any]:
    return {field: [uri] if field.endswith("s") else uri}


@pytest.mark.parametrize("field", SERVER_URIS)
@pytest.mark.parametrize(
    "uri",
    [
        "",
        "/path",
        "//portal.example.org/path",
        "http://portal.example.org/path",
        "http://127.0.0.1.evil.example/path",
        "https://user@portal.example.org/path",
        "https://*.example.org/path",
        "https:///path",
        "https://portal.example.org:0/path",
        "https://[portal]/path",
        "https://portal.example.org/a b",
        "https://portal.example.org/" + "x" * 2048,
        "javascript:alert(1)",
        "file:///etc/passwd",
        "org.example.portal:/path",
        "urn:example:portal",
    ],
)
def test_what_is_no_address_of_a_server_is_refused(field: str, uri: str):
    assert [place.partition("[")[0] for place in faults(**with_uri(field, uri))] == [field]


@pytest.mark.parametrize("field", SERVER_URIS)
def test_only_request_uris_have_a_fragment_and_keep_it_oidc_core_s6_2(field: str):
    settings = with_uri(field, "https://portal.example.org/path#x")
    if field == "request_uris":
        assert client(**settings).request_uris == ("https://portal.example.org/path#x",)
    else:
        assert faults(**settings) == {field: "It has a fragment."}


@pytest.mark.parametrize("field", SERVER_URIS)
def test_plain_http_on_loopback_is_for_what_does_not_demand_https_oidc_registration_s2(field: str):
    settings = with_uri(field, "http://127.0.0.1:9000/path")
    if field in {"sector_identifier_uri", "initiate_login_uri"}:
        assert faults(**settings) == {field: "It must begin with https://."}
    else:
        assert client(**settings)


def test_a_request_uri_has_512_characters_at_most_oidc_core_s6_2():
    base = "https://portal.example.org/"
    assert client(request_uris=[base.ljust(512, "x")])
    assert list(faults(request_uris=[base.ljust(513, "x")])) == ["request_uris[0]"]


@pytest.mark.parametrize(
    ("uri", "shared"),
    [
        ("https://portal.example.org/logout?x=y", True),
        ("https://portal.example.org:443/logout", True),
        ("https://PORTAL.example.org/logout", True),
        ("https://portal.example.org:8443/logout", False),
        ("http://portal.example.org/logout", False),
        ("https://example.org/logout", False),
        ("https://portal.example.org.evil.example/logout", False),
        ("https://portal.example.org@evil.example/logout", False),
        ("https://portal.example.org/logout#x", False),
    ],
)
def test_frontchannel_logout_stays_with_an_origin_of_the_redirect_uris_frontchannel_s2(uri: str, shared: bool):
    if shared:
        assert client(frontchannel_logout_uri=uri).frontchannel_logout_uri == uri
    else:
        assert list(faults(frontchannel_logout_uri=uri)) == ["frontchannel_logout_uri"]


# ── Subjects ────────────────────────────────────────────────────────────────────────────────────────────────────────
HOSTS = {"redirect_uris": ["https://a.example/cb", "https://b.example/cb"]}


def test_pairwise_subjects_need_one_sector_oidc_core_s8_1():
    assert list(faults(subject_type="pairwise", **HOSTS)) == ["subject_type"]
    sector = {"sector_identifier_uri": "https://sector.example/uris.json"}
    assert client(subject_type="pairwise", **HOSTS, **sector).subject_type is SubjectType.PAIRWISE
    one_host = ["https://a.example/cb", "https://a.example:8443/other"]
    assert client(subject_type="pairwise", redirect_uris=one_host).subject_type is SubjectType.PAIRWISE


@pytest.mark.parametrize(
    "changes",
    [
        {"redirect_uris": [], "grant_types": ["client_credentials"]},
        {"redirect_uris": ["org.example.portal:/cb"], "application_type": "native"},
    ],
)
def test_a_client_without_a_host_has_no_sector_oidc_core_s8_1(changes: dict[str, Any]):
    assert list(faults(subject_type="pairwise", **changes)) == ["subject_type"]


# ── Registering ─────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_a_registered_client_gets_an_id_and_a_secret_that_is_stored_as_a_keyed_hash(
    store: Store, clock: FakeClock
):
    settings = {name: value for name, value in raw().items() if name != "client_id"}
    made, secret = await register(store, KEYS, clock, settings, issuer=OWN, actor="cli")
    assert secret is not None
    assert [held.hash for held in made.secrets] == [secret_hash(KEYS, secret)]
    async with store.read() as tx:
        assert await tx.clients.get(made.client_id) == made
        (event,) = await tx.audit_events.all()
    assert (event.action, event.target) == (AuditAction.CLIENT_CREATED, made.client_id)


async def test_a_public_client_gets_no_secret(store: Store, clock: FakeClock):
    made, secret = await register(store, KEYS, clock, raw(**PUBLIC), issuer=OWN, actor="cli")
    assert secret is None
    assert made.secrets == ()


async def test_a_client_that_signs_its_assertions_gets_no_secret(store: Store, clock: FakeClock):
    made, secret = await register(store, KEYS, clock, raw(**PRIVATE_KEY_JWT, jwks=jwks()), issuer=OWN, actor="cli")
    assert secret is None
    assert made.secrets == ()
    async with store.read() as tx:
        assert await tx.clients.get(made.client_id) == made


async def test_a_secret_that_makes_macs_is_long_enough_for_each_of_them_and_can_be_read_again(
    store: Store, clock: FakeClock
):
    made, secret = await register(store, KEYS, clock, raw(**SECRET_JWT), issuer=OWN, actor="cli")
    assert secret is not None
    assert len(secret) >= 64
    (held,) = made.secrets
    assert held.sealed is not None
    assert secret not in held.sealed
    assert open_secret(KEYS, made.client_id, held.sealed) == secret


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("redirect_uris", ["https://portal.example.org/", f"{OWN}/logout"]),
        ("post_logout_redirect_uris", ["https://portal.example.org/", f"{OWN.upper()}/"]),
        ("request_uris", ["https://portal.example.org/r", f"{OWN}:443/r"]),
    ],
)
def test_addresses_of_this_server_are_found_in_lists(field: str, value: list[str]):
    given = ClientInput.read(raw(**{field: value}))
    assert given.own_addresses(OWN) == {(field, 1): "it is an address of this server"}
    assert given.own_addresses("https://elsewhere.example") == {}


@pytest.mark.parametrize("field", ["jwks_uri", "initiate_login_uri", "backchannel_logout_uri", "client_uri", "tos_uri"])
def test_an_address_of_this_server_is_found_in_each_member(field: str):
    given = ClientInput.read(raw(**{field: f"{OWN}/x"}))
    assert given.own_addresses(OWN) == {(field,): "it is an address of this server"}


async def test_no_client_gets_an_address_of_this_server(store: Store, clock: FakeClock):
    with pytest.raises(InputRefused, match=r"redirect_uris\[0\]: it is an address of this server"):
        await register(store, KEYS, clock, raw(redirect_uris=[f"{OWN}/logout"]), issuer=OWN, actor="cli")
    async with store.read() as tx:
        assert await tx.clients.all() == []


def _uris(count: int) -> list[str]:
    return [f"https://portal.example.org/{number}" for number in range(count)]


@pytest.mark.parametrize("field", ["redirect_uris", "post_logout_redirect_uris", "request_uris", "contacts"])
def test_no_list_of_addresses_is_endless(field: str):
    assert len(getattr(client(**{field: _uris(50)}), field)) == 50
    assert faults(**{field: _uris(51)}) == {field: "It has more than 50 entries."}


async def test_an_id_in_use_is_refused(store: Store, clock: FakeClock):
    await register(store, KEYS, clock, raw(), issuer=OWN, actor="cli")
    with pytest.raises(InputRefused, match="there is a client with this id already"):
        await register(store, KEYS, clock, raw(), issuer=OWN, actor="cli")


def test_a_client_that_registered_itself_is_taken_over_by_who_writes_it_down():
    own = make_client(managed_by=ManagedBy.REGISTRATION, registration_access_token_hash="hash")
    taken = ClientInput.read(raw()).client(own, secrets=(), now=START, managed_by=ManagedBy.APPLY)
    assert (taken.managed_by, taken.registration_access_token_hash) == (ManagedBy.APPLY, None)
    assert not taken.self_registered
