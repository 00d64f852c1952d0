"""Logos of applications (OpenID Connect Registration §2, `logo_uri`): fetched by us, drawn anew, served from here.

So an application's server never learns who looks at our pages, and whatever its file was, ours is a plain PNG.
"""

import asyncio
from collections.abc import Iterable, Mapping
from datetime import timedelta
from hashlib import sha256
from io import BytesIO

from idp.domain.client import Client
from idp.domain.clock import Clock
from idp.domain.logo import Logo
from idp.observe.logs import get_logger
from idp.outbound.client import Outbound, OutboundError
from idp.services.jobs import to_the_end
from idp.store.errors import Conflict
from idp.store.store import Store

MAX_BYTES = 262_144
MAX_PIXELS = 4_000_000
# Three times the size at which pages show one, for screens of high density.
SIDE = 120
RETRY_AFTER = timedelta(hours=1)
# Neither a round of the job nor pages that are asked for again and again make us a burden to others.
AT_A_TIME = 4
MAX_WAITING = 100

_FORMATS = ("PNG", "JPEG", "GIF", "WEBP")
_ACCEPT = "image/png, image/webp, image/jpeg, image/gif"
_log = get_logger(__name__)


class NotALogo(Exception):
    """What was fetched cannot be shown; the text says why, for the log, and repeats nothing of it."""


class Logos:
    """Fetches logos in the background, each client's once at a time, and knows where ours are served.

    A page that shows one waits up to `patience` for what is being fetched.
    """

    def __init__(
        self, store: Store, outbound: Outbound, clock: Clock, *, patience: timedelta = timedelta(seconds=1)
    ) -> None:
        self._store = store
        self._outbound = outbound
        self._clock = clock
        self._patience = patience
        self._closed = False
        self._fetching: dict[str, asyncio.Task[None]] = {}
        self._turns = asyncio.Semaphore(AT_A_TIME)

    async def url(self, client: Client) -> str | None:
        """Return where we serve a client's logo; None while there is none, which is then fetched in the background.

        While it is being fetched this waits, but not for long.
        """
        urls = await self.urls([client])
        fetching = self._fetching.get(client.client_id)
        if fetching is not None:
            # The first page after a registration is where people look who has come: worth a moment, once.
            await asyncio.wait({fetching}, timeout=self._patience.total_seconds())
            urls = await self.urls([client])
        return urls.get(client.client_id)

    async def urls(self, clients: Iterable[Client]) -> Mapping[str, str]:
        """Return the same for several clients by client_id, without those that have no logo yet."""
        wanted = {client.client_id: client for client in clients if client.logo_uri is not None}
        if not wanted:
            return {}
        async with self._store.read() as tx:
            held = {logo.client_id: logo for logo in await tx.logos.without_content(wanted)}
        urls = {}
        for client_id, client in wanted.items():
            logo = held.get(client_id)
            if logo is None or logo.uri != client.logo_uri:
                self.begin(client)
            elif logo.digest is not None:
                urls[client_id] = f"/logo/{logo.digest}.png"
        return urls

    async def content(self, digest: str) -> bytes | None:
        """Return the PNG with this SHA-256 in hexadecimal; None when there is none."""
        async with self._store.read() as tx:
            logo = await tx.logos.find_by_digest(digest)
        return None if logo is None else logo.content

    async def fetch_due(self) -> None:
        """Fetch what is missing, and again what could not be fetched an hour ago; one round of the job."""
        async with self._store.read() as tx:
            due = await tx.logos.due(before=self._clock() - RETRY_AFTER, limit=MAX_WAITING)
        for client in due:
            self.begin(client)
        await asyncio.gather(*self._fetching.values(), return_exceptions=True)

    async def close(self) -> None:
        """Give up what is being fetched, and wait until that has ended; nothing is begun any more."""
        self._closed = True
        for task in self._fetching.values():
            task.cancel()
        await asyncio.gather(*self._fetching.values(), return_exceptions=True)

    def begin(self, client: Client) -> None:
        """Fetch a client's logo in the background, unless that is being done."""
        full = self._closed or len(self._fetching) >= MAX_WAITING
        if full or client.client_id in self._fetching or client.logo_uri is None:
            return
        task = asyncio.create_task(self._fetch(client.client_id, client.logo_uri))
        self._fetching[client.client_id] = task
        task.add_done_callback(lambda done: self._ended(client.client_id, done))

    def _ended(self, client_id: str, task: asyncio.Task[None]) -> None:
        del self._fetching[client_id]
        if not task.cancelled() and (error := task.exception()) is not None:
            # It is still due, and so tried again at the next round.
            _log.error("job.failed", job="fetch_logos", exc_info=error)

    async def _fetch(self, client_id: str, uri: str) -> None:
        async with self._turns:
            digest = content = None
            try:
                content = await self._draw(uri)
                digest = sha256(content).hexdigest()
            except (OutboundError, NotALogo) as error:
                _log.info("logo.refused", client_id=client_id, reason=str(error))
            logo = Logo(client_id=client_id, uri=uri, fetched_at=self._clock(), digest=digest, content=content)
            await to_the_end(self._save(logo))

    async def _save(self, logo: Logo) -> None:
        try:
            async with self._store.write() as tx:
                await tx.logos.delete(logo.client_id)
                await tx.logos.add(logo)
        except Conflict:
            # Another node was as fast, or the client is gone.
            return

    async def _draw(self, uri: str) -> bytes:
        fetched = await self._outbound.get(uri, accept=_ACCEPT, max_bytes=MAX_BYTES)
        if fetched.status != 200:
            raise NotALogo(f"answered with status {fetched.status}")
        return await asyncio.to_thread(redraw, fetched.body)


def redraw(data: bytes) -> bytes:
    """Return a picture as a small PNG without anything that is not seen: of an animation the first frame.

    What it is, is judged by decoding it, whatever type its server told; SVG is none of ours, since it holds scripts.

    Raises:
        NotALogo: it is no PNG, JPEG, GIF or WebP, is damaged, or has too many pixels.
    """
    # Loaded with the first logo, and in the thread that draws it: an installation may have none.
    from PIL import Image

    try:
        with Image.open(BytesIO(data), formats=_FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise NotALogo("has too many pixels")
            # JPEGs are decoded not much larger than needed.
            image.draft(None, (2 * SIDE, 2 * SIDE))
            picture = image.convert("RGBA")
    except NotALogo:
        raise
    except Exception as error:
        # The decoders raise whatever a damaged file makes them stumble over.
        raise NotALogo(f"is no picture that can be read: {type(error).__name__}") from None
    picture.thumbnail((SIDE, SIDE))
    # A canvas of our own: what else the file said about itself stays behind.
    clean = Image.frombytes("RGBA", picture.size, picture.tobytes())
    written = BytesIO()
    clean.save(written, "PNG", optimize=True)
    return written.getvalue()
