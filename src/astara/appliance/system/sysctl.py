"""Settings below /proc/sys/net, of the namespace the calling thread is in."""

from __future__ import annotations

import errno
import os
from types import TracebackType

_ROOT = "/proc/sys/net/"


class Settings:
    """Several settings in a row, without leaving the namespace in between. Use as a context manager.

    Every namespace has a /proc/sys/net/ipv4 of its own, all of them under one name in the kernel's table of names:
    finding ours there takes time with every namespace of the machine (0.1 ms of a thousand). So it is found once.
    """

    def __init__(self) -> None:
        self._families: dict[str, int] = {}

    def __enter__(self) -> Settings:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        while self._families:
            os.close(self._families.popitem()[1])

    def read(self, path: str) -> str | None:
        """Return the value without the line's end, words separated by one space; None when there is no such setting.

        `path`: the family, e.g. ipv4, and what is below it.
        """
        try:
            handle = self._open(path, os.O_RDONLY)
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

    def write(self, path: str, value: str) -> None:
        """Set it. Raises OSError, e.g. FileNotFoundError when this kernel has no such setting."""
        handle = self._open(path, os.O_WRONLY)
        try:
            os.write(handle, value.encode())
        finally:
            os.close(handle)

    def _open(self, path: str, mode: int) -> int:
        family, _, below = path.partition("/")
        if family not in self._families:
            self._families[family] = os.open(_ROOT + family, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        return os.open(below, mode | os.O_CLOEXEC, dir_fd=self._families[family])


def read(path: str) -> str | None:
    """Return one setting; see Settings."""
    with Settings() as settings:
        return settings.read(path)
