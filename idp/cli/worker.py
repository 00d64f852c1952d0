"""What each of several worker processes runs; its settings come from the environment."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import ASGIApp


def create() -> "ASGIApp":
    """Return the application of one worker."""
    from idp.app import create_app
    from idp.observe.logs import configure_logs
    from idp.settings import load_settings

    settings = load_settings()
    configure_logs(settings.log_format, settings.log_level)
    return create_app(settings)
