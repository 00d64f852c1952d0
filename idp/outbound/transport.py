"""A transport by which the HTTP library, and Authlib on it, speaks through the guarded client and in no other way.

A client that is given it must also be told `trust_env=False`: for a proxy of the environment it would make a transport
of its own.
"""

import httpx2

from idp.outbound.client import Outbound

# All else that a request bears is ours to say (Host, User-Agent …), or nobody's to send (Cookie).
_PASSED_ON = ("Accept", "Authorization", "Content-Type")


class GuardedTransport(httpx2.AsyncBaseTransport):
    """Sends each request by `Outbound.send`, under its rules and limits; cookies are neither sent nor received.

    What that raises passes through as it is: `Forbidden`, `Unreachable`, `OutboundError`. `keep` is as there.
    """

    def __init__(self, outbound: Outbound, *, keep: bool = False) -> None:
        self._outbound = outbound
        self._keep = keep

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Make a request; the response has a status, a media type and a body."""
        headers = {name: request.headers[name] for name in _PASSED_ON if name in request.headers}
        content = await request.aread()
        fetched = await self._outbound.send(request.method, str(request.url), headers, content or None, keep=self._keep)
        answered = {"Content-Type": fetched.content_type} if fetched.content_type else {}
        return httpx2.Response(fetched.status, headers=answered, content=fetched.body, request=request)
