"""The clients of these tests, as an apply file names them, and the keys of those that have some."""

from typing import Any

from tests.support.assertion import private_key, public_jwk

SECRET = "a-secret-of-the-tests-of-relying-parties"
CALLBACK = "http://localhost:1/callback"
AFTER_LOGOUT = "http://localhost:1/bye"
# Where an ID token comes by way of the browser, a web application's address is https and not loopback.
HTTPS_CALLBACK = "https://application.example.org/callback"
ALGORITHMS = ("RS256", "PS256", "ES256", "EdDSA")
SCOPE = "openid profile email labs groups offline_access"
SERVICE_SCOPE = "measurements:read"
SIGNING_KEYS = {f"signs-{alg}": alg for alg in ALGORITHMS}
# Encryption by its two algorithms: the content encryption that goes with each, and the algorithm of the signature.
ENCRYPTIONS = {"RSA-OAEP-256": ("A256GCM", "PS256"), "ECDH-ES": ("A128GCM", "ES256")}
# What joserfc's keys are made for: encryption uses the same kinds.
_KINDS = {"RSA-OAEP-256": "RS256", "ECDH-ES": "ES256"}


def key_of(name: str, alg: str) -> dict[str, Any]:
    """Return a private key as the journeys import it."""
    return {"jwk": private_key(name, _KINDS.get(alg, alg)).as_dict(private=True), "alg": alg, "kid": name}


def jwks_of(**algs: str) -> dict[str, Any]:
    """Return the public halves of keys, by name."""
    return {
        "keys": [
            public_jwk(name, _KINDS.get(alg, alg), use="enc" if alg in ENCRYPTIONS else "sig") | {"alg": alg}
            for name, alg in algs.items()
        ]
    }


def clients(demo_url: str, documents_url: str) -> list[dict[str, Any]]:
    """Return every client; some have keys or request objects behind `documents_url`."""
    return [
        *(_web(f"web-{alg}", id_token_signed_response_alg=alg) for alg in ALGORITHMS),
        _web("post", token_endpoint_auth_method="client_secret_post"),
        _without_secret("public", token_endpoint_auth_method="none"),
        _service("service", client_secret=SECRET),
        _web(
            "demo",
            client_name="Demo application",
            client_secret="demo-secret",
            redirect_uris=[f"{demo_url}/callback"],
            post_logout_redirect_uris=[f"{demo_url}/"],
        ),
        *(
            _web(
                f"hybrid-{alg}",
                redirect_uris=[HTTPS_CALLBACK],
                grant_types=["authorization_code", "implicit", "refresh_token"],
                response_types=["code id_token"],
                id_token_signed_response_alg=alg,
                userinfo_signed_response_alg=alg,
            )
            for alg in ALGORITHMS
        ),
        _web(
            "implicit",
            redirect_uris=[HTTPS_CALLBACK],
            grant_types=["implicit"],
            response_types=["id_token"],
            scope="openid email",
        ),
        *(
            _web(
                f"encrypted-{alg}",
                redirect_uris=[HTTPS_CALLBACK],
                grant_types=["authorization_code", "implicit"],
                response_types=["code", "code id_token"],
                scope="openid email",
                jwks=jwks_of(**{f"opens-{alg}": alg}),
                id_token_signed_response_alg=signed,
                id_token_encrypted_response_alg=alg,
                id_token_encrypted_response_enc=enc,
                userinfo_signed_response_alg=signed,
                userinfo_encrypted_response_alg=alg,
                userinfo_encrypted_response_enc=enc,
            )
            for alg, (enc, signed) in ENCRYPTIONS.items()
        ),
        _without_secret(
            "signed-requests",
            token_endpoint_auth_method="private_key_jwt",
            jwks=jwks_of(**SIGNING_KEYS),
            require_signed_request_object=True,
        ),
        _without_secret(
            "referred-requests",
            token_endpoint_auth_method="private_key_jwt",
            jwks_uri=f"{documents_url}/referred-requests",
            request_uris=[f"{documents_url}/request.jwt"],
        ),
        _service("asserting", token_endpoint_auth_method="private_key_jwt", jwks=jwks_of(**SIGNING_KEYS)),
        _service("rotating", token_endpoint_auth_method="private_key_jwt", jwks_uri=f"{documents_url}/rotating"),
        _service("keyed", token_endpoint_auth_method="client_secret_jwt", client_secret=SECRET),
    ]


def _web(client_id: str, **metadata: Any) -> dict[str, Any]:
    return _without_secret(client_id, **{"client_secret": SECRET, **metadata})


def _without_secret(client_id: str, **metadata: Any) -> dict[str, Any]:
    return {
        "client_id": client_id,
        "redirect_uris": [CALLBACK],
        "post_logout_redirect_uris": [AFTER_LOGOUT],
        "grant_types": ["authorization_code", "refresh_token"],
        "scope": SCOPE,
        "allowed_labs": "*",
        **metadata,
    }


def _service(client_id: str, **metadata: Any) -> dict[str, Any]:
    return {
        "client_id": client_id,
        "grant_types": ["client_credentials"],
        "response_types": [],
        "scope": SERVICE_SCOPE,
        **metadata,
    }
