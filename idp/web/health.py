"""Health and metrics, for machines that watch."""

from datetime import timedelta

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from idp.domain.signing_key import SigningAlgorithm
from idp.observe.logs import get_logger
from idp.store.errors import StoreError
from idp.web.services import Services

_log = get_logger(__name__)
# Tokens carry times of ours that others compare with theirs: more than this is worth an alarm.
_TOLERATED_CLOCK = timedelta(seconds=5)


async def healthz(request: Request[Services]) -> Response:
    """Say that the process answers."""
    return JSONResponse({"status": "ok"}, headers={"Cache-Control": "no-store"})


async def readyz(request: Request[Services]) -> Response:
    """Say whether requests are welcome: the database answers, keys can sign, nothing is draining."""
    state = request.state
    checks: dict[str, object] = {}
    ready = not state["drain"].draining
    checks["draining"] = state["drain"].draining
    try:
        away = abs(await state["store"].now() - state["clock"]())
        checks["database"] = "ok"
        checks["clock_difference_seconds"] = round(away.total_seconds(), 3)
        if away > _TOLERATED_CLOCK:
            _log.warning("clock.off", seconds=away.total_seconds())
        for alg in SigningAlgorithm:
            await state["signing_keys"].signer(alg)
        checks["signing_keys"] = "ok"
    except (StoreError, KeyError) as error:
        _log.warning("not_ready", reason=str(error))
        checks.setdefault("database", "unavailable")
        checks.setdefault("signing_keys", "unavailable")
        ready = False
    content = {"status": "ready" if ready else "not ready", **checks}
    return JSONResponse(content, 200 if ready else 503, headers={"Cache-Control": "no-store"})


async def metrics(request: Request[Services]) -> Response:
    """Return the metrics for Prometheus."""
    body, content_type = request.state["metrics"].render()
    return Response(body, headers={"Content-Type": content_type, "Cache-Control": "no-store"})
