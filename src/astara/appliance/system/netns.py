"""Entering a network namespace and coming back.

A namespace is a property of the thread, so any thread may enter one without disturbing the others. Sockets
keep the namespace they were made in; `/proc/sys/net` shows the one the reading thread is in.
"""

from __future__ import annotations

import ctypes
import errno
import os
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)
_OWN = "/proc/thread-self/ns/net"
#: Exit status of a process whose thread could not come back (EX_OSERR).
_LOST = 71


class NetnsGone(OSError):
    """The namespace does not exist (any more), or its path is not a namespace."""


class _Where(threading.local):
    """The path a thread went in by; None where it began."""

    inside: Path | None = None


_where = _Where()


@contextmanager
def entered(netns: Path | None) -> Iterator[None]:
    """Run the body inside `netns`; None means the namespace the thread is in already.

    Entering where one is already costs nothing, so several looks at one namespace may share one way in. Threads that
    are started inside begin there: see `leave`.

    Raises:
        NetnsGone: before the body has run.
    """
    before = _where.inside
    if netns is None or netns == before:
        yield
        return
    own = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _enter(netns)
        _where.inside = netns
        try:
            yield
        finally:
            _where.inside = before
            _return_to(own)
    finally:
        os.close(own)


def here() -> Path | None:
    """Return the path this thread went in by, None in the namespace where it began."""
    return _where.inside


def leave() -> None:
    """Take this thread, for good, to where the process's first thread is.

    For threads that outlive what they were started for: one started inside an instance's namespace would keep that
    namespace alive after everything else in it has gone.
    """
    _enter(Path("/proc/self/ns/net"))


class Scratch:
    """An empty namespace without a name, for asking the kernel questions. It goes with this object."""

    def __init__(self) -> None:
        """Raises OSError when no namespace can be made."""
        handles: list[int | OSError] = []
        maker = threading.Thread(target=_make_namespace, args=(handles,), name="scratch-netns")
        maker.start()
        maker.join()
        made = handles[0]
        if isinstance(made, OSError):
            raise made
        self._handle = made

    @property
    def path(self) -> Path:
        """What this process, and no other, can name it by."""
        return Path(f"/proc/self/fd/{self._handle}")

    def entered(self) -> AbstractContextManager[None]:
        """Like `entered`, for this namespace."""
        return entered(self.path)

    def __del__(self) -> None:
        with suppress(OSError, AttributeError):
            os.close(self._handle)


def _make_namespace(handles: list[int | OSError]) -> None:
    if _libc.unshare(_CLONE_NEWNET) != 0:
        code = ctypes.get_errno()
        handles.append(OSError(code, os.strerror(code)))
        return
    handles.append(os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC))


def inode(netns: Path | None) -> int:
    """Return the number that identifies a namespace: equal numbers, same namespace. Raises NetnsGone."""
    try:
        return os.stat(netns or _OWN).st_ino  # noqa: PTH116  # a Path for each question takes longer than the answer
    except FileNotFoundError as error:
        raise NetnsGone(errno.ENOENT, "no such network namespace", str(netns)) from error


def exists(netns: Path | None) -> bool:
    """Whether `netns` can be entered."""
    try:
        with entered(netns):
            return True
    except NetnsGone:
        return False


def _enter(netns: Path) -> None:
    try:
        target = os.open(netns, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NetnsGone(errno.ENOENT, "no such network namespace", str(netns)) from error
    try:
        if _libc.setns(target, _CLONE_NEWNET) != 0:
            code = ctypes.get_errno()
            if code == errno.EINVAL:  # the file is there, the namespace mounted on it is not
                raise NetnsGone(errno.ENOENT, "not a network namespace", str(netns))
            raise OSError(code, os.strerror(code), str(netns))
    finally:
        os.close(target)


def _return_to(own: int) -> None:
    if _libc.setns(own, _CLONE_NEWNET) != 0:
        # A thread left inside a tenant's namespace would go on to serve the node's API there. Nothing
        # can repair that from inside; a new process can.
        os._exit(_LOST)
