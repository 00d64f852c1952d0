"""Logos: fetched once, in the background, by the guarded client; drawn anew; and nothing but pictures."""

import asyncio
import logging
import struct
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from hashlib import sha256
from io import BytesIO
from typing import Any

import pytest
from PIL import Image

from idp.domain.client import Client, ClientStatus
from idp.domain.lab import LabStatus
from idp.domain.logo import Logo
from idp.outbound.addresses import AllowRule
from idp.outbound.client import Fetched, Outbound, OutboundError
from idp.services import logos as module
from idp.services.logos import AT_A_TIME, MAX_BYTES, MAX_WAITING, RETRY_AFTER, SIDE, Logos, NotALogo, redraw
from idp.store.store import Store
from tests.support.clock import START, FakeClock
from tests.support.factories import make_client, make_lab

URI = "https://rp.example/logo.png"
SCRIPT = b"<script>alert(1)</script>"


def picture(kind: str = "PNG", mode: str = "RGB", size: tuple[int, int] = (300, 150), **options: Any) -> bytes:
    written = BytesIO()
    Image.linear_gradient("L").resize(size).convert(mode).save(written, kind, **options)
    return written.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *, more: bytes = b"") -> bytes:
    """A PNG that says it has this size, whatever its pixels come to."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + more + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


def opened(data: bytes) -> Image.Image:
    return Image.open(BytesIO(data), formats=["PNG"])


# ── Drawing ─────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("kind", "mode"),
    [
        *(("PNG", mode) for mode in ("RGB", "RGBA", "P", "L", "LA", "1", "I;16")),
        *(("JPEG", mode) for mode in ("RGB", "L", "CMYK")),
        ("GIF", "P"),
        *(("WEBP", mode) for mode in ("RGB", "RGBA")),
    ],
)
def test_a_picture_of_each_kind_becomes_a_small_png_of_its_shape(kind: str, mode: str) -> None:
    drawn = opened(redraw(picture(kind, mode, (600, 300))))

    assert (drawn.format, drawn.mode, drawn.size) == ("PNG", "RGBA", (SIDE, SIDE // 2))


def test_a_small_picture_is_not_enlarged_and_keeps_its_transparency() -> None:
    written = BytesIO()
    Image.new("RGBA", (16, 8), (200, 10, 10, 0)).save(written, "PNG")

    drawn = opened(redraw(written.getvalue()))

    assert drawn.size == (16, 8)
    assert drawn.getpixel((0, 0))[3] == 0


def test_what_a_file_says_about_itself_stays_behind() -> None:
    exif = Image.Exif()
    exif[0x010E] = "taken at home"
    written = BytesIO()
    Image.new("RGB", (32, 32)).save(written, "JPEG", exif=exif, comment=b"secret", icc_profile=b"a profile", dpi=(1, 1))

    drawn = redraw(written.getvalue())

    assert opened(drawn).info == {}
    assert {drawn[at + 4 : at + 8] for at in chunks(drawn)} == {b"IHDR", b"IDAT", b"IEND"}


def chunks(data: bytes) -> list[int]:
    places, at = [], 8
    while at < len(data):
        places.append(at)
        at += 12 + int.from_bytes(data[at : at + 4])
    return places


@pytest.mark.parametrize(
    "polyglot",
    [
        picture() + SCRIPT,
        png(8, 8, more=chunk(b"tEXt", b"Comment\0" + SCRIPT)),
        picture("GIF", "P") + SCRIPT,
        picture("JPEG", comment=SCRIPT),
    ],
    ids=["after-a-png", "in-a-png", "after-a-gif", "in-a-jpeg"],
)
def test_a_page_that_is_also_a_picture_comes_out_as_the_picture_alone(polyglot: bytes) -> None:
    assert SCRIPT in polyglot
    drawn = redraw(polyglot)

    assert opened(drawn).size
    assert SCRIPT not in drawn


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_of_an_animation_the_first_frame_is_drawn(kind: str) -> None:
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "blue", "lime")]
    written = BytesIO()
    frames[0].save(written, kind, save_all=True, append_images=frames[1:], duration=100)

    drawn = opened(redraw(written.getvalue()))

    assert not getattr(drawn, "is_animated", False)
    red, green, blue, _ = drawn.getpixel((10, 10))
    assert red > 200
    assert max(green, blue) < 50


VECTOR = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0" * 100,
        b"<!doctype html><title>Not found</title>",
        VECTOR,
        b'<?xml version="1.0"?>' + VECTOR,
        picture()[: len(picture()) // 2],
        picture("JPEG")[:200],
        picture("BMP"),
        picture("TIFF"),
        picture("PPM"),
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    ],
    ids=["empty", "zeros", "html", "svg", "svg-xml", "half-png", "half-jpeg", "bmp", "tiff", "ppm", "postscript"],
)
def test_what_is_no_picture_of_the_four_kinds_is_refused(data: bytes) -> None:
    with pytest.raises(NotALogo):
        redraw(data)


@pytest.mark.parametrize(
    "bomb",
    [
        png(2001, 2000),
        png(10_000, 10_000),
        png(60_000, 60_000),
        png(1, 4_000_001),
        picture("GIF", "P", (1, 1)).replace(
            struct.pack("<HHHH", 1, 1, 0, 0)[:4], struct.pack("<HH", 65_000, 65_000), 1
        ),
        png(8, 8, more=chunk(b"iCCP", b"p\0\0" + zlib.compress(bytes(50_000_000)))),
        png(8, 8, more=chunk(b"zTXt", b"t\0\0" + zlib.compress(bytes(50_000_000)))),
    ],
    ids=["just-over", "100-megapixels", "3600-megapixels", "long", "gif", "profile", "text"],
)
def test_a_small_file_that_becomes_a_huge_picture_is_refused_before_it_is_decoded(
    bomb: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(bomb) < MAX_BYTES

    def decode(*_: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(Image.Image, "convert", decode)
    with pytest.raises(NotALogo, match=r"too many pixels|Decompression|ValueError"):
        redraw(bomb)


def test_the_largest_picture_is_drawn() -> None:
    assert opened(redraw(picture("PNG", "P", (2000, 2000)))).size == (SIDE, SIDE)


# ── Fetching ────────────────────────────────────────────────────────────────────────────────────────────────────────
class Servers(Outbound):
    """Each URI answers what it is told to, once the gate is open."""

    def __init__(self) -> None:
        self.answers: dict[str, Fetched | OutboundError] = {URI: fetched(picture())}
        self.asked: list[str] = []
        self.at_a_time = self.most_at_a_time = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def get(self, url: str, *, accept: str, max_bytes: int | None = None) -> Fetched:
        assert max_bytes == MAX_BYTES
        assert "svg" not in accept
        self.asked.append(url)
        self.at_a_time += 1
        self.most_at_a_time = max(self.most_at_a_time, self.at_a_time)
        try:
            await self.gate.wait()
        finally:
            self.at_a_time -= 1
        answer = self.answers.get(url, self.answers[URI])
        if isinstance(answer, OutboundError):
            raise answer
        return answer


def fetched(body: bytes, *, status: int = 200, content_type: str = "image/png") -> Fetched:
    return Fetched(status, content_type, body, None)


@pytest.fixture
def servers() -> Servers:
    return Servers()


@pytest.fixture
async def logos(store: Store, servers: Servers, clock: FakeClock) -> AsyncIterator[Logos]:
    logos = Logos(store, servers, clock, patience=timedelta(milliseconds=20))
    yield logos
    await logos.close()


async def registered(store: Store, client_id: str = "portal", *, uri: str | None = URI, **changes: Any) -> Client:
    client = make_client(client_id=client_id, logo_uri=uri, **changes)
    await store.commit.append(client)
    return client


async def held(store: Store, client_id: str = "portal") -> Logo | None:
    async with store.read() as tx:
        return await tx.logos.find(client_id)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.001)


async def test_a_logo_is_fetched_drawn_kept_and_served_under_its_digest(
    logos: Logos, store: Store, servers: Servers
) -> None:
    client = await registered(store)
    await logos.fetch_due()

    url = await logos.url(client)
    assert url is not None
    digest = url.removeprefix("/logo/").removesuffix(".png")
    content = await logos.content(digest)
    assert content == redraw(picture())
    assert sha256(content).hexdigest() == digest
    assert servers.asked == [URI]


async def test_a_page_does_not_wait_long_for_a_logo_and_shows_it_the_next_time(
    logos: Logos, store: Store, servers: Servers
) -> None:
    client = await registered(store)
    servers.gate.clear()
    assert [await logos.url(client) for _ in range(5)] == [None] * 5
    await until(lambda: len(servers.asked) == 1)

    servers.gate.set()
    await logos.fetch_due()

    assert await logos.url(client) is not None
    assert servers.asked == [URI]


async def test_a_client_without_a_logo_costs_no_look_at_the_database(logos: Logos, store: Store) -> None:
    await store.close()

    assert await logos.url(make_client()) is None


async def test_a_round_fetches_what_is_missing_and_leaves_the_rest_alone(
    logos: Logos, store: Store, servers: Servers
) -> None:
    await registered(store, "one", uri="https://rp.example/1")
    await registered(store, "none", uri=None)
    await registered(store, "off", uri="https://rp.example/3", status=ClientStatus.DISABLED)
    await logos.fetch_due()
    await logos.fetch_due()

    assert servers.asked == ["https://rp.example/1"]


async def test_another_address_is_fetched_anew_and_the_old_picture_is_not_shown_for_it(
    logos: Logos, store: Store, servers: Servers
) -> None:
    await registered(store)
    await logos.fetch_due()
    moved = make_client(logo_uri="https://rp.example/new.png")
    servers.answers["https://rp.example/new.png"] = fetched(picture("JPEG"))
    async with store.write() as tx:
        await tx.clients.save(moved)
    servers.gate.clear()
    assert await logos.url(moved) is None
    servers.gate.set()
    await logos.fetch_due()

    assert await logos.url(moved) is not None
    assert servers.asked == [URI, "https://rp.example/new.png"]


async def test_logos_of_several_clients_are_found_at_once(logos: Logos, store: Store) -> None:
    clients = [await registered(store, str(number)) for number in range(3)]
    without = await registered(store, "without", uri=None)
    await logos.fetch_due()

    urls = await logos.urls([*clients, without])

    assert urls.keys() == {"0", "1", "2"}
    assert urls["0"] == await logos.url(clients[0])


async def test_a_lab_has_its_logo_like_an_application_until_it_is_archived_or_deleted(
    logos: Logos, store: Store, servers: Servers
) -> None:
    lab = make_lab(id="portal", logo_uri=URI)
    archived = make_lab(id="lab_old", slug="old", logo_uri="https://old.example/logo.png", status=LabStatus.ARCHIVED)
    await store.commit.append(lab, archived, make_lab(id="lab_plain", slug="plain"))
    # One id does not stand for another kind's.
    await registered(store, "portal", uri="https://rp.example/other.png")
    await logos.fetch_due()

    url = await logos.url(lab)
    assert await logos.urls([lab]) == {"portal": url}
    assert sorted(servers.asked) == ["https://rp.example/logo.png", "https://rp.example/other.png"]
    digest = (url or "").removeprefix("/logo/").removesuffix(".png")
    async with store.write() as tx:
        await tx.clients.delete("portal")
    assert await logos.content(digest) == redraw(picture())

    async with store.write() as tx:
        await tx.labs.delete(lab.id)
    assert await logos.content(digest) is None


@pytest.mark.parametrize(
    "answer",
    [
        OutboundError("https://rp.example cannot be reached"),
        fetched(picture(), status=404),
        fetched(picture(), status=500),
        fetched(VECTOR, content_type="image/svg+xml"),
        fetched(b"<html>", content_type="text/html"),
        fetched(png(60_000, 60_000)),
    ],
    ids=["unreachable", "404", "500", "svg", "html", "bomb"],
)
async def test_a_failure_shows_nothing_and_is_tried_again_after_an_hour_at_the_earliest(
    logos: Logos, store: Store, servers: Servers, clock: FakeClock, answer: Fetched | OutboundError
) -> None:
    client = await registered(store)
    servers.answers[URI] = answer
    await logos.fetch_due()
    clock.advance(RETRY_AFTER - timedelta(microseconds=1))
    await logos.fetch_due()
    assert await logos.url(client) is None
    assert servers.asked == [URI]

    clock.advance(timedelta(microseconds=1))
    servers.answers[URI] = fetched(picture())
    await logos.fetch_due()

    assert await logos.url(client) is not None
    assert servers.asked == [URI, URI]


async def test_a_failure_is_logged_with_its_client_and_its_reason(
    logos: Logos, store: Store, servers: Servers, caplog: pytest.LogCaptureFixture
) -> None:
    await registered(store)
    servers.answers[URI] = fetched(b"secret of somebody", content_type="text/html")
    with caplog.at_level(logging.INFO, logger="idp"):
        await logos.fetch_due()

    (record,) = [record for record in caplog.records if "logo.refused" in str(record.msg)]
    assert "portal" in str(record.msg)
    assert "secret" not in str(record.msg)


async def test_a_picture_is_judged_by_its_bytes_and_not_by_the_type_that_its_server_tells(
    logos: Logos, store: Store, servers: Servers
) -> None:
    client = await registered(store)
    servers.answers[URI] = fetched(picture("WEBP"), content_type="text/html")
    await logos.fetch_due()

    assert await logos.url(client) is not None


async def test_few_are_asked_at_a_time_and_no_more_wait_than_there_is_room_for(
    logos: Logos, store: Store, servers: Servers, clock: FakeClock
) -> None:
    async def left() -> int:
        async with store.read() as tx:
            return len(await tx.logos.due(before=clock(), limit=len(clients)))

    clients = [make_client(client_id=f"c{number}", logo_uri=f"{URI}?{number}") for number in range(MAX_WAITING + 20)]
    await store.commit.append(*clients)
    servers.gate.clear()
    await logos.urls(clients)
    await until(lambda: servers.at_a_time == AT_A_TIME)
    servers.gate.set()
    while await left() > len(clients) - MAX_WAITING:
        await asyncio.sleep(0)
    assert len(servers.asked) == MAX_WAITING

    await logos.fetch_due()

    assert sorted(servers.asked) == sorted(client.logo_uri or "" for client in clients)
    assert servers.most_at_a_time == AT_A_TIME


async def test_a_client_that_is_deleted_while_its_logo_is_fetched_is_no_failure(
    logos: Logos, store: Store, servers: Servers, caplog: pytest.LogCaptureFixture
) -> None:
    client = await registered(store)
    servers.gate.clear()
    await logos.url(client)
    await until(lambda: len(servers.asked) == 1)
    async with store.write() as tx:
        await tx.clients.delete("portal")
    servers.gate.set()
    await logos.fetch_due()

    assert await held(store) is None
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_a_client_that_is_deleted_takes_its_logo_along(logos: Logos, store: Store) -> None:
    client = await registered(store)
    await logos.fetch_due()
    digest = (await logos.url(client) or "").removeprefix("/logo/").removesuffix(".png")
    async with store.write() as tx:
        await tx.clients.delete("portal")

    assert await logos.content(digest) is None


async def test_two_nodes_that_fetch_the_same_logo_leave_one(store: Store, servers: Servers, clock: FakeClock) -> None:
    client = await registered(store)
    nodes = [Logos(store, servers, clock) for _ in range(2)]
    servers.gate.clear()
    rounds = [asyncio.create_task(node.fetch_due()) for node in nodes]
    await until(lambda: len(servers.asked) == 2)
    servers.gate.set()
    await asyncio.gather(*rounds)

    assert {await node.url(client) for node in nodes} == {await nodes[0].url(client)} != {None}


async def test_closing_ends_what_is_being_fetched(logos: Logos, store: Store, servers: Servers) -> None:
    client = await registered(store)
    servers.gate.clear()
    await logos.url(client)
    await until(lambda: servers.at_a_time == 1)

    await logos.close()

    assert servers.at_a_time == 0
    assert await held(store) is None


async def test_a_fault_of_ours_is_logged_and_the_next_round_tries_again(
    logos: Logos, store: Store, servers: Servers, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    client = await registered(store)

    def fail(data: bytes) -> bytes:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(module, "redraw", fail)
        await logos.fetch_due()
    assert [record.levelname for record in caplog.records if "job.failed" in str(record.msg)] == ["ERROR"]

    await logos.fetch_due()

    assert await logos.url(client) is not None


# ── Over the wire ───────────────────────────────────────────────────────────────────────────────────────────────────
@asynccontextmanager
async def serving(*parts: bytes, pause: float = 0) -> AsyncIterator[tuple[str, list[bytes]]]:
    """Run a server on loopback that says these parts; yield its address and what it was asked."""
    asked: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            asked.append(await reader.readuntil(b"\r\n\r\n"))
            for part in parts:
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(pause)
        except ConnectionError:
            pass
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/logo.png", asked
    finally:
        server.close()
        await server.wait_closed()


def response(body: bytes, *fields: bytes, status: bytes = b"200 OK", length: int | None = None) -> bytes:
    told = b"Content-Length: %d" % (len(body) if length is None else length)
    return b"\r\n".join((b"HTTP/1.1 " + status, told, *fields, b"", body))


async def shown(store: Store, clock: FakeClock, uri: str, *, allow: str | None = "127.0.0.1") -> str | None:
    """Fetch with the real client; return what the pages show then."""
    rules = [] if allow is None else [AllowRule.parse(allow)]
    outbound = Outbound(allow=rules, timeout=timedelta(seconds=1))
    logos = Logos(store, outbound, clock)
    client = await registered(store, uri=uri)
    try:
        await logos.fetch_due()
        logo = await held(store)
        assert logo is not None
        assert (logo.uri, logo.fetched_at, logo.content is None) == (uri, START, logo.digest is None)
        return await logos.url(client)
    finally:
        await logos.close()
        await outbound.close()


async def test_a_logo_comes_over_the_wire(store: Store, clock: FakeClock) -> None:
    async with serving(response(picture())) as (uri, asked):
        assert await shown(store, clock, uri) is not None
    (request,) = asked
    assert b"cookie" not in request.lower()


async def test_a_logo_on_the_loopback_is_not_fetched_unless_that_is_allowed(store: Store, clock: FakeClock) -> None:
    async with serving(response(picture())) as (uri, asked):
        assert await shown(store, clock, uri, allow=None) is None
        assert asked == []


@pytest.mark.parametrize(
    "parts",
    [
        (response(b"", b"Location: http://127.0.0.1:1/", status=b"302 Found"),),
        (response(VECTOR, b"Content-Type: image/svg+xml"),),
        (response(b"<!doctype html>", b"Content-Type: image/png"),),
        (response(picture()[:100], length=len(picture())),),
        (response(b"x" * 65_536, length=20_000_000), *[b"x" * 65_536] * 400),
        (b"not http at all\r\n\r\n",),
    ],
    ids=["redirect", "svg", "html-as-png", "cut-short", "20-megabytes", "no-http"],
)
async def test_an_answer_that_is_no_logo_shows_nothing(
    store: Store, clock: FakeClock, parts: tuple[bytes, ...]
) -> None:
    async with serving(*parts) as (uri, asked):
        assert await shown(store, clock, uri) is None
        assert len(asked) == 1


async def test_a_server_that_drips_is_left(store: Store, clock: FakeClock) -> None:
    logo = response(picture())
    async with serving(*(logo[at : at + 1] for at in range(len(logo))), pause=0.1) as (uri, asked):
        assert await shown(store, clock, uri) is None
        assert len(asked) == 1
