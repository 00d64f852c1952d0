"""The operations of the API, one by one; routes and the document follow from this list."""

import json
from functools import lru_cache

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from idp.domain.lab_scope import LAB_API_SCOPES
from idp.services.invitations import InvitationInput
from idp.services.join_requests import DecisionInput
from idp.services.lab_grants import LabGrantInput
from idp.services.lab_input import LabChanges, LabInput, MembershipInput
from idp.web.api import invitations, lab_grants, labs, openapi
from idp.web.api import representations as shown
from idp.web.api.operation import Operation, routes
from idp.web.api.problems import CONFLICT, DOCUMENT_PATH, FORBIDDEN
from idp.web.services import Services

READ, WRITE = LAB_API_SCOPES
_DONE = {204: None}

OPERATIONS = (
    Operation("GET", "/labs", labs.list_labs, READ, query=labs.LabQuery, answers={200: shown.LabPage}, refusals=()),
    Operation(
        "POST",
        "/labs",
        labs.create_lab,
        WRITE,
        body=LabInput,
        example={"slug": "bio", "name": "Biology", "contact": "office@bio.example.org"},
        answers={201: shown.Lab},
        refusals=(FORBIDDEN, CONFLICT),
    ),
    Operation("GET", "/labs/{slug}", labs.read_lab, READ, answers={200: shown.Lab}, refusals=()),
    Operation(
        "PATCH",
        "/labs/{slug}",
        labs.update_lab,
        WRITE,
        body=LabChanges,
        example={"description": "Cells, mostly.", "homepage": None},
        answers={200: shown.Lab},
    ),
    Operation("DELETE", "/labs/{slug}", labs.delete_lab, WRITE, answers=_DONE),
    Operation(
        "GET",
        "/labs/{slug}/members",
        labs.list_members,
        READ,
        query=labs.MemberQuery,
        answers={200: shown.MemberPage},
    ),
    Operation(
        "GET",
        "/labs/{slug}/members/{user_id}",
        labs.read_member,
        READ,
        answers={200: shown.Member},
    ),
    Operation(
        "PUT",
        "/labs/{slug}/members/{user_id}",
        labs.set_member,
        WRITE,
        body=MembershipInput,
        withheld=frozenset({"lab", "user"}),
        example={"role": "member", "expires_at": "2027-06-30"},
        answers={200: shown.Member, 201: shown.Member},
    ),
    Operation(
        "DELETE",
        "/labs/{slug}/members/{user_id}",
        labs.remove_member,
        WRITE,
        answers=_DONE,
    ),
    Operation(
        "GET",
        "/labs/{slug}/invitations",
        invitations.list_invitations,
        READ,
        query=labs.PageQuery,
        answers={200: shown.InvitationPage},
    ),
    Operation(
        "POST",
        "/labs/{slug}/invitations",
        invitations.invite,
        WRITE,
        body=InvitationInput,
        withheld=frozenset({"lab"}),
        example={"email": "carol@example.org", "role": "member", "ends_at": "2027-06-30"},
        answers={201: shown.OpenedInvitation},
    ),
    Operation(
        "DELETE",
        "/labs/{slug}/invitations/{invitation_id}",
        invitations.revoke_invitation,
        WRITE,
        answers=_DONE,
        refusals=(FORBIDDEN, CONFLICT),
    ),
    Operation(
        "GET",
        "/labs/{slug}/join-requests",
        invitations.list_join_requests,
        READ,
        query=labs.PageQuery,
        answers={200: shown.JoinRequestPage},
    ),
    Operation(
        "POST",
        "/labs/{slug}/join-requests/{user_id}",
        invitations.decide_join_request,
        WRITE,
        body=DecisionInput,
        example={"role": "member", "ends_at": "2027-06-30"},
        answers=_DONE,
    ),
    Operation(
        "GET",
        "/labs/{slug}/service-grants",
        lab_grants.list_service_grants,
        READ,
        answers={200: shown.ServiceGrants},
    ),
    Operation(
        "PUT",
        "/labs/{slug}/service-grants/{client_id:path}",
        lab_grants.grant_service,
        WRITE,
        body=LabGrantInput,
        withheld=frozenset({"lab", "client_id"}),
        example={"role": "viewer", "expires_at": "2027-06-30"},
        answers={200: shown.ServiceGrant, 201: shown.ServiceGrant},
    ),
    Operation(
        "DELETE",
        "/labs/{slug}/service-grants/{client_id:path}",
        lab_grants.withdraw_service_grant,
        WRITE,
        answers=_DONE,
    ),
    Operation(
        "GET",
        "/labs/{slug}/applications",
        lab_grants.list_applications,
        READ,
        answers={200: shown.Applications},
    ),
    Operation(
        "PUT",
        "/labs/{slug}/applications/{client_id:path}",
        lab_grants.allow_application,
        WRITE,
        answers=_DONE,
    ),
    Operation(
        "DELETE",
        "/labs/{slug}/applications/{client_id:path}",
        lab_grants.disallow_application,
        WRITE,
        answers=_DONE,
    ),
)


async def document(request: Request[Services]) -> Response:
    """Return the document (OpenAPI 3.1), which is made when it is first asked for."""
    headers = {"Cache-Control": "public, max-age=300", "Access-Control-Allow-Origin": "*"}
    return Response(_document(request.state["issuer"]), media_type="application/json", headers=headers)


@lru_cache(maxsize=1)
def _document(issuer: str) -> bytes:
    return json.dumps(openapi.document(issuer, OPERATIONS), ensure_ascii=False).encode()


ROUTES = (*routes(OPERATIONS), Route(DOCUMENT_PATH, document))
