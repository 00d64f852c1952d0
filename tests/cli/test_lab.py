import json
from pathlib import Path

import yaml

from tests.cli.conftest import Idp


def test_labs_and_members_come_and_go(idp: Idp, installation: Path):
    idp("user", "create", "--username", "alice")
    made = json.loads(idp("lab", "create", "bio", "--name", "Biology", "--contact", "office", "--json").stdout)
    assert made["slug"] == "bio"
    told = idp("lab", "add-member", "bio", "alice", "--role", "admin", "--expires-at", "2099-06-30").stdout
    assert told == "alice is admin of bio until 2099-06-30 23:59:59 UTC\n"
    sections = yaml.safe_load(idp("export").stdout)
    assert sections["labs"] == [{"slug": "bio", "name": "Biology", "contact": "office"}]
    assert sections["memberships"][0]["role"] == "admin"
    held = json.loads(idp("lab", "add-member", "bio", "alice", "--json").stdout)
    assert (held["lab_id"], held["role"], held["expires_at"]) == (made["id"], "member", None)
    idp("lab", "remove-member", "bio", "alice")
    assert yaml.safe_load(idp("export").stdout)["memberships"] == []


def test_a_membership_that_has_ended_already_is_made_with_a_warning(idp: Idp, installation: Path):
    idp("user", "create", "--username", "alice")
    idp("lab", "create", "bio", "--name", "Biology")
    result = idp("lab", "add-member", "bio", "alice", "--expires-at", "2020-01-01")
    assert result.stderr == "warning: expires_at 2020-01-01 is in the past: the membership does not count\n"
    assert result.stdout == "alice is member of bio until 2020-01-01 23:59:59 UTC\n"
    assert idp("lab", "add-member", "bio", "alice", "--expires-at", "2099-01-01").stderr == ""


def test_what_is_wrong_is_told(idp: Idp, installation: Path):
    assert idp("lab", "create", "admin", "--name", "X", code=1).stderr == "error: slug: it is reserved\n"
    assert idp("lab", "add-member", "bio", "alice", code=1).stderr == "error: there is no lab bio\n"
    result = idp("lab", "add-member", "bio", "alice", "--expires-at", "soon", code=1)
    assert result.stderr.startswith("error: expires_at: it must be a date")
