"""A Neutron with our plug-in, in memory: snapshots, revision, change journal, statuses. Keeps test_neutron_api."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from msgspec import structs

from astara.contract.snapshot import (
    ActiveHalf,
    Change,
    ChangePage,
    DhcpPortRequest,
    NetworkPage,
    NetworkSnapshot,
    PortSnapshot,
    RouterPage,
    RouterSnapshot,
    StatusReport,
)
from astara.model.errors import Gone, Retry, Stale, Terminal


@dataclass
class FakeNeutron:
    """`routers_by_id` and `networks_by_id` are the database; `calls` counts calls, `asked` the ids asked for.

    `watch` is told ("before" or "after", operation) around every write, so that a test can pull the plug there.
    """

    routers_by_id: dict[str, RouterSnapshot] = field(default_factory=dict)
    networks_by_id: dict[str, NetworkSnapshot] = field(default_factory=dict)
    hosts: dict[str, bool] = field(default_factory=dict)
    revision: int = 1
    journal: list[Change] = field(default_factory=list)
    journal_begins: int = 0
    down: bool = False
    calls: dict[str, int] = field(default_factory=dict)
    asked: int = 0
    reports: list[StatusReport] = field(default_factory=list)
    #: The greatest term heard of (`hear`): writes under an older one are refused.
    heard: int = 0
    watch: Callable[[str, str], None] | None = None
    lock: threading.RLock = field(default_factory=threading.RLock)
    _holders_of: dict[str, set[str]] = field(default_factory=dict)

    # What tenants do

    def put_router(self, router: RouterSnapshot) -> None:
        """Create or change; the status stays what it was."""
        with self.lock:
            old = self.routers_by_id.get(router.id)
            if old is not None:
                router = structs.replace(router, status=old.status)
            self.routers_by_id[router.id] = router
            self._index(router.id, [port.id for port in (*_ports(router), *router.floating_ips)])
            self.record("router", router.id)

    def delete_router(self, identifier: str) -> None:
        with self.lock:
            if self.routers_by_id.pop(identifier, None) is not None:
                self.record("router", identifier)

    def put_network(self, network: NetworkSnapshot) -> None:
        with self.lock:
            self.networks_by_id[network.id] = network
            self._index(network.id, [port.id for port in network.ports])
            self.record("network", network.id)

    def delete_network(self, identifier: str) -> None:
        with self.lock:
            if self.networks_by_id.pop(identifier, None) is not None:
                self.record("network", identifier)

    def record(self, kind: str, identifier: str) -> None:
        self.revision += 1
        self.journal.append(Change(revision=self.revision, kind=kind, id=identifier))

    def forget_journal(self) -> None:
        """Prune the journal, as housekeeping does."""
        with self.lock:
            self.journal_begins = self.revision
            self.journal.clear()

    # NeutronApi

    def routers(self, ids: Sequence[str] | None = None, marker: str | None = None, limit: int = 200) -> RouterPage:
        with self._call("routers", ids):
            chosen, following = _page(self.routers_by_id, ids, marker, limit)
            networks = {port.network_id for router in chosen for port in _ports(router)}
            return RouterPage(
                revision=self.revision,
                routers=tuple(chosen),
                networks=tuple(
                    structs.replace(self.networks_by_id[identifier], ports=())
                    for identifier in sorted(networks & set(self.networks_by_id))
                ),
                next=following,
            )

    def networks(self, ids: Sequence[str] | None = None, marker: str | None = None, limit: int = 200) -> NetworkPage:
        with self._call("networks", ids):
            chosen, following = _page(self.networks_by_id, ids, marker, limit)
            return NetworkPage(revision=self.revision, networks=tuple(chosen), next=following)

    def changes(self, since: int) -> ChangePage:
        with self._call("changes"):
            truncated = since < self.journal_begins or since > self.revision
            rows = () if truncated else tuple(change for change in self.journal if change.revision > since)
            return ChangePage(revision=self.revision, changes=rows, truncated=truncated)

    def hear(self, term: int) -> None:
        with self.lock:
            self.heard = max(self.heard, term)

    def _fence(self, term: int | None) -> None:
        if not term:
            return
        self.hear(term)
        if term < self.heard:
            raise Stale(f"term {term} is older than {self.heard}")

    def report_status(self, report: StatusReport, term: int | None = None) -> None:
        with self._call("report_status", write=True):
            self._fence(term)
            self.reports.append(report)
            for item in report.routers:
                router = self.routers_by_id.get(item.id)
                if router is not None:  # gone meanwhile: nothing to show it on
                    self.routers_by_id[item.id] = structs.replace(router, status=item.status)
            ports = {item.id: item.status for item in report.ports}
            floating = {item.id: item.status for item in report.floating_ips}
            for identifier in self._holders(set(ports) | set(floating)):
                if (router := self.routers_by_id.get(identifier)) is not None:
                    self.routers_by_id[identifier] = _with_statuses(router, ports, floating)
                if (network := self.networks_by_id.get(identifier)) is not None:
                    shown = tuple(structs.replace(p, status=ports.get(p.id, p.status)) for p in network.ports)
                    self.networks_by_id[identifier] = structs.replace(network, ports=shown)

    def follow_active(self, half: ActiveHalf, term: int | None = None) -> None:
        with self._call("follow_active", write=True):
            self._fence(term)
            router = self.routers_by_id.get(half.id)
            if router is None or half.host not in {member.host for member in router.members}:
                raise Terminal(f"router {half.id} is no pair with a half on {half.host}")
            self.put_router(
                structs.replace(
                    router,
                    interfaces=tuple(structs.replace(port, host=half.host) for port in router.interfaces),
                    gateways=tuple(
                        structs.replace(one, port=structs.replace(one.port, host=half.host)) for one in router.gateways
                    ),
                )
            )

    def _holders(self, children: set[str]) -> set[str]:
        """Return the routers and networks these ports and floating IPs belong to."""
        return {holder for child in children for holder in self._holders_of.get(child, ())}

    def _index(self, holder: str, children: Iterable[str]) -> None:
        for child in children:
            self._holders_of.setdefault(child, set()).add(holder)

    def ensure_dhcp_port(self, request: DhcpPortRequest, term: int | None = None) -> PortSnapshot:
        with self._call("ensure_dhcp_port", write=True):
            self._fence(term)
            network = self.networks_by_id.get(request.network_id)
            if network is None:
                raise Gone(f"network {request.network_id} does not exist")
            mine = [port for port in network.ports if port.device_owner == "network:dhcp"]
            if mine and mine[0].host == request.host:
                return mine[0]
            port = PortSnapshot(
                id=f"dhcp-{network.id}",
                network_id=network.id,
                mac_address="fa:16:3e:00:00:01",
                device_owner="network:dhcp",
                host=request.host,
                vif_type="bridge",
            )
            others = tuple(other for other in network.ports if other not in mine)
            self.put_network(structs.replace(network, ports=(*others, port)))
            return port

    def place(self, placements: Sequence[tuple[str, str, str]], term: int | None = None) -> None:
        with self._call("place", write=True):
            self._fence(term)
            for _, _, host in placements:
                if host not in self.hosts:
                    raise Retry(f"{host} is not an announced node")
            for kind, identifier, host in placements:
                reads, _, position = kind.partition("/")
                if reads == "network":
                    network = self.networks_by_id[identifier]
                    self.put_network(structs.replace(network, host=host))
                    continue
                router = self.routers_by_id[identifier]
                hosts = (router.host or "").split(",")
                hosts[int(position or 0)] = host
                self.put_router(structs.replace(router, host=",".join(hosts)))

    def announce_nodes(self, hosts: Sequence[tuple[str, bool]]) -> tuple[str, ...]:
        with self._call("announce_nodes", write=True):
            before, self.hosts = self.hosts, dict(hosts)
            return tuple(sorted(host for host, available in before.items() if available and host not in self.hosts))

    @contextmanager
    def _call(self, name: str, ids: Sequence[str] | None = None, *, write: bool = False):
        with self.lock:
            self.calls[name] = self.calls.get(name, 0) + 1
            self.asked += len(ids or ())
            if self.down:
                raise Retry("Neutron does not answer", "see neutron-server's log")
            if write and self.watch is not None:
                self.watch("before", name)
            yield
            if write and self.watch is not None:
                self.watch("after", name)


def _page(table, ids, marker, limit):
    if ids is not None:
        return [table[identifier] for identifier in sorted(set(ids)) if identifier in table], None
    names = sorted(name for name in table if marker is None or name > marker)
    chosen = names[:limit]
    return [table[name] for name in chosen], chosen[-1] if len(names) > limit else None


def _ports(router: RouterSnapshot) -> Iterable[PortSnapshot]:
    yield from router.interfaces
    for gateway in router.gateways:
        yield gateway.port


def _with_statuses(router: RouterSnapshot, ports: dict[str, str], floating: dict[str, str]) -> RouterSnapshot:
    if not ports and not floating:
        return router
    return structs.replace(
        router,
        interfaces=tuple(structs.replace(p, status=ports.get(p.id, p.status)) for p in router.interfaces),
        floating_ips=tuple(structs.replace(f, status=floating.get(f.id, f.status)) for f in router.floating_ips),
    )
