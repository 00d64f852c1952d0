"""Browsers and systems as people call them."""

import pytest

from idp.domain.device import device_of

KHTML = "AppleWebKit/537.36 (KHTML, like Gecko)"
AGENTS = {
    "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0": ("Firefox", "Linux"),
    f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {KHTML} Chrome/142.0.0.0 Safari/537.36": ("Chrome", "Windows"),
    f"Mozilla/5.0 (Windows NT 10.0) {KHTML} Chrome/142.0 Safari/537.36 Edg/142.0": ("Edge", "Windows"),
    f"Mozilla/5.0 (Linux; Android 15) {KHTML} Chrome/142.0 Mobile Safari/537.36 EdgA/142.0": ("Edge", "Android"),
    f"Mozilla/5.0 (X11; CrOS x86_64 16181.47.0) {KHTML} Chrome/142.0 Safari/537.36": ("Chrome", "ChromeOS"),
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 14_7) AppleWebKit/605.1.15 Version/18.1 Safari/605.1.15": (
        "Safari",
        "macOS",
    ),
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 CriOS/142.0 Mobile Safari/604.1": (
        "Chrome",
        "iPhone",
    ),
    "curl/8.5.0": ("curl", None),
    "Dalvik/2.1 (Linux; Android 15)": (None, "Android"),
    "": (None, None),
}


@pytest.mark.parametrize("agent", AGENTS)
def test_a_browser_is_named_as_people_call_it_rfc9110_s10_1_5(agent: str) -> None:
    assert device_of(agent) == AGENTS[agent]


def test_none_that_says_nothing_is_named() -> None:
    assert device_of(None) == (None, None)
