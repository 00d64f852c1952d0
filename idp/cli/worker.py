"""What a server process runs; each of several workers takes its settings from the environment."""

import asyncio
import gc
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from idp.web.services import Drain

# A request makes few reference cycles: looking for them rarely saves a tenth of the time.
_GC_THRESHOLDS = (20_000, 50, 100)


def create() -> Callable[..., Awaitable[None]]:
    """Return the application of one worker."""
    with loading():
        from idp.app import create_app
        from idp.observe.logs import configure_logs
        from idp.setting_sources import load_settings
        from idp.web.services import Drain

    settings = load_settings()
    configure_logs(settings.log_format, settings.log_level)
    drain = Drain()
    _announce_stop(drain, settings.drain_delay_seconds)
    application = create_app(settings, drain=drain)
    spare_the_garbage_collector()
    return application


@contextmanager
def loading() -> Iterator[None]:
    """Import without looking for garbage, of which that makes none, and keep what was loaded out of later rounds.

    One round over all that a server loads takes a tenth of a second, and there would be several.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def spare_the_garbage_collector() -> None:
    """Take everything that was loaded so far out of the garbage collector's rounds, and let it go round less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)


def _announce_stop(drain: "Drain", delay_seconds: int) -> None:
    """Answer 503 at /readyz from SIGTERM on, and hand the signal to uvicorn, which makes this worker, a while later."""
    stop = signal.getsignal(signal.SIGTERM)
    loop = asyncio.get_running_loop()

    def announce(number: int, frame: FrameType | None) -> None:
        drain.draining = True
        if callable(stop):
            loop.call_soon_threadsafe(loop.call_later, delay_seconds, stop, number, None)

    signal.signal(signal.SIGTERM, announce)
