"""`idp serve --demo`: data in a folder of its own, never in anybody's store."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from idp.cli.apply import apply_over
from idp.cli.run import CannotStart
from idp.setting_sources import load_settings
from idp.settings import Settings, is_loopback

if TYPE_CHECKING:
    from idp.opening import Opened

_FOLDER = Path("var/demo")
_MARK = "README.txt"


def require_demo_store(settings: Settings, overrides: Mapping[str, Any]) -> Settings:
    """Return the settings with the demo's own store.

    Raises:
        CannotStart: the issuer is not on this machine alone, or another store is meant or lies there.
    """
    if not is_loopback(settings.issuer):
        raise CannotStart(f"--demo has public passwords: it serves on loopback only, not as {settings.issuer}")
    if settings.listen_host not in {"localhost", "127.0.0.1", "::1"}:
        raise CannotStart(f"--demo has public passwords: it listens on loopback only, not on {settings.listen_host}")
    url = f"sqlite:///{_FOLDER.absolute()}/idp.db"
    moved = load_settings(
        **{**overrides, "database_url": url, "keys_dir": _FOLDER.absolute() / "keys"}, issuer=settings.issuer
    )
    named = os.environ.get("IDP_DATABASE_URL") or overrides.get("database_url")
    usual = f"sqlite:///{Path('var/idp.db').absolute()}"
    present = settings.database_url.get_secret_value()
    if present != url and (named or present != usual):
        raise CannotStart("--demo keeps its data in var/demo: unset IDP_DATABASE_URL and leave out --database-url")
    mark = _FOLDER / _MARK
    if (_FOLDER / "idp.db").exists() and not mark.exists():
        raise CannotStart(f"{_FOLDER}/idp.db was not made by --demo: move it away")
    _FOLDER.mkdir(parents=True, exist_ok=True)
    mark.write_text("Made by `idp serve --demo`. Delete this folder to start afresh.\n", encoding="utf-8")
    return moved


async def prepare_demo(opened: "Opened", *, rp_port: int) -> None:
    """Bring the demo's data to what this version brings along."""
    from idp.demo.data import demo_file
    from idp.services.apply_file import read_apply_files

    await apply_over(opened).run(read_apply_files([("data.yaml", demo_file(rp_port=rp_port))], {}))
