"""Who sent a request: by secret, or by an assertion that counts once; and whatever is wrong looks the same."""

import asyncio
import json
from base64 import urlsafe_b64encode
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from idp.domain.client import Client, ClientAuthMethod, ClientSecret, ClientStatus
from idp.outbound.client import Fetched, Outbound, OutboundError
from idp.protocol.errors import InvalidClient, InvalidRequest
from idp.services.client_authentication import ClientAuthentication
from idp.services.client_keys import ClientKeys
from idp.services.clients import Clients, make_secret, secret_hash
from idp.services.installation import DataKeys
from idp.services.sweep import Sweep
from idp.store.database import Database
from idp.store.store import Store
from tests.support.app import Installed, add_all, basic, parameters
from tests.support.assertion import (
    ISSUER,
    claims_of,
    compact,
    form_of_assertion,
    jwks,
    maced,
    private_key,
    public_jwk,
    signed,
)
from tests.support.clock import START, FakeClock
from tests.support.factories import make_client

SECRET = "a-shared-secret-of-at-least-sixty-four-characters-for-hs512-too-x"
URI = "https://rp.example/jwks"
PRIVATE_KEY_JWT = ClientAuthMethod.PRIVATE_KEY_JWT
CLIENT_SECRET_JWT = ClientAuthMethod.CLIENT_SECRET_JWT


class Nowhere(Outbound):
    """A network that tells who was asked, and that has nothing."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def get(self, url: str, *, accept: str, max_bytes: int | None = None) -> Fetched:
        self.asked.append(url)
        raise OutboundError("there is nobody")


@pytest.fixture
def keys(installed: Installed) -> DataKeys:
    return installed.data_keys


@pytest.fixture
def outbound() -> Nowhere:
    return Nowhere()


def signing(client_id: str, **changes: Any) -> Client:
    defaults = {"token_endpoint_auth_method": PRIVATE_KEY_JWT, "jwks": jwks("key-1")}
    return make_client(client_id=client_id, **{**defaults, **changes})


@pytest.fixture
async def node(store: Store, clock: FakeClock, keys: DataKeys, outbound: Nowhere) -> ClientAuthentication:
    hashed = ClientSecret(hash=secret_hash(keys, SECRET), created_at=START)
    sealed = make_secret(keys, "mac", CLIENT_SECRET_JWT, SECRET, START)
    every = [public_jwk(alg, alg) for alg in ("RS256", "PS256", "ES256", "EdDSA")]
    await add_all(
        store,
        [
            make_client(secrets=(hashed,)),
            make_client(client_id="spa", token_endpoint_auth_method=ClientAuthMethod.NONE),
            make_client(client_id="retired", status=ClientStatus.DISABLED, secrets=(hashed,)),
            signing("signer"),
            signing("other"),
            signing("every", jwks={"keys": every}),
            signing("strict", token_endpoint_auth_signing_alg="ES256"),
            signing("remote", jwks=None, jwks_uri=URI),
            signing("keyless", jwks=None),
            signing("gone", jwks=None, jwks_uri=URI, status=ClientStatus.DISABLED),
            signing("both", secrets=(replace(sealed, sealed=None),)),
            make_client(client_id="mac", token_endpoint_auth_method=CLIENT_SECRET_JWT, secrets=(sealed,)),
            make_client(client_id="unsealed", token_endpoint_auth_method=CLIENT_SECRET_JWT, secrets=(hashed,)),
            # Copied from another client's row.
            make_client(client_id="copied", token_endpoint_auth_method=CLIENT_SECRET_JWT, secrets=(sealed,)),
        ],
    )
    return another_node(store, clock, keys, outbound)


def another_node(store: Store, clock: FakeClock, keys: DataKeys, outbound: Outbound) -> ClientAuthentication:
    clients, client_keys = Clients(store, keys, clock), ClientKeys(outbound, clock)
    audiences = [f"{ISSUER}/token", f"{ISSUER}/introspect"]
    return ClientAuthentication(clients, client_keys, store, keys, clock, issuer=ISSUER, audiences=audiences)


async def sent_by(
    node: ClientAuthentication, assertion: str | None = None, authorization: dict[str, str] | None = None, **form: str
) -> str:
    header = None if authorization is None else authorization["Authorization"]
    body = form if assertion is None else form_of_assertion(assertion, **form)
    return (await node.authenticate(header, parameters(**body))).client_id


async def refusal(node: ClientAuthentication, assertion: str, **form: str) -> InvalidClient:
    with pytest.raises(InvalidClient) as refused:
        await sent_by(node, assertion, **form)
    assert refused.value.status == 401
    return refused.value


async def seen(store: Store) -> int:
    """How many rows the sweep deletes when all have expired."""
    return await Sweep(store, FakeClock(START + timedelta(days=1))).run()


# ── Secrets ─────────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_the_right_secret_is_accepted_in_header_and_body_rfc6749_s2_3_1(node: ClientAuthentication) -> None:
    assert await sent_by(node, authorization=basic("portal", SECRET)) == "portal"
    assert await sent_by(node, client_id="portal", client_secret=SECRET) == "portal"
    assert await sent_by(node, client_id="spa") == "spa"


async def test_any_other_secret_is_refused_with_one_description_rfc6749_s5_2(node: ClientAuthentication) -> None:
    descriptions = set()
    for authorization, form in (
        (basic("portal", "wrong"), {}),
        (basic("portal", ""), {}),
        (basic("unknown", SECRET), {}),
        (basic("retired", SECRET), {}),
        (basic("mac", SECRET), {}),
        (basic("both", SECRET), {}),
        (None, {"client_id": "portal"}),
        (None, {"client_id": "portal", "client_secret": "wrong"}),
        (None, {"client_id": "spa", "client_secret": "any"}),
        (None, {"client_id": "mac", "client_secret": SECRET}),
        (None, {"client_id": "signer"}),
    ):
        with pytest.raises(InvalidClient) as refused:
            await sent_by(node, authorization=authorization, **form)
        descriptions.add(refused.value.description)
    assert descriptions == {InvalidClient.default_description}


async def test_two_credentials_are_an_invalid_request_rfc6749_s2_3(node: ClientAuthentication) -> None:
    for assertion, authorization, form in (
        (None, basic("portal", SECRET), {"client_secret": SECRET}),
        (signed("signer"), basic("portal", SECRET), {}),
        (signed("both"), None, {"client_id": "both", "client_secret": SECRET}),
    ):
        with pytest.raises(InvalidRequest):
            await sent_by(node, assertion, authorization, **form)


# ── Assertions that are right ───────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("alg", ["RS256", "PS256", "ES256", "EdDSA"])
async def test_a_client_proves_itself_with_its_private_key_rfc7523_s2_2(node: ClientAuthentication, alg: str) -> None:
    assert await sent_by(node, signed("every", alg, alg=alg)) == "every"
    assert await sent_by(node, signed("every", alg, alg=alg), client_id="every") == "every"


@pytest.mark.parametrize("alg", ["HS256", "HS384", "HS512"])
async def test_a_client_proves_itself_with_a_mac_oidc_core_s9(node: ClientAuthentication, alg: str) -> None:
    assert await sent_by(node, maced("mac", SECRET, alg=alg)) == "mac"


async def test_both_secrets_count_while_one_is_rotated(
    node: ClientAuthentication, store: Store, clock: FakeClock, keys: DataKeys
) -> None:
    new = await Clients(store, keys, clock).rotate_secret("mac", overlap=timedelta(minutes=1), actor="test")

    assert await sent_by(node, maced("mac", SECRET)) == "mac"
    assert await sent_by(node, maced("mac", new)) == "mac"
    now = clock.advance(timedelta(minutes=1))
    await refusal(node, maced("mac", SECRET, now=now))
    assert await sent_by(node, maced("mac", new, now=now)) == "mac"


@pytest.mark.parametrize("aud", [ISSUER, f"{ISSUER}/token", f"{ISSUER}/introspect", ["https://x.example", ISSUER]])
async def test_it_is_meant_for_the_issuer_or_an_endpoint_of_it_rfc7523_s3(node: ClientAuthentication, aud: Any) -> None:
    assert await sent_by(node, signed("signer", aud=aud)) == "signer"


@pytest.mark.parametrize(
    "header",
    [
        {"jku": "https://evil.example/jwks"},
        {"x5u": "https://evil.example/chain"},
        {"jwk": public_jwk("stranger")},
        {"x5c": ["MIIB"]},
        {"kid": "unknown"},
        {"kid": ""},
        {"typ": "client-authentication+jwt"},
    ],
)
async def test_what_else_stands_in_the_header_changes_nothing_rfc8725_s3_10(
    node: ClientAuthentication, outbound: Nowhere, header: dict[str, Any]
) -> None:
    assert await sent_by(node, signed("signer", header=header)) == "signer"
    assert outbound.asked == []


# ── Assertions that prove nothing ───────────────────────────────────────────────────────────────────────────────────
def public_pem(name: str) -> bytes:
    return bytes(private_key(name).raw_value.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


def forgeries() -> dict[str, str]:
    good = claims_of("signer")
    head, body, signature = signed("signer").split(".")
    key, stranger = private_key("key-1"), private_key("stranger")
    header = {"alg": "ES256", "kid": "key-1"}
    own_key = public_jwk("stranger", kid="key-1")
    return {
        "unsigned": compact({"alg": "none"}, good, None),
        "unsigned, with the kid of a key": compact({"alg": "none", "kid": "key-1"}, good, None),
        "signed, then declared unsigned": f"{compact({'alg': 'none'}, good, None)}{signature}",
        "signature stripped": f"{head}.{body}.",
        "another's signature": f"{head}.{body}.{signed('signer').split('.')[2]}",
        "another's claims": f"{head}.{signed('signer').split('.')[1]}.{signature}",
        "a foreign key under the right kid": compact(header, good, stranger),
        "a foreign key without a kid": compact({"alg": "ES256"}, good, stranger),
        "a foreign key in the header": compact({**header, "jwk": own_key}, good, stranger),
        "a foreign key by address": compact({**header, "jku": "https://evil.example/jwks"}, good, stranger),
        "a foreign certificate by address": compact({**header, "x5u": "https://evil.example/x"}, good, stranger),
        "a critical extension": compact({**header, "crit": ["exp"], "exp": 1}, good, key),
        "an unencoded payload": compact({**header, "crit": ["b64"], "b64": False}, good, key),
        "kid as a list": compact({"alg": "ES256", "kid": ["key-1"]}, good, key),
        "kid as a path": compact({"alg": "ES256", "kid": "../../dev/null"}, good, stranger),
        "typ of an access token": compact({**header, "typ": "at+jwt"}, good, key),
        "typ of a request object": compact({**header, "typ": "oauth-authz-req+jwt"}, good, key),
        "another client's key and name": signed("signer", "stranger", sub="signer", iss="signer"),
        "HS256 with the public key as PEM": compact({"alg": "HS256"}, good, public_pem("key-1")),
        "HS256 with the public key's coordinate": compact({"alg": "HS256"}, good, public_jwk("key-1")["x"].encode()),
        "HS256 with the public key as JSON": compact({"alg": "HS256"}, good, json.dumps(public_jwk("key-1")).encode()),
        "HS256 with an empty secret": compact({"alg": "HS256"}, claims_of("mac"), b""),
        "of an unknown client": signed("unknown"),
        "of a disabled client": signed("gone"),
        "of a client with a secret": signed("portal"),
        "of a public client": signed("spa"),
        "of a client without keys": signed("keyless"),
        "of a client whose keys are out of reach": signed("remote"),
        "of a client with secrets for MACs": signed("mac"),
        "a MAC of a client with keys": maced("both", SECRET),
        "a MAC of a client with a secret": maced("portal", SECRET),
        "a MAC with another secret": maced("mac", SECRET[::-1]),
        "a MAC with a secret that is only hashed": maced("unsealed", SECRET),
        "a MAC with a secret of another client": maced("copied", SECRET),
        "another algorithm than the registered one": signed("strict", "RS256", alg="RS256"),
    }


def _base64url(octets: bytes) -> str:
    return urlsafe_b64encode(octets).rstrip(b"=").decode()


async def test_no_forgery_is_accepted_and_all_look_alike_rfc8725(
    node: ClientAuthentication, store: Store, outbound: Nowhere
) -> None:
    for name, assertion in forgeries().items():
        error = await refusal(node, assertion)
        assert error.description == InvalidClient.default_description, name
        assert error.detail, name
        assert assertion.split(".")[1] not in error.detail, name
    # Only the registered address of a client that is served is ever asked, and nothing is remembered of strangers.
    assert outbound.asked == [URI]
    assert await seen(store) == 0


MALFORMED = {
    "no dots": "assertion",
    "two parts": "a.b",
    "five parts, encrypted": "a.b.c.d.e",
    "no base64": "a!.b!.c!",
    "no JSON": f"{_base64url(b'x')}.{_base64url(b'x')}.",
    "a list": f"{_base64url(b'[]')}.{_base64url(b'[]')}.",
    "not ASCII": signed("signer").replace("e", "é", 1),
    "a space in front": f" {signed('signer')}",
    "a line break": f"{signed('signer')}\n",
    "oversized": signed("signer", padding="x" * 20_000),
    "a claim twice": compact(
        {"alg": "ES256", "kid": "key-1"},
        json.dumps(claims_of("signer")).replace('{"iss"', '{"sub": "other", "iss"'),
        private_key("key-1"),
    ),
    "about nobody": signed("signer", sub=None),
    "about a list": signed("signer", sub=["signer"]),
}


@pytest.mark.parametrize("assertion", MALFORMED.values(), ids=MALFORMED.keys())
async def test_what_cannot_be_read_is_refused_and_nobody_asked_rfc7519_s7_2(
    node: ClientAuthentication, store: Store, outbound: Nowhere, assertion: str
) -> None:
    await refusal(node, assertion)
    assert outbound.asked == []
    assert await seen(store) == 0


@pytest.mark.parametrize("client_id", ["x" * 3000, "\x00", "sign\x00er", "ü", "", " signer", "SIGNER"])
async def test_a_client_of_any_name_is_unknown(node: ClientAuthentication, client_id: str) -> None:
    await refusal(node, signed(client_id))


async def test_the_assertion_of_one_client_is_no_proof_for_another_in_the_body_rfc7521_s4_2(
    node: ClientAuthentication, store: Store
) -> None:
    assertion = signed("signer")
    with pytest.raises(InvalidRequest):
        await sent_by(node, assertion, client_id="other")
    assert await sent_by(node, assertion) == "signer"


# ── Assertions of the right client that do not count ────────────────────────────────────────────────────────────────
AT = START.timestamp()


@pytest.mark.parametrize(
    ("claims", "told"),
    [
        ({"iss": "other"}, "iss and sub"),
        ({"iss": None}, "iss and sub"),
        ({"aud": "https://other.example"}, "not for this server"),
        ({"aud": None}, "not for this server"),
        ({"exp": None}, "needs an exp"),
        ({"exp": AT}, "expired"),
        ({"exp": AT + 86400}, "lives too long"),
        ({"nbf": AT + 60}, "from the future"),
        ({"jti": None}, "needs a jti"),
    ],
)
async def test_who_proved_to_be_the_client_is_told_what_is_wrong_rfc7523_s3(
    node: ClientAuthentication, store: Store, claims: dict[str, Any], told: str
) -> None:
    assert told in (await refusal(node, signed("signer", **claims))).description
    assert await seen(store) == 0
    # And who proved nothing is not.
    stranger = await refusal(node, signed("signer", "stranger", **claims))
    assert stranger.description == InvalidClient.default_description


async def test_an_assertion_counts_once_rfc7523_s3(node: ClientAuthentication, store: Store) -> None:
    assertion = signed("signer", jti="once")
    assert await sent_by(node, assertion) == "signer"

    assert "used before" in (await refusal(node, assertion)).description
    assert "used before" in (await refusal(node, signed("signer", jti="once", exp=AT + 90))).description
    assert await seen(store) == 1


async def test_another_client_may_use_the_same_jti(node: ClientAuthentication) -> None:
    assert await sent_by(node, signed("signer", jti="1")) == "signer"
    assert await sent_by(node, signed("other", jti="1")) == "other"
    assert await sent_by(node, maced("mac", SECRET, jti="1")) == "mac"


async def test_a_stranger_uses_up_no_jti(node: ClientAuthentication) -> None:
    await refusal(node, signed("signer", "stranger", jti="once"))
    assert await sent_by(node, signed("signer", jti="once")) == "signer"


async def test_what_was_used_is_remembered_by_other_nodes_and_after_a_restart(
    node: ClientAuthentication, database_url: str, clock: FakeClock, keys: DataKeys, outbound: Nowhere
) -> None:
    assertion = signed("signer")
    await sent_by(node, assertion)

    other_store = Store(Database(database_url))
    try:
        await refusal(another_node(other_store, clock, keys, outbound), assertion)
    finally:
        await other_store.close()


async def test_of_many_concurrent_uses_on_two_nodes_one_wins(
    node: ClientAuthentication, database_url: str, clock: FakeClock, keys: DataKeys, outbound: Nowhere
) -> None:
    other_store = Store(Database(database_url))
    try:
        nodes = [node, another_node(other_store, clock, keys, outbound)]
        for _ in range(5):
            assertion = signed("signer")
            outcomes = await asyncio.gather(
                *(sent_by(nodes[number % 2], assertion) for number in range(16)), return_exceptions=True
            )
            assert outcomes.count("signer") == 1
            assert all(outcome == "signer" or isinstance(outcome, InvalidClient) for outcome in outcomes)
    finally:
        await other_store.close()


async def test_it_is_remembered_until_no_node_would_accept_it_any_more(
    node: ClientAuthentication, store: Store, clock: FakeClock
) -> None:
    assertion = signed("signer", exp=AT + 60)
    await sent_by(node, assertion)
    clock.advance(seconds=59)
    await Sweep(store, clock).run()
    assert "used before" in (await refusal(node, assertion)).description
    # A node whose clock is a minute ahead deletes it no earlier than it ends for the others.
    await Sweep(store, FakeClock(START + timedelta(seconds=119))).run()
    assert "used before" in (await refusal(node, assertion)).description

    clock.advance(seconds=62)
    assert await Sweep(store, clock).run() == 1

    assert "expired" in (await refusal(node, assertion)).description


# ── Who is named ────────────────────────────────────────────────────────────────────────────────────────────────────
async def named(node: ClientAuthentication, authorization: dict[str, str] | None = None, **form: str) -> str | None:
    header = None if authorization is None else authorization["Authorization"]
    client = await node.find_named(header, parameters(**form))
    return None if client is None else client.client_id


async def test_a_request_names_a_client_whether_it_proves_it_or_not(node: ClientAuthentication) -> None:
    assert await named(node, basic("portal", "wrong")) == "portal"
    assert await named(node, client_id="spa") == "spa"
    used = form_of_assertion(signed("signer"))
    assert await named(node, **used) == "signer"
    assert await sent_by(node, used["client_assertion"]) == "signer"
    assert await named(node, **form_of_assertion(signed("signer", "stranger"))) == "signer"


async def test_a_request_that_names_none_or_two_clients_names_none(node: ClientAuthentication) -> None:
    assert await named(node) is None
    assert await named(node, {"Authorization": "Basic !"}) is None
    assert await named(node, client_id="unknown") is None
    assert await named(node, client_id="gone") is None
    assert await named(node, **form_of_assertion("a.b.c")) is None
    assert await named(node, **form_of_assertion(signed("signer"), client_id="other")) is None
    assert await named(node, client_assertion=signed("signer")) is None
