"""Encrypting answers: when keys are asked for, and what is told when they cannot be had (OpenID Connect Core §10.2)."""

import pytest

from idp.outbound.client import Fetched, Outbound, OutboundError
from idp.protocol.errors import ServerError
from idp.services.client_encryption import ClientEncryption
from idp.services.client_keys import ClientKeys
from tests.support.assertion import jwks, public_jwk
from tests.support.clock import FakeClock
from tests.support.factories import make_client

ENCRYPTED = {
    f"{answer}_encrypted_response_{part}": value
    for answer in ("id_token", "userinfo")
    for part, value in (("alg", "ECDH-ES"), ("enc", "A256GCM"))
}
KEY = {"keys": [public_jwk("key-1", use="enc")]}


class Down(Outbound):
    """No server answers."""

    def __init__(self) -> None:
        self.asked = 0

    async def get(self, url: str, *, accept: str, max_bytes: int | None = None) -> Fetched:
        self.asked += 1
        raise OutboundError("https://rp.example cannot be reached")


@pytest.fixture
def down() -> Down:
    return Down()


@pytest.fixture
def encryption(down: Down, clock: FakeClock) -> ClientEncryption:
    return ClientEncryption(ClientKeys(down, clock))


async def test_who_registered_no_encryption_is_answered_as_it_is_and_nobody_is_asked(
    encryption: ClientEncryption, down: Down
) -> None:
    client = make_client(jwks_uri="https://rp.example/jwks")
    assert await encryption.id_token(client, "a.b.c") == "a.b.c"
    assert await encryption.userinfo(client, "{}", signed=False) == "{}"
    assert down.asked == 0


async def test_each_answer_is_encrypted_where_that_answer_was_registered(encryption: ClientEncryption) -> None:
    both = make_client(jwks=KEY, **ENCRYPTED)
    assert (await encryption.id_token(both, "a.b.c")).count(".") == 4
    assert (await encryption.userinfo(both, "{}", signed=False)).count(".") == 4
    wanted = {name: value for name, value in ENCRYPTED.items() if name.startswith("userinfo")}
    assert await encryption.id_token(make_client(jwks=KEY, **wanted), "a.b.c") == "a.b.c"


async def test_without_a_key_the_log_learns_why_and_the_answer_is_in_no_text(encryption: ClientEncryption) -> None:
    for keys, why in (
        ({"jwks": jwks("key-1")}, "no key to encrypt to"),
        ({"jwks_uri": "https://rp.example/jwks"}, "cannot be reached"),
        ({}, "no keys are registered"),
    ):
        client = make_client(**keys, **ENCRYPTED)
        with pytest.raises(ServerError) as failed:
            await encryption.id_token(client, "leaked-secret")
        assert why in failed.value.detail
        assert "leaked-secret" not in f"{failed.value} {failed.value.description} {failed.value.detail}"
