"""Parts of the cloud go away while things change: the end state is Neutron's wish, and nobody had to help."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import kombu
import pytest

from astara_lab.hosts import OutsideHost
from astara_lab.listeners import http_server
from astara_lab.places import LOOPBACK, NEUTRON_URL, RABBIT_PORT, Lab
from astara_lab.profiles.daemons import USER
from astara_lab.tasks import http_answers
from astara_lab.trust import establish
from astara_lab.waiting import until
from e2e.test_nat import OUTSIDE, seen_by
from e2e_neutron.sight import Services, Traces, inode, namespaces_of, operator

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300), pytest.mark.usefixtures("ovs_only")]

#: Until everything is as wished once the cause is gone, on a busy machine; what it takes is seconds.
_RECOVERY_S = 90.0


@contextlib.contextmanager
def without(services: Services, name: str) -> Iterator[None]:
    """A service is away for the time of the block, and comes back however that ends."""
    services.stop(name)
    try:
        yield
    finally:
        services.start(name)


def built(router: Any) -> bool:
    """Whether it runs: an instance whose configuration was read back."""
    found = [line for line in operator("instance", "list") if line["resource"] == f"router/{router.id}"]
    return len(found) == 1 and found[0]["health"] == "healthy"


def test_what_changes_while_the_broker_is_away_is_done_all_the_same(
    site: Any, cloud: Any, services: Services, outside: OutsideHost
) -> None:
    """Notifications are lost for good then: the change journal tells.

    Neutron itself holds back its answer to whatever makes a port or a network until its broker is back
    (neutron.plugins.ml2.ovo_rpc pushes from within the call), so no such change is asked for meanwhile.
    """
    floating = site.cloud.floating_ip()
    orchestrator = services.pid("orchestrator")

    with without(services, "rabbit"), http_server(site.web, 80):
        site.cloud.network.update_ip(floating, port_id=site.web.port_id)
        until("it answers", lambda: seen_by(floating.floating_ip_address, outside) == OUTSIDE, _RECOVERY_S)
        site.cloud.await_status("ip", floating, deadline_s=_RECOVERY_S)
        assert operator("status")["neutron"] == "ok"

    until("the feed is back", lambda: operator("status")["feeds"][0]["connected"], _RECOVERY_S)
    after = cloud.router("after")
    cloud.await_status("router", after, deadline_s=_RECOVERY_S)
    assert services.pid("orchestrator") == orchestrator


def test_a_broker_killed_under_a_stream_of_changes_loses_none(cloud: Any, services: Services) -> None:
    made = [cloud.router("before")]
    services.kill("rabbit")
    made += [cloud.router(f"during-{number}") for number in range(4)]
    cloud.network.delete_router(made.pop(1))

    for router in made:
        cloud.await_status("router", router, deadline_s=_RECOVERY_S)
    until("one namespace each", lambda: all(len(namespaces_of(router.id)) == 1 for router in made), _RECOVERY_S)
    until("the feed is back", lambda: operator("status")["feeds"][0]["connected"], _RECOVERY_S)


def test_events_that_come_twice_late_or_untrue_change_nothing(lab: Lab, cloud: Any) -> None:
    router = cloud.router("steady")
    cloud.await_status("router", router)
    gone = cloud.router("gone")
    until("it is built", lambda: built(gone), _RECOVERY_S)
    cloud.network.delete_router(gone)
    until("it is gone", lambda: not namespaces_of(gone.id), _RECOVERY_S)
    before, (namespace,) = Traces.now(), namespaces_of(router.id)
    same = inode(namespace)
    heard = events_heard()

    told = [("router.create.end", gone), ("router.create.end", router), ("router.delete.end", router)] * 3
    with broker(lab) as publish:
        for event_type, about in told:
            publish(event_type, about)

    until("all were heard", lambda: events_heard() >= heard + len(told), 20.0)
    until("the work is done", idle, 20.0)
    assert Traces.now() == before
    assert inode(namespace) == same
    assert built(router)


def test_neutron_away_harms_nobody_and_is_picked_up_again(site: Any, cloud: Any, services: Services) -> None:
    (namespace,) = namespaces_of(site.router.id)
    same = inode(namespace)

    with without(services, "neutron"):
        until("the orchestrator notices", lambda: operator("status")["neutron"] != "ok", 60.0)
        twenty_seconds = site.web.run(["ping", "-n", "-q", "-i", "0.2", "-c", "100", "10.9.1.1"], 60.0)
        assert " 0% packet loss" in twenty_seconds.stdout

    until("Neutron answers", http_answers(NEUTRON_URL), _RECOVERY_S)
    later = cloud.router("later")
    cloud.await_status("router", later, deadline_s=_RECOVERY_S)
    until("the orchestrator is content", lambda: operator("status")["neutron"] == "ok", _RECOVERY_S)
    assert site.web.ping("10.9.1.1") is not None
    assert inode(namespace) == same


def test_a_database_that_is_away_stops_no_packet_and_forgets_nothing_that_was_said(
    site: Any, services: Services
) -> None:
    """Neutron's is the same, so it is away too."""
    held = f"router/{site.router.id}"

    with without(services, "mariadb"):
        until("it is noticed", lambda: operator("status")["records"] != "ok", 60.0)
        with contextlib.suppress(subprocess.CalledProcessError, json.JSONDecodeError):  # "until a restart only"
            operator("hold", held, "--reason", "said meanwhile")
        ten_seconds = site.web.run(["ping", "-n", "-q", "-i", "0.2", "-c", "50", "10.9.1.1"], 60.0)
        assert " 0% packet loss" in ten_seconds.stdout

    until("it is over", lambda: operator("status")["records"] == "ok", _RECOVERY_S)
    services.kill("orchestrator")
    until("Neutron answers", http_answers(NEUTRON_URL), _RECOVERY_S)
    until("it is known again", lambda: known(held), _RECOVERY_S)
    assert operator("resource", "show", held)["resource"]["hold_reason"] == "said meanwhile"
    said = [line for line in operator("audit", "--resource", held, "--who", "uid 0") if line["outcome"] == "retry"]
    assert "in force until a restart only" in said[-1]["detail"]
    operator("release", held)
    assert site.web.ping("10.9.1.1") is not None


def known(key: str) -> bool:
    try:
        return any(line["key"] == key for line in operator("resource", "list"))
    except (subprocess.CalledProcessError, ValueError):
        return False  # it starts


def test_routers_made_while_the_node_agent_is_away_are_built_when_it_is_back(cloud: Any, services: Services) -> None:
    doomed = cloud.router("doomed")
    until("it is built", lambda: built(doomed), _RECOVERY_S)

    with without(services, "node"):
        made = [cloud.router(f"meanwhile-{number}") for number in range(3)]
        cloud.network.delete_router(doomed)
        until("the orchestrator notices", lambda: not operator("status")["nodes"][0]["reachable"], 60.0)
        until("none is said to run", lambda: not running(cloud, made), 30.0)

    for router in made:
        cloud.await_status("router", router, deadline_s=_RECOVERY_S)
    until("all are built", lambda: all(built(router) for router in made), _RECOVERY_S)
    until("what was deleted is gone", lambda: not namespaces_of(doomed.id), _RECOVERY_S)


def test_what_changes_while_the_orchestrator_is_away_is_done_when_it_is_back(
    site: Any, cloud: Any, services: Services
) -> None:
    doomed = cloud.router("doomed")
    until("it is built", lambda: built(doomed), _RECOVERY_S)
    (removed,), (namespace,) = namespaces_of(doomed.id), namespaces_of(site.router.id)
    same = inode(namespace)

    with without(services, "orchestrator"):
        made = cloud.router("meanwhile")
        cloud.network.delete_router(doomed)
        assert site.web.ping("10.9.1.1") is not None

    cloud.await_status("router", made, deadline_s=_RECOVERY_S)
    until("what was deleted is gone", lambda: removed not in Traces.now().namespaces, _RECOVERY_S)
    assert inode(namespace) == same
    assert site.web.ping("10.9.1.1") is not None


def running(cloud: Any, routers: list[Any]) -> list[str]:
    """Those Neutron shows as ACTIVE; it makes them so, until we say otherwise."""
    return [router.id for router in routers if cloud.network.get_router(router.id).status == "ACTIVE"]


def events_heard() -> int:
    return int(operator("status")["feeds"][0]["events"])


def idle() -> bool:
    shown = operator("status")
    return not shown["queue"] and not shown["working"]


@contextlib.contextmanager
def broker(lab: Lab) -> Iterator[Callable[[str, Any], None]]:
    """`publish(event type, router)`: a notification as Neutron's, over the broker."""
    url = f"amqp://{USER}:{establish(lab).password}@{LOOPBACK}:{RABBIT_PORT}//"
    with kombu.Connection(url, connect_timeout=5) as connection:
        producer = connection.Producer()

        def publish(event_type: str, router: Any) -> None:
            router_id = {"router_id": router.id} if event_type.startswith("router.delete") else {}
            inner = {
                "message_id": "7a1f4c52-0000-4000-8000-000000000000",
                "publisher_id": "network.lab-node",
                "event_type": event_type,
                "priority": "INFO",
                "payload": {"router": {"id": router.id}, **router_id},
                "timestamp": "2020-01-01 00:00:00.000000",
            }
            body = {"oslo.version": "2.0", "oslo.message": json.dumps(inner)}
            producer.publish(
                json.dumps(body),
                exchange="neutron",
                routing_key="notifications.info",
                content_type="application/json",
                content_encoding="utf-8",
            )

        yield publish
