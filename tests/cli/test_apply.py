import json
from pathlib import Path

import pytest

from tests.cli.conftest import Idp

FILE = """\
labs:
  - {slug: bio, name: Biology}
users:
  - {username: alice, password: env:ALICE_PASSWORD}
clients:
  - client_id: portal
    client_secret: file:portal.secret
    redirect_uris: [https://portal.example.org/callback]
"""


@pytest.fixture
def bench(installation: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ALICE_PASSWORD", "p4ssw0rd-of-alice")
    (installation / "portal.secret").write_text("s3cr3t-of-portal\n")
    path = installation / "bench.yaml"
    path.write_text(FILE)
    return path


def test_a_file_is_applied_and_a_second_time_changes_nothing(idp: Idp, bench: Path):
    dry = idp("apply", "--dry-run", "bench.yaml").stdout
    assert dry == "+ lab bio\n+ user alice\n+ client portal\n= 0 unchanged; nothing was written (--dry-run)\n"
    assert idp("apply", "bench.yaml").stdout == "+ lab bio\n+ user alice\n+ client portal\n= 0 unchanged\n"
    assert idp("apply", "--prune", "bench.yaml").stdout == "= 3 unchanged\n"


def test_no_secret_is_printed(idp: Idp, bench: Path):
    idp("apply", "bench.yaml")
    (bench.parent / "portal.secret").write_text("s3cr3t-the-second")
    changed = idp("apply", "bench.yaml").output + idp("apply", "--json", "bench.yaml").output
    shown = changed + idp("export").output
    assert '~ client portal\n    client_secret: "***" → "***"\n' in changed
    assert "s3cr3t" not in shown
    assert "p4ssw0rd" not in shown


def test_the_diff_is_json_on_demand(idp: Idp, bench: Path):
    told = json.loads(idp("apply", "--dry-run", "--json", "bench.yaml").stdout)
    assert (told["dry_run"], told["unchanged"]) == (True, 0)
    assert told["changes"][0] == {"change": "created", "kind": "lab", "key": "bio", "fields": {}}
    idp("apply", "bench.yaml")
    bench.write_text("memberships: [{lab: bio, user: alice}]")
    idp("apply", "bench.yaml")
    bench.write_text("memberships: [{lab: bio, user: alice, expires_at: 2099-06-30}]")
    (change,) = json.loads(idp("apply", "--json", "bench.yaml").stdout)["changes"]
    assert change["fields"] == {"expires_at": {"old": None, "new": "2099-06-30T23:59:59+00:00"}}


def test_faults_name_file_line_and_field_and_nothing_is_written(idp: Idp, bench: Path):
    bench.write_text(FILE.replace("/callback", "/callback#x").replace("slug: bio", "slug: Bio"))
    result = idp("apply", "bench.yaml", code=1)
    assert result.stdout == ""
    slug, fragment = result.stderr.splitlines()
    assert slug.startswith("error: bench.yaml:2: labs[0].slug: it must be at most 39 lower-case")
    assert fragment == "error: bench.yaml:8: clients[0].redirect_uris[0]: it has a fragment"
    assert "labs: []" in idp("export").stdout


def test_a_weak_password_is_a_warning_on_stderr(idp: Idp, bench: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ALICE_PASSWORD", "tiny")
    result = idp("apply", "bench.yaml")
    assert result.stderr == "warning: bench.yaml:4: users[0].password: it should have at least 8 characters\n"


def test_prune_removes_what_the_file_lists_no_more(idp: Idp, bench: Path):
    idp("apply", "bench.yaml")
    bench.write_text("clients: []\n")
    assert idp("apply", "bench.yaml", "--prune").stdout == "- client portal\n= 0 unchanged\n"


def test_a_missing_file_is_wrong_usage(idp: Idp, installation: Path):
    assert "does not exist" in idp("apply", "nowhere.yaml", code=2).stderr


def test_what_is_exported_can_be_applied(idp: Idp, bench: Path):
    idp("apply", "bench.yaml")
    for options in ([], ["--with-password-hashes"]):
        text = idp("export", *options).stdout
        assert ("password_hash: $argon2id$" in text) is bool(options)
        (bench.parent / "export.yaml").write_text(text)
        assert idp("apply", "--prune", "export.yaml").stdout == "= 3 unchanged\n"
