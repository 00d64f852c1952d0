"""Where settings come from: the environment and `idp.toml`; what is wrong is refused with a clear line."""

import difflib
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import SecretStr, ValidationError
from pydantic_core import ErrorDetails

from idp.outbound.authorities import check_ca_file
from idp.setting_values import written
from idp.settings import PREFIX, Settings

_CONFIG = "IDP_CONFIG"
# What Kubernetes puts into a container for every service called idp or idp-something; we never gave these values.
_KUBERNETES = re.compile(
    r"IDP_(?:\w+_)?(?:SERVICE_HOST|SERVICE_PORT(?:_\w+)?|PORT_\d+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)"
)
_KUBERNETES_PORT = re.compile(r"IDP_(?:\w+_)?PORT=(?:tcp|udp|sctp)://.*")
_WRONG = {
    "int_parsing": "must be a whole number",
    "int_parsing_size": "must be a smaller whole number",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "literal_error": "must be {expected}",
    "enum": "must be {expected}",
    "string_type": "must be text",
    "string_too_short": "must not be empty",
    "too_short": "must not be empty",
    "string_too_long": "must have at most {max_length} characters",
    "path_type": "must be a path",
    "extra_forbidden": "is not a setting",
    "value_error": "{error}",
}


class SettingsError(Exception):
    """The settings are refused; the text has one line per problem and never a secret."""


def load_settings(
    environ: Mapping[str, str] | None = None, *, cwd: Path | None = None, **overrides: object
) -> Settings:
    """Read the settings: overrides win over the environment, that wins over the file, that over the defaults.

    An override of None and an empty variable count as absent. `cwd` is where relative paths start and `./idp.toml`
    is looked for; by default the working directory.

    Raises:
        SettingsError: a name is unknown, a value is wrong or the file cannot be read.
    """
    environ = os.environ if environ is None else environ
    cwd = (cwd or Path()).absolute()
    variables = {name: value for name, value in environ.items() if name.startswith(PREFIX) and value}
    known = {PREFIX + name.upper() for name in Settings.model_fields} | {_CONFIG}
    problems = [
        _unknown(name, known)
        for name, value in sorted(variables.items())
        if name not in known and not _KUBERNETES.fullmatch(name) and not _KUBERNETES_PORT.fullmatch(f"{name}={value}")
    ]
    path = cwd / variables.get(_CONFIG, "idp.toml")
    in_file = _read_file(path, required=_CONFIG in variables)
    problems += [
        f"{_unknown(key, Settings.model_fields)} ({path})" for key in in_file if key not in Settings.model_fields
    ]

    environment = {name.removeprefix(PREFIX).lower(): text for name, text in variables.items() if name in known}
    environment.pop("config", None)
    given = environment | {name: value for name, value in overrides.items() if value is not None}
    values = {name: value for name, value in in_file.items() if name in Settings.model_fields} | given
    try:
        settings = Settings(**values)
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
        problems += [
            _problem(detail, path if detail["loc"][0] in in_file.keys() - given.keys() else None)
            for detail in details
            # The listening port comes from the issuer: without that there is nothing wrong with it.
            if detail["type"] != "default_factory_not_called"
        ]
    else:
        settings = settings.model_copy(update=_anchored(settings, cwd))
        try:
            if settings.outbound_ca_file:
                check_ca_file(settings.outbound_ca_file)
        except ValueError as error:
            problems.append(f"IDP_OUTBOUND_CA_FILE: {error}")
        if not problems:
            return settings
    raise SettingsError("\n".join(problems))


def _read_file(path: Path, *, required: bool) -> dict[str, Any]:
    if not path.is_file():
        if required:
            raise SettingsError(f"{_CONFIG}: there is no file {path}; create it or unset the variable")
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError:
        raise SettingsError(f"{_CONFIG}: {path} is not valid TOML: write it in UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        # Only the place: the rest of the parser's text may repeat a piece of the file.
        place = re.search(r"\(at [^()]*\)$", str(error))
        raise SettingsError(f"{_CONFIG}: {path} is not valid TOML {place[0] if place else ''}".rstrip()) from None
    except OSError as error:
        raise SettingsError(f"{_CONFIG}: {path} cannot be read: {error.strerror}") from None


def _unknown(name: str, known: Mapping[str, object] | set[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"{name} is not a setting; " + (f"did you mean {near[0]}?" if near else "docs/settings.md lists them all")


def _problem(detail: ErrorDetails, path: Path | None) -> str:
    """One line for one error of the model, without the value, which may be a secret."""
    name = str(detail["loc"][0])
    wrong = _WRONG.get(detail["type"], "is not valid").format(**detail.get("ctx", {}))
    source = f" ({name} in {path})" if path else ""
    default = Settings.model_fields[name].default if name in Settings.model_fields else None
    usual = f"; by default {written(default)}" if isinstance(default, str | int | float | Path) else ""
    return f"{PREFIX}{name.upper()}{source} {wrong}{usual}"


def _anchored(settings: Settings, cwd: Path) -> dict[str, object]:
    """Paths made absolute, so that a later change of directory does not move them."""
    scheme, _, rest = settings.database_url.get_secret_value().partition(":///")
    update: dict[str, object] = {"keys_dir": cwd / settings.keys_dir}
    if settings.outbound_ca_file:
        update["outbound_ca_file"] = cwd / settings.outbound_ca_file
    if scheme.startswith("sqlite") and not rest.startswith("file:"):
        update["database_url"] = SecretStr(f"{scheme}:///{cwd / rest}")
    return update
