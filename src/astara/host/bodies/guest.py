"""The agent inside a body, as an engine: the same calls over HTTPS with mutual TLS, made in the instance's namespace.

The last document that was taken is kept in the instance's files: a body that was started anew is configured without
the orchestrator.
"""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TypeVar

import httpx
import structlog
from msgspec.structs import replace

from astara.appliance.api import refusals
from astara.appliance.api.refusals import Refusal
from astara.appliance.apply import store
from astara.appliance.boundaries import Place
from astara.appliance.subsystems.gate import subsystem as gate
from astara.appliance.system import netns
from astara.contract.agent import (
    ApplyReport,
    Connection,
    Connections,
    Deviation,
    Health,
    InstanceList,
    PortAttachment,
    Role,
    StateView,
)
from astara.contract.agent import Body as BodyWish
from astara.contract.codec import ContractError, Wire, decode, encode
from astara.contract.document import Document
from astara.contract.identity import instance_role
from astara.host.attach.nic import NicPlug
from astara.host.bodies.boundary import Birth, BodyFailed
from astara.model.errors import BadConfiguration
from astara.peers.calls import AgentCalls, problem_in, send
from astara.peers.identity import Believed, Identity, context_for

_log = structlog.get_logger(__name__)
T = TypeVar("T")
#: A body whose agent left that many questions in a row unanswered, for that long, hangs. One whose agent is being
#: followed by another refuses some within that time.
_MOST_UNANSWERED = 3
_SILENCE_S = 5.0
#: TLS is part of it: a machine without KVM on a busy node needs seconds for its side of it.
_CONNECT_S = 3.0
_STATE_S = 5.0
_WORK_S = 20.0
_LOOK_EVERY_S = 0.01
#: In one request: what an agent reads is bounded.
_MOST_CONNECTIONS = 10_000


class Unanswered(Exception):
    """The agent inside did not answer. `identity`: it is there, and one of the two does not believe the other."""

    def __init__(self, reason: str, *, identity: bool = False) -> None:
        self.identity = identity
        super().__init__(reason)


class Link(AgentCalls):
    """The way to one agent inside; connections are made, and stay, in the namespace it is reached from."""

    def __init__(self, identity: Identity, instance_id: str, inside: Path | None, url: str, believed: Believed) -> None:
        """Raises Unanswered when our own certificate cannot be used."""
        self._inside = inside
        try:
            context = context_for(identity, instance_role(instance_id), believed)
        except BadConfiguration as error:
            raise Unanswered(str(error), identity=True) from None
        limits = httpx.Limits(max_connections=4, max_keepalive_connections=1, keepalive_expiry=30.0)
        self._http = httpx.Client(base_url=url, verify=context, limits=limits, trust_env=False)

    def close(self) -> None:
        self._http.close()

    def role(self, within_s: float) -> Role | None:
        """Ask who this half is now. No answer in that time is none, and counts for nothing: who is busy is not dead."""
        request = self._http.build_request("GET", "/v1/instances", timeout=httpx.Timeout(within_s))
        try:
            with netns.entered(self._inside):
                said = decode(send(self._http, request).content, InstanceList)
        except (httpx.HTTPError, netns.NetnsGone, ContractError):
            return None
        return next((view.state.role for view in said.instances), None)

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
        """Raises Unanswered, Refusal (the agent's own, word for word)."""
        timeout = httpx.Timeout(wait_s + (_STATE_S if method == "GET" else _WORK_S), connect=_CONNECT_S)
        content = None if body is None else encode(body)
        request = self._http.build_request(method, path, content=content, params=params, timeout=timeout)
        try:
            with netns.entered(self._inside):
                response = send(self._http, request)
        except (httpx.HTTPError, netns.NetnsGone) as error:
            raise _unanswered(error) from None
        if response.is_success:
            return response
        if response.status_code == HTTPStatus.FORBIDDEN:
            raise Unanswered(f"it does not take our certificate: {problem_in(response).message}", identity=True)
        raise _refused(response)

    def _misunderstood(self, error: ContractError) -> Exception:
        return refusals.apply_failed(
            f"the agent inside answers what this version does not know: {error.field}", "build its image anew"
        )


@dataclass(slots=True)
class _Guest:
    """What is known of one agent inside. `ports` are those it was told last, None: not told by this process."""

    link: Link | None = None
    ports: tuple[PortAttachment, ...] | None = None
    image: str | None = None
    unanswered: int = 0
    silent_since: float | None = None  # monotonic, of the first of these


class GuestEngine:
    """Configures instances through the agent inside them. Calls for one instance take turns.

    `identity` is the node's own; `url_of` says where the agent of an instance listens, seen from its namespace, and
    `certificates_of` what it was given to show: another of the same role is of an instance that is gone.
    `takes_credentials`: the agent inside cannot read what the node writes, so another credential is sent to it.
    """

    def __init__(
        self,
        identity: Identity,
        url_of: Callable[[str], str],
        certificates_of: Callable[[str], Collection[str]],
        *,
        takes_credentials: bool,
    ) -> None:
        self._identity = identity
        self._url_of = url_of
        self._certificates_of = certificates_of
        self._takes_credentials = takes_credentials
        self._guests: dict[str, _Guest] = {}

    # The engine

    def apply(self, place: Place, document: Document) -> ApplyReport:
        """Raises Refusal: the agent's own; 503 when it does not answer. StorageUnavailable: nothing was asked."""
        store.stage(place, document)
        try:
            report = self._asked(place, lambda link: link.configure(place.instance_id, document))
        except Unanswered as error:
            store.discard(place)
            raise refusals.unavailable(f"the agent inside does not answer: {error}", "ask again") from None
        except Refusal:
            store.discard(place)
            raise
        store.commit(place)
        return report

    def state(self, place: Place) -> StateView:
        """Raises nothing about the instance: an agent that does not answer is a state too."""
        if self.lost(place.instance_id):
            return StateView(health=Health.FAILED, last_error="the agent inside does not answer any more")
        try:
            state = self._asked(place, lambda link: link.state(place.instance_id))
        except (Unanswered, Refusal) as error:
            return StateView(health=Health.FAILED, last_error=f"the agent inside: {error}")
        if state.health is Health.UNCONFIGURED and store.read(place) is not None:
            lost = Deviation(subsystem="agent", detail="the configuration inside is gone")
            return replace(state, health=Health.DEGRADED, deviations=(lost,))
        return state

    def role(self, place: Place, within_s: float) -> Role | None:
        """Look at a container's gate: its namespace is the node's. A machine's is in a kernel of its own: ask it."""
        found, link = gate.role_in(place.netns), self._guest(place.instance_id).link
        return link.role(within_s) if found is None and link is not None and within_s > 0 else found

    def repair(self, place: Place) -> StateView:
        """Hand the kept document over once more; the agent inside mends everything else by itself."""
        reason = self._restore(place)
        state = self.state(place)
        return state if reason is None else replace(state, last_error=state.last_error or reason)

    def remove(self, place: Place) -> None:
        """Forget the instance; its configuration goes with the body."""
        self.hang_up(place.instance_id)
        store.forget(place)

    def tracked(self, place: Place) -> Sequence[Connection]:
        """Return the connections the agent's own kernel tracks; raises Refusal."""
        try:
            return self._asked(place, lambda link: link.connections(place.instance_id)).connections
        except Unanswered as error:
            raise refusals.unavailable(f"the agent inside does not answer: {error}", "ask again") from None

    def restore(self, place: Place, connections: Sequence[Connection]) -> int:
        """Raises Refusal."""
        parts = range(0, len(connections), _MOST_CONNECTIONS)
        return sum(self._restore_some(place, connections[at : at + _MOST_CONNECTIONS]) for at in parts)

    def _restore_some(self, place: Place, connections: Sequence[Connection]) -> int:
        told = Connections(connections=tuple(connections))
        try:
            return self._asked(place, lambda link: link.restore(place.instance_id, told)).made
        except Unanswered as error:
            raise refusals.unavailable(f"the agent inside does not answer: {error}", "ask again") from None

    # For the bodies

    def greet(self, birth: Birth, deadline_s: float, alive: Callable[[], bool]) -> None:
        """Wait until the agent answers, tell it its ports, and give it the kept document if it has another.

        Raises:
            BodyFailed: `alive` says that the body has ended, its agent does not answer in time or not to us.
            Refusal: it does not take the ports.
        """
        place, guest = birth.place, self._guest(birth.spec.id)
        until = time.monotonic() + deadline_s
        guest.image = self._patiently(lambda: self._asked(place, lambda link: link.node().image), until, alive)
        kept = store.read(place)
        generation = birth.spec.generation if kept is None else max(birth.spec.generation, kept.generation)
        wish = replace(
            birth.spec,
            ports=tuple(replace(port, attach=NicPlug.kind) for port in birth.spec.ports),
            generation=generation,
            body=BodyWish(),
            credential=birth.spec.credential if self._takes_credentials else None,
        )
        view = self._patiently(lambda: self._asked(place, lambda link: link.put_instance(wish)), until, alive)
        guest.ports = birth.spec.ports
        if kept is not None and view.state.digest != kept.digest:
            reason = self._restore(place)
            if reason is not None:
                _log.warning("guest.not_restored", instance=place.instance_id, reason=reason)

    def knows(self, birth: Birth) -> bool:
        """Whether the agent was told these ports, and answers. One that another process told them is asked once."""
        guest = self._guest(birth.spec.id)
        if self.lost(birth.spec.id):
            return False
        if guest.ports is None:
            try:
                said = self._asked(birth.place, lambda link: link.instances()).instances
                guest.image = self._asked(birth.place, lambda link: link.node().image)
            except (Unanswered, Refusal):
                return True  # the next look at its state says what is wrong
            told = {port.port_id for view in said if view.id == birth.spec.id for port in view.ports}
            if not said or told != {port.port_id for port in birth.spec.ports}:
                return False
            guest.ports = birth.spec.ports
        return guest.ports == birth.spec.ports

    def lost(self, instance_id: str) -> bool:
        """Whether it left so many questions unanswered that its body must be started anew."""
        guest = self._guest(instance_id)
        if guest.silent_since is None or guest.unanswered < _MOST_UNANSWERED:
            return False
        return time.monotonic() - guest.silent_since > _SILENCE_S

    def image_of(self, instance_id: str) -> str | None:
        return self._guest(instance_id).image

    def hang_up(self, instance_id: str) -> None:
        """The body ends: nothing that was known of its agent counts any more."""
        guest = self._guests.pop(instance_id, None)
        if guest is not None and guest.link is not None:
            guest.link.close()

    # How

    def _guest(self, instance_id: str) -> _Guest:
        return self._guests.setdefault(instance_id, _Guest())

    def _asked(self, place: Place, ask: Callable[[Link], T]) -> T:
        """Ask, and count. Raises Unanswered, Refusal."""
        guest = self._guest(place.instance_id)
        try:
            if guest.link is None:
                guest.link = self._linked(place)
            answer = ask(guest.link)
        except Unanswered as error:
            if not error.identity:
                guest.unanswered += 1
                guest.silent_since = guest.silent_since or time.monotonic()
            raise
        except Refusal as refusal:
            guest.unanswered, guest.silent_since = 0, None
            if refusal.status is HTTPStatus.NOT_FOUND:
                guest.ports = ()  # it has forgotten the instance: not whole, unless that has no ports
            raise
        guest.unanswered, guest.silent_since = 0, None
        return answer

    def _linked(self, place: Place) -> Link:
        own = place.instance_id
        return Link(self._identity, own, place.netns, self._url_of(own), lambda: self._certificates_of(own))

    def _patiently(self, ask: Callable[[], T], until: float, alive: Callable[[], bool]) -> T:
        pause, reason = threading.Event(), "no answer"
        while alive():
            try:
                return ask()
            except (Unanswered, Refusal) as error:
                _give_up_on(error)
                reason = str(error)
            if time.monotonic() > until:
                raise BodyFailed(f"its agent does not answer: {reason}", "see its console log; try another image")
            pause.wait(_LOOK_EVERY_S)
        raise BodyFailed("it ended while it started", "see its console log; try another image")

    def _restore(self, place: Place) -> str | None:
        """Hand over the kept document; return why that failed, None when it is in force or there is none."""
        kept = store.read(place)
        if kept is None:
            return None
        try:
            self._asked(place, lambda link: link.configure(place.instance_id, kept))
        except (Unanswered, Refusal) as error:
            return str(error)
        return None


def _give_up_on(error: Unanswered | Refusal) -> None:
    """Raise what waiting does not change: a certificate that is not believed, ports that are refused."""
    if isinstance(error, Refusal):
        if error.status is not HTTPStatus.SERVICE_UNAVAILABLE:
            raise error
    elif error.identity:
        raise BodyFailed(f"its agent and this node do not believe each other: {error}", "send another credential")


def _unanswered(error: Exception) -> Unanswered:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLError) and _of_certificates(str(cause)):
            return Unanswered(str(cause), identity=True)
        cause = cause.__cause__ or cause.__context__
    return Unanswered(str(error) or type(error).__name__)


def _of_certificates(words: str) -> bool:
    return any(word in words.lower() for word in ("certificate", "alert", "unknown_ca", "role"))


def _refused(response: httpx.Response) -> Refusal:
    problem = problem_in(response)
    return Refusal(
        HTTPStatus(response.status_code),
        problem.error,
        problem.message,
        field=problem.field,
        remedy=problem.remedy,
        deviations=problem.deviations,
    )
