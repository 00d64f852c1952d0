"""The API of labs with everybody who might call it: each has a token that was issued without a browser.

Alice is an admin of `bio` and a viewer of `chem`, Carl a member of `bio`; Bob, Adam and Vera administer or view the
installation, Dora belongs to nothing. `robot` has a role in `bio`, `idle` has none anywhere, `steward` is trusted with
all labs. Alice and Bob call through `manager`, which may see all labs, and through `chemist`, which may see `chem`.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from typing import Any

import httpx2
import pytest

from idp.crypto.opaque import hash_token
from idp.domain.client import GrantType
from idp.domain.join_request import JoinRequest
from idp.domain.lab import LabRole
from idp.domain.lab_grant import LabGrant
from idp.domain.user import AdminRole
from idp.web.api.operation import API, Operation
from idp.web.api.operations import OPERATIONS
from tests.support.app import ALICE_ID, BOB_ID, ISSUER, App, add_all, bearer
from tests.support.clock import START
from tests.support.factories import (
    make_access_token,
    make_client,
    make_grant,
    make_lab,
    make_membership,
    make_user,
)

BOTH = "labs:read labs:write"
ROOT = "/api/v1/labs"
BIO = f"{ROOT}/bio"
# Whoever calls: the application, and the person whom it acts for.
CALLERS = {
    "bob": ("manager", BOB_ID),
    "adam": ("manager", "u_adam"),
    "vera": ("manager", "u_vera"),
    "alice": ("manager", ALICE_ID),
    "carl": ("manager", "u_carl"),
    "dora": ("manager", "u_dora"),
    "alice by chemist": ("chemist", ALICE_ID),
    "bob by chemist": ("chemist", BOB_ID),
    "robot": ("lab-robot", None),
    "idle": ("lab-idle", None),
    "steward": ("lab-steward", None),
}


def _world() -> list[Any]:
    service = {"grant_types": (GrantType.CLIENT_CREDENTIALS,), "redirect_uris": (), "scope": BOTH}
    people = {"adam": (AdminRole.ADMIN,), "vera": (AdminRole.VIEWER,), "carl": (), "dora": (), "erin": (), "fred": ()}
    return [
        *(
            make_user(id=f"u_{name}", email=f"{name}@example.org", username=name, name=name.title(), roles=roles)
            for name, roles in people.items()
        ),
        make_membership(user_id="u_carl"),
        make_lab(id="lab_old", slug="old", name="Old"),
        make_client(client_id="manager", client_name="Manager", scope=BOTH, allowed_labs="*"),
        make_client(client_id="chemist", client_name="Chemist", scope=BOTH, allowed_labs=("chem",)),
        make_client(client_id="lab-robot", client_name="Robot", **service),
        make_client(client_id="lab-idle", client_name="Idle", **service),
        make_client(client_id="lab-steward", client_name="Steward", trusted=True, allowed_labs="*", **service),
        LabGrant(
            client_id="lab-robot",
            lab_id="lab_bio",
            role=LabRole.ADMIN,
            granted_by=ALICE_ID,
            created_at=START,
            expires_at=START + timedelta(days=100),
        ),
        JoinRequest(lab_id="lab_bio", user_id="u_fred", created_at=START, message="Let me in."),
    ]


def operation_of(method: str, path: str) -> Operation | None:
    """The operation that answers, whatever the path names."""
    for operation in OPERATIONS:
        pattern = re.sub(r"\{\w+\}", "[^/]+", re.sub(r"\{\w+:path\}", ".+", API + operation.path))
        if operation.method == method and re.fullmatch(pattern, path):
            return operation
    return None


def kind_of(response: httpx2.Response) -> str:
    """The name of the kind of problem that was told; empty for a success."""
    return "" if response.is_success else response.json()["type"].rpartition("/")[2]


def check_documented(response: httpx2.Response) -> None:
    """Nothing is answered that the document does not name."""
    operation = operation_of(response.request.method, response.request.url.path)
    if operation is None:
        return
    if response.is_success:
        assert response.status_code in operation.answers
    else:
        told = [(kind.status, kind.name) for kind in operation.kinds]
        assert (response.status_code, kind_of(response)) in told, (response.request, response.text)


@dataclass
class LabsApi:
    """A running node, and calls to it."""

    app: App
    numbers: Iterator[int]

    async def token(self, caller: str = "alice", *, scope: str = BOTH, **changes: Any) -> str:
        """Issue an access token; `changes` are the token's."""
        client_id, user_id = CALLERS[caller]
        number = next(self.numbers)
        token, rows = f"token-{number}", []
        if user_id is not None:
            grant = make_grant(id=f"g_{number}", client_id=client_id, user_id=user_id, session_id=None, acr="1")
            rows.append(grant)
        row = make_access_token(
            **{
                "hash": hash_token(token),
                "jti": f"jti-{number}",
                "client_id": client_id,
                "grant_id": None if user_id is None else f"g_{number}",
                "scope": scope,
                "audience": ISSUER,
                "expires_at": START + timedelta(hours=12),
                **changes,
            }
        )
        await add_all(self.app.store, [*rows, row])
        return token

    async def send(
        self, method: str, path: str, token: str | None, json: object = None, **options: Any
    ) -> httpx2.Response:
        headers = {**({} if token is None else bearer(token)), **options.pop("headers", {})}
        if json is not None:
            options["json"] = json
        response = await self.app.http().request(method, path, headers=headers, **options)
        check_documented(response)
        return response

    async def call(self, caller: str, method: str, path: str, json: object = None, **options: Any) -> httpx2.Response:
        return await self.send(method, path, await self.token(caller), json, **options)


@pytest.fixture
async def api(app: App) -> LabsApi:
    await add_all(app.store, _world())
    return LabsApi(app, count())
