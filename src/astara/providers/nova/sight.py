"""What the agents inside servers say, and what their silence means."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from astara.clients.appliance import NodeClient
from astara.contract.agent import Health, InstanceView, StateView
from astara.model.errors import AstaraError, Retry
from astara.model.resource import Unknown
from astara.providers.nova.agents import Agents
from astara.providers.nova.boundary import Nic, Server


@dataclass(frozen=True, slots=True)
class Look:
    """`view` is None before the agent was told of its instance, and while it is silent. `due`: for a new credential."""

    state: StateView | Unknown
    view: InstanceView | None = None
    image: str | None = None
    due: bool = False


@dataclass(frozen=True, slots=True)
class _Facts:
    """What an agent says once for all: the digest it was booted from, and when its certificate ends (the epoch)."""

    image: str | None
    until: float | None


class Sight:
    """`due` judges the end of a certificate; `booting` is told of a server that is silent and young."""

    def __init__(
        self,
        agents: Agents,
        boot_deadline_s: float,
        wall: Callable[[], float],
        due: Callable[[float], bool],
        booting: Callable[[Server, str, float], None],
    ) -> None:
        self._agents = agents
        self._boot_deadline_s = boot_deadline_s
        self._wall = wall
        self._due = due
        self._booting = booting
        self._met: dict[str, _Facts] = {}

    def agent(self, server: Server, nics: Sequence[Nic]) -> NodeClient:
        """Raises Retry when there is no address to reach it at."""
        address = management_address(nics)
        if address is None:
            raise Retry(
                f"server {server.id} has no address on the management network", "see that the network has subnets"
            )
        return self._agents.of(server.mark.instance, address)

    def look(self, server: Server, nics: Sequence[Nic]) -> Look:
        """Ask the agent; where Nova knows that there is none to ask, say what Nova says."""
        if server.fault is not None:
            return Look(StateView(health=Health.FAILED, last_error=f"Nova: {server.fault}"))
        try:
            agent = self.agent(server, nics)
            facts = self._facts(server, agent)
            said = agent.instances().instances
        except AstaraError as error:
            return Look(self._silent(server, nics, error))
        view = next((one for one in said if one.id == server.mark.instance), None)
        state = StateView(health=Health.UNCONFIGURED) if view is None else view.state
        return Look(state, view, facts.image, due=facts.until is not None and self._due(facts.until))

    def met(self, instance: str) -> bool:
        """Whether its agent has ever answered this process."""
        return instance in self._met

    def due(self, instance: str) -> bool:
        facts = self._met.get(instance)
        return facts is not None and facts.until is not None and self._due(facts.until)

    def renewed(self, instance: str, until: float) -> None:
        self._met[instance] = replace(self._met[instance], until=until)

    def listening(self, instance: str) -> None:
        """It takes connections: a client that gave up on it for a moment would be the last to know."""
        self._agents.forget(instance)

    def forget(self, instance: str) -> None:
        self._agents.forget(instance)
        self._met.pop(instance, None)

    def _facts(self, server: Server, agent: NodeClient) -> _Facts:
        found = self._met.get(server.mark.instance)
        if found is None:
            sight = agent.sight()
            found = self._met[server.mark.instance] = _Facts(sight.view.image, sight.certificate_expires_at)
        return found

    def _silent(self, server: Server, nics: Sequence[Nic], error: AstaraError) -> StateView | Unknown:
        left_s = server.created_at + self._boot_deadline_s - self._wall()
        if self.met(server.mark.instance):
            return Unknown.UNREACHABLE
        if left_s > 0:
            address = management_address(nics)
            if address is not None:
                self._booting(server, address, left_s)
            return Unknown.UNREACHABLE
        reason = f"its agent never answered within {self._boot_deadline_s:.0f} s of its creation: {error}"
        return StateView(health=Health.FAILED, last_error=reason)


def management_address(nics: Sequence[Nic]) -> str | None:
    return next((address for nic in nics if nic.mark.port_id is None for address in nic.addresses), None)
