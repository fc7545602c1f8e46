"""Values of planning and reconcile, each with a sensible default."""

from __future__ import annotations

from astara.contract.agent import Health, PortAttachment, StateView
from astara.contract.snapshot import NetworkSnapshot, PortSnapshot, Route, RouterSnapshot
from astara.model.resource import (
    DesiredInstance,
    ObservedInstance,
    Present,
    ResourceKey,
    StatusTargets,
    Unknown,
)
from support.fakes.drivers import Section

KEY = ResourceKey("router", "r1")


def port(port_id: str = "p1", *, network: str = "n1", mac: str | None = None, mtu: int = 1500) -> PortAttachment:
    return PortAttachment(port_id=port_id, mac=mac or f"mac-{port_id}", network_id=network, mtu=mtu)


def wanted(
    slot: str = "a",
    *,
    host: str = "h1",
    ports: tuple[PortAttachment, ...] = (),
    digest: str = "new",
    provider: str = "memory",
    image: str | None = None,
    edition: str | None = None,
) -> DesiredInstance:
    return DesiredInstance(
        slot=slot,
        provider=provider,
        host=host,
        ports=ports,
        section=Section(name=digest),
        digest=digest,
        image=image,
        edition=edition,
    )


def present(*instances: DesiredInstance, shown: str = "ACTIVE", unmet: str | None = None) -> Present:
    return Present(
        revision=5,
        project_id="project",
        name="blue",
        instances=instances,
        status=StatusTargets(routers=(("r1", shown),)),
        unmet=unmet,
    )


def state(health: Health = Health.HEALTHY, digest: str | None = "new") -> StateView:
    return StateView(health=health, digest=digest)


def seen(
    identifier: str = "i1",
    *,
    slot: str = "a",
    host: str = "h1",
    ports: tuple[PortAttachment, ...] = (),
    view: StateView | Unknown | None = None,
    created_at: float = 1.0,
    provider: str = "memory",
    image: str | None = None,
    credential_due: bool = False,
    standby: bool = False,
    edition: str | None = "",
) -> ObservedInstance:
    return ObservedInstance(
        id=identifier,
        slot=slot,
        provider=provider,
        image=image,
        credential_due=credential_due,
        standby=standby,
        edition=edition,
        host=host,
        ports=ports,
        state=view if view is not None else state(),
        created_at=created_at,
        key=KEY,
    )


def router(
    identifier: str = "r1",
    *,
    host: str | None = "h1",
    ports: tuple[str, ...] = (),
    routes: tuple[str, ...] = (),
    slots: str = "a",
    name: str = "blue",
    body: str = "memory",
    image: str | None = None,
) -> RouterSnapshot:
    return RouterSnapshot(
        id=identifier,
        name=name,
        host=host,
        interfaces=tuple(
            PortSnapshot(id=port_id, network_id=f"net-of-{port_id}", mac_address=f"mac-{port_id}") for port_id in ports
        ),
        routes=tuple(Route(destination=destination, nexthop="10.0.0.9") for destination in routes),
        flavor_metainfo={"slots": slots, "body": body} | ({"image": image} if image else {}),
    )


def network(identifier: str = "n1", *, host: str | None = "h1") -> NetworkSnapshot:
    return NetworkSnapshot(id=identifier, name=identifier, host=host)
