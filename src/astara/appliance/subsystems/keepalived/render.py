"""The typed wish -> keepalived.conf. Pure: links are named later, when their MAC addresses have been looked up."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from astara.appliance.subsystems.keepalived.config import KeepalivedConfig

_LINK_NAME = re.compile(r"[0-9A-Za-z._-]{1,15}")
_PATH = re.compile(r"[0-9A-Za-z._/-]+")
#: The only address in an advertisement: both halves name the same, whatever links each has for the moment.
_COMMON = "169.254.0.254/32"
#: Neither owns the addresses (255); the higher, the shorter the skew of the other's timer (RFC 9568 6.1).
PRIORITY = 250
#: One for every pair: adverts go to one address that nobody else has.
_VRID = 1
_REFRESH_S = 30
#: A switch's port may need a second after its link has come up. Who elects itself before is two with the one that is
#: active, and may win against it when it hears it, with no connections yet. A reload does not wait.
LISTENS_FIRST_S = 1
#: What a dead path costs. With equal priorities nobody preempts, so two halves whose next hop is dead stay as they are.
PATH_DEAD = "-50"


@dataclass(frozen=True, slots=True)
class Rendered:
    """What will be written once the links' names are known. `script` is told of every change of role.

    `shell` is the path it really has: keepalived 2.3 calls one that leads over a symbolic link (/bin/sh) insecure.
    """

    config: KeepalivedConfig
    script: Path
    path_file: Path
    shell: Path

    def text(self, names: Mapping[str, str]) -> str:
        """Return keepalived.conf; `names` maps MAC address -> current link name. A link that is not there is left out.

        Raises KeyError when the link on which the halves speak is not there.
        """
        heart = _plain(_LINK_NAME, names[self.config.heart])
        markers = [
            f"{marker.address}/32 dev {_plain(_LINK_NAME, names[marker.mac])} scope link no_track"
            for marker in sorted(self.config.markers, key=lambda marker: marker.address)
            if marker.mac in names
        ]
        return "".join(f"{line}\n" for line in _lines(self.config, heart, markers, self))


def _lines(config: KeepalivedConfig, heart: str, markers: list[str], rendered: Rendered) -> Iterator[str]:
    told = f"{_plain(_PATH, str(rendered.shell))} {_plain(_PATH, str(rendered.script))}"
    yield "global_defs {"
    # Without it DNS is asked for the name of this machine, by the router's own links: five seconds without an answer.
    yield "  router_id astara"
    yield "  vrrp_version 3"
    yield f"  vrrp_startup_delay {LISTENS_FIRST_S}"
    yield "  enable_script_security"
    yield "  script_user root"
    yield "  vrrp_garp_master_repeat 3"
    yield "  vrrp_garp_master_delay 1"
    # Who won against another active one need not know that there was one: switches must learn it all the same.
    yield "  vrrp_garp_master_refresh 1"
    yield "  vrrp_garp_lower_prio_repeat 3"
    yield "  vrrp_garp_lower_prio_delay 1"
    yield "}"
    # What it says is not judged: connections are refreshed, nobody is elected by that.
    yield "vrrp_script refresh {"
    yield f'  script "{told} refresh"'
    yield f"  interval {_REFRESH_S}"
    yield "  timeout 10"
    yield "  weight -1"
    yield "}"
    yield "track_file path {"
    yield f'  file "{_plain(_PATH, str(rendered.path_file))}"'
    yield "  weight 1"
    yield "}"
    # A half that comes back has the same priority, and does not preempt (RFC 9568 6.4.2).
    yield "vrrp_instance pair {"
    yield "  state BACKUP"
    yield f"  interface {heart}"
    yield f"  virtual_router_id {_VRID}"
    yield f"  priority {PRIORITY}"
    yield f"  advert_int {config.advert_ms // 1000}.{config.advert_ms % 1000:03d}"
    yield f"  unicast_src_ip {config.address}"
    yield "  unicast_peer {"
    yield f"    {config.peer}"
    yield "  }"
    yield "  virtual_ipaddress {"
    yield f"    {_COMMON} dev {heart} scope link"
    yield "  }"
    if markers:
        # Not tracked: a link goes down when its network leaves the router, before this file says so.
        yield "  virtual_ipaddress_excluded {"
        for marker in markers:
            yield f"    {marker}"
        yield "  }"
    yield "  track_script {"
    yield "    refresh"
    yield "  }"
    yield "  track_file {"
    yield "    path"
    yield "  }"
    yield f'  notify_master "{told} active"'
    yield f'  notify_backup "{told} standby"'
    yield f'  notify_fault "{told} standby"'
    yield f'  notify_stop "{told} standby"'
    yield "}"


def _plain(form: re.Pattern[str], word: str) -> str:
    if not form.fullmatch(word):
        raise ValueError("not a plain word")
    return word
