"""Servers that wait for somebody: how one becomes a resource's, and nobody else's."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import structlog

from astara.contract.agent import SPARE, InstanceView
from astara.contract.generation import Generation
from astara.model.errors import Gone, Retry, Stale, Terminal
from astara.model.resource import ObservedInstance
from astara.providers.nova.boundary import Cloud, Nic, Server
from astara.providers.nova.marks import mark_told
from astara.providers.nova.plugging import introduce, of
from astara.providers.nova.sight import Sight

_log = structlog.get_logger(__name__)


class Spares:
    """The agent inside a spare knows first whose it is; its server's marks follow."""

    def __init__(self, cloud: Cloud, sight: Sight) -> None:
        self._cloud = cloud
        self._sight = sight

    def find(self, spare: ObservedInstance) -> Server:
        """Raises Gone."""
        for server in self._cloud.servers(spare.key):
            if server.mark.instance == spare.id:
                return server
        raise Gone(f"no server is spare {spare.id}", "take another, or create the instance")

    def claim(self, claimed: Server, nics: Sequence[Nic], generation: Generation) -> None:
        """Raises Gone when the agent belongs to somebody else or does not answer; Stale."""
        try:
            introduce(self._sight.agent(claimed, nics), claimed, nics, generation)
        except (Terminal, Retry) as error:
            raise Gone(f"spare {claimed.mark.instance}: {error}", "take another, or create the instance") from None
        self._cloud.mark(claimed.id, claimed.mark)
        _log.info("nova.adopted", key=str(claimed.mark.key), slot=claimed.mark.slot, instance=claimed.mark.instance)

    def completed(self, server: Server, view: InstanceView) -> Server:
        """Write down what the agent of a spare says: whoever claimed it did not come to it."""
        told = mark_told(view, server.mark)
        if server.mark.key.driver != SPARE or told is None or told.key.driver == SPARE:
            return server
        _log.warning("nova.claim-completed", key=str(told.key), instance=told.instance)
        self._cloud.mark(server.id, told)
        return server.given(told)

    def refuse_adopted(self, spare: ObservedInstance, found: Sequence[Server], generation: Generation) -> None:
        """Raises Stale when it is a spare no more."""
        if not found:
            if any(one.mark.instance == spare.id for one in self._cloud.servers()):
                raise Stale(f"spare {spare.id} has become somebody's", "nothing to do")
            return
        with contextlib.suppress(Retry, Terminal, Gone):
            agent = self._sight.agent(found[0], of(found[0], self._cloud.nics()))
            agent.delete_instance(spare.id, generation)
