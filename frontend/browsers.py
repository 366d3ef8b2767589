"""What a ``User-Agent`` says of a browser and its system, in words. Pure; believes what any client may have made up."""

from __future__ import annotations

from typing import Final

_BROWSERS: Final = (
    # Most name others too, for the sake of old sites: the more particular first.
    ("Edg", "Edge"),
    ("OPR/", "Opera"),
    ("SamsungBrowser/", "Samsung Internet"),
    ("Firefox/", "Firefox"),
    ("FxiOS/", "Firefox"),
    ("CriOS/", "Chrome"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
    ("curl/", "curl"),
)
_SYSTEMS: Final = (
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Android", "Android"),
    ("Windows", "Windows"),
    ("CrOS", "ChromeOS"),
    ("Mac OS X", "macOS"),
    ("Linux", "Linux"),
)


def browser_words(user_agent: str) -> str:
    """Like "Firefox on Linux"; "Unknown browser" where nothing known is named."""
    browser = next((words for mark, words in _BROWSERS if mark in user_agent), "Unknown browser")
    system = next((words for mark, words in _SYSTEMS if mark in user_agent), "")
    return f"{browser} on {system}" if system else browser
