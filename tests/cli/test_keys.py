import json
from pathlib import Path

from tests.cli.conftest import Idp


def listed(idp: Idp) -> list[dict[str, str]]:
    keys: list[dict[str, str]] = json.loads(idp("keys", "list", "--json").stdout)
    return keys


def test_every_algorithm_has_an_active_and_a_next_key_and_nothing_private_is_shown(idp: Idp, installation: Path):
    keys = listed(idp)
    assert {(key["alg"], key["state"]) for key in keys} == {
        (alg, state) for alg in ("RS256", "PS256", "ES256", "EdDSA") for state in ("active", "next")
    }
    assert all(set(key) == {"kid", "alg", "state", "created_at", "activated_at", "retired_at"} for key in keys)
    assert len(idp("keys", "list").stdout.splitlines()) == 8


def test_rotating_before_the_next_keys_are_known_is_refused_unless_forced(idp: Idp, installation: Path):
    following = {key["kid"] for key in listed(idp) if key["state"] == "next"}
    assert idp("keys", "rotate", code=1).stderr.startswith("error: the next keys may sign from ")
    idp("keys", "rotate", "--force")
    assert {key["kid"] for key in listed(idp) if key["state"] == "active"} == following


def test_revoking_asks_for_confirmation_and_knows_its_keys(idp: Idp, installation: Path):
    kid = next(key["kid"] for key in listed(idp) if key["alg"] == "ES256" and key["state"] == "next")
    assert "repeat with --now" in idp("keys", "revoke", "--", kid, code=1).stderr
    assert idp("keys", "revoke", "--now", "-nobody", code=1).stderr == "error: there is no signing key -nobody\n"
    idp("keys", "revoke", "--now", "--", kid)
    assert [key["state"] for key in listed(idp) if key["kid"] == kid] == ["revoked"]


def test_rewrapping_makes_a_new_key_file_and_keeps_the_old_one(idp: Idp, installation: Path):
    before = (installation / "keys" / "key-encryption-key").read_bytes()
    told = json.loads(idp("keys", "rewrap", "--json").stdout)
    old = installation / "keys" / f"key-encryption-key.{told['old_fingerprint']}"
    assert old.read_bytes() == before
    assert (installation / "keys" / "key-encryption-key").read_bytes() != before
    assert len(listed(idp)) == 8
