"""The agents inside servers, each reached at its own address on the management network, each with its own role."""

from __future__ import annotations

import threading
from collections.abc import Callable

from astara.clients.appliance import NodeClient, NodeEndpoint, NodeTimeouts
from astara.contract.identity import instance_role
from astara.peers.identity import Identity

#: An agent of one instance answers at once or not at all; booting machines are asked often. TLS is part of connecting,
#: for which a machine without KVM on a busy hypervisor needs seconds.
_TIMEOUTS = NodeTimeouts(connect_s=3.0, read_s=20.0, quiet_s=2.0)


class Agents:
    """A client for each instance, made when it is first asked. `port` is the same for all; `term` as NodeClient's."""

    def __init__(self, identity: Identity, port: int, term: Callable[[], int] = lambda: 0) -> None:
        self._identity = identity
        self.port = port
        self._term = term
        self._lock = threading.Lock()
        self._clients: dict[str, NodeClient] = {}

    def of(self, instance: str, address: str) -> NodeClient:
        """Return the client of an instance; one that has got another address gets another client."""
        url = f"https://[{address}]:{self.port}" if ":" in address else f"https://{address}:{self.port}"
        with self._lock:
            client = self._clients.get(instance)
            if client is None or client.endpoint.url != url:
                if client is not None:
                    client.close()
                endpoint = NodeEndpoint(instance, url, instance_role(instance))
                client = self._clients[instance] = NodeClient(endpoint, self._identity, _TIMEOUTS, term=self._term)
            return client

    def forget(self, instance: str) -> None:
        with self._lock:
            client = self._clients.pop(instance, None)
        if client is not None:
            client.close()

    def close(self) -> None:
        for instance in tuple(self._clients):
            self.forget(instance)
