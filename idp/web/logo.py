"""Logos of applications under addresses that change with their content, so that browsers keep them for good."""

import re

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from idp.web.endpoint import page
from idp.web.services import Services

_DIGEST = re.compile(r"[0-9a-f]{64}")
_HEADERS = {
    "Cache-Control": "public, max-age=31536000, immutable",
    # A picture, and nothing else, whatever its first bytes may look like.
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Content-Type": "image/png",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


@page
async def logo(request: Request[Services]) -> Response:
    """Return a logo.

    Raises:
        HTTPException: 404, there is none with this digest.
    """
    digest = request.path_params["digest"]
    content = await request.state["logos"].content(digest) if _DIGEST.fullmatch(digest) else None
    if content is None:
        raise HTTPException(404)
    return Response(content, headers=_HEADERS)
