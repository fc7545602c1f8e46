"""The metadata subsystem: tells the node's one proxy whom to answer for."""

from __future__ import annotations

from collections.abc import Sequence

from astara.appliance.boundaries import Place, SubsystemError
from astara.appliance.subsystems.metadata.config import NAME, MetadataConfig
from astara.appliance.subsystems.metadata.proxy import MetadataProxy, NotServing
from astara.appliance.system import processes
from astara.contract.agent import Deviation


class MetadataSubsystem:
    """What is rendered is the config itself: there is no file and no daemon of its own."""

    name = NAME

    def __init__(self, proxy: MetadataProxy) -> None:
        self._proxy = proxy

    def render(self, place: Place, config: MetadataConfig) -> MetadataConfig:
        """Return `config`."""
        return config

    def check(self, place: Place, rendered: MetadataConfig) -> None:
        """Nothing can be wrong with parsed values."""

    def apply(self, place: Place, rendered: MetadataConfig, previous: MetadataConfig | None) -> bool:
        """Serve; return whether anything changed. Raises SubsystemError(phase="apply")."""
        try:
            return self._proxy.serve(place, rendered)
        except (OSError, NotServing) as error:
            remedy = processes.remedy_for_start(place.netns) if isinstance(error, OSError) else "restart the node agent"
            raise SubsystemError(NAME, "apply", str(error), remedy=remedy) from error

    def read_back(self, place: Place, rendered: MetadataConfig) -> Sequence[Deviation]:
        """Say what keeps guests from being answered."""
        return [Deviation(subsystem=NAME, detail=detail) for detail in self._proxy.differences(place, rendered)]

    def remove(self, place: Place) -> None:
        """Stop answering; absence is success."""
        self._proxy.withdraw(place)
