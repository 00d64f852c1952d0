"""What people call the browser that somebody sits at, by its User-Agent (RFC 9110 §10.1.5)."""

# In this order: most browsers also name those that they are compatible with.
_BROWSERS = (
    ("Edg", "Edge"),
    ("OPR/", "Opera"),
    ("SamsungBrowser/", "Samsung Internet"),
    ("Firefox/", "Firefox"),
    ("FxiOS/", "Firefox"),
    ("CriOS/", "Chrome"),
    ("Chromium/", "Chromium"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
    ("curl/", "curl"),
)
_SYSTEMS = (
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Android", "Android"),
    ("CrOS", "ChromeOS"),
    ("Windows", "Windows"),
    ("Macintosh", "macOS"),
    ("Linux", "Linux"),
)


def device_of(user_agent: str | None) -> tuple[str | None, str | None]:
    """Return the browser and the system by the names that people know, each None where it is not known.

    A guess to recognise one's own sign-ins by: anybody can send any of them.
    """
    told = user_agent or ""
    browser, system = (next((name for mark, name in names if mark in told), None) for names in (_BROWSERS, _SYSTEMS))
    return browser, system
