"""Answers in every shape that npm openid-client reads: by form, by way of the browser, signed and encrypted."""

import json
from base64 import urlsafe_b64decode
from typing import Any

import pytest

from tests.relying_parties.clients import ALGORITHMS, ENCRYPTIONS, HTTPS_CALLBACK, SECRET, key_of
from tests.relying_parties.conftest import Walk
from tests.support.server import Provider

BASIC = {"method": "client_secret_basic", "secret": SECRET}
CODE_ID_TOKEN = {"code", "id_token", "state", "iss", "session_state"}


def came_in(seen: Any, place: str) -> dict[str, str]:
    """Return the parameters of an answer, all of which came in one place."""
    places = seen["places"]
    assert [name for name, parameters in places.items() if parameters] == [place]
    parameters: dict[str, str] = places[place]
    return parameters


def segment(token: str, number: int) -> Any:
    """Return the header (0) of a token, or the claims (1) of one that is not encrypted."""
    return json.loads(urlsafe_b64decode(token.split(".")[number] + "=="))


def test_a_code_comes_by_form_post(idp: Provider, walk: Walk) -> None:
    email = idp.new_person()
    seen = walk("outcome", idp, "web-RS256", **BASIC, responseMode="form_post", username=email)
    assert came_in(seen, "body").keys() == {"code", "state", "iss", "session_state"}
    assert seen["userinfo"]["email"] == email


# openid-client has checked c_hash, s_hash and nonce (OpenID Connect Core §3.3.2.11).
@pytest.mark.parametrize(("mode", "place"), [(None, "fragment"), ("fragment", "fragment"), ("form_post", "body")])
@pytest.mark.parametrize("alg", ALGORITHMS)
def test_a_hybrid_answer_and_its_code_are_about_one_person_oidc_core_s3_3_3_6(
    alg: str, mode: str | None, place: str, idp: Provider, walk: Walk
) -> None:
    seen = walk(
        "outcome",
        idp,
        f"hybrid-{alg}",
        **BASIC,
        metadata={"id_token_signed_response_alg": alg, "userinfo_signed_response_alg": alg},
        callback=HTTPS_CALLBACK,
        responseType="code id_token",
        responseMode=mode,
    )
    parameters = came_in(seen, place)
    assert parameters.keys() == CODE_ID_TOKEN
    header, claims = segment(parameters["id_token"], 0), segment(parameters["id_token"], 1)
    assert (header["alg"], claims["iss"], claims["sub"]) == (alg, seen["claims"]["iss"], seen["claims"]["sub"])
    assert "email" not in claims


@pytest.mark.parametrize(("mode", "place"), [(None, "fragment"), ("form_post", "body")])
def test_an_implicit_id_token_holds_the_claims_of_its_scopes_oidc_core_s5_4(
    mode: str | None, place: str, idp: Provider, walk: Walk
) -> None:
    email = idp.new_person()
    seen = walk(
        "outcome",
        idp,
        "implicit",
        **BASIC,
        callback=HTTPS_CALLBACK,
        scope="openid email",
        responseType="id_token",
        responseMode=mode,
        username=email,
    )
    assert came_in(seen, place).keys() == CODE_ID_TOKEN - {"code"}
    assert (seen["claims"]["aud"], seen["claims"]["email"]) == ("implicit", email)


@pytest.mark.parametrize("alg", ALGORITHMS)
def test_userinfo_is_signed_as_registered_oidc_core_s5_3_2(alg: str, idp: Provider, walk: Walk) -> None:
    email = idp.new_person()
    seen = walk(
        "outcome",
        idp,
        f"hybrid-{alg}",
        **BASIC,
        metadata={"id_token_signed_response_alg": alg, "userinfo_signed_response_alg": alg},
        callback=HTTPS_CALLBACK,
        responseType="code id_token",
        username=email,
    )
    assert seen["answered"]["type"] == "application/jwt"
    assert segment(seen["answered"]["body"], 0)["alg"] == alg
    assert (seen["userinfo"]["email"], seen["userinfo"]["aud"]) == (email, f"hybrid-{alg}")


@pytest.mark.parametrize("response_type", ["code", "code id_token"])
@pytest.mark.parametrize("alg", ENCRYPTIONS)
def test_id_tokens_and_userinfo_are_signed_then_encrypted_to_the_client_oidc_core_s10_2(
    alg: str, response_type: str, idp: Provider, walk: Walk
) -> None:
    enc, signed = ENCRYPTIONS[alg]
    email = idp.new_person()
    seen = walk(
        "outcome",
        idp,
        f"encrypted-{alg}",
        **BASIC,
        metadata={"id_token_signed_response_alg": signed, "userinfo_signed_response_alg": signed},
        decryption=key_of(f"opens-{alg}", alg) | {"enc": enc},
        callback=HTTPS_CALLBACK,
        scope="openid email",
        responseType=response_type,
        username=email,
    )
    encrypted = [seen["id_token"], seen["answered"]["body"]]
    if response_type == "code id_token":
        encrypted.append(came_in(seen, "fragment")["id_token"])
    for token in encrypted:
        assert token.count(".") == 4
        header = segment(token, 0)
        assert (header["alg"], header["enc"], header["cty"]) == (alg, enc, "JWT")
    assert seen["answered"]["type"] == "application/jwt"
    assert (seen["userinfo"]["email"], seen["claims"]["aud"]) == (email, f"encrypted-{alg}")
