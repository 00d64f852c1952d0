"""The requests that are repeated, by the name of their row, and what tells two servers' answers apart."""

import json
from base64 import b64encode, urlsafe_b64decode
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from http.client import HTTPConnection
from itertools import cycle
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urljoin, urlsplit

import httpx2
from browser import Browser, authorization_url, code_in, exchange
from contestants import CLIENT, LABS, USERS
from load import Kind, Shot
from machine import BenchError
from servers import Server
from upstream import code

# Far more than connections, so that no chain gets long: the peer's in-memory adapter keeps an index of every token of
# a grant and walks through it at each new one, which a long chain would make it pay for.
CHAINS_PER_CONNECTION = 4

# Codes at a time, and the browsers that get them: the peer's in-memory adapter forgets what a thousand further entries
# found unused. Each exchange makes two, and each session with its grant is four.
CODES = 200
CODES_PER_BROWSER = 3

# People who come back from another provider, each at one visit, and how many of them at a time: as many connections to
# a provider wait for further requests, so that in this row there are hardly any handshakes.
VISITS, VISITORS = 400, 4

PROFILE = "openid profile email offline_access"
OFFLINE = "openid offline_access"
WITH_LABS, WITHOUT_LABS = f"{OFFLINE} groups labs", f"{OFFLINE} profile"

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
CREDENTIALS = f"{quote(str(CLIENT['client_id']))}:{quote(str(CLIENT['client_secret']))}"
AUTHENTICATED = FORM | {"Authorization": "Basic " + b64encode(CREDENTIALS.encode()).decode()}


@cache
def browser(server: Server, _process: int, number: int) -> Browser:
    """Return a browser, the same as long as the server's process lives; the first ones have a user each."""
    return Browser(server, str(USERS[number % len(USERS)]["email"]))


def tokens(server: Server, count: int, scope: str, params: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
    """Obtain tokens by as many authorizations, the users taking turns."""
    process = server.process.pid if server.process else 0
    return [browser(server, process, number % len(USERS)).tokens(scope, params) for number in range(count)]


def live_sessions(server: Server, count: int) -> list[str]:
    """Return the cookies of as many browsers whose user is signed in and has given consent."""
    process = server.process.pid if server.process else 0
    return [browser(server, process, number).cookies for number in range(count)]


def codes(server: Server, scope: str, count: int, sessions: Sequence[str]) -> Iterator[str]:
    """Obtain codes by as many authorizations, the live sessions taking turns."""
    url = urlsplit(authorization_url(server, scope, server.contestant.refresh_params))
    connection = HTTPConnection(url.hostname or "", url.port, timeout=30)
    for _, cookies in zip(range(count), cycle(sessions), strict=False):
        connection.request("GET", f"{url.path}?{url.query}", headers={"Cookie": cookies})
        answer = connection.getresponse()
        answer.read()
        code = code_in(answer.headers.get("Location", ""))
        if code is None:
            raise BenchError(f"{server.contestant.name}: a live session got {answer.status} and no code")
        yield code
    connection.close()


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
    return _rotation(server, connections, OFFLINE)


def lab_refresh(server: Server, connections: int) -> Shot:
    return _rotation(server, connections, WITH_LABS, lambda claims: len(claims["labs"]) == LABS)


def labless_refresh(server: Server, connections: int) -> Shot:
    return _rotation(server, connections, WITHOUT_LABS, lambda claims: "labs" not in claims)


def _rotation(
    server: Server, connections: int, scope: str, accept: Callable[[dict[str, Any]], bool] = lambda claims: True
) -> Shot:
    answers = tokens(server, CHAINS_PER_CONNECTION * connections + 1, scope, server.contestant.refresh_params)
    chains = [answer["refresh_token"] for answer in answers]

    def rotated(answer: httpx2.Response) -> bool:
        signed = all(_algorithm(answer.json()[name]) == "RS256" for name in ("access_token", "id_token"))
        claims = _decoded(answer.json()["access_token"].split(".")[1])
        return signed and answer.json()["refresh_token"] != chains[0] and accept(claims)

    return Shot(
        method="POST",
        url=server.discovery["token_endpoint"],
        headers=AUTHENTICATED,
        kind=Kind.CHAIN,
        lines=[f"grant_type=refresh_token&refresh_token={token}" for token in chains],
        accept=rotated,
    )


def authorization(server: Server, connections: int) -> Shot:
    return Shot(
        url=authorization_url(server, "openid profile email"),
        kind=Kind.COOKIE,
        lines=live_sessions(server, CHAINS_PER_CONNECTION * connections),
        status=303,
        accept=lambda answer: code_in(answer.headers["location"]) is not None,
    )


def code_exchange(server: Server, _connections: int) -> Shot:
    # Without claims, as for `refresh`.
    sessions = live_sessions(server, CODES // CODES_PER_BROWSER)
    return Shot(
        method="POST",
        url=server.discovery["token_endpoint"],
        headers=AUTHENTICATED,
        kind=Kind.ONCE,
        lines=[urlencode(exchange(code)) for code in codes(server, "openid", CODES + 1, sessions)],
        accept=lambda answer: (
            "refresh_token" in answer.json()
            and all(_algorithm(answer.json()[name]) == "RS256" for name in ("access_token", "id_token"))
        ),
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


def login_page(server: Server, _connections: int) -> Shot:
    return Shot(
        url=urljoin(server.contestant.issuer, "/login"),
        headers={"Cookie": _visitor(server)[0]},
        accept=lambda answer: 'type="password"' in answer.text,
    )


def upstream_leave(server: Server, _connections: int) -> Shot:
    cookies, csrf = _visitor(server)
    return Shot(
        method="POST",
        url=urljoin(server.contestant.issuer, "/login/google"),
        headers=FORM | {"Cookie": cookies, "Origin": server.contestant.issuer},
        lines=[urlencode({"csrf": csrf})],
        status=303,
        accept=lambda answer: "nonce=" in answer.headers["location"],
    )


def upstream_callback(server: Server, connections: int) -> Shot:
    leave = upstream_leave(server, connections)
    return Shot(
        url=f"{leave.url}/callback",
        headers={"Cookie": leave.headers["Cookie"]},
        kind=Kind.VISIT,
        connections=VISITORS,
        lines=list(answers_of_upstream(leave, VISITS + 1)),
        status=303,
        accept=lambda answer: "idp=" in answer.headers["set-cookie"],
    )


def answers_of_upstream(leave: Shot, count: int) -> Iterator[str]:
    """Let a browser leave for the provider as often; yield where as many people come back to."""
    url = urlsplit(leave.url)
    connection = HTTPConnection(url.hostname or "", url.port, timeout=30)
    for person in range(count):
        connection.request(leave.method, url.path, leave.lines[0], dict(leave.headers))
        answer = connection.getresponse()
        answer.read()
        sent = dict(parse_qsl(urlsplit(answer.headers.get("Location", "")).query))
        if answer.status != leave.status or "nonce" not in sent:
            raise BenchError(f"leaving for the provider got {answer.status}")
        # As Google answers.
        told = {
            "state": sent["state"],
            "code": code(person, sent["nonce"]),
            "scope": "email profile openid https://www.googleapis.com/auth/userinfo.email",
            "authuser": "0",
            "prompt": "none",
        }
        yield f"{url.path}/callback?{urlencode(told)}"
    connection.close()


def _visitor(server: Server) -> tuple[str, str]:
    """Return the cookies of a browser that stands on the sign-in page, and what its forms must bear."""
    visitor = Browser(server, "")
    _, fields = visitor.login_form()
    return "; ".join(f"{cookie.name}={cookie.value}" for cookie in visitor.http.cookies.jar), fields["csrf"]


SHARED: dict[str, Callable[[Server, int], Shot]] = {
    "client_credentials": client_credentials,
    "jwks": jwks,
    "discovery": discovery,
    "userinfo": userinfo,
    "introspection": introspection,
    "refresh": refresh,
    "authorization": authorization,
    "code_exchange": code_exchange,
}
# Where people sign in through another provider.
UPSTREAM: dict[str, Callable[[Server, int], Shot]] = {
    "upstream_callback": upstream_callback,
    "upstream_leave": upstream_leave,
    "login_page": login_page,
}
SHOTS = SHARED | UPSTREAM | {"login": login, "lab_refresh": lab_refresh, "labless_refresh": labless_refresh}


def differences(ours: httpx2.Response, other: httpx2.Response) -> dict[str, list[str]]:
    """Name the members that only one of two answers has, those inside their JWTs too."""
    names = [set(_members(_document(answer))) for answer in (ours, other)]
    return {
        "ours only": sorted(names[0] - names[1]),
        "theirs only": sorted(names[1] - names[0]),
        "body bytes": [str(len(answer.content)) for answer in (ours, other)],
    }


def _document(answer: httpx2.Response) -> Any:
    return dict(parse_qsl(urlsplit(answer.headers["location"]).query)) if answer.is_redirect else answer.json()


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
