"""The sysctl subsystem: read each file, write what differs."""

from __future__ import annotations

from collections.abc import Sequence

from astara.appliance.boundaries import Place, SubsystemError
from astara.appliance.subsystems.sysctl.config import SysctlConfig
from astara.appliance.system import netns
from astara.appliance.system.sysctl import Settings
from astara.contract.agent import Deviation

#: What a namespace falls back to when nothing is configured: it forwards nothing.
CLOSED = SysctlConfig((("ipv4/ip_forward", "0"), ("ipv6/conf/all/forwarding", "0")))


class SysctlSubsystem:
    """Rendered form: the config itself. A file this kernel does not have is refused by `check`."""

    name = "sysctl"

    def render(self, place: Place, config: SysctlConfig) -> SysctlConfig:
        return config

    def check(self, place: Place, rendered: SysctlConfig) -> None:
        with netns.entered(place.netns), Settings() as kernel:
            for path, _ in rendered.settings:
                if kernel.read(path) is None:
                    raise SubsystemError(self.name, "check", f"this kernel has no net/{path}")

    def apply(self, place: Place, rendered: SysctlConfig, previous: SysctlConfig | None) -> bool:
        touched = False
        with netns.entered(place.netns), Settings() as kernel:
            for path, value in rendered.settings:  # one by one: writing one may change the next
                if kernel.read(path) == value:
                    continue
                touched = True
                try:
                    kernel.write(path, value)
                except OSError as error:
                    raise SubsystemError(self.name, "apply", f"net/{path}: {error.strerror}") from error
        return touched

    def read_back(self, place: Place, rendered: SysctlConfig) -> Sequence[Deviation]:
        with netns.entered(place.netns), Settings() as kernel:
            found = [(path, value, kernel.read(path)) for path, value in rendered.settings]
        return [
            Deviation(subsystem=self.name, detail=f"net/{path} is {seen}, not {value}")
            for path, value, seen in found
            if seen != value
        ]

    def remove(self, place: Place) -> None:
        if place.netns is None:  # an appliance of its own: the machine's settings are not ours to reset
            return
        self.apply(place, CLOSED, None)
