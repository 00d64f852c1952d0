"""The whole application over ASGI: a seeded world, time that is moved by hand, and a browser without scripts.

`start` runs as many nodes over one database as a test wants; `app` is one with the usual settings.
"""

import asyncio
import json
import shutil
from base64 import b64encode, urlsafe_b64decode, urlsafe_b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cache
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import parse_qsl, urljoin, urlsplit

import httpx2
import pytest

from idp.app import create_app
from idp.crypto.password import PasswordHasher
from idp.domain.client import ApplicationType, Client, ClientAuthMethod, ClientSecret, ClientStatus, GrantType
from idp.domain.lab import LabRole
from idp.domain.user import AdminRole, User, UserStatus
from idp.opening import open_store
from idp.protocol.parameters import Parameters
from idp.protocol.response_type import RESPONSE_TYPES
from idp.services.clients import secret_hash
from idp.services.installation import DataKeys
from idp.setting_sources import load_settings
from idp.settings import Settings
from idp.store.database import Database
from idp.store.errors import Unavailable
from idp.store.store import Store
from idp.store.words import user_words, words_of
from idp.web.services import Services
from tests.support.clock import START, FakeClock
from tests.support.factories import make_client, make_credential, make_lab, make_membership, make_user

ISSUER = "http://localhost:8000"
ALICE, BOB, MALLORY = "alice@example.org", "bob@example.org", "mallory@example.org"
ALICE_ID, BOB_ID, MALLORY_ID = "u_alice", "u_bob", "u_mallory"
PASSWORD = "correct-horse-battery"
VERIFIER = "a-verifier-of-at-least-forty-three-characters"
CHALLENGE = urlsafe_b64encode(sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
EVERY_SCOPE = "openid profile email address phone offline_access labs groups"
USUAL = {
    "IDP_ISSUER": ISSUER,
    "IDP_ARGON2_MEMORY_KIB": "64",
    "IDP_ARGON2_TIME_COST": "1",
}
# Longer than any answer takes on a busy machine; what takes longer hangs.
ANSWER_SECONDS = 20


@dataclass(frozen=True)
class Installed:
    """Keys made once for the run: making them anew for each test would cost a second each time."""

    key_encryption_key: str
    data_keys: DataKeys
    rows: Sequence[Any]


def secret_of(client_id: str) -> str:
    return f"secret-of-{client_id}"


def clients() -> list[Client]:
    """One client of each kind."""
    every = tuple(GrantType)
    code_and_refresh = (GrantType.AUTHORIZATION_CODE, GrantType.REFRESH_TOKEN)
    public = {"token_endpoint_auth_method": ClientAuthMethod.NONE, "grant_types": code_and_refresh}
    return [
        make_client(
            client_id="portal",
            redirect_uris=("https://portal.example.org/callback",),
            post_logout_redirect_uris=("https://portal.example.org/bye", "https://portal.example.org/?after=logout"),
            grant_types=every,
            scope=EVERY_SCOPE,
            allowed_labs="*",
        ),
        make_client(
            client_id="other",
            client_name="Other",
            redirect_uris=("https://other.example.org/callback", "https://other.example.org/second"),
            token_endpoint_auth_method=ClientAuthMethod.CLIENT_SECRET_POST,
            grant_types=every,
            scope="openid profile labs data:read",
            allowed_labs=("chem",),
        ),
        make_client(
            client_id="spa",
            client_name="Single Page",
            redirect_uris=("https://spa.example.org/callback",),
            post_logout_redirect_uris=("https://spa.example.org/",),
            **public,
            scope="openid profile offline_access",
        ),
        make_client(
            client_id="native",
            client_name="Native",
            application_type=ApplicationType.NATIVE,
            redirect_uris=("http://127.0.0.1/callback", "org.example.native:/callback"),
            **public,
        ),
        make_client(
            client_id="trusted",
            client_name="Trusted",
            redirect_uris=("https://trusted.example.org/callback",),
            trusted=True,
            web_origins=("https://app.example.org",),
        ),
        make_client(
            client_id="legacy",
            client_name="Legacy",
            redirect_uris=("https://legacy.example.org/callback?tenant=1",),
            grant_types=(GrantType.AUTHORIZATION_CODE,),
            require_pkce=False,
            scope="openid offline_access",
        ),
        make_client(
            client_id="hybrid",
            client_name="Hybrid",
            redirect_uris=("https://hybrid.example.org/callback",),
            grant_types=(GrantType.AUTHORIZATION_CODE, GrantType.IMPLICIT, GrantType.REFRESH_TOKEN),
            response_types=RESPONSE_TYPES,
            scope="openid profile email phone offline_access groups data:read",
            allowed_labs="*",
        ),
        make_client(
            client_id="robot",
            client_name="Robot",
            redirect_uris=(),
            grant_types=(GrantType.CLIENT_CREDENTIALS,),
            scope="openid labs data:read data:write",
        ),
        make_client(client_id="retired", client_name="Retired", status=ClientStatus.DISABLED),
    ]


def registered(client_id: str) -> Client:
    """Return the client as the world has it; an unknown one is public and can do nothing."""
    unknown = make_client(client_id=client_id, token_endpoint_auth_method=ClientAuthMethod.NONE)
    return next((client for client in clients() if client.client_id == client_id), unknown)


def people(password_hash: str) -> list[Any]:
    """Alice, who fills in everything; Bob, an administrator; Mallory, whose account is disabled; and two labs."""
    alice = make_user(
        id=ALICE_ID,
        email=ALICE,
        username="alice",
        email_verified=True,
        name="Alice Liddell",
        profile={
            "given_name": "Alice",
            "family_name": "Liddell",
            "address": {"locality": "Oxford", "country": "UK"},
            "phone_number": "+44 1865 000000",
            "phone_number_verified": False,
        },
    )
    bob = make_user(id=BOB_ID, email=BOB, username="bob", roles=(AdminRole.SUPER_ADMIN,))
    mallory = make_user(id=MALLORY_ID, email=MALLORY, status=UserStatus.DISABLED)
    chem = make_lab(id="lab_chem", slug="chem", name="Chemistry")
    return [
        *(alice, bob, mallory),
        *(
            make_credential(id=f"cred_{user.id}", user_id=user.id, secret=password_hash)
            for user in (alice, bob, mallory)
        ),
        *(make_lab(), chem),
        make_membership(user_id=ALICE_ID, role=LabRole.ADMIN),
        make_membership(user_id=ALICE_ID, lab_id=chem.id, role=LabRole.VIEWER, expires_at=START + timedelta(days=3)),
        make_membership(user_id=BOB_ID, role=LabRole.MEMBER),
    ]


def world(installed: Installed, password_hash: str) -> list[Any]:
    """Everybody and everything, with keys and with a secret for each client that keeps one."""
    with_secrets = [
        client if client.public else replace(client, secrets=(_secret(client, installed),)) for client in clients()
    ]
    return [*installed.rows, *people(password_hash), *with_secrets]


def _secret(client: Client, installed: Installed) -> ClientSecret:
    return ClientSecret(hash=secret_hash(installed.data_keys, secret_of(client.client_id)), created_at=START)


@dataclass(frozen=True)
class Answer:
    """What the browser carried to the application."""

    location: str
    params: Mapping[str, str]

    @property
    def code(self) -> str:
        return self.params["code"]

    @property
    def error(self) -> str | None:
        return self.params.get("error")


@dataclass
class Form:
    """A form of a page that is sent by POST, with what its fields hold; `names` are its fields' and buttons'."""

    action: str = ""
    fields: dict[str, str] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)


class _FormParser(HTMLParser):
    """Reads forms as browsers fill them in, of what their fields hold at first."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self._form: Form | None = None
        # The field whose text or chosen option is being read.
        self._field: str | None = None
        self.feed(markup)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "form" and values["method"] == "post":
            self._form = Form(values["action"])
            self.forms.append(self._form)
        if self._form is None:
            return
        fields, name = self._form.fields, values.get("name")
        if tag == "option" and self._field is not None:
            if "selected" in values or not fields[self._field]:
                fields[self._field] = values["value"]
        elif name is not None:
            self._form.names.add(name)
            ticked = values.get("type") not in {"checkbox", "radio"} or "checked" in values
            if tag in {"select", "textarea"}:
                self._field, fields[name] = name, ""
            elif tag == "input" and values.get("type") != "file" and ticked:
                fields[name] = values.get("value", "")

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._form = None
        elif tag in {"select", "textarea"}:
            self._field = None

    def handle_data(self, data: str) -> None:
        if self._form is not None and self._field is not None and self.lasttag == "textarea":
            # The first line break of a textarea is the markup's.
            self._form.fields[self._field] += data.removeprefix("\n")


def form_of(page: httpx2.Response, *names: str) -> Form:
    """Return the page's form; where there are several, the one that has these fields or buttons."""
    forms = _FormParser(page.text).forms
    assert forms, f"no form in: {page.status_code} {page.text[:2000]}"
    (form,) = forms if len(forms) == 1 else [form for form in forms if form.names.issuperset(names)]
    return form


class Browser:
    """Keeps cookies, follows redirects within the issuer and fills in forms."""

    def __init__(self, app: "App") -> None:
        self.app = app
        self.http = app.http()

    @property
    def cookies(self) -> dict[str, str]:
        return {cookie.name: cookie.value or "" for cookie in self.http.cookies.jar}

    async def get(self, url: str, **params: str) -> httpx2.Response:
        """Open an address and go where it leads, up to the first page or to an application."""
        return await self.follow(await self.http.get(url, params=params or None))

    async def follow(self, response: httpx2.Response) -> httpx2.Response:
        for _ in range(10):
            if response.status_code != 303 or not self._within(response.headers["location"]):
                return response
            response = await self.http.get(urljoin(self.app.issuer, response.headers["location"]))
        raise AssertionError(f"redirected again and again, last to {response.url}")

    def _within(self, location: str) -> bool:
        return urljoin(self.app.issuer, location).startswith(f"{self.app.issuer}/")

    async def post(
        self, page: httpx2.Response, headers: Mapping[str, str] | None = None, **values: str | None
    ) -> httpx2.Response:
        """Send the page's form as browsers do, and stay at the answer; people take a second to fill in a form.

        A value of None leaves the field out, as a box that is not ticked.
        """
        self.app.clock.advance(seconds=1)
        form = form_of(page, *values)
        filled_in = {name: value for name, value in {**form.fields, **values}.items() if value is not None}
        sent = {"Origin": self.app.issuer, "Sec-Fetch-Site": "same-origin", **(headers or {})}
        return await self.http.post(form.action, data=filled_in, headers=sent)

    async def submit(self, page: httpx2.Response, **values: str | None) -> httpx2.Response:
        return await self.follow(await self.post(page, **values))

    async def sign_in(
        self, page: httpx2.Response | None = None, *, user: str = ALICE, password: str = PASSWORD
    ) -> httpx2.Response:
        """Sign in on the page, by default on the one that belongs to no application."""
        return await self.submit(page or await self.get("/login"), username=user, password=password)

    async def request(self, client_id: str = "portal", **changes: str | None) -> httpx2.Response:
        """Arrive with an application's authorization request; a change of None leaves the parameter out."""
        return await self.get("/authorize", **self.app.authorization_request(client_id, **changes))

    async def authorize(
        self, client_id: str = "portal", *, user: str = ALICE, decision: str = "allow", **changes: str | None
    ) -> Answer:
        """Do all that an authorization request asks for, and return what reaches the application."""
        return await self.finish(await self.request(client_id, **changes), user=user, decision=decision)

    async def finish(self, page: httpx2.Response, *, user: str = ALICE, decision: str = "allow") -> Answer:
        if page.url.path == "/login":
            page = await self.sign_in(page, user=user)
        if page.url.path == "/consent" and page.status_code == 200:
            page = await self.submit(page, decision=decision)
        return answer_of(page)

    async def tokens(self, client_id: str = "portal", **changes: str | None) -> dict[str, Any]:
        """Go through the whole flow and return the token response."""
        answer = await self.authorize(client_id, **changes)
        response = await self.app.redeem(answer, client_id)
        assert response.status_code == 200, response.text
        return dict(response.json())


def answer_of(response: httpx2.Response) -> Answer:
    """Return what reaches the application, in whichever response mode."""
    if response.status_code == 200 and 'id="answer"' in response.text:
        form = form_of(response)
        return Answer(form.action, form.fields)
    assert response.status_code == 303, f"no redirect: {response.status_code} {response.url} {response.text[:2000]}"
    location = response.headers["location"]
    parts = urlsplit(location)
    sent = parts.fragment or parts.query
    return Answer(location, dict(parse_qsl(sent, keep_blank_values=True, strict_parsing=True)))


@dataclass
class App:
    """A running node."""

    asgi: Callable[..., Awaitable[None]]
    settings: Settings
    clock: FakeClock
    services: Services
    stack: AsyncExitStack

    @property
    def issuer(self) -> str:
        return self.settings.issuer

    @property
    def store(self) -> Store:
        return self.services["store"]

    def http(self) -> httpx2.AsyncClient:
        """Return a client of its own, with a cookie jar of its own, that follows nothing by itself."""
        transport = httpx2.ASGITransport(self._bounded)
        client = httpx2.AsyncClient(transport=transport, base_url=self.issuer, trust_env=False)
        self.stack.push_async_callback(client.aclose)
        return client

    async def _bounded(self, *arguments: Any) -> None:
        async with asyncio.timeout(ANSWER_SECONDS):
            await self.asgi(*arguments)

    def browser(self) -> Browser:
        return Browser(self)

    async def change(self, repository: str, key: Sequence[Any], **changes: Any) -> None:
        """Overwrite fields of a stored value; what is cached about clients is forgotten."""
        async with self.store.write() as tx:
            values = getattr(tx, repository)
            await values.save(replace(await values.get(*key), **changes))
        if repository == "clients":
            self.services["clients"].forget(*key)

    # ── What an application does ────────────────────────────────────────────────────────────────────────────────────
    def authorization_request(self, client_id: str = "portal", **changes: str | None) -> dict[str, str]:
        params: dict[str, str | None] = {
            "client_id": client_id,
            "redirect_uri": registered(client_id).redirect_uris[0],
            "response_type": "code",
            "scope": "openid profile",
            "state": "state-1",
            "nonce": "nonce-1",
            "code_challenge": CHALLENGE,
            "code_challenge_method": "S256",
            **changes,
        }
        return {name: value for name, value in params.items() if value is not None}

    async def post(
        self, path: str, client_id: str, headers: Mapping[str, str] | None = None, **form: str | None
    ) -> httpx2.Response:
        """Send a form as this client; a field of None is left out."""
        sent = {name: value for name, value in form.items() if value is not None}
        http = self.http()
        method = registered(client_id).token_endpoint_auth_method
        if method is ClientAuthMethod.NONE:
            return await http.post(path, data={"client_id": client_id, **sent}, headers=headers)
        if method is ClientAuthMethod.CLIENT_SECRET_POST:
            sent |= {"client_id": client_id, "client_secret": secret_of(client_id)}
            return await http.post(path, data=sent, headers=headers)
        return await http.post(path, data=sent, headers={**basic(client_id, secret_of(client_id)), **(headers or {})})

    async def redeem(self, answer: Answer, client_id: str = "portal", **changes: str | None) -> httpx2.Response:
        form = {
            "grant_type": "authorization_code",
            "code": answer.code,
            "redirect_uri": registered(client_id).redirect_uris[0],
            "code_verifier": VERIFIER,
            **changes,
        }
        return await self.post("/token", client_id, **form)

    async def refresh(self, refresh_token: str, client_id: str = "portal", **changes: str | None) -> httpx2.Response:
        form = {"grant_type": "refresh_token", "refresh_token": refresh_token, **changes}
        return await self.post("/token", client_id, **form)

    async def userinfo(self, token: str) -> httpx2.Response:
        return await self.http().get("/userinfo", headers=bearer(token))

    async def introspect(self, token: str, client_id: str = "portal") -> dict[str, Any]:
        response = await self.post("/introspect", client_id, token=token)
        assert response.status_code == 200, response.text
        return dict(response.json())

    async def is_alive(self, token: str, client_id: str = "portal") -> bool:
        return bool((await self.introspect(token, client_id))["active"])

    async def raw(
        self,
        method: str,
        path: str,
        *,
        query: bytes = b"",
        headers: Sequence[tuple[bytes, bytes]] = (),
        body: Sequence[bytes] = (b"",),
        caller: tuple[str, int] | None = ("127.0.0.1", 50000),
    ) -> httpx2.Response:
        """Send bytes that no well-behaved client would send, and return the answer."""
        sent: list[dict[str, Any]] = []
        chunks = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in body]
        chunks[-1]["more_body"] = False
        messages = iter([*chunks, {"type": "http.disconnect"}])

        async def receive() -> dict[str, Any]:
            return next(messages)

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode("utf-8", "surrogateescape"),
            "query_string": query,
            "headers": [(b"host", b"localhost:8000"), *headers],
            "server": ("localhost", 8000),
            "client": caller,
            "root_path": "",
        }
        await self._bounded(scope, receive, send)
        assert [message["type"] for message in sent[:1]] == ["http.response.start"]
        content = b"".join(message.get("body", b"") for message in sent[1:])
        return httpx2.Response(sent[0]["status"], headers=sent[0]["headers"], content=content)


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": f"Basic {b64encode(f'{user}:{password}'.encode()).decode()}"}


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def decoded(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return header and claims of a JWT, its signature unseen."""
    header, claims, _ = token.split(".")
    return _json(header), _json(claims)


def _json(part: str) -> dict[str, Any]:
    return dict(json.loads(urlsafe_b64decode(part + "=" * (-len(part) % 4))))


def parameters(**values: str) -> Parameters:
    return Parameters(values)


@asynccontextmanager
async def running(settings: Settings, clock: FakeClock) -> AsyncIterator[App]:
    """Run a node until the end of the block, through its lifespan as a server does it."""
    asgi = create_app(settings, clock=clock)
    state: dict[str, Any] = {}
    to_app: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    from_app: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    scope = {"type": "lifespan", "state": state, "asgi": {"version": "3.0"}}
    lifespan = asyncio.create_task(asgi(scope, to_app.get, from_app.put))

    async def serve(scope: dict[str, Any], receive: Any, send: Any) -> None:
        await asgi({**scope, "state": dict(state)}, receive, send)

    await to_app.put({"type": "lifespan.startup"})
    started = await from_app.get()
    if started["type"] != "lifespan.startup.complete":
        await lifespan
    async with AsyncExitStack() as stack:
        yield App(serve, settings, clock, state, stack)
    await to_app.put({"type": "lifespan.shutdown"})
    assert (await from_app.get())["type"] == "lifespan.shutdown.complete"
    await lifespan


@contextmanager
def out_of_reach(app: App) -> Iterator[None]:
    """Make the database unreachable, as a network does: whatever asks it is told so."""

    @asynccontextmanager
    async def no_connection(*arguments: object, **named: object) -> AsyncIterator[None]:
        raise Unavailable("ConnectionRefusedError: no details")
        yield

    async def no_answer(*arguments: object, **named: object) -> None:
        raise Unavailable("ConnectionRefusedError: no details")

    database = app.store.database
    with pytest.MonkeyPatch.context() as patch:
        for owner, name in ((database, "read"), (database, "write"), (database.lane, "transaction")):
            patch.setattr(type(owner), name, no_connection)
        patch.setattr(type(database.lane), "fetch", no_answer)
        yield


async def add_all(store: Store, values: Sequence[Any]) -> None:
    """Insert values of any nouns in one transaction."""
    await store.commit.append(*values)
    users = [value for value in values if isinstance(value, User)]
    words = [
        {"user_id": user.id, "word": word} for user in users for word in words_of(user.email, user.username, user.name)
    ]
    if words:
        async with store.database.write() as connection:
            await connection.execute(user_words.insert(), words)


async def _install(folder: Path) -> Installed:
    environ = {**USUAL, "IDP_DATABASE_URL": f"sqlite:///{folder}/idp.db", "IDP_KEYS_DIR": str(folder / "keys")}
    settings = load_settings(environ, cwd=folder)
    async with open_store(settings, clock=FakeClock(), create=True) as opened, opened.store.read() as tx:
        rows = [*await tx.installations.all(), *await tx.data_keys.all(), *await tx.signing_keys.all()]
        data_keys = opened.keys
    return Installed((folder / "keys" / "key-encryption-key").read_text().strip(), data_keys, rows)


async def _hash(password: str) -> str:
    hasher = PasswordHasher(memory_kib=64, time_cost=1)
    try:
        return await hasher.hash(password)
    finally:
        hasher.close()


@cache
def _installed() -> Installed:
    with TemporaryDirectory() as folder:
        return asyncio.run(_install(Path(folder)))


@cache
def _password_hash() -> str:
    return asyncio.run(_hash(PASSWORD))


# Each folder that imports these fixtures has fixtures of its own, all with the same values.
@pytest.fixture(scope="session")
def installed() -> Installed:
    return _installed()


@pytest.fixture(scope="session")
def password_hash() -> str:
    return _password_hash()


Start = Callable[..., Awaitable[App]]


@pytest.fixture
def seeded_url(
    database_url: str,
    installed: Installed,
    password_hash: str,
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
) -> str:
    """A database that holds the world; only the first of a worker is filled by the store, the others are copies."""
    if database_url.startswith("sqlite"):
        file = database_url.partition(":///")[2]
        kept = tmp_path_factory.getbasetemp() / "world.db"
        if kept.exists():
            assert not Path(f"{file}-wal").exists(), "the world is there before anything else is"
            shutil.copyfile(kept, file)
        else:
            asyncio.run(_fill(database_url, installed, password_hash))
            shutil.copyfile(file, kept)
    else:
        database = request.getfixturevalue("worker_database")
        if not database.restore():
            asyncio.run(_fill(database_url, installed, password_hash))
            database.keep()
    return database_url


async def _fill(database_url: str, installed: Installed, password_hash: str) -> None:
    store = Store(Database(database_url))
    try:
        await add_all(store, world(installed, password_hash))
    finally:
        await store.close()


@pytest.fixture
async def start(seeded_url: str, clock: FakeClock, installed: Installed, tmp_path: Path) -> AsyncIterator[Start]:
    """Start nodes over the seeded database; `IDP_*` settings are named as keywords in lower case without the prefix."""
    environ = {**USUAL, "IDP_DATABASE_URL": seeded_url, "IDP_KEY_ENCRYPTION_KEY": installed.key_encryption_key}
    async with AsyncExitStack() as stack:

        async def start(**settings: str) -> App:
            changed = {f"IDP_{name.upper()}": value for name, value in settings.items()}
            return await stack.enter_async_context(running(load_settings({**environ, **changed}, cwd=tmp_path), clock))

        yield start


@pytest.fixture
async def app(start: Start) -> App:
    return await start()


@pytest.fixture
def browser(app: App) -> Browser:
    return app.browser()
