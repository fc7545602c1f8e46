"""The calls of an agent (paths in contract/agent.py), typed; how they travel and fail is the caller's."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from typing import TypeVar

import httpx

from astara.contract.agent import (
    ApplyReport,
    AttachRequest,
    ChangeFeed,
    Connections,
    Fence,
    InstanceList,
    InstanceSpec,
    InstanceView,
    NodeView,
    PortAttachment,
    Problem,
    Restored,
    StateView,
)
from astara.contract.codec import ContractError, Wire, decode
from astara.contract.document import Document
from astara.contract.generation import Generation

T = TypeVar("T", bound=Wire)
#: How much longer an answer about everything may take.
_BULK_S = 10.0
_MOST_BYTES = 32 * 1024 * 1024
_AS_LONG_AGAIN = 2.0
#: Headers about how the content came; agents of ours never pack it.
_OF_THE_WAY = frozenset({"content-encoding", "content-length", "transfer-encoding"})
#: The server gave an idle connection up in the moment we used it; every call is idempotent, so ask again, once.
_LOST = (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError)


class AgentCalls(ABC):
    """What can be asked of an agent. Every method raises what `_call` raises."""

    def node(self) -> NodeView:
        return self._ask("GET", "/v1/node", NodeView, of_all=True)

    def instances(self, driver: str | None = None, identifier: str | None = None) -> InstanceList:
        asked = {"driver": driver, "id": identifier}
        params = {name: value for name, value in asked.items() if value is not None}
        of_all = identifier is None
        return self._ask("GET", "/v1/instances", InstanceList, params=params, wait_s=_BULK_S, of_all=of_all)

    def put_instance(self, spec: InstanceSpec) -> InstanceView:
        return self._ask("PUT", f"/v1/instances/{spec.id}", InstanceView, spec)

    def delete_instance(self, instance_id: str, generation: Generation) -> None:
        """Absence is success."""
        self._call("DELETE", f"/v1/instances/{instance_id}", Fence(generation=generation))

    def cut_over(self, instance_id: str, generation: Generation) -> InstanceView:
        return self._ask("PUT", f"/v1/instances/{instance_id}/cut-over", InstanceView, Fence(generation=generation))

    def attach(self, instance_id: str, port: PortAttachment, generation: Generation) -> InstanceView:
        request = AttachRequest(generation=generation, port=port)
        return self._ask("PUT", f"/v1/instances/{instance_id}/ports/{port.port_id}", InstanceView, request)

    def detach(self, instance_id: str, port_id: str, generation: Generation) -> InstanceView:
        """Absence of the port is success."""
        path = f"/v1/instances/{instance_id}/ports/{port_id}"
        return self._ask("DELETE", path, InstanceView, Fence(generation=generation))

    def configure(self, instance_id: str, document: Document) -> ApplyReport:
        return self._ask("PUT", f"/v1/instances/{instance_id}/config", ApplyReport, document)

    def state(self, instance_id: str) -> StateView:
        """Read back now."""
        return self._ask("GET", f"/v1/instances/{instance_id}/state", StateView)

    def connections(self, instance_id: str) -> Connections:
        return self._ask("GET", f"/v1/instances/{instance_id}/connections", Connections)

    def restore(self, instance_id: str, connections: Connections) -> Restored:
        return self._ask("PUT", f"/v1/instances/{instance_id}/connections", Restored, connections)

    def console_log(self, instance_id: str) -> str:
        return self._call("GET", f"/v1/instances/{instance_id}/console-log").text

    def changes(self, since: int, wait_s: float) -> ChangeFeed:
        """Wait up to `wait_s` for the first change after `since`."""
        params = {"since": str(since), "wait_s": str(wait_s)}
        return self._ask("GET", "/v1/changes", ChangeFeed, params=params, wait_s=wait_s)

    def _ask(
        self,
        method: str,
        path: str,
        kind: type[T],
        body: Wire | None = None,
        params: dict[str, str] | None = None,
        wait_s: float = 0.0,
        *,
        of_all: bool = False,
    ) -> T:
        return self._decoded(self._call(method, path, body, params, wait_s, of_all=of_all), kind)

    def _decoded(self, response: httpx.Response, kind: type[T]) -> T:
        try:
            return decode(response.content, kind)
        except ContractError as error:
            raise self._misunderstood(error) from None

    @abstractmethod
    def _call(
        self,
        method: str,
        path: str,
        body: Wire | None = None,
        params: dict[str, str] | None = None,
        wait_s: float = 0.0,
        *,
        of_all: bool = False,
    ) -> httpx.Response:
        """Return the answer to a request that was carried out.

        `wait_s`: how much longer than usual the answer may take. `of_all`: the question is about the whole agent.
        """

    @abstractmethod
    def _misunderstood(self, error: ContractError) -> Exception:
        """Return what to raise for an answer that is not of the contract."""


def send(http: httpx.Client, request: httpx.Request) -> httpx.Response:
    """Send, twice when an idle connection was lost. Raises httpx.HTTPError, also for an answer without end."""
    try:
        return _sent(http, request)
    except _LOST:
        return _sent(http, request)


def _sent(http: httpx.Client, request: httpx.Request) -> httpx.Response:
    """An agent inside an instance may be somebody else's by now: it gets so much memory and time of ours, and no more.

    httpx's own timeouts are for one read each.
    """
    until = time.monotonic() + _AS_LONG_AGAIN * (request.extensions.get("timeout", {}).get("read") or _BULK_S)
    response = http.send(request, stream=True)
    content = bytearray()
    try:
        for part in response.iter_bytes():
            content += part
            if len(content) > _MOST_BYTES:
                raise httpx.DecodingError(f"an answer of more than {_MOST_BYTES} bytes", request=request)
            if time.monotonic() > until:
                raise httpx.ReadTimeout("the answer does not end", request=request)
    finally:
        response.close()
    return httpx.Response(
        response.status_code,
        headers={name: value for name, value in response.headers.items() if name not in _OF_THE_WAY},
        content=bytes(content),
        request=request,
        extensions=response.extensions,
    )


def problem_in(response: httpx.Response) -> Problem:
    """Return the reason of a refusal."""
    try:
        return decode(response.content, Problem)
    except ContractError:
        return Problem(error="unknown", message=f"HTTP {response.status_code} without a reason")
