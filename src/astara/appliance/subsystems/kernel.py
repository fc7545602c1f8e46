"""The subsystems that are tables of the kernel, in the order in which they rely on each other."""

from __future__ import annotations

from astara.appliance.boundaries import Subsystem
from astara.appliance.subsystems.conntrack.subsystem import ConntrackSubsystem
from astara.appliance.subsystems.links.subsystem import LinksSubsystem
from astara.appliance.subsystems.nftables.subsystem import NftablesSubsystem
from astara.appliance.subsystems.routes.subsystem import RoutesSubsystem
from astara.appliance.subsystems.sysctl.subsystem import SysctlSubsystem
from astara.appliance.subsystems.traffic.subsystem import TrafficSubsystem


def kernel_subsystems() -> tuple[Subsystem, ...]:
    """Return them: the filter first, so that nothing is ever forwarded without it; connections end last.

    Daemons follow after these.
    """
    return (
        NftablesSubsystem(),
        LinksSubsystem(),
        SysctlSubsystem(),
        RoutesSubsystem(),
        TrafficSubsystem(),
        ConntrackSubsystem(),
    )
