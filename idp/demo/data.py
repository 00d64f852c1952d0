"""The demo's labs, people and clients, as an apply file."""

from pathlib import Path

# What the greeting and the first page offer: address, password, and who it is.
SIGN_INS = (
    ("alice@example.org", "correct-horse-battery", "administrator, admin of Biology"),
    ("bob@example.org", "blue-whale-singing", "member of Biology, viewer of Chemistry"),
)
_RP = "http://localhost:9000/"


def demo_file(*, rp_port: int) -> bytes:
    """Return the apply file, with the demo application where it listens."""
    text = Path(__file__).with_name("data.yaml").read_text(encoding="utf-8")
    return text.replace(_RP, f"http://localhost:{rp_port}/").encode()
