"""Where people may go on after signing in: pages of ours, whatever an address says."""

import pytest

from idp.protocol.parameters import Parameters
from idp.web.onward import read_next, sign_in_path


@pytest.mark.parametrize(
    "path", ["/invitations/abc-_1", "/account/labs", "/account/labs/bio/leave", "/labs/bio", "/labs/bio/members.csv"]
)
def test_a_page_of_ours_is_gone_on_to(path: str) -> None:
    assert read_next(Parameters({"next": path})) == path
    assert sign_in_path(path) == f"/login?next={path.replace('/', '%2F')}"
    assert sign_in_path(path, add=True).startswith("/login?add=1&next=")
    assert sign_in_path(path, again=True).startswith("/login?again=1&next=")


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "//evil.example",
        "//evil.example/labs/x",
        "/\\evil.example",
        "\\\\evil.example",
        "/labs//evil.example",
        "/labs/../../evil",
        "/labs/.",
        "/labs/\\evil",
        "/labs/%2f%2fevil.example",
        "%2f%2fevil.example",
        "https://evil.example/labs/bio",
        "https:evil.example",
        "javascript:alert(1)//labs/bio",
        "/labs/bio\n",
        "/labs/bio\r\nSet-Cookie: a=b",
        "\t//evil.example",
        " /labs/bio",
        "/labs/bio\x00",
        "/labs/bio?next=//evil.example",
        "/labs/bio#//evil.example",
        "/labs/bio@evil.example",
        "/labs/bio:80",
        "/labs",
        "/labs/",
        "/laboratories/x",
        "/logout",
        "/authorize/resume",
        "/labs/" + "x" * 300,
        "/labs/\u202e",
        "/labs/\uff0f\uff0fevil.example",
        "/labs/\u0661",
    ],
)
def test_nothing_else_is(path: str) -> None:
    assert read_next(Parameters({"next": path})) is None
    assert sign_in_path(path) == "/login"


def test_without_a_page_there_is_none() -> None:
    assert read_next(Parameters({})) is None
