"""Numbers and times as people say them. Pure."""

from __future__ import annotations

import datetime
import re

_AGO = re.compile(r"(\d+(?:\.\d+)?) ?(s|min|h|d)")
_SECONDS = {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
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


def moment(text: str, now: float) -> float:
    """Return what "2h" ago or "2026-11-29T20:00" (UTC unless it says otherwise) is, in seconds since the epoch.

    Raises ValueError with the forms that are understood.
    """
    if (found := _AGO.fullmatch(text.strip())) is not None:
        return now - float(found[1]) * _SECONDS[found[2]]
    try:
        when = datetime.datetime.fromisoformat(text.strip())
    except ValueError:
        raise ValueError(f"{text!r} is no time: write 30min, 2h, 3d, or 2026-11-29T20:00") from None
    return (when if when.tzinfo is not None else when.replace(tzinfo=datetime.UTC)).timestamp()
