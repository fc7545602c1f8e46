"""A random stream of API changes, as several users in a hurry would make them.

The seed fixes every choice, not how threads and kills interleave: a replay is the same weather, not the same drop.
What Neutron refuses (404, 409, 503 …) is part of the weather and counted.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
import uuid
import warnings
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from astara_lab.places import EXTERNAL_PHYSNET, NEUTRON_URL, NODE_NAME
from storm.timeline import Timeline
from storm.wish import INTERFACES

with warnings.catch_warnings():
    # Some of the SDK's dependencies import what Python has deprecated.
    warnings.simplefilter("ignore")
    import openstack
    from keystoneauth1.exceptions import ClientException
    from openstack.exceptions import HttpException, SDKException

PREFIX = "storm"
#: No more than that many of each exist at a time.
LIMITS = {"router": 8, "network": 8, "subnet": 14, "port": 16, "ip": 10, "forwarding": 8}
_PAUSE_S, _NOTHING_TO_DO_S = 0.05, 0.001


def connect() -> Any:
    """openstacksdk's network proxy for the lab's Neutron; one for each thread."""
    return openstack.connect(
        load_yaml_config=False,
        load_envvars=False,
        auth_type="none",
        endpoint=NEUTRON_URL,
        network_endpoint_override=NEUTRON_URL,
        api_timeout=60,
    ).network


def external_network(neutron: Any) -> Any:
    """The external network, made unless it is there."""
    found = neutron.find_network("public")
    if found is None:
        found = neutron.create_network(
            name="public",
            is_router_external=True,
            provider_network_type="flat",
            provider_physical_network=EXTERNAL_PHYSNET,
        )
        gateways = ((4, "198.51.100.0/24", "198.51.100.1"), (6, "2001:db8:ffff::/64", "2001:db8:ffff::1"))
        for version, cidr, gateway in gateways:
            neutron.create_subnet(
                network_id=found.id, ip_version=version, cidr=cidr, gateway_ip=gateway, is_dhcp_enabled=False
            )
    return neutron.get_network(found.id)


@dataclass
class Register:
    """What the storm made and did not delete yet, by kind; ids to what is needed later. For all threads."""

    project: str
    external: str
    flavor: str | None = None
    pairs: float = 0.0  # which part of the routers is highly available
    _things: dict[str, dict[str, Any]] = field(default_factory=lambda: defaultdict(dict))
    _mutex: threading.Lock = field(default_factory=threading.Lock)
    _numbers: Any = field(default_factory=lambda: itertools.count(1))

    def add(self, kind: str, identifier: str, what: Any = None) -> None:
        with self._mutex:
            self._things[kind][identifier] = what

    def drop(self, kind: str, identifier: str) -> None:
        with self._mutex:
            self._things[kind].pop(identifier, None)

    def pick(self, kind: str, random: Random) -> tuple[str, Any]:
        """Raises LookupError when there is none."""
        with self._mutex:
            things = list(self._things[kind].items())
        if not things:
            raise LookupError(f"no {kind} yet")
        return random.choice(things)

    def room_for(self, kind: str) -> None:
        """Raises LookupError when there are enough."""
        with self._mutex:
            if len(self._things[kind]) >= LIMITS[kind]:
                raise LookupError(f"enough {kind}s")

    def number(self) -> int:
        return next(self._numbers)

    def ids(self, kind: str) -> tuple[str, ...]:
        with self._mutex:
            return tuple(self._things[kind])


class Actor:
    """One user: picks a change, makes it, notes how it went."""

    def __init__(
        self,
        name: str,
        seed: str,
        register: Register,
        timeline: Timeline,
        stop: threading.Event,
        pause_s: float = _PAUSE_S,
    ) -> None:
        self._random = Random(f"{seed}/{name}")
        self._register = register
        self._timeline = timeline
        self._stop = stop
        self._pause_s = pause_s
        self._neutron = connect()
        self._table: list[tuple[int, Callable[[], str]]] = [
            (7, self._make_router),
            (6, self._make_network),
            (4, self._make_subnet),
            (14, self._plug_interface),
            (7, self._make_port),
            (7, self._make_ip),
            (5, self._move_ip),
            (4, self._make_forwarding),
            (3, self._drop_forwarding),
            (5, self._toggle_gateway),
            (3, self._toggle_snat),
            (3, self._toggle_router),
            (3, self._change_routes),
            (5, self._toggle_dhcp),
            (3, self._change_dns),
            (5, self._unplug_interface),
            (3, self._drop_router),
            (3, self._drop_network),
            (3, self._drop_subnet),
            (3, self._drop_port),
            (3, self._drop_ip),
        ]
        self._thread = threading.Thread(target=self._run, name=f"actor-{name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def join(self, timeout_s: float) -> bool:
        """Return whether it ended in time."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        weights = [weight for weight, _ in self._table]
        while not self._stop.is_set():
            change = self._random.choices(self._table, weights)[0][1]
            pause_s = self._random.uniform(0, 2 * self._pause_s)
            self._stop.wait(pause_s if self._once(change) else _NOTHING_TO_DO_S)

    def _once(self, change: Callable[[], str]) -> bool:
        """Return whether there was anything to change."""
        name = change.__name__.strip("_").replace("_", "-")
        began_s = self._timeline.now_s()
        try:
            words, outcome = change(), "ok"
        except LookupError:
            return False
        except HttpException as refused:
            words, outcome = _reason(refused), str(refused.status_code)
        except (SDKException, ClientException) as away:
            words, outcome = type(away).__name__, "away"
        self._timeline.note("change", f"{name} {words}".strip(), outcome, began_s)
        return True

    def sow(self, times: int) -> None:
        """Make a few routers with everything, so that the storm has something to blow at from its first second."""
        for _ in range(times):
            self._make_network()
            self._make_router()
            self._make_port()
        for change in (self._plug_interface, self._make_ip, self._make_forwarding) * times:
            self._once(change)

    # -- making

    def _make_router(self) -> str:
        self._register.room_for("router")
        number = self._register.number()
        body: dict[str, Any] = {"name": f"{PREFIX}-r{number}", "project_id": self._register.project}
        if self._random.random() < 0.75:
            body["external_gateway_info"] = self._gateway(self._random.random() < 0.8)
        if self._random.random() < self._register.pairs:
            body["is_ha"] = True
        if self._register.flavor:
            body["flavor_id"] = self._register.flavor
        made = self._neutron.create_router(**body)
        self._register.add("router", made.id)
        return str(made.id)

    def _gateway(self, snat: bool) -> dict[str, Any]:
        return {"network_id": self._register.external, "enable_snat": snat}

    def _make_network(self) -> str:
        self._register.room_for("network")
        number = self._register.number()
        made = self._neutron.create_network(name=f"{PREFIX}-n{number}", project_id=self._register.project)
        self._register.add("network", made.id)
        self._subnet(made.id, self._random.random() < 0.3)
        return str(made.id)

    def _make_subnet(self) -> str:
        self._register.room_for("subnet")
        return self._subnet(self._register.pick("network", self._random)[0], self._random.random() < 0.5)

    def _subnet(self, network_id: str, v6: bool) -> str:
        number = self._register.number()
        body: dict[str, Any] = {"ip_version": 4, "cidr": f"10.{50 + number // 250}.{number % 250}.0/24"}
        if v6:
            mode = self._random.choice(("slaac", "dhcpv6-stateless", "dhcpv6-stateful"))
            body = {"ip_version": 6, "cidr": f"2001:db8:50:{number:x}::/64"}
            body |= {"ipv6_ra_mode": mode, "ipv6_address_mode": mode}
        made = self._neutron.create_subnet(
            name=f"{PREFIX}-s{number}", network_id=network_id, project_id=self._register.project, **body
        )
        self._register.add("subnet", made.id, made)
        return str(made.id)

    def _plug_interface(self) -> str:
        router = self._register.pick("router", self._random)[0]
        subnet = self._register.pick("subnet", self._random)[0]
        self._neutron.add_interface_to_router(router, subnet=subnet)
        self._register.add("interface", f"{router}/{subnet}", (router, subnet))
        return f"{router} {subnet}"

    def _make_port(self) -> str:
        self._register.room_for("port")
        network = self._register.pick("network", self._random)[0]
        made = self._neutron.create_port(
            name=f"{PREFIX}-p{self._register.number()}",
            network_id=network,
            project_id=self._register.project,
            device_owner="compute:lab",
            device_id=str(uuid.UUID(int=self._random.getrandbits(128))),
            binding_host_id=NODE_NAME,
        )
        self._register.add("port", made.id, made)
        return str(made.id)

    def _make_ip(self) -> str:
        self._register.room_for("ip")
        body: dict[str, Any] = {}
        if self._random.random() < 0.7:
            with contextlib.suppress(LookupError):
                body["port_id"] = self._register.pick("port", self._random)[0]
        made = self._neutron.create_ip(
            floating_network_id=self._register.external, project_id=self._register.project, **body
        )
        self._register.add("ip", made.id)
        return str(made.id)

    def _make_forwarding(self) -> str:
        self._register.room_for("forwarding")
        floating = self._register.pick("ip", self._random)[0]
        port_id, port = self._register.pick("port", self._random)
        internal = next((f["ip_address"] for f in port.fixed_ips if ":" not in f["ip_address"]), None)
        if internal is None:
            raise LookupError("no IPv4 address")
        made = self._neutron.create_port_forwarding(
            floatingip_id=floating,
            internal_port_id=port_id,
            internal_ip_address=internal,
            internal_port=self._random.randint(1, 2000),
            external_port=self._random.randint(2001, 4000),
            protocol=self._random.choice(("tcp", "udp")),
        )
        self._register.add("forwarding", made.id, (made.id, floating))
        return f"{made.id} {floating}"

    # -- changing

    def _move_ip(self) -> str:
        floating = self._register.pick("ip", self._random)[0]
        port = None if self._random.random() < 0.4 else self._register.pick("port", self._random)[0]
        self._neutron.update_ip(floating, port_id=port)
        return f"{floating} {port}"

    def _toggle_gateway(self) -> str:
        router = self._register.pick("router", self._random)[0]
        gone = self._random.random() < 0.3
        self._neutron.update_router(router, external_gateway_info={} if gone else self._gateway(True))
        return f"{router} {'none' if gone else 'set'}"

    def _toggle_snat(self) -> str:
        router = self._register.pick("router", self._random)[0]
        snat = self._random.random() < 0.6
        self._neutron.update_router(router, external_gateway_info=self._gateway(snat))
        return f"{router} {snat}"

    def _toggle_router(self) -> str:
        router = self._register.pick("router", self._random)[0]
        up = self._random.random() < 0.7
        self._neutron.update_router(router, admin_state_up=up)
        return f"{router} {'up' if up else 'down'}"

    def _change_routes(self) -> str:
        router, subnet_id = self._register.pick("interface", self._random)[1]
        subnet = self._neutron.get_subnet(subnet_id)
        hop = subnet.cidr.replace(".0/24", ".77").replace("::/64", "::77")
        to = f"192.168.{self._random.randint(1, 250)}.0/24" if subnet.ip_version == 4 else "2001:db8:99::/64"
        routes = [] if self._random.random() < 0.4 else [{"destination": to, "nexthop": hop}]
        self._neutron.update_router(router, routes=routes)
        return f"{router} {routes}"

    def _toggle_dhcp(self) -> str:
        subnet = self._register.pick("subnet", self._random)[0]
        on = self._random.random() < 0.6
        self._neutron.update_subnet(subnet, is_dhcp_enabled=on)
        return f"{subnet} {on}"

    def _change_dns(self) -> str:
        subnet_id, subnet = self._register.pick("subnet", self._random)
        servers = ["192.0.2.53"] if subnet.ip_version == 4 else ["2001:db8::53"]
        self._neutron.update_subnet(subnet_id, dns_nameservers=servers if self._random.random() < 0.7 else [])
        return str(subnet_id)

    # -- deleting

    def _unplug_interface(self) -> str:
        name, (router, subnet) = self._register.pick("interface", self._random)
        self._neutron.remove_interface_from_router(router, subnet=subnet)
        self._register.drop("interface", name)
        return f"{router} {subnet}"

    def _drop_forwarding(self) -> str:
        _, (identifier, floating) = self._register.pick("forwarding", self._random)
        self._register.drop("forwarding", identifier)
        self._neutron.delete_port_forwarding(identifier, floating, ignore_missing=False)
        return str(identifier)

    def _drop_router(self) -> str:
        """With everything on it: a delete alone is refused nearly always."""
        router = self._register.pick("router", self._random)[0]
        empty_router(self._neutron, router)
        return self._drop("router", self._neutron.delete_router, router)

    def _drop_network(self) -> str:
        network = self._register.pick("network", self._random)[0]
        return self._drop("network", self._neutron.delete_network, network)

    def _drop_subnet(self) -> str:
        subnet = self._register.pick("subnet", self._random)[0]
        return self._drop("subnet", self._neutron.delete_subnet, subnet)

    def _drop_port(self) -> str:
        port = self._register.pick("port", self._random)[0]
        return self._drop("port", self._neutron.delete_port, port)

    def _drop_ip(self) -> str:
        floating = self._register.pick("ip", self._random)[0]
        return self._drop("ip", self._neutron.delete_ip, floating)

    def _drop(self, kind: str, delete: Callable[..., Any], identifier: str) -> str:
        delete(identifier, ignore_missing=True)
        self._register.drop(kind, identifier)
        return identifier


def empty_router(neutron: Any, router_id: str) -> None:
    """Take away what keeps a router from being deleted; what refuses stays."""
    for ip in list(neutron.ips(router_id=router_id)):
        _tolerant(lambda ip=ip: neutron.delete_ip(ip.id))
    _tolerant(lambda: neutron.update_router(router_id, routes=[]))
    ports = [port for owner in INTERFACES for port in neutron.ports(device_id=router_id, device_owner=owner)]
    for port in ports:
        _tolerant(lambda port=port: neutron.remove_interface_from_router(router_id, port=port.id))


def remove_everything(neutron: Any, project: str) -> None:
    """Delete all that the storm made, in the order in which that is possible."""
    for router in list(neutron.routers(project_id=project)):
        empty_router(neutron, router.id)
        _tolerant(lambda router=router: neutron.delete_router(router.id))
    for ip in list(neutron.ips(project_id=project)):
        _tolerant(lambda ip=ip: neutron.delete_ip(ip.id))
    for port in list(neutron.ports(project_id=project)):
        if not port.device_owner.startswith("network:"):
            _tolerant(lambda port=port: neutron.delete_port(port.id))
    for network in list(neutron.networks(project_id=project)):
        _tolerant(lambda network=network: neutron.delete_network(network.id))


def _tolerant(call: Callable[[], Any]) -> None:
    with contextlib.suppress(SDKException, ClientException):
        call()


def _reason(refused: HttpException) -> str:
    return str(refused.details or refused.message or "").replace("\n", " ")[:300]
