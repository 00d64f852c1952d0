"""The server-rendered pages: templates, their security headers (CSP Level 3) and hashed static files.

Texts in a template are marked for translation. A handler passes short fixed messages as they stand in the catalogue
(`error`, `notice`, `errors`: the template looks them up), and finished sentences (`title`, `message`). Names that
others chose it passes apart, and the template sets them off (`<bdi>`), so that they cannot turn the text around them.
"""

import gzip
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from gettext import NullTranslations
from hashlib import sha256
from pathlib import Path
from typing import Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

_CSP_START: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
)
_CSP_END: Final = "base-uri 'none'; frame-ancestors 'none'"
CONTENT_SECURITY_POLICY: Final = _CSP_START + "form-action 'self'; " + _CSP_END
TRANSACTION_CONTENT_SECURITY_POLICY: Final = _CSP_START + _CSP_END
_FRAME_HEADERS: Final = {
    "Cache-Control": "public, max-age=300",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors *"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

# No Cross-Origin-Opener-Policy: applications that sign in through a popup would lose window.opener on the way back.
_PAGE_HEADERS: Final = {
    "Cache-Control": "no-store",
    # Not no-referrer: browsers then send "Origin: null" with our own forms, which the CSRF check refuses (Fetch §3.2).
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}

# https://developers.google.com/identity/gsi/web/guides/get-google-api-clientid#content_security_policy
_GOOGLE: Final = "https://accounts.google.com/gsi/"
_GOOGLE_STYLE: Final = f"{_GOOGLE}style"
_GOOGLE_SCRIPT: Final = {"script-src": f"{_GOOGLE}client", "style-src": _GOOGLE_STYLE, "connect-src": _GOOGLE}

_RIGHT_TO_LEFT: Final = frozenset({"ar", "dv", "fa", "he", "ps", "ur", "yi"})

_MEDIA_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}

_ACCEPTS_GZIP: Final = re.compile(r"\bgzip\b(?!\s*;\s*q=0(\.0*)?\s*(,|$))", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _StaticFile:
    """One file as it is sent; `compressed` only where it is the shorter one."""

    media_type: str
    digest: str
    content: bytes
    compressed: bytes | None


class StaticFiles:
    """The static files of one folder, read once, each under a URL that changes with its content.

    So a browser may keep them for good (RFC 8246), and a new release never meets an old stylesheet.
    """

    def __init__(self, directory: Path) -> None:
        self._urls: dict[str, str] = {}
        self._files: dict[str, _StaticFile] = {}
        for path in sorted(directory.iterdir()):
            if path.suffix not in _MEDIA_TYPES:
                continue
            content = path.read_bytes()
            compressed = gzip.compress(content, mtime=0)
            digest = sha256(content).hexdigest()[:8]
            hashed_name = f"{path.stem}.{digest}{path.suffix}"
            self._urls[path.name] = f"/static/{hashed_name}"
            self._files[hashed_name] = _StaticFile(
                media_type=_MEDIA_TYPES[path.suffix],
                digest=digest,
                content=content,
                compressed=compressed if len(compressed) < len(content) else None,
            )

    def url(self, name: str) -> str:
        """The path of the file `name` with its hash in it.

        Raises:
            KeyError: there is no such file.
        """
        return self._urls[name]

    def routes(self) -> list[Route]:
        """The route that answers GET and HEAD for every file."""
        return [Route("/static/{name}", self._serve, methods=["GET"])]

    async def _serve(self, request: Request) -> Response:
        file = self._files.get(request.path_params["name"])
        if file is None:
            raise HTTPException(404)
        headers = {
            "Cache-Control": "public, max-age=31536000, immutable",
            "Content-Type": file.media_type,
            "Vary": "Accept-Encoding",
            "X-Content-Type-Options": "nosniff",
        }
        body, etag = file.content, f'"{file.digest}"'
        if file.compressed is not None and _ACCEPTS_GZIP.search(request.headers.get("Accept-Encoding", "")):
            headers["Content-Encoding"] = "gzip"
            body, etag = file.compressed, f'"{file.digest}-gzip"'
        headers["ETag"] = etag
        if etag in request.headers.get("If-None-Match", ""):
            return Response(status_code=304, headers=headers)
        return Response(body, headers=headers)


class Pages:
    """Renders the pages; `static` serves the files they refer to.

    The templates are read once: a changed template shows after a restart.
    """

    def __init__(self, *, service_name: str, templates_dir: Path) -> None:
        self.static = StaticFiles(Path(__file__).with_name("static"))
        self._environment = Environment(
            loader=FileSystemLoader(templates_dir),
            autoescape=True,
            undefined=StrictUndefined,
            # Old-style gettext: the new style would mark every text it is given as safe, variables included.
            extensions=["jinja2.ext.i18n"],
            auto_reload=False,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.policies["ext.i18n.trimmed"] = True
        self._environment.filters["utc"] = _utc
        self._environment.filters["day"] = _day
        translations = NullTranslations()
        self._environment.globals.update(
            service_name=service_name,
            static=self.static.url,
            gettext=translations.gettext,
            ngettext=translations.ngettext,
        )

    def render(
        self, name: str, *, status: int = 200, language: str = "en", transaction: bool = False, **context: object
    ) -> Response:
        """Render the template `name` with everything in `context` it asks for.

        `transaction` marks a page inside an authorization transaction or before a redirect to an application: browsers
        apply `form-action` to the whole redirect chain, so such a page goes without it.

        Raises:
            jinja2.UndefinedError: the template uses a name that the context lacks.
        """
        page = self._environment.get_template(name).render(
            status=status,
            language=language,
            direction="rtl" if language.partition("-")[0] in _RIGHT_TO_LEFT else "ltr",
            **context,
        )
        csp = TRANSACTION_CONTENT_SECURITY_POLICY if transaction else CONTENT_SECURITY_POLICY
        headers: Mapping[str, str] = {"Content-Security-Policy": csp, **_PAGE_HEADERS}
        return HTMLResponse(page, status_code=status, headers=headers)

    def render_frame(self, name: str, **context: object) -> Response:
        """Render a template that any site may frame: it shows nothing, and everybody gets the same.

        Raises:
            jinja2.UndefinedError: as for `render`.
        """
        page = self._environment.get_template(name).render(**context)
        return HTMLResponse(page, headers=_FRAME_HEADERS)


def allow_frames(response: Response, origins: Iterable[str]) -> None:
    """Let a page show frames of these origins and of no others (CSP Level 3 §6.1.5)."""
    if sources := " ".join(origins):
        response.headers["Content-Security-Policy"] += f"; frame-src {sources}"


def allow_google_script(response: Response, *, style_nonce: str) -> None:
    """Let a page run Google's script for signing in, as Google documents it, and tell Google our origin.

    The script also writes a style sheet into the page, with the nonce of the element that loaded it. Google answers
    registered origins only, and gets the origin alone: the address of the page may hold what is nobody else's.
    """
    csp = response.headers["Content-Security-Policy"]
    for directive, sources in _GOOGLE_SCRIPT.items():
        csp = csp.replace(f"{directive} 'self'", f"{directive} 'self' {sources}")
    csp = csp.replace(_GOOGLE_STYLE, f"{_GOOGLE_STYLE} 'nonce-{style_nonce}'")
    response.headers["Content-Security-Policy"] = f"{csp}; frame-src {_GOOGLE}"
    response.headers["Referrer-Policy"] = "strict-origin-when-cross-origin"


def _day(at: datetime) -> str:
    """A day as people read it; the zone is that of all times here."""
    return f"{at.astimezone(UTC):%-d %b %Y}"


def _utc(at: datetime) -> str:
    """A point in time as people read it, with its zone."""
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
