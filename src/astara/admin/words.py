"""Numbers as people say them. Pure."""

from __future__ import annotations

_UNITS = ((86400.0, "d"), (3600.0, "h"), (60.0, "min"))


def duration(seconds: float) -> str:
    """Return seconds in the largest two units that matter: "0.4 s", "12 s", "3 min 5 s", "2 d 4 h"."""
    if seconds < 0:
        return "0 s"
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    whole = round(seconds)
    for index, (size, name) in enumerate(_UNITS):
        if whole >= size:
            count, rest = divmod(whole, int(size))
            smaller, smaller_name = _UNITS[index + 1] if index + 1 < len(_UNITS) else (1.0, "s")
            below = int(rest // smaller)
            return f"{count} {name} {below} {smaller_name}" if below else f"{count} {name}"
    return f"{whole} s"


def ago(now: float, at: float | None) -> str:
    """Return how long ago `at` (seconds since the epoch) was, "never" for None."""
    return "never" if at is None else f"{duration(now - at)} ago"
