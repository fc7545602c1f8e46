"""The typed wish -> conntrackd.conf and the script that keepalived calls. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from astara.appliance.subsystems.conntrackd.config import PORT, ConntrackdConfig

_LINK_NAME = re.compile(r"[0-9A-Za-z._-]{1,15}")
_PATH = re.compile(r"[0-9A-Za-z._/-]+")

# Only the active half knows what is true; the other must not tell it anything. Its internal cache is emptied when it
# becomes standby: else a copy that times out here would end the living connection there. Who becomes active reads its
# cache from the kernel, where the other half's connections have been all the time.
_SCRIPT = """#!/bin/sh
role={role}
tell() {{ {program} -C {config} "$@"; }}
case "$1" in
active) echo active > "$role"; tell -R; tell -B ;;
standby) echo standby > "$role"; tell -f internal; tell -n ;;
refresh) [ "$(cat "$role")" = active ] || tell -n ;;
again) [ "$(cat "$role")" = active ] || {{ tell -f internal; tell -n; }} ;;
esac > /dev/null 2>&1
exit 0
"""


@dataclass(frozen=True, slots=True)
class Rendered:
    """What will be written once the link's name is known. `socket`: where conntrackd takes commands, < 108 bytes."""

    config: ConntrackdConfig
    directory: Path
    socket: Path

    def text(self, names: Mapping[str, str]) -> str:
        """Return conntrackd.conf. Raises KeyError when the link on which the halves speak is not there."""
        heart = _plain(_LINK_NAME, names[self.config.heart])
        return "".join(f"{line}\n" for line in _lines(self, heart))

    def script(self, program: str) -> str:
        """Return the script to be called as `/bin/sh SCRIPT active|standby|refresh|again`."""
        role, config = (_plain(_PATH, str(self.directory / name)) for name in ("role", "conntrackd.conf"))
        return _SCRIPT.format(role=role, config=config, program=_plain(_PATH, program))


def _lines(rendered: Rendered, heart: str) -> Iterator[str]:
    own, peer = rendered.config.address, rendered.config.peer
    yield "Sync {"
    yield "  Mode FTFW {"
    yield "    DisableExternalCache yes"
    yield "    StartupResync yes"
    yield "    ResendQueueSize 131072"
    yield "    ACKWindowSize 300"
    yield "  }"
    yield "  UDP {"
    yield f"    IPv4_address {own}"
    yield f"    IPv4_Destination_Address {peer}"
    yield f"    Port {PORT}"
    yield f"    Interface {heart}"
    yield "    SndSocketBuffer 1249280"
    yield "    RcvSocketBuffer 1249280"
    yield "    Checksum on"
    yield "  }"
    yield "  Options {"
    yield "    TCPWindowTracking Off"
    yield "    ExpectationSync On"
    yield "  }"
    yield "}"
    yield "General {"
    yield "  HashSize 32768"
    yield "  HashLimit 262144"
    yield "  LogFile off"
    yield "  Syslog off"
    yield f"  LockFile {_plain(_PATH, str(rendered.directory / 'lock'))}"
    yield "  UNIX {"
    yield f"    Path {_plain(_PATH, str(rendered.socket))}"
    yield "  }"
    yield "  NetlinkBufferSize 2097152"
    yield "  NetlinkBufferSizeMaxGrowth 8388608"
    yield "  NetlinkOverrunResync On"
    yield "  Filter From Kernelspace {"
    yield "    Protocol Accept {"
    for protocol in ("TCP", "UDP", "ICMP", "IPv6-ICMP", "SCTP", "DCCP"):
        yield f"      {protocol}"
    yield "    }"
    yield "    Address Ignore {"
    for address in ("127.0.0.1", own, peer):
        yield f"      IPv4_address {address}"
    yield "      IPv6_address ::1"
    yield "    }"
    yield "  }"
    yield "}"


def _plain(form: re.Pattern[str], word: str) -> str:
    if not form.fullmatch(word):
        raise ValueError("not a plain word")
    return word
