"""One node agent, spoken to over HTTPS with mutual TLS (paths in contract/agent.py)."""

from __future__ import annotations

import email.utils
import errno
import socket
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus

import httpx

from astara.contract.agent import NodeView
from astara.contract.codec import ContractError, Wire, encode
from astara.contract.generation import TERM_HEADER
from astara.contract.identity import node_role
from astara.model.errors import AstaraError, Gone, Retry, Stale, Terminal
from astara.peers.calls import AgentCalls, problem_in, send
from astara.peers.identity import Identity, context_for

#: A connection on which nothing is said, as a long poll, is looked after so often.
_PROBED_AFTER_S = 5


@dataclass(frozen=True, slots=True)
class NodeEndpoint:
    """Where an agent is; `url` e.g. https://192.0.2.7:19801. `role` None: that of the node of this name."""

    name: str
    url: str
    role: str | None = None


@dataclass(frozen=True, slots=True)
class NodeTimeouts:
    """Seconds. `quiet_s` bounds how long a dead node is left alone between tries.

    `connect_s` also bounds how long its host may leave unacknowledged what was sent: a node without power closes no
    connection, and what was asked on one that is open would wait for an answer for all of `read_s`.
    """

    connect_s: float = 2.0
    read_s: float = 20.0
    quiet_s: float = 10.0


@dataclass(frozen=True, slots=True)
class NodeSight:
    """What an agent says of itself, and what its answer shows besides.

    `clock_ahead_s`: how far its clock is ahead of ours, to about a second (the header Date, RFC 9110 section 6.6.1).
    `certificate_expires_at`: seconds since the epoch, of the certificate it really showed. None: not said.
    """

    view: NodeView
    clock_ahead_s: float | None = None
    certificate_expires_at: float | None = None


class NodeClient(AgentCalls):
    """Speaks to one node; safe to use from many threads.

    Every method raises Retry (away, busy, or failed half way), Stale, Gone or Terminal, with a remedy. A node that
    did not answer is not asked again for a moment that grows to `quiet_s`: callers get Retry at once meanwhile, and
    while the one call that tries it again is under way. An agent that hangs counts as not answering once a call
    about the whole node timed out; one about a single instance may only have met a slow instance.
    `term` returns the greatest term we know, which every request says; 0 says nothing. `transport` replaces the network
    in tests.
    """

    def __init__(
        self,
        endpoint: NodeEndpoint,
        identity: Identity,
        timeouts: NodeTimeouts | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        transport: httpx.BaseTransport | None = None,
        term: Callable[[], int] = lambda: 0,
    ) -> None:
        self.endpoint = endpoint
        self._term = term
        self._timeouts = timeouts or NodeTimeouts()
        self._silence = _Silence(self._timeouts.quiet_s, monotonic)
        self._http = httpx.Client(
            base_url=endpoint.url.rstrip("/"),
            timeout=httpx.Timeout(self._timeouts.read_s, connect=self._timeouts.connect_s),
            trust_env=False,
            transport=transport or _transport(endpoint, identity, self._timeouts.connect_s),
        )

    @property
    def name(self) -> str:
        return self.endpoint.name

    @property
    def trouble(self) -> str | None:
        """Why the node did not answer the last time; None when it did."""
        return self._silence.reason

    def on_silence(self, told: Callable[[], None]) -> None:
        """Have `told` called when the node has just stopped answering; it must not block, and may come too often."""
        self._silence.told = told

    def close(self) -> None:
        self._http.close()

    def sight(self) -> NodeSight:
        """Like `node`, with what only the connection knows."""
        asked_at = time.time()
        response = self._call("GET", "/v1/node", of_all=True)
        between = (asked_at + time.time()) / 2
        return NodeSight(
            view=self._decoded(response, NodeView),
            clock_ahead_s=_clock_ahead(response, between),
            certificate_expires_at=_certificate_expires_at(response),
        )

    def _misunderstood(self, error: ContractError) -> Exception:
        remedy = "run node agents and orchestrators of neighbouring versions"
        return Terminal(f"node {self.name} answers what this version does not know: {error.field}", remedy)

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
        self._silence.refuse_early(self.name)
        timeout = httpx.Timeout(self._timeouts.read_s + wait_s, connect=self._timeouts.connect_s)
        term = self._term()
        request = self._http.build_request(
            method,
            path,
            content=None if body is None else encode(body),
            params=params,
            timeout=timeout,
            headers={TERM_HEADER: str(term)} if term else {},
        )
        response = self._send(request, of_all=of_all)
        self._silence.end()
        if response.is_success:
            return response
        raise _refused(self.name, response)

    def _send(self, request: httpx.Request, *, of_all: bool) -> httpx.Response:
        try:
            return send(self._http, request)
        except httpx.ReadTimeout as error:
            gone = _unacknowledged(error)
            reason = "its host does not answer" if gone else "it did not answer in time"
            if of_all or gone:
                self._silence.begin(reason)
            # Else it is there: slow on one instance is no reason to leave the others alone.
            raise Retry(f"node {self.name}: {reason}", "see the agent's log on the node") from None
        except httpx.HTTPError as error:
            reason = str(error) or type(error).__name__
            self._silence.begin(reason)
            raise _away(self.name, reason) from None


def _transport(endpoint: NodeEndpoint, identity: Identity, patience_s: float) -> httpx.HTTPTransport:
    """Connections that end with the other host: tcp(7), TCP_USER_TIMEOUT; probes find out while nothing is said."""
    return httpx.HTTPTransport(
        verify=context_for(identity, endpoint.role or node_role(endpoint.name)),
        limits=httpx.Limits(max_connections=32, max_keepalive_connections=16, keepalive_expiry=30.0),
        trust_env=False,
        socket_options=[
            (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(1000 * patience_s)),
            (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
            (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _PROBED_AFTER_S),
            (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1),
        ],
    )


def _unacknowledged(error: BaseException) -> bool:
    """Whether the kernel gave the connection up (ETIMEDOUT); Python's name for that is the one of its own timeouts."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno == errno.ETIMEDOUT:
            return True
        cause = cause.__cause__ or cause.__context__
    return False


class _Silence:
    """How long to leave a node alone that did not answer; then one call tries, and the others hear that it is away."""

    def __init__(self, longest_s: float, monotonic: Callable[[], float]) -> None:
        self._longest_s = longest_s
        self._monotonic = monotonic
        self._mutex = threading.Lock()
        self._until = 0.0
        self._tried_until = 0.0
        self._length_s = 0.0
        self.reason: str | None = None
        self.told: Callable[[], None] = lambda: None

    def refuse_early(self, node: str) -> None:
        """Raises Retry while the node is left alone; then lets one caller try, and another if that takes long."""
        with self._mutex:
            now, reason = self._monotonic(), self.reason
            if reason is None:
                return
            left_s = max(self._until, self._tried_until) - now
            if left_s <= 0:
                # Were all let through, a node that hangs would hold every worker for a whole timeout.
                self._tried_until = now + self._longest_s
                return
        raise _away(node, reason, after_s=left_s)

    def begin(self, reason: str) -> None:
        with self._mutex:
            now = self._monotonic()
            if now >= self._until:  # many callers may fail together: that is one silence, not many
                self._length_s = min(max(self._length_s * 2, 0.5), self._longest_s)
                self._until = now + self._length_s
            self._tried_until = 0.0
            new, self.reason = self.reason is None, reason
        if new:
            self.told()

    def end(self) -> None:
        with self._mutex:
            self._until, self._tried_until, self._length_s, self.reason = 0.0, 0.0, 0.0, None


def _clock_ahead(response: httpx.Response, our_time: float) -> float | None:
    try:
        said = email.utils.parsedate_to_datetime(response.headers["Date"]).timestamp()
    except (KeyError, ValueError):
        return None
    # It tells whole seconds, cut off.
    return said + 0.5 - our_time


def _certificate_expires_at(response: httpx.Response) -> float | None:
    stream = response.extensions.get("network_stream")
    tls = None if stream is None else stream.get_extra_info("ssl_object")
    try:
        certificate = None if tls is None else tls.getpeercert()
    except (OSError, ValueError):  # closed by the other side since
        return None
    return float(ssl.cert_time_to_seconds(certificate["notAfter"])) if certificate else None


def _away(node: str, reason: str, after_s: float | None = None) -> Retry:
    if "certificate" in reason.lower():
        remedy = "check both sides' certificates: same CA, not expired, the node's name in its role"
    else:
        remedy = "start astara-node there, or check the way to it"
    return Retry(f"node {node} cannot be reached: {reason}", remedy, after_s)


def _refused(node: str, response: httpx.Response) -> AstaraError:
    problem = problem_in(response)
    where = f"{problem.field}: " if problem.field else ""
    message = f"node {node}: {where}{problem.message}"
    remedy = problem.remedy or ""
    match response.status_code:
        case HTTPStatus.CONFLICT:
            return Stale(message, remedy)
        case HTTPStatus.NOT_FOUND:
            return Gone(message, remedy)
        case HTTPStatus.BAD_REQUEST | HTTPStatus.UNPROCESSABLE_ENTITY | HTTPStatus.METHOD_NOT_ALLOWED:
            return Terminal(message, remedy)
        case _:
            details = "; ".join(f"{one.subsystem}: {one.detail}" for one in problem.deviations)
            return Retry(f"{message} ({details})" if details else message, remedy)
