"""The sysctl subsystem: read each file, write what differs."""

from __future__ import annotations

from collections.abc import Sequence

from astara.appliance.boundaries import Place, SubsystemError
from astara.appliance.subsystems.sysctl.config import SysctlConfig
from astara.appliance.system import netns, sysctl
from astara.contract.agent import Deviation

#: What a namespace falls back to when nothing is configured: it forwards nothing.
CLOSED = SysctlConfig((("ipv4/ip_forward", "0"), ("ipv6/conf/all/forwarding", "0")))


class SysctlSubsystem:
    """Rendered form: the config itself. A file this kernel does not have is refused by `check`."""

    name = "sysctl"

    def render(self, place: Place, config: SysctlConfig) -> SysctlConfig:
        return config

    def check(self, place: Place, rendered: SysctlConfig) -> None:
        with netns.entered(place.netns):
            for path, _ in rendered.settings:
                if sysctl.read(path) is None:
                    raise SubsystemError(self.name, "check", f"this kernel has no net/{path}")

    def apply(self, place: Place, rendered: SysctlConfig, previous: SysctlConfig | None) -> bool:
        touched = False
        with netns.entered(place.netns):
            for path, value in rendered.settings:  # one by one: writing one may change the next
                if sysctl.read(path) == value:
                    continue
                touched = True
                try:
                    sysctl.write(path, value)
                except OSError as error:
                    raise SubsystemError(self.name, "apply", f"net/{path}: {error.strerror}") from error
        return touched

    def read_back(self, place: Place, rendered: SysctlConfig) -> Sequence[Deviation]:
        with netns.entered(place.netns):
            return [
                Deviation(subsystem=self.name, detail=f"net/{path} is {found}, not {value}")
                for path, value, found in _differing(rendered)
            ]

    def remove(self, place: Place) -> None:
        if place.netns is None:  # an appliance of its own: the machine's settings are not ours to reset
            return
        self.apply(place, CLOSED, None)


def _differing(config: SysctlConfig) -> list[tuple[str, str, str | None]]:
    found = [(path, value, sysctl.read(path)) for path, value in config.settings]
    return [(path, value, seen) for path, value, seen in found if seen != value]
