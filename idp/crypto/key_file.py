"""The key-encryption key: where it is and how it is read."""

import base64
import os
import secrets
import stat
from pathlib import Path

KEY_FILE_NAME = "key-encryption-key"

_KEY_BYTES = 32
# More than any encoding of a key needs, so that a wrong file is never read whole.
_MAX_FILE_BYTES = 1024


class KeyFileError(Exception):
    """The key cannot be used; the message is one line that says what is wrong and how to mend it."""


def load_key(keys_dir: Path) -> bytes | None:
    """Read the key-encryption key, or return None where there is none yet.

    Raises:
        KeyFileError: there is something, but it is not a key, or others than its owner may read it.
    """
    path = keys_dir / KEY_FILE_NAME
    try:
        path.lstat()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _cannot("read", path, error) from None
    try:
        # Secrets mounted by Kubernetes are links, but they stay within their folder.
        target = Path(os.path.realpath(path, strict=True))
        if not target.is_relative_to(keys_dir.resolve()):
            raise KeyFileError(f"{path} is a link that leads out of {keys_dir}: put the key file itself there")
        mode, content = _read(target)
    except OSError as error:
        raise _cannot("read", path, error) from None
    if not stat.S_ISREG(mode):
        raise KeyFileError(f"{path} is not a regular file: put the key file there")
    if mode & 0o077:
        raise KeyFileError(f"{path} may be read by others than its owner: run `chmod 600 {path}`")
    return _decode(content, str(path), "restore the file from its backup")


def create_key(keys_dir: Path) -> bytes:
    """Make a new key-encryption key and return it once it is safely on disk.

    Raises:
        KeyFileError: a key is there already, or the folder cannot be written.
    """
    path = keys_dir / KEY_FILE_NAME
    draft = keys_dir / f".{KEY_FILE_NAME}.{secrets.token_hex(8)}"
    key = secrets.token_bytes(_KEY_BYTES)
    try:
        keys_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
                os.fchmod(file.fileno(), 0o600)
                file.write(base64.b64encode(key) + b"\n")
                file.flush()
                os.fsync(file.fileno())
            # Unlike a rename, a link never replaces a key that another process made meanwhile.
            os.link(draft, path)
        finally:
            draft.unlink(missing_ok=True)
        _fsync_directory(keys_dir)
    except FileExistsError:
        # Also what mkdir says when the folder's own name is taken by a file.
        taken = path if keys_dir.is_dir() else keys_dir
        raise KeyFileError(f"{taken} exists already: move it away if it is really no longer needed") from None
    except OSError as error:
        raise _cannot("created", path, error) from None
    return key


def parse_key(text: str) -> bytes:
    """Decode the value of the setting `IDP_KEY_ENCRYPTION_KEY`.

    Raises:
        KeyFileError: it is not the base64 of 32 bytes.
    """
    return _decode(text.encode("utf-8", "replace"), "IDP_KEY_ENCRYPTION_KEY", "`openssl rand -base64 32` makes one")


def _decode(content: bytes, origin: str, remedy: str) -> bytes:
    encoded = content.strip().rstrip(b"=").translate(bytes.maketrans(b"-_", b"+/"))
    try:
        key = base64.b64decode(encoded + b"=" * (-len(encoded) % 4), validate=True)
    except ValueError:
        raise KeyFileError(f"{origin} is not base64 of {_KEY_BYTES} bytes: {remedy}") from None
    if len(key) != _KEY_BYTES:
        raise KeyFileError(f"{origin} holds {len(key)} bytes, not the {_KEY_BYTES} of a key: {remedy}")
    return key


def _read(path: Path) -> tuple[int, bytes]:
    # Mode and content come from one open file, and neither a link nor a pipe put there meanwhile can divert or block.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        mode = os.fstat(descriptor).st_mode
        return mode, os.read(descriptor, _MAX_FILE_BYTES) if stat.S_ISREG(mode) else b""
    finally:
        os.close(descriptor)


def _fsync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _cannot(be_what: str, path: Path, error: OSError) -> KeyFileError:
    return KeyFileError(f"{path} cannot be {be_what} ({error.strerror}): check owner and mode, and those of its folder")
