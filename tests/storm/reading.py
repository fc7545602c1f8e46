"""Asks Neutron's ordinary API for everything, and waits until what it wishes and what there is are the same."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Any

import httpx

from astara.admin.client import OperatorClient
from astara.model.errors import AstaraError
from astara_lab.neutron_api import NeutronApi, NeutronRefused
from astara_lab.places import ADMIN_SOCKET, OVSDB_SOCKET, Lab
from storm.compare import differences
from storm.sight import look
from storm.wish import COLLECTIONS, Answers, Wish, wish

_INTERVAL_S = 0.5
_QUIET = frozenset({"configured", "gone"})


def read_wish() -> Wish:
    """Raises NeutronRefused, httpx.HTTPError while Neutron is away."""
    api = NeutronApi(timeout_s=30.0)
    lists: dict[str, Any] = {name: tuple(api.list(name)) for name in COLLECTIONS}
    forwardings = {
        ip["id"]: tuple(api._call("GET", f"floatingips/{ip['id']}/port_forwardings")["port_forwardings"])
        for ip in lists["floatingips"]
    }
    return wish(Answers(**lists, forwardings=forwardings))


def compared(lab: Lab) -> tuple[str, ...]:
    """Return what differs now."""
    bridged = lab.bridged
    try:
        return differences(read_wish(), look(None if bridged else OVSDB_SOCKET), bridged=bridged)
    except (NeutronRefused, httpx.HTTPError) as away:
        return (f"Neutron does not answer: {away}",)


def unsettled() -> tuple[str, ...]:
    """Return why `astara status` does not call everything settled. Only for waiting and for words, no verdict."""
    client = OperatorClient(ADMIN_SOCKET, timeout_s=10.0)
    try:
        summary = client.status()
        loud = [line for line in client.resources() if line.phase not in _QUIET]
    except AstaraError as error:
        return (str(error),)
    words = [f"{line.key} is {line.phase}: {line.because}" for line in loud]
    words += [f"node {node.name} does not answer" for node in summary.nodes if not node.reachable]
    words += [f"feed {feed.name} is not connected" for feed in summary.feeds if not feed.connected]
    words += [f"Neutron: {summary.neutron}"] if summary.neutron != "ok" else []
    words += [f"braked: {summary.brake_reason}"] if summary.braked else []
    words += [f"{summary.queue} queued, {summary.working} worked on"] if summary.queue + summary.working else []
    return tuple(words)


@dataclass(frozen=True, slots=True)
class Rest:
    """How the world came to rest: seconds from the end of the storm; None: not before the deadline."""

    settled_s: float | None
    equal_s: float | None
    unsettled: tuple[str, ...] = ()
    differences: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        return self.settled_s is not None and self.equal_s is not None


def await_rest(lab: Lab, deadline_s: float) -> Rest:
    """Look again and again until nothing differs and `astara status` says the same, or the deadline has passed."""
    began = time.monotonic()
    pause = threading.Event()
    settled_s = equal_s = None
    while True:
        loud, differing = unsettled(), compared(lab)
        at_s = time.monotonic() - began
        settled_s = None if loud else (at_s if settled_s is None else settled_s)
        equal_s = None if differing else (at_s if equal_s is None else equal_s)
        if at_s > deadline_s or not (loud or differing):
            return Rest(settled_s, equal_s, loud, differing)
        pause.wait(_INTERVAL_S)
