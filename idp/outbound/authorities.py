"""The authorities of `IDP_OUTBOUND_CA_FILE`, looked at when the server starts rather than when it first calls out."""

import ssl
from pathlib import Path


def check_ca_file(path: Path) -> None:
    """Check that a file holds certificates that can be trusted.

    Raises:
        ValueError: it is missing, cannot be read or holds none; the text is one line.
    """
    if not path.is_file():
        raise ValueError(f"there is no file {path}; create it or unset the variable")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except ssl.SSLError:
        raise ValueError(f"{path} holds no certificate in PEM form") from None
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
