"""The page of what happened in one's own account."""

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response

from idp.domain.audit import AuditAction, AuditEvent
from idp.web.endpoint import page
from idp.web.onward import sign_in_path
from idp.web.responses import redirect
from idp.web.services import Services, find_accounts

_PATH = "/account/activity"
WORDS = {
    AuditAction.LOGIN_SUCCEEDED: "Signed in",
    AuditAction.LOGIN_FAILED: "Failed sign-in",
    AuditAction.LOGOUT: "Signed out",
    AuditAction.CONSENT_GIVEN: "Allowed an application",
    AuditAction.CONSENT_DENIED: "Refused an application",
    AuditAction.CONSENT_CHANGED: "Changed what an application is told",
    AuditAction.CONSENT_WITHDRAWN: "Withdrew an application",
    AuditAction.CLAIMS_PREVIEWED: "An admin looked at what an application would be told of you",
    AuditAction.UPSTREAM_TOKEN_RELEASED: "An application used your account at another provider",
    AuditAction.USER_CREATED: "Account created",
    AuditAction.USER_UPDATED: "Profile changed",
    AuditAction.USER_DISABLED: "Account disabled",
    AuditAction.USER_ENABLED: "Account enabled",
    AuditAction.PASSWORD_SET: "Password set",
    AuditAction.ROLE_GRANTED: "Role given to you",
    AuditAction.ROLE_REVOKED: "Role taken from you",
    AuditAction.LINKED_ACCOUNT_ADDED: "Connected another account",
    AuditAction.LINKED_ACCOUNT_REMOVED: "Disconnected another account",
    AuditAction.SIGN_IN_LINK_CREATED: "An admin made a link that signs you in",
    AuditAction.SECOND_FACTOR_ADDED: "Authenticator app set up",
    AuditAction.SECOND_FACTOR_REMOVED: "Authenticator app removed",
    AuditAction.SECOND_FACTOR_FAILED: "Wrong code",
    AuditAction.SECOND_FACTORS_RESET: "An admin removed your second factors",
    AuditAction.RECOVERY_CODES_CREATED: "Recovery codes made",
    AuditAction.RECOVERY_CODE_USED: "Recovery code used",
}
_CONSENT = {
    AuditAction.CONSENT_GIVEN,
    AuditAction.CONSENT_DENIED,
    AuditAction.CONSENT_CHANGED,
    AuditAction.CONSENT_WITHDRAWN,
}

# Of these it says already who did it.
_SAID = {
    AuditAction.UPSTREAM_TOKEN_RELEASED,
    AuditAction.CLAIMS_PREVIEWED,
    AuditAction.SIGN_IN_LINK_CREATED,
    AuditAction.SECOND_FACTORS_RESET,
}


@page
async def activity(request: Request[Services]) -> Response:
    """List what happened in the account of whoever is signed in."""
    state = request.state
    accounts = await find_accounts(request)
    if accounts.active is None:
        return redirect(sign_in_path(_PATH))
    user = accounts.active.user
    events = await state["activity"].of(user)
    names = await _names(request, events)
    response = state["pages"].render(
        "account/activity.html",
        user_label=user.label,
        events=[
            {
                "what": WORDS[event.action],
                "client": names.get(_client_of(event) or ""),
                "provider": event.detail.get("provider"),
                "by_other": event.actor not in {user.id, "anonymous"} and event.action not in _SAID,
                "failed": not event.succeeded,
                "address": event.address,
                "at": event.at,
            }
            for event in events
        ],
    )
    state["cookies"].set_missing_state(response, accounts)
    return response


def _client_of(event: AuditEvent) -> str | None:
    if event.action in _CONSENT:
        return event.target
    if event.action is AuditAction.CLAIMS_PREVIEWED:
        told = event.detail.get("client")
        return told if isinstance(told, str) else None
    return event.actor if event.action is AuditAction.UPSTREAM_TOKEN_RELEASED else None


async def _names(request: Request[Services], events: Sequence[AuditEvent]) -> dict[str, str]:
    """Return what the applications are called now; one that is gone has no name any more."""
    ids = {client_id for event in events if (client_id := _client_of(event)) is not None}
    found = [await request.state["clients"].find(client_id) for client_id in sorted(ids)]
    return {client.client_id: client.client_name for client in found if client is not None}
