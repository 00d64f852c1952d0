"""Logos of applications and labs (OpenID Connect Registration §2, `logo_uri`): fetched, drawn anew, served from here.

So the server of an application or lab never learns who looks at our pages, and whatever its file was, ours is a PNG.
"""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from io import BytesIO
from typing import Any, Self

from idp.domain.client import Client
from idp.domain.clock import Clock
from idp.domain.lab import Lab
from idp.domain.logo import LabLogo, Logo
from idp.observe.logs import get_logger
from idp.outbound.client import Outbound, OutboundError
from idp.services.jobs import to_the_end
from idp.store.errors import Conflict
from idp.store.logos import Pictures
from idp.store.store import Store, Transaction

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


@dataclass(frozen=True, slots=True)
class _Owner:
    """Whose logo: a client's or a lab's."""

    kind: type[Logo | LabLogo]
    id: str

    @classmethod
    def of(cls, owner: Client | Lab) -> Self:
        return cls(Logo, owner.client_id) if isinstance(owner, Client) else cls(LabLogo, owner.id)

    def logos(self, tx: Transaction) -> Pictures[Any]:
        return tx.logos if self.kind is Logo else tx.lab_logos

    def logo(self, **fetched: Any) -> Logo | LabLogo:
        return Logo(client_id=self.id, **fetched) if self.kind is Logo else LabLogo(lab_id=self.id, **fetched)


class Logos:
    """Fetches logos in the background, each owner's once at a time, and knows where ours are served.

    Owners are clients and labs. A page that shows a logo waits up to `patience` for what is being fetched.
    """

    def __init__(
        self, store: Store, outbound: Outbound, clock: Clock, *, patience: timedelta = timedelta(seconds=1)
    ) -> None:
        self._store = store
        self._outbound = outbound
        self._clock = clock
        self._patience = patience
        self._closed = False
        self._fetching: dict[_Owner, asyncio.Task[None]] = {}
        self._turns = asyncio.Semaphore(AT_A_TIME)

    async def url(self, owner: Client | Lab) -> str | None:
        """Return where we serve an owner's logo; None while there is none, which is then fetched in the background.

        While it is being fetched this waits, but not for long.
        """
        key = _Owner.of(owner)
        urls = await self.urls([owner])
        fetching = self._fetching.get(key)
        if fetching is not None:
            # The first page after a registration is where people look who has come: worth a moment, once.
            await asyncio.wait({fetching}, timeout=self._patience.total_seconds())
            urls = await self.urls([owner])
        return urls.get(key.id)

    async def urls(self, owners: Iterable[Client | Lab]) -> Mapping[str, str]:
        """Return the same for several of a kind by client_id or the lab's id, without those that have no logo yet."""
        wanted: dict[_Owner, Client | Lab] = {_Owner.of(owner): owner for owner in owners if owner.logo_uri is not None}
        if not wanted:
            return {}
        async with self._store.read() as tx:
            held = await next(iter(wanted)).logos(tx).without_content(key.id for key in wanted)
        urls = {}
        for key, owner in wanted.items():
            logo = held.get(key.id)
            if logo is None or logo.uri != owner.logo_uri:
                self.begin(owner)
            elif logo.digest is not None:
                urls[key.id] = f"/logo/{logo.digest}.png"
        return urls

    async def content(self, digest: str) -> bytes | None:
        """Return the PNG with this SHA-256 in hexadecimal; None when there is none."""
        async with self._store.read() as tx:
            logo = await tx.logos.find_by_digest(digest) or await tx.lab_logos.find_by_digest(digest)
        return None if logo is None else logo.content

    async def fetch_due(self) -> None:
        """Fetch what is missing, and again what could not be fetched an hour ago; one round of the job."""
        before = self._clock() - RETRY_AFTER
        async with self._store.read() as tx:
            due: list[Client | Lab] = [*await tx.logos.due(before=before, limit=MAX_WAITING)]
            due += await tx.lab_logos.due(before=before, limit=MAX_WAITING)
        for owner in due:
            self.begin(owner)
        await asyncio.gather(*self._fetching.values(), return_exceptions=True)

    async def close(self) -> None:
        """Give up what is being fetched, and wait until that has ended; nothing is begun any more."""
        self._closed = True
        for task in self._fetching.values():
            task.cancel()
        await asyncio.gather(*self._fetching.values(), return_exceptions=True)

    def begin(self, owner: Client | Lab) -> None:
        """Fetch an owner's logo in the background, unless that is being done."""
        key = _Owner.of(owner)
        full = self._closed or len(self._fetching) >= MAX_WAITING
        if full or key in self._fetching or owner.logo_uri is None:
            return
        task = asyncio.create_task(self._fetch(key, owner.logo_uri))
        self._fetching[key] = task
        task.add_done_callback(lambda done: self._ended(key, done))

    def _ended(self, key: _Owner, task: asyncio.Task[None]) -> None:
        del self._fetching[key]
        if not task.cancelled() and (error := task.exception()) is not None:
            # It is still due, and so tried again at the next round.
            _log.error("job.failed", job="fetch_logos", exc_info=error)

    async def _fetch(self, key: _Owner, uri: str) -> None:
        async with self._turns:
            digest = content = None
            try:
                content = await self._draw(uri)
                digest = sha256(content).hexdigest()
            except (OutboundError, NotALogo) as error:
                _log.info("logo.refused", owner=key.id, reason=str(error))
            await to_the_end(self._save(key, uri, digest, content))

    async def _save(self, key: _Owner, uri: str, digest: str | None, content: bytes | None) -> None:
        fetched = {"uri": uri, "fetched_at": self._clock(), "digest": digest, "content": content}
        try:
            async with self._store.write() as tx:
                logos = key.logos(tx)
                await logos.delete(key.id)
                await logos.add(key.logo(**fetched))
        except Conflict:
            # Another node was as fast, or the owner is gone.
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
