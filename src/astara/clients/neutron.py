"""Everything the orchestrator asks of Neutron: the API extension of our plug-in, over HTTP."""

from __future__ import annotations

import itertools
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

import httpx
import msgspec
import tenacity

from astara.clients.keystone import Credentials
from astara.contract.codec import ContractError, Wire, decode, encode
from astara.contract.generation import TERM_HEADER
from astara.contract.snapshot import (
    STALE_TERM,
    VERSION_HEADER,
    ActiveHalf,
    ChangePage,
    DhcpPortReply,
    DhcpPortRequest,
    IdQuery,
    NetworkPage,
    NodeItem,
    NodeReport,
    PlacementItem,
    PlacementReport,
    PortSnapshot,
    RouterPage,
    StatusReport,
)
from astara.model.errors import AstaraError, Retry, Stale, Terminal, Unoffered

T = TypeVar("T", bound=Wire)
R = TypeVar("R")
Params: TypeAlias = Sequence[tuple[str, str]]
_PREFIX = "/v2.0/astara"
#: An answer that never came over a connection the server had already given up: nothing was refused, ask again.
_LOST = (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError)


#: More ids than this go into a body: proxies and servers limit the length of a URL.
_IDS_IN_A_URL = 50


class _Bound(Wire, frozen=True):
    """Answer of PUT nodes: ports bound now, ports that still wait, and nodes the report did not name."""

    bound: int
    waiting: int
    withdrawn: tuple[str, ...] = ()

    @property
    def unfinished(self) -> bool:
        # Without progress, waiting is for a node that can take them: the next announcement tries again.
        return self.waiting > 0 and self.bound > 0


@dataclass(frozen=True, slots=True)
class NeutronOptions:
    """`url` is the root of Neutron's API. Timeouts in seconds. `ca_file`: for https with an authority of one's own."""

    url: str
    connect_timeout_s: float = 5.0
    read_timeout_s: float = 30.0
    #: A call unanswered for so long is told as trouble before it times out.
    hangs_after_s: float = 10.0
    connections: int = 20
    ca_file: str | None = None


#: Called after each call: its kind, "ok" or the error's name, seconds.
Observer = Callable[[str, str, float], None]


def _unobserved(kind: str, outcome: str, duration_s: float) -> None:
    """Count nothing."""


class NeutronClient:
    """Implements `model.boundaries.NeutronApi`; safe to use from many threads.

    Every method raises Retry (away or busy), or Terminal (not allowed, or not our plug-in) with a remedy.
    Every call is idempotent, so one lost on a dying connection is simply made again, once. `term` returns the greatest
    term we know, which every call says; writes say the one they were decided under, and raise Stale when it is old.
    """

    def __init__(
        self,
        options: NeutronOptions,
        credentials: Credentials,
        observer: Observer = _unobserved,
        term: Callable[[], int] = lambda: 0,
    ) -> None:
        self._term = term
        self._options = options
        self._credentials = credentials
        self._observer = observer
        self._trouble: str | None = None
        self._plugin_version: str | None = None
        #: When each call under way began (monotonic seconds), by a number of its own.
        self._under_way: dict[int, float] = {}
        self._numbers = itertools.count()
        self._http = httpx.Client(
            base_url=options.url.rstrip("/"),
            timeout=httpx.Timeout(options.read_timeout_s, connect=options.connect_timeout_s),
            limits=httpx.Limits(max_connections=options.connections),
            verify=ssl.create_default_context(cafile=options.ca_file) if options.url.startswith("https") else False,
            # A proxy meant for the internet must not come between two services of one cloud.
            trust_env=False,
        )

    @property
    def trouble(self) -> str | None:
        """What the last call died of, or that one is not answered; None when all is well."""
        # A Neutron that hangs lets calls wait for their whole timeout: nothing has died yet, and nothing works.
        oldest = min(tuple(self._under_way.values()), default=None)
        waits_s = 0.0 if oldest is None else time.monotonic() - oldest
        if waits_s > self._options.hangs_after_s:
            return f"Neutron at {self._options.url} has not answered for {waits_s:.0f} s"
        return self._trouble

    @property
    def plugin_version(self) -> str | None:
        """Which Astara answered last inside Neutron; None before the first answer, and when it did not say."""
        return self._plugin_version

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def routers(self, ids: Sequence[str] | None = None, marker: str | None = None, limit: int = 200) -> RouterPage:
        """Return everything about these routers, or one page of all."""
        if ids is not None and not ids:
            return RouterPage(revision=0, routers=(), networks=())
        return self._page("routers", RouterPage, ids, marker, limit)

    def networks(self, ids: Sequence[str] | None = None, marker: str | None = None, limit: int = 200) -> NetworkPage:
        """Return everything about these networks, or one page of all."""
        if ids is not None and not ids:
            return NetworkPage(revision=0, networks=())
        return self._page("networks", NetworkPage, ids, marker, limit)

    def changes(self, since: int) -> ChangePage:
        """Return what may have changed since journal position `since`."""
        return self._read("changes", ChangePage, [("since", str(since))])

    def report_status(self, report: StatusReport, term: int) -> None:
        """Write statuses into Neutron."""
        self._observed("status", lambda: self._answer("status", "PUT", (), report, term))

    def follow_active(self, half: ActiveHalf, term: int) -> None:
        """Bind the ports of a pair to the node of its active half. Raises Unoffered when the plug-in is older."""
        self._observed("active", lambda: self._answer("active", "PUT", (), half, term, lacks="NotAPair"))

    def ensure_dhcp_port(self, request: DhcpPortRequest, term: int) -> PortSnapshot:
        """Make or mend the DHCP port of a network."""
        return self._read("dhcp_ports", DhcpPortReply, method="PUT", body=request, term=term).port

    def place(self, placements: Sequence[tuple[str, str, str]], term: int) -> None:
        """Have resources served from other hosts."""
        items = tuple(PlacementItem(kind=kind, id=identifier, host=host) for kind, identifier, host in placements)
        report = PlacementReport(placements=items)
        self._observed("placements", lambda: self._answer("placements", "PUT", (), report, term))

    def announce_nodes(self, hosts: Sequence[tuple[str, bool]]) -> tuple[str, ...]:
        """Tell which nodes there are, and whether each can take instances; returns those this made unavailable."""
        nodes = tuple(NodeItem(host=host, available=available) for host, available in sorted(hosts))
        report = NodeReport(nodes=nodes)
        # The plug-in binds what waited for a node in portions, so that no single request lasts long.
        first = bound = self._read("nodes", _Bound, method="PUT", body=report)
        while bound.unfinished:
            before, bound = bound, self._read("nodes", _Bound, method="PUT", body=report)
            if bound.waiting >= before.waiting:
                break
        return first.withdrawn

    def _page(self, what: str, kind: type[T], ids: Sequence[str] | None, marker: str | None, limit: int) -> T:
        if ids is None:
            page = [("limit", str(limit))]
            return self._read(what, kind, page if marker is None else [*page, ("marker", marker)])
        if len(ids) > _IDS_IN_A_URL:
            return self._read(what, kind, method="POST", body=IdQuery(ids=tuple(ids)))
        return self._read(what, kind, [("id", identifier) for identifier in ids])

    def _read(
        self,
        what: str,
        kind: type[T],
        params: Params = (),
        *,
        method: str = "GET",
        body: Wire | None = None,
        term: int | None = None,
    ) -> T:
        return self._observed(what, lambda: _decoded(what, kind, self._answer(what, method, params, body, term)))

    def _observed(self, what: str, call: Callable[[], R]) -> R:
        begun, number = time.monotonic(), next(self._numbers)
        self._under_way[number] = begun
        try:
            answer = call()
        except AstaraError as error:
            self._note(what, type(error).__name__.lower(), begun, str(error))
            raise
        finally:
            del self._under_way[number]
        self._note(what, "ok", begun, None)
        return answer

    def _note(self, what: str, outcome: str, begun: float, trouble: str | None) -> None:
        self._trouble = trouble
        self._observer(what, outcome, time.monotonic() - begun)

    def _answer(
        self,
        what: str,
        method: str,
        params: Params,
        body: Wire | None,
        term: int | None = None,
        lacks: str | None = None,
    ) -> httpx.Response:
        """`lacks`: our plug-in's exception for a subject that is not there; any other 404 is that of an older one."""
        said = self._term() if term is None else term
        response = self._request(what, method, params, body, said)
        if response.status_code == httpx.codes.UNAUTHORIZED:
            self._credentials.forget()
            response = self._request(what, method, params, body, said)
        if response.is_error:
            raise _refusal(response, self._options.url, lacks)
        self._plugin_version = response.headers.get(VERSION_HEADER)
        return response

    def _request(self, what: str, method: str, params: Params, body: Wire | None, term: int) -> httpx.Response:
        headers = {"Content-Type": "application/json", "Accept": "application/json", **self._credentials.headers()}
        if term:
            headers[TERM_HEADER] = str(term)
        content = None if body is None else encode(body)
        try:
            for attempt in tenacity.Retrying(
                stop=tenacity.stop_after_attempt(2), retry=tenacity.retry_if_exception_type(_LOST), reraise=True
            ):
                with attempt:
                    return self._http.request(
                        method, f"{_PREFIX}/{what}", params=list(params), content=content, headers=headers
                    )
        except httpx.HTTPError as error:
            raise Retry(
                f"Neutron at {self._options.url} does not answer: {str(error) or type(error).__name__}",
                "check that Neutron's API runs and that [neutron] url names it",
            ) from None
        raise AssertionError("tenacity returns or raises")


def _decoded(what: str, kind: type[T], response: httpx.Response) -> T:
    try:
        return decode(response.content, kind)
    except ContractError as error:
        raise Terminal(
            f"Neutron's plug-in answers {what} in a way this version does not know ({error.field}: {error.reason})",
            _SAME_VERSION,
        ) from None


_SAME_VERSION = "run the same Astara version inside Neutron and in the orchestrator"
_REMEDIES = {
    401: "check the credentials in [neutron]",
    403: "grant the service role to the user of [neutron], or adapt the astara rules of Neutron's policy",
    404: "add `astara` to service_plugins in neutron.conf and restart Neutron",
}
#: Busy, in conflict with another writer, or broken for the moment: the same call may work later.
_PASSING = frozenset({408, 409, 425, 429, 500, 502, 503, 504})


def _refusal(response: httpx.Response, url: str, lacks: str | None) -> AstaraError:
    status = response.status_code
    message = f"Neutron at {url} answered {status} {response.reason_phrase}{_words(response)}"
    if status == httpx.codes.NOT_FOUND and lacks not in (None, _type(response)):
        return Unoffered(message, _SAME_VERSION)
    if status == httpx.codes.CONFLICT and _type(response) == STALE_TERM:
        return Stale(message, "look again before acting")
    if status in _PASSING:
        return Retry(message, "see Neutron's log if it stays", after_s=_retry_after(response))
    return Terminal(message, _REMEDIES.get(status, _SAME_VERSION))


def _words(response: httpx.Response) -> str:
    """Return Neutron's own message (`{"NeutronError": {"message": …}}`), shortened."""
    error = _error(response)
    message = error.get("message") if isinstance(error, dict) else error
    return "" if message is None else f": {str(message)[:300]}"


def _type(response: httpx.Response) -> str:
    """Return the name of Neutron's exception."""
    error = _error(response)
    return str(error.get("type", "")) if isinstance(error, dict) else ""


def _error(response: httpx.Response) -> Any:
    try:
        return msgspec.json.decode(response.content)["NeutronError"]
    except (msgspec.DecodeError, KeyError, TypeError):
        return None


def _retry_after(response: httpx.Response) -> float | None:
    value = response.headers.get("Retry-After", "")
    return float(value) if value.isascii() and value.isdigit() else None
