"""Who is at the other end of the admin socket: the kernel says it, nobody can claim it."""

from __future__ import annotations

import pwd
from pathlib import Path

#: The kernel's word for a process that no login led to.
_NO_LOGIN = 2**32 - 1


def who(pid: int, uid: int, proc: Path = Path("/proc")) -> str:
    """Return "uid 0 (root)", and who had logged in when that is somebody else: "uid 0 (root), login 1000 (ann)"."""
    login = _login(proc / str(pid) / "loginuid")
    return _named("uid", uid) + ("" if login in (None, uid) else ", " + _named("login", login or 0))


def _named(what: str, uid: int) -> str:
    try:
        return f"{what} {uid} ({pwd.getpwuid(uid).pw_name})"
    except KeyError:
        return f"{what} {uid}"


def _login(file: Path) -> int | None:
    try:
        login = int(file.read_text())
    except (OSError, ValueError):
        return None  # gone already, in another process namespace, or a kernel that does not say
    return None if login == _NO_LOGIN else login
