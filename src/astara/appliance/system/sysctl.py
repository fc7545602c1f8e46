"""Settings below /proc/sys/net, of the namespace the calling thread is in."""

from __future__ import annotations

import errno
import os

_ROOT = "/proc/sys/net/"


def read(path: str) -> str | None:
    """Return the value without the line's end, words separated by one space; None when there is no such setting."""
    try:
        handle = os.open(_ROOT + path, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        return " ".join(os.read(handle, 4096).decode().split())
    except OSError as error:
        if error.errno in (errno.ENODEV, errno.EINVAL):  # the link went away between open and read
            return None
        raise
    finally:
        os.close(handle)


def write(path: str, value: str) -> None:
    """Set it. Raises OSError, e.g. FileNotFoundError when this kernel has no such setting."""
    handle = os.open(_ROOT + path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(handle, value.encode())
    finally:
        os.close(handle)
