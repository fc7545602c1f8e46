"""What a server is born with, and who notices when it begins to listen."""

from __future__ import annotations

import contextlib
import ipaddress
import secrets
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from astara.clients import issuing
from astara.contract import papers
from astara.model.errors import Retry, Terminal
from astara.providers.nova.boundary import Cloud, Nic

_SEED_BYTES = 64
_TRY_EVERY_S = 0.2
_CONNECT_S = 0.5
_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class PaperWriter:
    """`(instance id, management port) -> content of the config drive's file`; `issue` None: nobody issues."""

    cloud: Cloud
    issuer: issuing.Papers | None
    port: int
    completes_checksums: bool = False

    def __call__(self, instance: str, nic: Nic) -> bytes:
        """Raises Retry when the management network has no subnet, Terminal when nobody issues certificates."""
        if self.issuer is None:
            raise Terminal("nobody issues certificates to servers", "run `astara ca init`, set [identity] ca_dir")
        if not nic.addresses:
            raise Retry(f"management port {nic.id} has no address", "give the management network a subnet")
        subnet = self.cloud.subnet(nic.subnets[0])
        length = ipaddress.ip_network(subnet.cidr).prefixlen
        written = papers.Papers(
            instance_id=instance,
            host=None,
            credential=self.issuer.issue(instance).credential,
            mac=nic.mac,
            address=f"{nic.addresses[0]}/{length}",
            port=self.port,
            wall=time.time(),
            seed=secrets.token_hex(_SEED_BYTES),
            gateway=subnet.gateway,
            completes_checksums=self.completes_checksums,
        )
        return papers.plain(written)


@dataclass(frozen=True, slots=True)
class _Expected:
    address: str
    until: float  # monotonic


class Births:
    """Calls `heard(instance id)` once a machine that boots takes connections; nobody is asked anything.

    Its looks cost a packet each: whoever would ask the agent in every look of its own would ask Nova too.
    """

    def __init__(self, port: int, heard: Callable[[str], None]) -> None:
        self._port = port
        self._heard = heard
        self._lock = threading.Lock()
        self._expected: dict[str, _Expected] = {}
        #: A machine that takes connections and answers nothing is no birth any more.
        self._done: set[str] = set()
        self._woken = threading.Event()
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="nova-births", daemon=True)
        self._thread.start()

    def expect(self, instance: str, address: str, within_s: float) -> None:
        with self._lock:
            if instance not in self._done:
                self._expected.setdefault(instance, _Expected(address, time.monotonic() + within_s))
        self._woken.set()

    def awaits(self, instance: str) -> bool:
        with self._lock:
            return instance in self._expected

    def forget(self, instance: str) -> None:
        with self._lock:
            self._expected.pop(instance, None)
            self._done.discard(instance)

    def close(self) -> None:
        self._ended = True
        self._woken.set()

    def _run(self) -> None:
        pause = threading.Event()
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="nova-birth") as pool:
            while not self._ended:
                self._woken.clear()
                with self._lock:
                    expected = dict(self._expected)
                if not expected:
                    self._woken.wait()
                    continue
                list(pool.map(lambda one: self._try(*one), expected.items()))
                pause.wait(_TRY_EVERY_S)

    def _try(self, instance: str, expected: _Expected) -> None:
        if time.monotonic() > expected.until:
            self._finish(instance)
        elif _listens(expected.address, self._port):
            self._finish(instance)
            self._heard(instance)

    def _finish(self, instance: str) -> None:
        with self._lock:
            self._expected.pop(instance, None)
            self._done.add(instance)


def _listens(address: str, port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((address, port), timeout=_CONNECT_S):
        return True
    return False
