"""What every handler shares: refusals and failures become answers, never a traceback and never a hang."""

from collections.abc import Awaitable, Callable
from functools import wraps

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from idp.crypto.password import HashingBusy
from idp.protocol.authorization_response import Refused
from idp.protocol.errors import OAuthError, RateLimited, ServerError, TemporarilyUnavailable
from idp.protocol.redirect_uri import RedirectUriRefused
from idp.services.authorization import UnknownClient
from idp.services.authorization_answer import InteractionGone
from idp.services.rate_limit import TooManyRequests
from idp.services.setup import SetupClosed
from idp.store.errors import Unavailable
from idp.web import errors
from idp.web.cookies import ForgedForm
from idp.web.responses import deliver, oauth_error
from idp.web.services import Services

Handler = Callable[[Request[Services]], Awaitable[Response]]


def machine_endpoint(handler: Handler) -> Handler:
    """Answer refusals as OAuth errors in JSON (RFC 6749 §5.2)."""

    @wraps(handler)
    async def answer(request: Request[Services]) -> Response:
        try:
            return await handler(request)
        except OAuthError as error:
            return await errors.refusal_answer(request, error)
        except TooManyRequests as error:
            errors.log_refusal(request, RateLimited())
            return oauth_error(RateLimited(), retry_after=error.retry_after_seconds)
        except HTTPException as error:
            return await errors.http_error(request, error)
        except ClientDisconnect:
            return Response(status_code=400)
        except (Unavailable, HashingBusy) as error:
            errors.log_failure(request, error)
            return oauth_error(TemporarilyUnavailable(), retry_after=errors.retry_after(error))
        except Exception as error:
            errors.log_failure(request, error)
            return oauth_error(ServerError())

    return answer


def page(handler: Handler) -> Handler:
    """Answer refusals by redirect where that is safe, else as a page that explains."""

    @wraps(handler)
    async def answer(request: Request[Services]) -> Response:
        try:
            return await handler(request)
        except Refused as refused:
            return deliver(request, await errors.refusal_response(request, refused))
        except RedirectUriRefused as error:
            return await errors.redirect_uri_page(request, error)
        except OAuthError as error:
            return await errors.refusal_page(request, error)
        except HTTPException as error:
            return await errors.http_error(request, error)
        except ClientDisconnect:
            return Response(status_code=400)
        except (UnknownClient, InteractionGone, SetupClosed, ForgedForm) as error:
            return await errors.explained_page(request, error)
        except (TooManyRequests, Unavailable, HashingBusy) as error:
            return await errors.explained_page(request, error)
        except Exception as error:
            return errors.failure_page(request, error)

    return answer
