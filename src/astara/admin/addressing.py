"""Which resource, instance or socket somebody means. Pure but for `admin_socket`, which looks at files."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path

from astara.model.errors import Gone, Terminal
from astara.model.operator import InstanceLine, ResourceLine
from astara.model.resource import ResourceKey

SYSTEM_SOCKET = Path("/run/astara/admin.sock")
#: Where a lab started from a checkout puts its own, seen from the directory the lab was started in.
_LAB_SOCKETS = ".lab/*/run/admin.sock"


def resource_meant(lines: Sequence[ResourceLine], text: str) -> ResourceKey:
    """Return the key for "driver/id", an unambiguous start of either, or a name.

    Raises:
        Gone: nothing fits.
        Terminal: several fit; the message lists them.
    """
    by_key = {line.key: line for line in lines}
    if text in by_key:
        return ResourceKey.parse(text)
    found = [line for line in lines if line.name == text]
    found = found or [line for line in lines if _starts(line.key, text)]
    if not found:
        raise Gone(f"no resource {text!r}", "see `astara resource list`; name it by key, start of its id, or name")
    if len(found) > 1:
        some = ", ".join(line.key for line in found[:4]) + (", …" if len(found) > 4 else "")
        raise Terminal(f"{text!r} could be {some}", "write the whole key")
    return ResourceKey.parse(found[0].key)


def instance_meant(lines: Sequence[InstanceLine], text: str) -> InstanceLine:
    """Return the instance whose id is or starts with `text`; raises like `resource_meant`."""
    found = [line for line in lines if line.id == text] or [line for line in lines if line.id.startswith(text)]
    if not found:
        raise Gone(f"no instance {text!r}", "see `astara instance list`")
    if len(found) > 1:
        raise Terminal(f"{text!r} could be " + ", ".join(line.id for line in found[:4]), "write more of the id")
    return found[0]


def admin_socket(given: Path | None, here: Path = Path()) -> Path:
    """Return the socket to ask: the one given, else the system's, else that of a lab running below `here`.

    `here` is relative by default, because the kernel takes 107 bytes of a socket's path and checkouts lie deep.
    Raises Terminal when several labs run.
    """
    if given is not None:
        return given
    if SYSTEM_SOCKET.exists():
        return SYSTEM_SOCKET
    labs = [path for path in sorted(here.glob(_LAB_SOCKETS)) if _listened_to(path)]
    if len(labs) > 1:
        raise Terminal(
            "several labs run here: " + ", ".join(map(str, labs)),
            "choose one with --socket or ASTARA_SOCKET",
        )
    return labs[0] if labs else SYSTEM_SOCKET


def _starts(key: str, text: str) -> bool:
    _, _, identifier = key.partition("/")
    return identifier.startswith(text) or ("/" in text and key.startswith(text))


def _listened_to(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(str(path))
        except OSError:
            return False
        return True
