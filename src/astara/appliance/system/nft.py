"""libnftables in process.

A context belongs to the namespace it was made in and costs 0.03 ms, so one is made per use and none is kept.
There is no dry run here: an aborted transaction waits for the kernel's grace period; see subsystems/nftables/reference.

libnftables is not made for threads: it keeps one table of link names and indices per process, filled from whichever
namespace asks first, dropped when any context is freed. So only one thread is inside it at a time, and the table is
dropped before every use. What takes long, closing, is waited for outside.
"""

from __future__ import annotations

import ctypes
import os
import socket
import threading
from functools import partial
from types import TracebackType
from typing import Any

import msgspec

from astara.appliance.system import netlink
from astara.appliance.system.closing import CLOSER
from astara.appliance.system.descriptors import LowDescriptors, NoneFree
from astara.appliance.system.netns import Scratch

_JSON = 1 << 4
_STATELESS = 1 << 2
_NUMERIC = (1 << 7) | (1 << 8) | (1 << 9) | (1 << 10)  # protocols, priorities, symbols, times as numbers
_OPEN = threading.Lock()
_TURN = threading.RLock()  # a context may be collected as garbage in the middle
#: libnftables waits by select(2), which aborts the process on descriptors above 1023.
_LOW = LowDescriptors(reserved=16, highest=1000)
_library: ctypes.CDLL | None = None
_elsewhere: Scratch | None = None


class NftError(Exception):
    """libnftables or the kernel refused; the message is libnftables' own, one line."""


class Nft:
    """One libnftables context in the calling thread's network namespace. Use as a context manager."""

    def __init__(self) -> None:
        self._context: int | None = None
        self._lib = _load()
        try:
            self._context = _LOW.borrow(self._make)
        except NoneFree as error:
            raise NftError(str(error)) from None
        self._pilot = _pilot()
        with _TURN:
            self._lib.nft_ctx_buffer_output(self._context)
            self._lib.nft_ctx_buffer_error(self._context)

    def _make(self) -> int:
        with _TURN:
            context: int = self._lib.nft_ctx_new(0)
            return context

    def __enter__(self) -> Nft:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Free the context, soon; a second call does nothing."""
        context, self._context = self._context, None
        if context is not None:
            CLOSER.later(partial(_free, self._lib, context, self._pilot))

    def __del__(self) -> None:
        self.close()

    def run(self, commands: str) -> str:
        """Run `commands` (nft syntax) as one transaction and return what they print. Raises NftError."""
        return self._run(commands, flags=_NUMERIC)

    def listing(self, command: str) -> list[dict[str, Any]]:
        """Run a `list ...` command and return libnftables' JSON objects, without the metainfo. Raises NftError."""
        answer = msgspec.json.decode(self._run(command, flags=_JSON | _STATELESS | _NUMERIC))
        objects: list[dict[str, Any]] = answer["nftables"]
        return objects[1:]

    def _run(self, commands: str, flags: int) -> str:
        with _TURN:
            _forget_link_names(self._lib)
            self._lib.nft_ctx_output_set_flags(self._context, flags)
            status = self._lib.nft_run_cmd_from_buffer(self._context, commands.encode())
            output: bytes = self._lib.nft_ctx_get_output_buffer(self._context)
            errors: bytes = self._lib.nft_ctx_get_error_buffer(self._context)
        if status != 0:
            raise NftError(_first_complaint(errors.decode(errors="replace")))
        return output.decode()


def _pilot() -> int:
    """Return the descriptor of a netfilter socket that is closed before a context: it waits for what that would."""
    pilot = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, netlink.NETFILTER)
    pilot.bind((0, 0))
    return pilot.detach()


def _free(lib: ctypes.CDLL, context: int, pilot: int) -> None:
    os.close(pilot)
    with _TURN:
        lib.nft_ctx_free(context)
    _LOW.give_back()


def _forget_link_names(lib: ctypes.CDLL) -> None:
    """Freeing any context drops the table; one made in an empty namespace is freed without waiting."""
    global _elsewhere
    if _elsewhere is None:
        _elsewhere = Scratch()
    with _elsewhere.entered():
        lib.nft_ctx_free(lib.nft_ctx_new(0))


def _first_complaint(errors: str) -> str:
    """libnftables writes the complaint, the command it is about, and a line of carets."""
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    about = [line for line in lines[1:2] if not line.startswith("^")]
    return " in: ".join(lines[:1] + [line[:200] for line in about]) or "refused without a reason"


def _load() -> ctypes.CDLL:
    global _library
    with _OPEN:
        if _library is None:
            _library = _declare(ctypes.CDLL("libnftables.so.1"))
        return _library


def _declare(lib: ctypes.CDLL) -> ctypes.CDLL:
    context = ctypes.c_void_p
    lib.nft_ctx_new.restype = context
    lib.nft_ctx_new.argtypes = [ctypes.c_uint32]
    lib.nft_ctx_free.restype = None
    lib.nft_ctx_free.argtypes = [context]
    for name in ("nft_ctx_buffer_output", "nft_ctx_buffer_error"):
        getattr(lib, name).argtypes = [context]
    for name in ("nft_ctx_get_output_buffer", "nft_ctx_get_error_buffer"):
        getattr(lib, name).restype = ctypes.c_char_p
        getattr(lib, name).argtypes = [context]
    lib.nft_ctx_output_set_flags.restype = None
    lib.nft_ctx_output_set_flags.argtypes = [context, ctypes.c_uint]
    lib.nft_run_cmd_from_buffer.argtypes = [context, ctypes.c_char_p]
    return lib
