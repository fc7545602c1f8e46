"""What can be chosen about a lab."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from astara_lab.places import Seat


@dataclass(frozen=True)
class Variant:
    """What can be chosen about a lab. Those from `mech` on matter to profile neutron only."""

    supervise: bool = True  # start again what dies
    body: str = "namespace"  # of routers
    network_body: str | None = None  # of what serves DHCP, DNS and metadata; None: the same
    image: Path | None = None  # folder of the appliance's image; without one there are namespaces only
    nodes: int = 1  # 2 for routers that are pairs
    node_patience_s: int | None = None  # a node silent for so long is given up; None: as orchestrators come
    mech: str = "ovs"  # "ovs": Open vSwitch with Neutron's agent, "ovn": OVN
    l3_agent: bool = False  # Neutron's own L3 and DHCP agents in Astara's place
    privsep_threads: int | None = None  # of the agents' privileged helpers; None: as many as there are CPUs
    api_processes: int = 1  # of Neutron's API
    direct_boot: bool = False  # profile cloud only: appliances by their kernel, without a boot loader
    orchestrators: int = 1  # that share the work, profiles embedded (a database file of theirs) and cluster

    @property
    def seats(self) -> tuple[Seat, ...]:
        return tuple(Seat(number) for number in range(1, self.orchestrators + 1))

    @property
    def of_networks(self) -> str:
        return self.network_body or self.body
