"""astara-node: one process serves every instance of a node, or the one whose body it is in.

What it set up goes on without it.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import structlog

from astara.appliance.api.tls import CannotServe
from astara.appliance.boundaries import Appliance, Subsystem
from astara.appliance.subsystems.metadata.config import NAME as METADATA
from astara.appliance.system import descriptors
from astara.contract.identity import ORCHESTRATOR
from astara.ending import Ending
from astara.host import wiring
from astara.host.bodies.beside import Elsewhere
from astara.host.changes import Changes
from astara.host.healer import Healer, Pace
from astara.host.links import LinkError
from astara.host.machine.words import SERVING
from astara.host.node import Node
from astara.host.options import NodeOptions, Solitary, load
from astara.host.watch import Watch
from astara.model.errors import BadConfiguration

if TYPE_CHECKING:
    from astara.appliance.subsystems.metadata.proxy import MetadataProxy

_log = structlog.get_logger(__name__)
_ADOPTION_THREADS = 8


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT. Returns 2 for a bad configuration, with the reason and remedy on stderr."""
    try:
        return run(load(sys.argv[1:] if arguments is None else arguments))
    except BadConfiguration as error:
        sys.stderr.write(f"astara-node: {error}\n  remedy: {error.remedy}\n")
        return 2


def run(options: NodeOptions) -> int:
    """Run an agent until SIGTERM or SIGINT. Returns 1 when it cannot run, with the reason on stderr.

    Raises:
        BadConfiguration: naming the option and the remedy.
    """
    try:
        descriptors.raise_limit()
        _configure_logging(options)
        Agent(options).run()
    except (CannotServe, LinkError, OSError) as error:
        sys.stderr.write(f"astara-node: {error}\n")
        return 1
    return 0


class Agent:
    """The running parts, started in order and stopped in reverse; the data plane is left alone.

    `appliances` replaces the installed drivers, `pace` how eagerly it heals; both for tests.
    """

    def __init__(
        self, options: NodeOptions, appliances: Mapping[str, Appliance] | None = None, pace: Pace | None = None
    ) -> None:
        self._options = options
        drivers = wiring.appliances() if appliances is None else appliances
        inside_a_container = options.solitary is Solitary.NAMESPACE
        has_a_node = options.solitary is not Solitary.NO and options.serves != ORCHESTRATOR
        self._proxy: MetadataProxy | None = None
        metadata: Subsystem = Elsewhere(METADATA)
        if not has_a_node:
            self._proxy, metadata = wiring.metadata(options.metadata)
        engine = wiring.engine(metadata, drivers)
        beside = wiring.NodesPart(metadata, drivers)
        self.changes = Changes()
        self._watch = Watch(
            lambda instance_id: self.healer.suspect(instance_id),
            lambda: self.healer.suspect_all(),
            solitary=inside_a_container,
        )
        self._around = wiring.build_surroundings(options, engine, beside, self._watch)
        self.node = Node(self._around, self.changes)
        self.healer = Healer(self.node, self.changes, pace, self._on_round)
        self.server = wiring.build_server(options, self.node, self._around, tuple(drivers))

    def run(self) -> None:
        """Start, wait for a signal, stop."""
        ending = Ending()
        self.start()
        ending.wait()
        self.stop()

    def start(self) -> None:
        """Serve at once; requests about everything wait until what was found has been looked at."""
        self._around.dwellings.prepare_directory()
        for attachment in self._around.attachments.values():
            attachment.prepare()
        for body in self._around.bodies.values():
            body.prepare()
        if self._proxy is not None:
            self._proxy.start()
        self._watch.start()
        self.node.load()
        self.server.start()
        _log.info(SERVING, node=self._options.name, port=self.server.port, records=self.node.count())
        adoption = self.node.adopt(_ADOPTION_THREADS)
        _log.info(
            "agent.adopted",
            found=adoption.found,
            mended=adoption.mended,
            failed=adoption.failed,
            orphans=adoption.orphans,
            seconds=adoption.seconds,
        )
        self.healer.start()

    def stop(self) -> None:
        """Finish running requests; instances keep forwarding."""
        self.changes.close()
        self.server.stop()
        self.healer.stop()
        self._watch.stop()
        if self._proxy is not None:
            self._proxy.stop()
        _log.info("agent.stopped", node=self._options.name)

    def _on_round(self) -> None:
        for attachment in self._around.attachments.values():
            attachment.tend()


def _configure_logging(options: NodeOptions) -> None:
    level = logging.DEBUG if options.debug else logging.INFO
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(default=str),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
    )


if __name__ == "__main__":
    sys.exit(main())
