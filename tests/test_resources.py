"""Templates and migrations are found in a checkout and in a wheel."""

from collections.abc import Callable
from pathlib import Path

import pytest

from idp import resources

BOTH = pytest.mark.parametrize(
    ("find", "name"), [(resources.templates_dir, "templates"), (resources.migrations_dir, "migrations")]
)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed package in its site-packages."""
    folder = tmp_path / "idp"
    folder.mkdir()
    monkeypatch.setattr(resources, "_PACKAGE", folder)
    return folder


@BOTH
def test_in_this_checkout_the_folder_stands_at_the_top(find: Callable[[], Path], name: str) -> None:
    assert find() == Path(__file__).parents[1] / name


@BOTH
def test_in_a_wheel_the_folder_is_inside_the_package(package: Path, find: Callable[[], Path], name: str) -> None:
    (package / name).mkdir()
    (package.parent / name).mkdir()
    (package.parent / "pyproject.toml").touch()
    assert find() == package / name


@BOTH
def test_a_folder_beside_an_installed_package_is_somebody_elses(
    package: Path, find: Callable[[], Path], name: str
) -> None:
    (package.parent / name).mkdir()
    with pytest.raises(FileNotFoundError, match=f"no folder {name} in .*: install lab-id again"):
        find()


@BOTH
def test_a_missing_folder_is_told_with_both_places(package: Path, find: Callable[[], Path], name: str) -> None:
    (package.parent / "pyproject.toml").touch()
    with pytest.raises(FileNotFoundError) as caught:
        find()
    assert str(package / name) in str(caught.value)
    assert str(package.parent / name) in str(caught.value)
