"""Where templates and migrations lie: inside the installed package, or at the top of a checkout."""

from pathlib import Path

_PACKAGE = Path(__file__).parent


def templates_dir() -> Path:
    """The folder of the page and e-mail templates."""
    return _find("templates")


def migrations_dir() -> Path:
    """The folder of the database migrations."""
    return _find("migrations")


def _find(name: str) -> Path:
    """Look in the wheel's place first.

    Raises:
        FileNotFoundError: neither place has the folder; the installation is broken.
    """
    packaged, checkout = _PACKAGE / name, _PACKAGE.parent / name
    if packaged.is_dir():
        return packaged
    # Beside an installed package lies everybody's site-packages: a folder there counts only in a checkout.
    if checkout.is_dir() and (_PACKAGE.parent / "pyproject.toml").is_file():
        return checkout
    raise FileNotFoundError(f"no folder {name} in {packaged} or {checkout}: install lab-id again")
