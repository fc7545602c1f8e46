"""What a template does before its picture is taken, so that no machine woken from it has to.

All of it is the same for everybody: modules of Python and of the kernel, files read once. A child does it, and is gone
when the picture is taken; the first process stays without threads, sockets and state of its own, and imports what the
child has needed.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import ssl
import sys
from pathlib import Path

from astara import installed
from astara.appliance.subsystems.metadata.config import NAME as METADATA
from astara.host import namespaces, wiring
from astara.host.bodies.beside import Elsewhere
from astara.host.rehearsal import rehearse


def settle() -> None:
    """Raises OSError."""
    namespaces.prepare_directory()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writing, " ".join(_needed()).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        names = pipe.read().decode().split()
    os.waitpid(child, 0)
    for name in names:
        with contextlib.suppress(Exception):  # of those that are not to be imported twice, or by their name
            importlib.import_module(name)
    wiring.appliances()  # finds the plug-ins installed, which is remembered
    installed.own_version()
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)  # OpenSSL reads its configuration and its tables once
    gc.collect()
    gc.freeze()  # so that no collection writes to pages that all machines share


def _needed() -> list[str]:
    """Rehearse; return the modules that took."""
    appliances = wiring.appliances()
    rehearse(wiring.engine(Elsewhere(METADATA), appliances), appliances)
    _read_what_is_mapped()
    return [name for name in sys.modules if name != "__main__"]


def _read_what_is_mapped() -> None:
    """Programs and libraries are read from the packed root page by page, as they are used; now they are in memory."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    for name in {line.split(maxsplit=5)[5] for line in lines if "/" in line}:
        with contextlib.suppress(OSError):
            Path(name).read_bytes()
