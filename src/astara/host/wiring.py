"""Puts a node agent together: the only module of this room that knows every part."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog

from astara.appliance.api.routing import Router
from astara.appliance.api.server import HttpsServer, ServerOptions
from astara.appliance.apply.engine import Engine
from astara.appliance.boundaries import Appliance, Subsystem
from astara.appliance.subsystems.conntrackd.subsystem import ConntrackdSubsystem
from astara.appliance.subsystems.dnsmasq.subsystem import DnsmasqSubsystem
from astara.appliance.subsystems.gate.subsystem import GateSubsystem
from astara.appliance.subsystems.keepalived.pace import Pace
from astara.appliance.subsystems.keepalived.subsystem import KeepalivedSubsystem
from astara.appliance.subsystems.kernel import kernel_subsystems
from astara.appliance.subsystems.radvd.subsystem import RadvdSubsystem
from astara.contract.agent import NodeView
from astara.contract.codec import SUPPORTED_VERSIONS
from astara.host import namespaces
from astara.host.attach.boundary import Plug
from astara.host.attach.nic import NicPlug
from astara.host.attach.paired import Paired
from astara.host.bodies.boundary import Body, BodyUnavailable, ServedBeside
from astara.host.bodies.namespace.body import NamespaceBody
from astara.host.dwellings import Own
from astara.host.floor import Floor
from astara.host.node import Node
from astara.host.options import MetadataOptions, NodeOptions, Solitary
from astara.host.own_identity import OwnIdentity
from astara.host.records import Records
from astara.host.rehearsal import rehearse
from astara.host.routes import node_routes
from astara.host.surroundings import Surroundings, Watching
from astara.installed import own_version, plugins
from astara.model.errors import BadConfiguration

if TYPE_CHECKING:
    from astara.appliance.subsystems.metadata.proxy import MetadataProxy

_log = structlog.get_logger(__name__)
#: For requests at once: of orchestrators for many instances, or of one node for one.
_THREADS, _THREADS_INSIDE = 24, 6


@dataclass(frozen=True, slots=True)
class NodesPart:
    """What the node itself serves for instances of which the agent is inside a body."""

    subsystem: Subsystem
    appliances: Mapping[str, Appliance]


class Description:
    """Answers GET /v1/node."""

    def __init__(self, options: NodeOptions, node: Node, around: Surroundings, drivers: Sequence[str]) -> None:
        self._name = options.name
        self._node = node
        self._kinds = tuple(sorted(around.attachments))
        self._drivers = tuple(sorted(drivers))
        self._version = own_version()
        self._bodies = around.bodies
        self._image = options.image
        self._started_at = around.wall()

    def __call__(self) -> NodeView:
        return NodeView(
            name=self._name,
            agent_version=self._version,
            contracts=tuple(sorted(SUPPORTED_VERSIONS)),
            attach_kinds=self._kinds,
            drivers=self._drivers,
            started_at=self._started_at,
            instances=self._node.count(),
            boot_id=self._node.changes.boot_id,
            bodies={kind: tuple(body.images()) for kind, body in sorted(self._bodies.items())},
            image=self._image,
            digests={kind: dict(found) for kind, body in sorted(self._bodies.items()) if (found := body.digests())},
        )


def build_server(options: NodeOptions, node: Node, around: Surroundings, drivers: Sequence[str]) -> HttpsServer:
    """Return the HTTPS server of a node, not started."""
    router = Router(node_routes(node, Description(options, node, around, drivers)), options.serves, around.floor.hear)
    return HttpsServer(
        ServerOptions(
            host=options.host,
            port=options.port,
            ca_file=options.ca_file,
            cert_file=options.cert_file,
            key_file=options.key_file,
            role=options.serves,
            threads=_THREADS if options.solitary is Solitary.NO else _THREADS_INSIDE,
        ),
        router,
    )


def build_surroundings(options: NodeOptions, engine: Engine, beside: NodesPart, watch: Watching) -> Surroundings:
    """Return what the instances share; raises BadConfiguration for a state directory that cannot be used."""
    try:
        records = Records(options.state_dir)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise BadConfiguration(
            f"[DEFAULT] state_dir: {options.state_dir} cannot be used: {error.strerror}",
            "free space there" if full else "make it writable for root",
        ) from None
    inside_a_container, inside_a_machine = (options.solitary is one for one in (Solitary.NAMESPACE, Solitary.MACHINE))
    return Surroundings(
        bodies=bodies(options, engine, beside),
        records=records,
        attachments=attachments(options),
        dwellings=Own() if inside_a_container else namespaces,
        watch=watch,
        wall=time.time,
        solitary=options.solitary is not Solitary.NO,
        own=_own_identity(options) if inside_a_machine else None,
        rehearse=partial(rehearse, engine, beside.appliances) if inside_a_machine else None,
        floor=Floor(options.state_dir / "term"),
    )


def _own_identity(options: NodeOptions) -> OwnIdentity:
    return OwnIdentity(options.ca_file, options.cert_file, options.key_file)


def attachments(options: NodeOptions) -> Mapping[str, Plug]:
    """Return every installed attachment kind, made for this node; inside a body there is `nic` alone."""
    if options.solitary is not Solitary.NO:
        return {NicPlug.kind: NicPlug(completes_checksums=options.completes_checksums)}
    return {kind: Paired(made) for kind, made in _usable("astara.attach", "attachment", lambda maker: maker(options))}


def bodies(options: NodeOptions, engine: Engine, beside: NodesPart) -> Mapping[str, Body]:
    """Return every kind of body this node can make; an agent inside a body makes none.

    `beside` is what the node serves for bodies that cannot by themselves.
    """
    found: dict[str, Body] = {NamespaceBody.kind: NamespaceBody(engine)}
    if options.solitary is not Solitary.NO:
        return found
    found |= dict(_usable("astara.bodies", "body", lambda maker: maker(options)))
    for body in found.values():
        if isinstance(body, ServedBeside):
            body.serve_beside(beside.subsystem, beside.appliances)
    return found


def engine(metadata: Subsystem, drivers: Mapping[str, Appliance]) -> Engine:
    """Return what applies documents of these drivers here."""
    return Engine(subsystems(metadata), drivers)


def appliances() -> Mapping[str, Appliance]:
    """Return the agent's side of every installed driver."""
    return dict(_usable("astara.appliances", "driver", lambda maker: maker()))


def _usable(group: str, what: str, make: Callable[[Any], Any]) -> Iterator[tuple[str, Any]]:
    """Yield what each installed plug-in makes. One that cannot costs those that were asked for it, and nobody else.

    Raises BadConfiguration for options the plug-in cannot work with.
    """
    for point in plugins(group):
        try:
            made = make(point.load())
        except BadConfiguration:
            raise
        except BodyUnavailable as error:
            _log.info(f"{what}.unavailable", kind=point.name, reason=str(error))
        except Exception as error:  # noqa: BLE001 - packages of others raise what they like; logged with its traceback
            _log.exception(f"{what}.unusable", kind=point.name, reason=str(error))
        else:
            yield point.name, made


def subsystems(metadata: Subsystem) -> list[Subsystem]:
    """Return what documents can configure, in dependency order; those of other packages rely on all of ours.

    The gate before any link comes up; the election last of ours, so that nobody is elected unready.
    """
    pace = Pace.of_this_machine()
    election = (ConntrackdSubsystem(), KeepalivedSubsystem(pace=pace))
    daemons = (DnsmasqSubsystem(), RadvdSubsystem(), metadata, *election)
    others = (made for _, made in _usable("astara.subsystems", "subsystem", lambda maker: maker()))
    return [GateSubsystem(pace), *kernel_subsystems(), *daemons, *others]


def metadata(options: MetadataOptions) -> tuple[MetadataProxy, Subsystem]:
    """Return the node's metadata proxy, not started, and the subsystem that tells it whom to answer for.

    Raises:
        BadConfiguration: the secret cannot be read.
    """
    # Here, because an agent that does not serve metadata needs neither asyncio nor a client of HTTP, which are more
    # than a quarter of what a machine's agent would import.
    from astara.appliance.subsystems.metadata.proxy import MetadataProxy
    from astara.appliance.subsystems.metadata.subsystem import MetadataSubsystem

    try:
        secret = options.shared_secret_file.read_bytes().strip() if options.shared_secret_file is not None else b""
    except OSError as error:
        raise BadConfiguration(
            f"[metadata] shared_secret_file: {options.shared_secret_file} cannot be read: {error.strerror}",
            "put Nova's metadata_proxy_shared_secret there",
        ) from None
    proxy = MetadataProxy(options.nova_url, secret)
    return proxy, MetadataSubsystem(proxy)
