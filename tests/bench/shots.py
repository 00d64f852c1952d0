"""The requests that are repeated, by the name of their row, and what tells two servers' answers apart."""

import json
from base64 import b64encode, urlsafe_b64decode
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any
from urllib.parse import quote, urlencode

import httpx2
from browser import Browser
from contestants import CLIENT, USERS
from load import Kind, Shot
from servers import Server

# Far more than connections, so that no chain gets long: the peer's in-memory adapter keeps an index of every token of
# a grant and walks through it at each new one, which a long chain would make it pay for.
CHAINS_PER_CONNECTION = 4

PROFILE = "openid profile email offline_access"
OFFLINE = "openid offline_access"

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
CREDENTIALS = f"{quote(str(CLIENT['client_id']))}:{quote(str(CLIENT['client_secret']))}"
AUTHENTICATED = FORM | {"Authorization": "Basic " + b64encode(CREDENTIALS.encode()).decode()}


@cache
def browser(server: Server, _process: int, user: int) -> Browser:
    """Return a user's browser, the same as long as the server's process lives."""
    return Browser(server, str(USERS[user]["email"]))


def tokens(server: Server, count: int, scope: str, params: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
    """Obtain tokens by as many authorizations, the users taking turns."""
    process = server.process.pid if server.process else 0
    return [browser(server, process, number % len(USERS)).tokens(scope, params) for number in range(count)]


def client_credentials(server: Server, _connections: int) -> Shot:
    return Shot(
        method="POST",
        url=server.discovery["token_endpoint"],
        headers=AUTHENTICATED,
        lines=["grant_type=client_credentials&scope=data.read"],
        accept=lambda answer: _algorithm(answer.json()["access_token"]) == "RS256",
    )


def jwks(server: Server, _connections: int) -> Shot:
    return Shot(url=server.discovery["jwks_uri"], accept=lambda answer: len(answer.json()["keys"]) > 0)


def discovery(server: Server, _connections: int) -> Shot:
    issuer = server.contestant.issuer
    return Shot(
        url=issuer + "/.well-known/openid-configuration", accept=lambda answer: answer.json()["issuer"] == issuer
    )


def userinfo(server: Server, connections: int) -> Shot:
    return Shot(
        url=server.discovery["userinfo_endpoint"],
        kind=Kind.BEARER,
        lines=[answer["access_token"] for answer in tokens(server, connections, PROFILE)],
        accept=lambda answer: answer.json()["email"] == USERS[0]["email"],
    )


def introspection(server: Server, connections: int) -> Shot:
    return Shot(
        method="POST",
        url=server.discovery["introspection_endpoint"],
        headers=AUTHENTICATED,
        lines=[urlencode({"token": answer["access_token"]}) for answer in tokens(server, connections, PROFILE)],
        accept=lambda answer: answer.json()["active"] is True,
    )


def refresh(server: Server, connections: int) -> Shot:
    # Without claims: the peer would put them into the ID token, because a JWT of its cannot fetch them from userinfo.
    answers = tokens(server, CHAINS_PER_CONNECTION * connections + 1, OFFLINE, server.contestant.refresh_params)
    chains = [answer["refresh_token"] for answer in answers]

    def rotated(answer: httpx2.Response) -> bool:
        signed = all(_algorithm(answer.json()[name]) == "RS256" for name in ("access_token", "id_token"))
        return signed and answer.json()["refresh_token"] != chains[0]

    return Shot(
        method="POST",
        url=server.discovery["token_endpoint"],
        headers=AUTHENTICATED,
        kind=Kind.CHAIN,
        lines=[f"grant_type=refresh_token&refresh_token={token}" for token in chains],
        accept=rotated,
    )


def login(server: Server, _connections: int) -> Shot:
    visitor = Browser(server, "")
    action, fields = visitor.login_form()
    cookies = "; ".join(f"{cookie.name}={cookie.value}" for cookie in visitor.http.cookies.jar)
    name = next(name for name, value in fields.items() if value == "")
    return Shot(
        method="POST",
        url=action,
        headers=FORM | {"Cookie": cookies, "Origin": server.contestant.issuer},
        lines=[urlencode(fields | {name: str(user["email"])}) for user in USERS],
        status=303,
        accept=lambda answer: "set-cookie" in answer.headers,
    )


SHARED: dict[str, Callable[[Server, int], Shot]] = {
    "client_credentials": client_credentials,
    "jwks": jwks,
    "discovery": discovery,
    "userinfo": userinfo,
    "introspection": introspection,
    "refresh": refresh,
}
SHOTS = SHARED | {"login": login}


def differences(ours: httpx2.Response, other: httpx2.Response) -> dict[str, list[str]]:
    """Name the members that only one of two answers has, those inside their JWTs too."""
    names = [set(_members(answer.json())) for answer in (ours, other)]
    return {
        "ours only": sorted(names[0] - names[1]),
        "theirs only": sorted(names[1] - names[0]),
        "body bytes": [str(len(answer.content)) for answer in (ours, other)],
    }


def _members(value: Any, path: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield f"{path}{name}"
            yield from _members(inner, f"{path}{name}.")
    elif isinstance(value, str) and value.startswith("eyJ") and value.count(".") == 2:
        header, payload, _ = value.split(".")
        yield from _members(_decoded(header), f"{path}header.")
        yield from _members(_decoded(payload), path)


def _algorithm(token: str) -> str:
    return str(_decoded(token.split(".")[0])["alg"])


def _decoded(part: str) -> dict[str, Any]:
    decoded: dict[str, Any] = json.loads(urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return decoded
