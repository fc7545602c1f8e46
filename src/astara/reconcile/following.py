"""Has Neutron bind the ports of pairs where their active halves are, as far as its plug-in can be asked that."""

from __future__ import annotations

import threading

import structlog

from astara.contract.snapshot import ActiveHalf
from astara.model.boundaries import Clock, NeutronApi
from astara.model.errors import Unoffered

_log = structlog.get_logger(__name__)
#: An older plug-in, upgraded meanwhile, is asked again so much later.
ASKED_AGAIN_S = 300.0


class Following:
    """Thread-safe. `offered` is for planning: what nobody can do is no step."""

    def __init__(self, neutron: NeutronApi, clock: Clock) -> None:
        self._neutron = neutron
        self._clock = clock
        self._lock = threading.Lock()
        self._refused_at: float | None = None
        self._told = False

    @property
    def offered(self) -> bool:
        refused_at = self._refused_at
        return refused_at is None or self._clock.now() >= refused_at + ASKED_AGAIN_S

    def follow(self, half: ActiveHalf, term: int) -> None:
        """Raises what `follow_active` raises, but nothing when it is not offered: that is logged once."""
        try:
            self._neutron.follow_active(half, term)
        except Unoffered as error:
            with self._lock:
                self._refused_at = self._clock.now()
                told, self._told = self._told, True
            if not told:
                _log.warning("binding-cannot-follow", reason=str(error), remedy=error.remedy)
        else:
            self._refused_at, self._told = None, False
