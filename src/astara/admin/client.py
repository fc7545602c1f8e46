"""An `Operator` on the other side of the admin socket. Standard library only: `astara status` must start at once."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote, urlencode

from msgspec import structs

from astara.admin.api import ROOT, AbortRequest, HoldRequest, MoveRequest, ResyncReply, ResyncRequest
from astara.contract.agent import Problem
from astara.contract.codec import ContractError, Wire, decode, encode
from astara.model.errors import AstaraError, Gone, Retry, Stale, Terminal
from astara.model.operator import (
    AuditLine,
    AuditQuery,
    CheckLine,
    ClusterView,
    HistoryLine,
    InstanceLine,
    NodeDetail,
    PluginLine,
    PoolLine,
    ResourceDetail,
    ResourceLine,
    StatusSummary,
    UpgradeRequest,
    UpgradeView,
)
from astara.model.resource import ResourceKey

T = TypeVar("T")
_TIMEOUT_S = 30.0


class NotReachable(Retry):
    """No orchestrator answers at the socket."""


class OperatorClient:
    """Implements `model.operator.Operator` over HTTP on a unix socket.

    Raises the errors of `model.errors`, with the remedy the orchestrator gave; NotReachable when nobody answers.
    """

    def __init__(self, socket_path: Path, timeout_s: float = _TIMEOUT_S) -> None:
        self._path = socket_path
        self._timeout_s = timeout_s

    def status(self) -> StatusSummary:
        return self._get("/status", StatusSummary)

    def resources(self) -> Sequence[ResourceLine]:
        return self._get("/resources", tuple[ResourceLine, ...])

    def resource(self, key: ResourceKey) -> ResourceDetail:
        return self._get(_of(key), ResourceDetail)

    def history(self, key: ResourceKey) -> Sequence[HistoryLine]:
        return self._get(_of(key, "/history"), tuple[HistoryLine, ...])

    def audit(self, query: AuditQuery) -> Sequence[AuditLine]:
        asked = {name: value for name, value in structs.asdict(query).items() if value is not None}
        return self._get(f"/audit?{urlencode(asked)}", tuple[AuditLine, ...])

    def instances(self) -> Sequence[InstanceLine]:
        return self._get("/instances", tuple[InstanceLine, ...])

    def console_log(self, instance_id: str) -> str:
        return self._request("GET", f"/instances/{quote(instance_id, safe='')}/console-log").decode("utf-8", "replace")

    def rebuild(self, key: ResourceKey) -> None:
        self._request("POST", _of(key, "/rebuild"))

    def hold(self, key: ResourceKey, reason: str) -> None:
        self._request("POST", _of(key, "/hold"), HoldRequest(reason=reason))

    def release(self, key: ResourceKey) -> None:
        self._request("POST", _of(key, "/release"))

    def move(self, key: ResourceKey, body: str | None) -> None:
        self._request("POST", _of(key, "/move"), MoveRequest(to=body))

    def release_brake(self) -> None:
        self._request("POST", "/brake/release")

    def resync(self, key: ResourceKey | None) -> int:
        request = ResyncRequest(resource=None if key is None else str(key))
        return self._decode(self._request("POST", "/resync", request), ResyncReply).queued

    def drivers(self) -> Sequence[PluginLine]:
        return self._get("/drivers", tuple[PluginLine, ...])

    def providers(self) -> Sequence[PluginLine]:
        return self._get("/providers", tuple[PluginLine, ...])

    def cluster(self, without: str | None = None, of: ResourceKey | None = None) -> ClusterView:
        path = "/cluster" if without is None else f"/cluster/without/{quote(without, safe='')}"
        if of is not None:
            path = f"/cluster/of/{quote(of.driver, safe='')}/{quote(of.id, safe='')}"
        return self._get(path, ClusterView)

    def nodes(self) -> Sequence[NodeDetail]:
        return self._get("/nodes", tuple[NodeDetail, ...])

    def drain(self, host: str, reason: str) -> None:
        self._request("POST", f"/nodes/{quote(host, safe='')}/drain", HoldRequest(reason=reason))

    def undrain(self, host: str) -> None:
        self._request("POST", f"/nodes/{quote(host, safe='')}/undrain")

    def upgrade(self) -> UpgradeView:
        return self._get("/upgrade", UpgradeView)

    def begin_upgrade(self, request: UpgradeRequest) -> UpgradeView:
        return self._decode(self._request("POST", "/upgrade", request), UpgradeView)

    def pause_upgrade(self) -> UpgradeView:
        return self._decode(self._request("POST", "/upgrade/pause"), UpgradeView)

    def resume_upgrade(self) -> UpgradeView:
        return self._decode(self._request("POST", "/upgrade/resume"), UpgradeView)

    def abort_upgrade(self, *, back: bool) -> UpgradeView:
        return self._decode(self._request("POST", "/upgrade/abort", AbortRequest(back=back)), UpgradeView)

    def doctor(self) -> Sequence[CheckLine]:
        return self._get("/doctor", tuple[CheckLine, ...])

    def pool(self) -> Sequence[PoolLine]:
        return self._get("/pool", tuple[PoolLine, ...])

    def _get(self, path: str, kind: type[T]) -> T:
        return self._decode(self._request("GET", path), kind)

    def _decode(self, body: bytes, kind: type[T]) -> T:
        try:
            return decode(body, kind)
        except ContractError as error:
            raise Terminal(
                f"the answer at {self._path} is not understood ({error.field}: {error.reason})",
                "use the `astara` command of the same release as the orchestrator",
            ) from None

    def _request(self, method: str, path: str, body: Wire | None = None) -> bytes:
        connection = _UnixConnection(self._path, self._timeout_s)
        try:
            connection.request(method, ROOT + path, body=None if body is None else encode(body))
            response = connection.getresponse()
            data = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise self._not_reachable(error) from None
        finally:
            connection.close()
        if response.status >= http.HTTPStatus.BAD_REQUEST:
            raise _error_of(response.status, data)
        return data

    def _not_reachable(self, error: Exception) -> NotReachable:
        if isinstance(error, PermissionError):
            return NotReachable(f"no permission to open {self._path}", "run as root, or as the orchestrator's user")
        if isinstance(error, TimeoutError):
            return NotReachable(
                f"the orchestrator at {self._path} did not answer within {self._timeout_s:.0f} s",
                "look at its log; a busy machine may need another try",
            )
        reason = "no such file" if isinstance(error, FileNotFoundError) else "nobody listens"
        return NotReachable(
            f"no orchestrator answers at {self._path} ({reason})",
            "start astara-orchestrator, or say where it is with --socket or ASTARA_SOCKET",
        )


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("astara", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def _of(key: ResourceKey, rest: str = "") -> str:
    return f"/resources/{quote(key.driver, safe='')}/{quote(key.id, safe='')}{rest}"


def _error_of(status: int, body: bytes) -> AstaraError:
    try:
        problem = decode(body, Problem)
    except ContractError:
        return Terminal(f"the orchestrator answered {status} without saying why", "look at the orchestrator's log")
    kinds: dict[int, type[AstaraError]] = {404: Gone, 409: Stale, 503: Retry}
    where = f"{problem.field}: " if problem.field else ""
    return kinds.get(status, Terminal)(where + problem.message, problem.remedy or "")
