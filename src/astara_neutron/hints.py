"""`astara.hint`: tells the orchestrator at once what Neutron's standard notifications do not.

Ports that Neutron makes itself, bindings, status changes, plug-ins without notifications, and the other end
of a change (the router a floating IP was taken from). A hint is a courtesy: whoever misses one finds the change
in the journal.

Keys are collected after each commit. Those of an API request wait for its end, when what the standard
notification says already is taken off; one hint goes out for the rest. Everything else goes out after a few
milliseconds, so that a burst becomes one hint.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
from neutron_lib import context as neutron_context
from neutron_lib import rpc as n_rpc
from oslo_log import log as logging

from astara.contract.snapshot import Hint
from astara_neutron.models import KIND_ALL, KIND_NETWORK, KIND_ROUTER
from astara_neutron.watch import ROUTER_OWNERS, Key

LOG = logging.getLogger(__name__)

EVENT = "astara.hint"
#: Says: something was lost, look at everything.
RESYNC_EVENT = "astara.resync"
#: How long keys of an unfinished API request wait for its end; counted from its last commit. A busy Neutron takes
#: seconds between two commits; a hint meanwhile has half a router looked at, and built. The journal is polled as often.
REQUEST_LINGER_S = 5.0
#: How long keys wait for company in a process without an API (RPC server, periodic workers).
LINGER_S = 0.02


class HintSender:
    """Collects keys and sends them from a thread of its own, started at the first one (so after any fork)."""

    def __init__(self) -> None:
        self._linger_s = LINGER_S
        self._wake = threading.Condition()
        self._held: dict[int, tuple[float, set[Key]]] = {}  # by thread: (when to send, keys)
        self._thread: threading.Thread | None = None
        os.register_at_fork(after_in_child=self._start_afresh)

    def _start_afresh(self) -> None:
        self._wake, self._held, self._thread = threading.Condition(), {}, None

    def expect_requests(self) -> None:
        """This process serves Neutron's API: what a thread commits belongs to a request that has an end."""
        self._linger_s = REQUEST_LINGER_S

    def committed(self, keys: Iterable[Key]) -> None:
        """Take the keys of a transaction of this thread that has just committed."""
        with self._wake:
            _, held = self._held.get(threading.get_ident(), (0.0, set()))
            self._held[threading.get_ident()] = (time.monotonic() + self._linger_s, held | set(keys))
            self._ensure_thread()
            self._wake.notify()

    def told(self, keys: Iterable[Key]) -> None:
        """A standard notification says these already."""
        with self._wake:
            due, held = self._held.get(threading.get_ident(), (0.0, set()))
            self._keep(due, held - set(keys))

    def finished(self) -> None:
        """This thread's request is done: what remains goes out now."""
        with self._wake:
            _, held = self._held.get(threading.get_ident(), (0.0, set()))
            self._keep(0.0, held)
            self._wake.notify()

    def discard(self) -> None:
        """Forget this thread's keys: the caller of the request knows what it asked for."""
        with self._wake:
            self._held.pop(threading.get_ident(), None)

    def _keep(self, due: float, keys: set[Key]) -> None:
        if keys:
            self._held[threading.get_ident()] = (due, keys)
        else:
            self._held.pop(threading.get_ident(), None)

    def _ensure_thread(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="astara-hints", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while True:
            keys = self._due()
            try:
                send(keys)
            except Exception:
                LOG.exception("Astara's hint could not be sent; the change journal has the changes")

    def _due(self) -> set[Key]:
        """Wait until some keys are due and take them out."""
        with self._wake:
            while True:
                now = time.monotonic()
                ready = [thread for thread, (due, _) in self._held.items() if due <= now]
                if ready:
                    return set().union(*(self._held.pop(thread)[1] for thread in ready))
                soonest = min((due for due, _ in self._held.values()), default=None)
                self._wake.wait(None if soonest is None else soonest - now)


def send(keys: Iterable[Key]) -> None:
    """Emit one notification; oslo.messaging hands it to every configured driver."""
    ordered = sorted(keys)
    routers = tuple(identifier for kind, identifier in ordered if kind == KIND_ROUTER)
    networks = tuple(identifier for kind, identifier in ordered if kind == KIND_NETWORK)
    everything = any(kind == KIND_ALL for kind, _ in ordered)
    if everything:
        event, payload = RESYNC_EVENT, {"reason": "a change that may concern anything"}
    else:
        event, payload = EVENT, msgspec.to_builtins(Hint(routers=routers, networks=networks))
    n_rpc.get_notifier("network").info(neutron_context.get_admin_context(), event, payload)


def told_by(resource: str, result: dict[str, Any]) -> Iterator[Key]:
    """Name what a standard `<resource>.<action>.end` notification with this body tells by itself."""
    items = result.get(f"{resource}s") or [result.get(resource) or {}]
    for item in items:
        if resource == "network":
            yield KIND_NETWORK, item.get("id", "")
        elif resource == "router":
            yield KIND_ROUTER, item.get("id", "")
        elif resource in ("port", "subnet"):
            yield KIND_NETWORK, item.get("network_id", "")
        if resource == "port" and item.get("device_owner") in ROUTER_OWNERS:
            yield KIND_ROUTER, item.get("device_id", "")
        elif resource == "floatingip":
            yield KIND_ROUTER, item.get("router_id") or ""
