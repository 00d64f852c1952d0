"""Settings: where they come from, what is refused and how, and that docs/settings.md tells the truth."""

import re
from ipaddress import ip_network
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from idp.outbound.addresses import AllowRule
from idp.setting_sources import SettingsError, load_settings
from idp.settings import Settings, is_loopback

DOCS = Path(__file__).parents[1] / "docs" / "settings.md"
SECRET = "correct-horse-battery"
CERTIFICATE = """\
-----BEGIN CERTIFICATE-----
MIHdMIGQoAMCAQICAQEwBQYDK2VwMA0xCzAJBgNVBAMMAkNBMCAXDTIwMDEwMTAw
MDAwMFoYDzIwOTkwMTAxMDAwMDAwWjANMQswCQYDVQQDDAJDQTAqMAUGAytlcAMh
AKZx/nX2Eb1qZpVu4mx+kNjFnCOqIdWemYscnMn3J3xzoxMwETAPBgNVHRMBAf8E
BTADAQH/MAUGAytlcANBAFBXuTjBuycUwYXwnGNDxXRGX5R6voZAfaEO/sKil2eL
O09aqyyqyjA32MD+S9DbacGDugWAcXfL0oyD993MTwo=
-----END CERTIFICATE-----
"""


def refusal(environ: dict[str, str], cwd: Path, **overrides: object) -> list[str]:
    """The lines with which the settings are refused."""
    with pytest.raises(SettingsError) as caught:
        load_settings(environ, cwd=cwd, **overrides)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None or caught.value.__suppress_context__
    return str(caught.value).splitlines()


def write_toml(folder: Path, text: str, name: str = "idp.toml") -> None:
    (folder / name).write_text(text, encoding="utf-8")


# ── Where they come from ────────────────────────────────────────────────────────────────────────────────────────────
def test_without_anything_the_defaults_hold(tmp_path: Path) -> None:
    settings = load_settings({}, cwd=tmp_path)
    assert settings.issuer == "http://localhost:8000"
    assert (settings.listen_host, settings.listen_port) == ("127.0.0.1", 8000)
    assert settings.key_encryption_key is None


def test_the_environment_wins_over_the_file_and_an_override_over_both(tmp_path: Path) -> None:
    write_toml(tmp_path, 'service_name = "File"\nkey_rotation_days = 1\ndrain_seconds = 1')
    environ = {"IDP_KEY_ROTATION_DAYS": "2", "IDP_DRAIN_SECONDS": "2"}
    settings = load_settings(environ, cwd=tmp_path, drain_seconds=3)
    assert (settings.service_name, settings.key_rotation_days, settings.drain_seconds) == ("File", 2, 3)


def test_an_override_of_none_and_an_empty_variable_count_as_absent(tmp_path: Path) -> None:
    settings = load_settings({"IDP_ISSUER": "", "IDP_NO_SUCH_THING": ""}, cwd=tmp_path, workers=None)
    assert (settings.issuer, settings.workers) == ("http://localhost:8000", 1)


def test_without_a_mapping_the_process_environment_and_the_working_directory_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IDP_SERVICE_NAME", "Biology")
    write_toml(tmp_path, "drain_seconds = 7")
    settings = load_settings()
    assert (settings.service_name, settings.drain_seconds) == ("Biology", 7)
    assert settings.keys_dir == tmp_path / "keys"


def test_a_model_that_is_made_directly_does_not_read_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IDP_SERVICE_NAME", "Biology")
    assert Settings().service_name == "Lab ID"


def test_idp_config_names_another_file_from_the_working_directory(tmp_path: Path) -> None:
    write_toml(tmp_path, 'service_name = "Passed over"')
    write_toml(tmp_path, 'service_name = "Named"', "other.toml")
    assert load_settings({"IDP_CONFIG": "other.toml"}, cwd=tmp_path).service_name == "Named"


def test_lists_are_comma_separated_in_the_environment_and_lists_in_the_file(tmp_path: Path) -> None:
    expected = (ip_network("10.0.0.0/8"), ip_network("192.0.2.7/32"), ip_network("fd00::/8"))
    environ = {"IDP_TRUSTED_PROXIES": " 10.0.0.0/8, 192.0.2.7 ,fd00::/8,"}
    assert load_settings(environ, cwd=tmp_path).trusted_proxies == expected
    write_toml(tmp_path, 'trusted_proxies = ["10.0.0.0/8", "192.0.2.7", "fd00::/8"]')
    assert load_settings({}, cwd=tmp_path).trusted_proxies == expected


def test_nobody_is_exempt_from_limits_once_the_list_is_emptied(tmp_path: Path) -> None:
    assert load_settings({"IDP_RATE_LIMIT_EXEMPT": ","}, cwd=tmp_path).rate_limit_exempt == ()
    assert load_settings({}, cwd=tmp_path).describe()["IDP_RATE_LIMIT_EXEMPT"] == "127.0.0.0/8,::1/128"


@pytest.mark.parametrize(("text", "meant"), [("false", False), ("0", False), ("true", True), ("1", True)])
def test_a_switch_is_written_as_true_or_false(tmp_path: Path, text: str, meant: bool) -> None:
    settings = load_settings({"IDP_DYNAMIC_REQUIRE_PKCE": text}, cwd=tmp_path)
    assert settings.dynamic_require_pkce is meant
    assert settings.describe()["IDP_DYNAMIC_REQUIRE_PKCE"] == str(meant).lower()


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError):
        Settings().workers = 2


# ── Names ───────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_mistyped_variable_is_refused_with_the_name_that_was_meant(tmp_path: Path) -> None:
    lines = refusal({"IDP_ISUER": "https://id.example.org"}, tmp_path)
    assert lines == ["IDP_ISUER is not a setting; did you mean IDP_ISSUER?"]


@pytest.mark.parametrize("name", ["IDP_issuer", "IDP_XYZZY", "IDP_HOST"])
def test_an_unknown_variable_is_refused_by_its_name(tmp_path: Path, name: str) -> None:
    (line,) = refusal({name: SECRET}, tmp_path)
    assert line.startswith(f"{name} is not a setting")
    assert SECRET not in line


def test_a_mistyped_name_in_the_file_is_refused_with_the_file(tmp_path: Path) -> None:
    write_toml(tmp_path, 'isuer = "https://id.example.org"')
    assert refusal({}, tmp_path) == [f"isuer is not a setting; did you mean issuer? ({tmp_path / 'idp.toml'})"]


def test_a_table_in_the_file_is_no_setting(tmp_path: Path) -> None:
    write_toml(tmp_path, "[xyzzy]\nworkers = 2")
    (line,) = refusal({}, tmp_path)
    assert line.startswith("xyzzy is not a setting")


KUBERNETES = {
    "IDP_SERVICE_HOST": "10.0.0.1",
    "IDP_SERVICE_PORT": "80",
    "IDP_SERVICE_PORT_HTTP": "80",
    "IDP_PORT": "tcp://10.0.0.1:80",
    "IDP_PORT_80_TCP": "tcp://10.0.0.1:80",
    "IDP_PORT_80_TCP_PROTO": "tcp",
    "IDP_PORT_80_TCP_PORT": "80",
    "IDP_PORT_80_TCP_ADDR": "10.0.0.1",
    "IDP_POSTGRES_SERVICE_HOST": "10.0.0.2",
    "IDP_POSTGRES_SERVICE_PORT": "5432",
    "IDP_POSTGRES_PORT": "tcp://10.0.0.2:5432",
    "IDP_POSTGRES_PORT_5432_TCP_ADDR": "10.0.0.2",
}


def test_what_kubernetes_injects_for_services_called_idp_is_passed_over(tmp_path: Path) -> None:
    assert load_settings(KUBERNETES, cwd=tmp_path) == load_settings({}, cwd=tmp_path)


def test_no_setting_bears_a_name_that_kubernetes_injects_for_a_service_called_idp() -> None:
    injected = re.compile(r"PORT(_.*)?|SERVICE_(HOST|PORT)(_.*)?")
    assert not [name for name in Settings.model_fields if injected.fullmatch(name.upper())]


def test_a_port_that_a_person_gave_under_the_injected_name_is_not_silently_ignored(tmp_path: Path) -> None:
    assert refusal({"IDP_PORT": "9000"}, tmp_path) == ["IDP_PORT is not a setting; did you mean IDP_LISTEN_PORT?"]


# ── The file ────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_named_file_that_is_missing_is_refused(tmp_path: Path) -> None:
    (line,) = refusal({"IDP_CONFIG": "gone.toml"}, tmp_path)
    assert line.startswith(f"IDP_CONFIG: there is no file {tmp_path / 'gone.toml'}")


def test_a_file_that_is_no_toml_is_refused_with_the_place_and_without_its_content(tmp_path: Path) -> None:
    write_toml(tmp_path, f'workers = 1\nkey_encryption_key = "{SECRET}')
    (line,) = refusal({}, tmp_path)
    assert line.startswith(f"IDP_CONFIG: {tmp_path / 'idp.toml'} is not valid TOML (at ")
    assert SECRET not in line


def test_a_file_in_another_encoding_is_refused(tmp_path: Path) -> None:
    (tmp_path / "idp.toml").write_bytes('service_name = "Zürich"'.encode("latin-1"))
    (line,) = refusal({}, tmp_path)
    assert line.endswith("write it in UTF-8")


def test_a_file_that_cannot_be_read_is_refused_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    write_toml(tmp_path, "workers = 1")
    monkeypatch.setattr(Path, "open", refuse)  # root, who often runs tests, may read everything
    assert refusal({}, tmp_path) == [f"IDP_CONFIG: {tmp_path / 'idp.toml'} cannot be read: Permission denied"]


def test_a_wrong_value_from_the_file_is_refused_with_variable_key_and_file(tmp_path: Path) -> None:
    write_toml(tmp_path, 'workers = "many"')
    assert refusal({}, tmp_path) == [
        f"IDP_WORKERS (workers in {tmp_path / 'idp.toml'}) must be a whole number; by default 1"
    ]


def test_a_wrong_value_from_the_environment_is_not_blamed_on_the_file_that_it_overrides(tmp_path: Path) -> None:
    write_toml(tmp_path, "workers = 1")
    assert refusal({"IDP_WORKERS": "many"}, tmp_path) == ["IDP_WORKERS must be a whole number; by default 1"]


# ── Values ──────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("name", "value", "wrong"),
    [
        ("IDP_WORKERS", "0", "must be at least 1"),
        ("IDP_LISTEN_PORT", "65536", "must be at most 65535"),
        ("IDP_CODE_TTL_SECONDS", "61", "must be at most 60"),
        ("IDP_CODE_TTL_SECONDS", "1.5", "must be a whole number"),
        ("IDP_KEY_ROTATION_DAYS", "-1", "must be at least 0"),
        ("IDP_PASSWORD_MIN_LENGTH", "7", "must be at least 8"),
        ("IDP_DATABASE_STATEMENT_TIMEOUT_SECONDS", "0", "must be at least 0.1"),
        ("IDP_DATABASE_STATEMENT_TIMEOUT_SECONDS", "soon", "must be a number"),
        ("IDP_DATABASE_STATEMENT_TIMEOUT_SECONDS", "nan", "must be at most 3600"),
        ("IDP_DYNAMIC_REGISTRATION", "yes", "must be 'open', 'token' or 'closed'; by default closed"),
        ("IDP_DYNAMIC_REQUIRE_PKCE", "perhaps", "must be true or false; by default true"),
        ("IDP_REGISTRATION_LIMIT", "0/hour", "must be a number per second, minute, hour or day, such as 20/hour"),
        ("IDP_REGISTRATION_LIMIT", "20 per hour", "must be a number per second, minute, hour or day"),
        ("IDP_REGISTRATION_LIMIT", "20/2hours", "must be a number per second, minute, hour or day"),
        ("IDP_REFUSALS_PER_ADDRESS", "-1", "must be at least 0"),
        ("IDP_RATE_LIMIT_EXEMPT", "127.0.0.1/8", "has an address inside a network: write 127.0.0.0/8"),
        ("IDP_LOG_FORMAT", "xml", "must be 'auto', 'json' or 'console'"),
        ("IDP_ACCESS_LOG", "yes", "must be 'none', 'errors' or 'all'"),
        ("IDP_SERVICE_NAME", "x" * 81, "must have at most 80 characters"),
        ("IDP_SESSION_IDLE_SECONDS", "604801", "must not be longer than IDP_SESSION_TTL_SECONDS"),
        ("IDP_TRUSTED_PROXIES", "10.0.0.1/8", "has an address inside a network: write 10.0.0.0/8"),
        ("IDP_TRUSTED_PROXIES", "10.0.0.0/8,proxy.example", "must be addresses or networks such as 10.0.0.7"),
        ("IDP_OUTBOUND_ALLOW", "10.0.0.1/8", "has an address inside a network: write 10.0.0.0/8"),
        ("IDP_OUTBOUND_ALLOW", "10.0.0.0/8,https://rp.example", "must be host:port, addresses or networks such as"),
        ("IDP_OUTBOUND_ALLOW", "rp.example", "must be host:port, addresses or networks such as"),
        ("IDP_OUTBOUND_TIMEOUT_SECONDS", "0", "must be at least 0.1"),
        ("IDP_OUTBOUND_TIMEOUT_SECONDS", "61", "must be at most 60"),
        ("IDP_OUTBOUND_MAX_BYTES", "1023", "must be at least 1024"),
    ],
)
def test_a_value_out_of_its_range_is_refused_with_what_is_expected(
    tmp_path: Path, name: str, value: str, wrong: str
) -> None:
    (line,) = refusal({name: value}, tmp_path)
    assert line.startswith(f"{name} {wrong}")


@pytest.mark.parametrize(
    ("toml", "wrong"),
    [
        ("trusted_proxies = 7", "must be a list of addresses and networks"),
        ("outbound_allow = 7", "must be a list of hosts with port, addresses and networks"),
        ("outbound_ca_file = 7", "must be a path"),
        ("dynamic_require_pkce = [1]", "must be true or false"),
        ("keys_dir = 7", "must be a path"),
        ("service_name = 7", "must be text"),
        ('service_name = ""', "must not be empty"),
        ('key_encryption_key = ""', "must not be empty"),
        ("workers = [1]", "must be a whole number"),
        ("drain_seconds = 1.5", "must be a whole number"),
    ],
)
def test_a_value_of_another_type_in_the_file_is_refused(tmp_path: Path, toml: str, wrong: str) -> None:
    write_toml(tmp_path, toml)
    (line,) = refusal({}, tmp_path)
    assert f") {wrong}" in line


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    write_toml(tmp_path, "wrokers = 1\ndrain_seconds = -1")
    lines = refusal({"IDP_ISUER": "x", "IDP_ISSUER": "x", "IDP_LOG_LEVEL": "loud"}, tmp_path, xyzzy=1)
    named = [re.split(r"\W", line)[0] for line in lines]
    assert sorted(named) == sorted(
        ["IDP_ISUER", "wrokers", "IDP_ISSUER", "IDP_LOG_LEVEL", "IDP_DRAIN_SECONDS", "IDP_XYZZY"]
    )


# ── Issuer ──────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    "issuer",
    [
        "https://id.example.org",
        "https://id.example.org:8443",
        "https://[2001:db8::1]",
        "http://localhost",
        "http://127.0.0.1:8000",
        "http://[::1]:8000",
    ],
)
def test_an_origin_is_an_issuer(tmp_path: Path, issuer: str) -> None:
    assert load_settings({"IDP_ISSUER": issuer}, cwd=tmp_path).issuer == issuer


@pytest.mark.parametrize(
    ("issuer", "wrong"),
    [
        ("https://id.example.org/", "must not end with a slash"),
        ("https://id.example.org/idp", "leave out user, path, query and fragment"),
        ("https://id.example.org/idp/", "leave out user, path, query and fragment"),
        ("https://id.example.org?", "leave out user, path, query and fragment"),
        ("https://id.example.org#a", "leave out user, path, query and fragment"),
        ("https://user:correct-horse-battery@id.example.org", "leave out user, path, query and fragment"),
        ("http://id.example.org", "must use https"),
        ("http://localhost.example.org", "must use https"),
        ("http://127.0.0.1.example.org", "must use https"),
        ("http://192.168.0.1:8000", "must use https"),
        ("https://ID.example.org", "must be in lower case"),
        ("https://id.example.org:443", "must leave out the port 443"),
        ("http://localhost:80", "must leave out the port 80"),
        ("http://localhost:65536", "must have a port of at most 65535"),
        ("id.example.org", "must be an address such as"),
        ("ftp://id.example.org", "must be an address such as"),
        ("https://", "must be an address such as"),
        ("https://id.example.org:", "must be an address such as"),
        ("https://id.exa mple.org", "must be an address such as"),
        ("https://id.example.org\n", "must be an address such as"),
        ("https://zürich.example", "must be an address such as"),
    ],
)
def test_anything_but_an_origin_is_no_issuer(tmp_path: Path, issuer: str, wrong: str) -> None:
    (line,) = refusal({"IDP_ISSUER": issuer}, tmp_path)
    assert line.startswith("IDP_ISSUER ")
    assert wrong in line
    assert SECRET not in line


@pytest.mark.parametrize(
    ("issuer", "port"),
    [
        ("http://localhost:9123", 9123),
        ("http://localhost", 80),
        ("https://[::1]:8443", 8443),
        ("https://id.example.org", 8000),
        ("https://id.example.org:8443", 8000),
    ],
)
def test_the_listening_port_is_that_of_a_loopback_issuer_else_8000(tmp_path: Path, issuer: str, port: int) -> None:
    assert load_settings({"IDP_ISSUER": issuer}, cwd=tmp_path).listen_port == port
    assert load_settings({"IDP_ISSUER": issuer, "IDP_LISTEN_PORT": "81"}, cwd=tmp_path).listen_port == 81


def test_loopback_is_told_by_the_whole_host() -> None:
    assert is_loopback("http://localhost:8000")
    assert is_loopback("https://[::1]")
    assert not is_loopback("https://localhost.example.org")


# ── Database ────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("url", "driver_url"),
    [
        ("sqlite:////srv/idp.db", "sqlite+aiosqlite:////srv/idp.db"),
        ("sqlite+aiosqlite:////srv/idp.db", "sqlite+aiosqlite:////srv/idp.db"),
        ("postgresql://u:p@h:5432/d?a=b", "postgresql+asyncpg://u:p@h:5432/d?a=b"),
        ("postgres://u:p[@h/d", "postgresql+asyncpg://u:p[@h/d"),
        ("postgres+asyncpg://h/d", "postgresql+asyncpg://h/d"),
        ("postgresql+psycopg://h/d", "postgresql+psycopg://h/d"),
        ("postgresql:///d", "postgresql+asyncpg:///d"),
    ],
)
def test_a_database_url_selects_the_async_driver_and_keeps_an_explicit_one(
    tmp_path: Path, url: str, driver_url: str
) -> None:
    assert load_settings({"IDP_DATABASE_URL": url}, cwd=tmp_path).database_driver_url == driver_url


@pytest.mark.parametrize(
    ("url", "wrong"),
    [
        (f"mysql://u:{SECRET}@h/d", "must begin with sqlite:/// or postgresql://"),
        (f"postgresql+://u:{SECRET}@h/d", "must begin with sqlite:/// or postgresql://"),
        (f"u:{SECRET}@h/d", "must begin with sqlite:/// or postgresql://"),
        ("sqlite://var/idp.db", "needs three slashes"),
        ("sqlite://", "needs three slashes"),
        ("sqlite:///", "must name a file"),
        ("sqlite:///:memory:", "must name a file"),
    ],
)
def test_another_database_is_refused_without_repeating_its_url(tmp_path: Path, url: str, wrong: str) -> None:
    (line,) = refusal({"IDP_DATABASE_URL": url}, tmp_path)
    assert line.startswith(f"IDP_DATABASE_URL {wrong}")
    assert SECRET not in line


def test_relative_paths_start_at_the_working_directory(tmp_path: Path) -> None:
    settings = load_settings({"IDP_DATABASE_URL": "sqlite:///data/my.db?a=b"}, cwd=tmp_path)
    assert settings.keys_dir == tmp_path / "keys"
    assert settings.database_driver_url == f"sqlite+aiosqlite:///{tmp_path}/data/my.db?a=b"
    assert load_settings({"IDP_KEYS_DIR": "/srv/keys"}, cwd=tmp_path).keys_dir == Path("/srv/keys")


def test_a_uri_filename_of_sqlite_is_left_alone(tmp_path: Path) -> None:
    url = "sqlite:///file:/srv/idp.db?uri=true"
    driver_url = load_settings({"IDP_DATABASE_URL": url}, cwd=tmp_path).database_driver_url
    assert driver_url == "sqlite+aiosqlite:///file:/srv/idp.db?uri=true"


def test_several_workers_are_refused_on_sqlite_and_accepted_on_postgresql(tmp_path: Path) -> None:
    (line,) = refusal({"IDP_WORKERS": "2"}, tmp_path)
    assert line.startswith("IDP_WORKERS must be 1: SQLite serves one worker; use PostgreSQL")
    environ = {"IDP_WORKERS": "2", "IDP_DATABASE_URL": "postgresql://h/d"}
    assert load_settings(environ, cwd=tmp_path).workers == 2


# ── Requests to other servers ───────────────────────────────────────────────────────────────────────────────────────
def test_what_may_be_reached_is_read_from_environment_and_file_and_shown_as_it_is_written(tmp_path: Path) -> None:
    written = "rp.example:8443,127.0.0.1/32,[::1]:9000,10.0.0.0/8"
    expected = (
        AllowRule("rp.example", 8443),
        AllowRule(ip_network("127.0.0.1/32"), None),
        AllowRule(ip_network("::1/128"), 9000),
        AllowRule(ip_network("10.0.0.0/8"), None),
    )
    settings = load_settings({"IDP_OUTBOUND_ALLOW": "RP.example:8443, 127.0.0.1 ,[::1]:9000,10.0.0.0/8,"}, cwd=tmp_path)
    assert settings.outbound_allow == expected
    assert settings.describe()["IDP_OUTBOUND_ALLOW"] == written
    write_toml(tmp_path, f"outbound_allow = {written.split(',')}")
    assert load_settings({}, cwd=tmp_path).outbound_allow == expected


def test_a_file_of_authorities_is_looked_for_from_the_working_directory(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text(CERTIFICATE)
    environ = {"IDP_OUTBOUND_CA_FILE": "ca.pem"}
    assert load_settings(environ, cwd=tmp_path).outbound_ca_file == tmp_path / "ca.pem"
    environ = {"IDP_OUTBOUND_CA_FILE": str(tmp_path / "ca.pem")}
    assert load_settings(environ, cwd=tmp_path / "elsewhere").outbound_ca_file == tmp_path / "ca.pem"


@pytest.mark.parametrize("content", ["", "no certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n"])
def test_a_file_without_a_certificate_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "ca.pem").write_text(content)
    assert refusal({"IDP_OUTBOUND_CA_FILE": "ca.pem"}, tmp_path) == [
        f"IDP_OUTBOUND_CA_FILE: {tmp_path / 'ca.pem'} holds no certificate in PEM form"
    ]


def test_a_missing_file_of_authorities_is_refused_together_with_what_else_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for name in ("gone.pem", "folder"):
        assert refusal({"IDP_OUTBOUND_CA_FILE": name, "IDP_ISUER": "x"}, tmp_path) == [
            "IDP_ISUER is not a setting; did you mean IDP_ISSUER?",
            f"IDP_OUTBOUND_CA_FILE: there is no file {tmp_path / name}; create it or unset the variable",
        ]


def test_a_file_of_authorities_that_cannot_be_read_is_refused_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "ca.pem").write_text(CERTIFICATE)
    monkeypatch.setattr("ssl.SSLContext.load_verify_locations", refuse)  # root may read everything
    assert refusal({"IDP_OUTBOUND_CA_FILE": "ca.pem"}, tmp_path) == [
        f"IDP_OUTBOUND_CA_FILE: {tmp_path / 'ca.pem'} cannot be read: Permission denied"
    ]


# ── Mail ────────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("environ", "sender"),
    [
        ({}, "Lab ID <no-reply@localhost>"),
        ({"IDP_ISSUER": "https://id.example.org:8443"}, "Lab ID <no-reply@id.example.org>"),
        ({"IDP_ISSUER": "https://id.example.org."}, "Lab ID <no-reply@id.example.org>"),
        ({"IDP_ISSUER": "http://127.0.0.1:8000"}, "Lab ID <no-reply@localhost>"),
        ({"IDP_ISSUER": "https://[2001:db8::1]"}, "Lab ID <no-reply@localhost>"),
        ({"IDP_SERVICE_NAME": 'The "Bio" <Lab>\nBcc: x\\'}, "The Bio LabBcc: x <no-reply@localhost>"),
        ({"IDP_MAIL_FROM": '"Lab, Zürich" <id@example.org>'}, "Lab, Zürich <id@example.org>"),
        ({"IDP_MAIL_FROM": "id@example.org"}, "id@example.org"),
    ],
)
def test_mail_is_from_the_service_at_the_issuers_host_unless_told_otherwise(
    tmp_path: Path, environ: dict[str, str], sender: str
) -> None:
    assert load_settings(environ, cwd=tmp_path).mail_from == sender


@pytest.mark.parametrize(
    ("name", "value", "wrong"),
    [
        ("IDP_SMTP_URL", f"http://idp:{SECRET}@mail.example.org", "must begin with smtp:// or smtps://"),
        ("IDP_SMTP_URL", f"smtp://{SECRET}@mail.example.org", "must have both user and password, or neither"),
        ("IDP_MAIL_FROM", f"{SECRET}\nBcc: x@example.org", "must be an address such as no-reply@example.org"),
    ],
)
def test_a_mail_server_or_sender_that_is_none_is_refused_without_being_repeated(
    tmp_path: Path, name: str, value: str, wrong: str
) -> None:
    (line,) = refusal({name: value}, tmp_path)
    assert line.startswith(f"{name} {wrong}")
    assert SECRET not in line


# ── Entitlements ────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("urn", ["urn:example:idp", "urn:geant:lab.example:id%C3%A9", "urn:x1:A:b/c@d"])
def test_entitlements_are_written_under_a_urn_and_not_at_all_without_rfc8141_s2(tmp_path: Path, urn: str) -> None:
    assert load_settings({"IDP_ENTITLEMENT_NAMESPACE": urn}, cwd=tmp_path).entitlement_namespace == urn
    assert load_settings({}, cwd=tmp_path).entitlement_namespace is None


@pytest.mark.parametrize(
    "urn",
    [
        *("https://id.example.org", "example:idp", "urn:example", "urn:e:idp", "urn:-example:idp", "urn:example-:idp"),
        *("URN:example:idp", "urn:Example:idp", f"urn:{'x' * 33}:idp", "urn:example:id p", "urn:example:idp#x"),
        *("urn:example:idp?=x", "urn:example:idé", "urn:example:%4", "urn:example:idp:", "urn:example:idp/"),
        "urn:example:" + "x" * 200,
    ],
)
def test_what_is_no_urn_names_no_entitlements_rfc8141_s2(tmp_path: Path, urn: str) -> None:
    (line,) = refusal({"IDP_ENTITLEMENT_NAMESPACE": urn}, tmp_path)
    assert line.startswith("IDP_ENTITLEMENT_NAMESPACE must ")


# ── Secrets ─────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://idp:{SECRET}@db.example/idp",
        f"postgresql://idp:a@{SECRET}@db.example/idp",
        f"postgresql://idp:/a:{SECRET}@db.example/idp",
        f"postgresql://:{SECRET}@db.example/idp",
        f"postgresql://db.example/idp?user=idp&password={SECRET}&x=y",
        f"postgresql://db.example/idp?sslpassword={SECRET}",
    ],
)
def test_secrets_are_not_shown(tmp_path: Path, url: str) -> None:
    environ = {"IDP_DATABASE_URL": url, "IDP_KEY_ENCRYPTION_KEY": SECRET, "IDP_TRUSTED_PROXIES": "10.0.0.0/8"}
    environ["IDP_SMTP_URL"] = f"smtp://idp:{SECRET}@mail.example:25"
    settings = load_settings(environ, cwd=tmp_path)
    assert settings.key_encryption_key == SecretStr(SECRET)
    shown = settings.describe()
    assert SECRET not in f"{settings!r} {settings} {shown}"
    assert "db.example" in shown["IDP_DATABASE_URL"]
    assert shown["IDP_SMTP_URL"] == "smtp://idp:***@mail.example:25"
    assert shown["IDP_TRUSTED_PROXIES"] == "10.0.0.0/8"
    assert shown.keys() == {f"IDP_{name.upper()}" for name in Settings.model_fields}


def test_a_secret_beside_a_wrong_setting_is_not_told(tmp_path: Path) -> None:
    environ = {"IDP_KEY_ENCRYPTION_KEY": SECRET, "IDP_DATABASE_URL": f"mysql://idp:{SECRET}@h/d", "IDP_WORKERS": SECRET}
    assert SECRET not in "\n".join(refusal(environ, tmp_path))


def test_the_model_itself_does_not_repeat_what_it_refuses() -> None:
    with pytest.raises(ValidationError) as caught:
        Settings.model_validate({"database_url": f"mysql://idp:{SECRET}@h/d", "workers": SECRET})
    assert SECRET not in str(caught.value)


# ── Documentation ───────────────────────────────────────────────────────────────────────────────────────────────────
def documented() -> dict[str, tuple[str, str, str]]:
    """Default, meaning and unit by name."""
    rows = re.findall(r"^\| `(IDP_\w+)` \| (.+?) \| (.+?) \| (.*?) \|$", DOCS.read_text(encoding="utf-8"), re.M)
    return {name: (default.strip("`"), meaning, unit.strip()) for name, default, meaning, unit in rows}


def test_the_documentation_lists_exactly_the_settings_in_their_order() -> None:
    assert list(documented()) == [f"IDP_{name.upper()}" for name in Settings.model_fields]


@pytest.mark.parametrize("name", Settings.model_fields)
def test_the_documentation_gives_default_meaning_and_unit_of(name: str) -> None:
    field = Settings.model_fields[name]
    default, meaning, unit = documented()[f"IDP_{name.upper()}"]
    if name == "listen_port":
        assert default == "the issuer's port on loopback, else 8000"
    elif name == "mail_from":
        assert default == "the service's name, and no-reply at the issuer's host"
    elif name == "email_codes":
        assert default == "true where mail can be sent, else false"
    elif isinstance(field.default, SecretStr):
        assert default == field.default.get_secret_value()
    elif name == "rate_limit_exempt":
        assert default == ",".join(map(str, field.default))
    elif isinstance(field.default, bool):
        assert default == str(field.default).lower()
    else:
        assert default == ("none" if field.default in (None, ()) else str(field.default))
    assert meaning == field.description
    assert (unit == "seconds") == name.endswith("_seconds")
    assert (unit == "days") == name.endswith("_days")


@pytest.mark.parametrize("language", ["sh", "toml"])
def test_the_examples_of_the_documentation_are_accepted_and_mean_the_same(tmp_path: Path, language: str) -> None:
    (example,) = re.findall(rf"^```{language}\n(.*?)^```", DOCS.read_text(encoding="utf-8"), re.M | re.S)
    if language == "toml":
        write_toml(tmp_path, example)
        settings = load_settings({}, cwd=tmp_path)
    else:
        settings = load_settings(dict(re.findall(r"^export (\w+)=(.*)$", example, re.M)), cwd=tmp_path)
    assert settings == load_settings(
        {},
        cwd=tmp_path,
        issuer="https://id.example.org",
        database_url="postgresql://idp:change-me@db.example.org/idp",
        workers=4,
        trusted_proxies=["10.0.0.0/8", "fd00::/8"],
    )


def test_a_password_hash_that_would_take_forever_is_refused_and_the_most_is_named(tmp_path: Path) -> None:
    (line,) = refusal({"IDP_ARGON2_MEMORY_KIB": "65536", "IDP_ARGON2_TIME_COST": "20"}, tmp_path)
    assert line.startswith("IDP_ARGON2_TIME_COST")
    assert "at most 16 with 65536 KiB" in line
