import base64
import os
import socket
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from idp.crypto.key_file import KEY_FILE_NAME, KeyFileError, create_key, load_key, parse_key

# All bits set, so that the standard and the URL-safe alphabet differ.
KEY = b"\xff" * 32


@pytest.fixture
def keys_dir(tmp_path):
    folder = tmp_path / "keys"
    folder.mkdir(mode=0o700)
    return folder


def put(keys_dir: Path, content: bytes, mode: int = 0o600) -> Path:
    path = keys_dir / KEY_FILE_NAME
    path.write_bytes(content)
    path.chmod(mode)
    return path


def refusal_of_load(keys_dir: Path) -> str:
    with pytest.raises(KeyFileError) as refusal:
        load_key(keys_dir)
    message = str(refusal.value)
    assert str(keys_dir / KEY_FILE_NAME) in message
    assert "\n" not in message
    return message


def test_created_key_is_what_is_loaded_later(keys_dir):
    key = create_key(keys_dir)
    assert len(key) == 32
    assert load_key(keys_dir) == key


def test_created_keys_differ(tmp_path):
    assert create_key(tmp_path / "a") != create_key(tmp_path / "b")


@pytest.mark.parametrize("umask", [0o000, 0o077, 0o777])
def test_created_key_is_readable_by_its_owner_alone_under_any_umask(keys_dir, umask):
    before = os.umask(umask)
    try:
        create_key(keys_dir)
    finally:
        os.umask(before)
    assert stat.S_IMODE((keys_dir / KEY_FILE_NAME).stat().st_mode) == 0o600


def test_missing_folder_is_created_for_its_owner_alone(tmp_path):
    before = os.umask(0)
    try:
        create_key(tmp_path / "deep" / "keys")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "deep" / "keys").stat().st_mode) == 0o700


def test_key_file_is_one_line_of_base64(keys_dir):
    key = create_key(keys_dir)
    assert (keys_dir / KEY_FILE_NAME).read_bytes() == base64.b64encode(key) + b"\n"


def test_creating_leaves_nothing_else_behind(keys_dir):
    create_key(keys_dir)
    with pytest.raises(KeyFileError):
        create_key(keys_dir)
    assert os.listdir(keys_dir) == [KEY_FILE_NAME]


def test_existing_key_is_never_replaced(keys_dir):
    key = create_key(keys_dir)
    with pytest.raises(KeyFileError, match="exists already"):
        create_key(keys_dir)
    assert load_key(keys_dir) == key


def test_of_several_creators_one_wins_and_its_key_stays(keys_dir):
    start = threading.Barrier(8)

    def attempt(_: int) -> bytes | None:
        start.wait()
        try:
            return create_key(keys_dir)
        except KeyFileError:
            return None

    with ThreadPoolExecutor(8) as threads:
        created = [key for key in threads.map(attempt, range(8)) if key is not None]
    assert created == [load_key(keys_dir)]


def test_folder_whose_name_is_a_file_is_refused(tmp_path):
    (tmp_path / "keys").write_text("")
    with pytest.raises(KeyFileError, match="keys exists already"):
        create_key(tmp_path / "keys")
    assert "Not a directory" in refusal_of_load(tmp_path / "keys")


def test_folder_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(KeyFileError, match=r"keys/key-encryption-key cannot be created \(Not a directory\)"):
        create_key(tmp_path / "file" / "keys")


def test_absent_key_or_folder_is_none(keys_dir):
    assert load_key(keys_dir) is None
    assert load_key(keys_dir / "nowhere") is None


@pytest.mark.parametrize(
    "content",
    [
        base64.b64encode(KEY) + b"\n",
        base64.urlsafe_b64encode(KEY) + b"\n",
        base64.urlsafe_b64encode(KEY).rstrip(b"="),
        b"  " + base64.b64encode(KEY) + b" \r\n\n",
    ],
)
@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_standard_and_url_safe_base64_are_read(keys_dir, content, mode):
    put(keys_dir, content, mode)
    assert load_key(keys_dir) == KEY


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610, 0o601, 0o666])
def test_key_that_others_may_touch_is_refused_with_the_command_that_mends_it(keys_dir, mode):
    path = put(keys_dir, base64.b64encode(KEY), mode)
    assert f"`chmod 600 {path}`" in refusal_of_load(keys_dir)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "holds 0 bytes"),
        (b"\n", "holds 0 bytes"),
        (base64.b64encode(b"x" * 16), "holds 16 bytes"),
        (base64.b64encode(b"x" * 33), "holds 33 bytes"),
        (base64.b64encode(b"x" * 100_000), "holds 768 bytes"),
        (b"not base64 at all!", "not base64"),
        (b"\xff" * 32, "not base64"),
        (base64.b64encode(KEY)[:20] + b"\n" + base64.b64encode(KEY)[20:], "not base64"),
        (base64.b64encode(KEY)[:-3], "not base64"),
    ],
)
def test_file_that_holds_no_key_is_refused(keys_dir, content, complaint):
    put(keys_dir, content)
    assert complaint in refusal_of_load(keys_dir)


def test_refusal_never_shows_the_key(keys_dir):
    secret = base64.b64encode(b"top secret but a byte too short").decode()
    put(keys_dir, secret.encode())
    assert secret[:8] not in refusal_of_load(keys_dir)
    with pytest.raises(KeyFileError) as refusal:
        parse_key(secret + "ä")
    assert secret[:8] not in repr((refusal.value, refusal.value.__cause__))


def test_link_within_the_folder_is_followed_as_kubernetes_mounts_secrets(keys_dir):
    (keys_dir / "..data").mkdir()
    put(keys_dir / "..data", base64.b64encode(KEY))
    (keys_dir / KEY_FILE_NAME).symlink_to(f"..data/{KEY_FILE_NAME}")
    assert load_key(keys_dir) == KEY


def test_folder_may_itself_be_a_link(keys_dir, tmp_path):
    put(keys_dir, base64.b64encode(KEY))
    (tmp_path / "link").symlink_to(keys_dir)
    assert load_key(tmp_path / "link") == KEY


def test_link_out_of_the_folder_is_refused(keys_dir, tmp_path):
    put(tmp_path, base64.b64encode(KEY))
    (keys_dir / KEY_FILE_NAME).symlink_to(f"../{KEY_FILE_NAME}")
    assert "leads out of" in refusal_of_load(keys_dir)


def test_link_to_a_file_that_others_may_read_is_refused(keys_dir):
    put(keys_dir, base64.b64encode(KEY), 0o644).rename(keys_dir / "real")
    (keys_dir / KEY_FILE_NAME).symlink_to("real")
    assert "chmod 600" in refusal_of_load(keys_dir)


def test_link_that_leads_nowhere_is_no_absent_key(keys_dir):
    (keys_dir / KEY_FILE_NAME).symlink_to("gone")
    refusal_of_load(keys_dir)


def test_link_to_itself_is_refused(keys_dir):
    (keys_dir / KEY_FILE_NAME).symlink_to(KEY_FILE_NAME)
    refusal_of_load(keys_dir)


def test_folder_in_the_place_of_the_key_is_refused(keys_dir):
    (keys_dir / KEY_FILE_NAME).mkdir(mode=0o700)
    assert "not a regular file" in refusal_of_load(keys_dir)


def test_pipe_in_the_place_of_the_key_is_refused_without_waiting_for_a_writer(keys_dir):
    os.mkfifo(keys_dir / KEY_FILE_NAME, 0o600)
    assert "not a regular file" in refusal_of_load(keys_dir)


def test_key_that_cannot_be_opened_is_refused(keys_dir, monkeypatch):
    monkeypatch.chdir(keys_dir)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(KEY_FILE_NAME)
        assert "cannot be read" in refusal_of_load(keys_dir)


@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
def test_key_from_the_environment_is_decoded(encode):
    assert parse_key(encode(KEY).decode()) == KEY
    assert parse_key(f" {encode(KEY).decode().rstrip('=')}\n") == KEY


@pytest.mark.parametrize(
    "text", ["", "short", "ä" * 43, "\ud800", "x" * 43 + "!", base64.b64encode(b"x" * 31).decode()]
)
def test_bad_key_from_the_environment_is_refused_by_the_name_of_its_setting(text):
    with pytest.raises(KeyFileError, match=r"^IDP_KEY_ENCRYPTION_KEY .*openssl rand -base64 32"):
        parse_key(text)
