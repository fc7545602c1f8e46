"""What it takes to plug an instance's link into a network of this node. Entry points `astara.attach`.

Kinds of a node connect the host end of a veth pair: `Attachment`. What an agent inside a machine does with the
machine's own interfaces has no pair: both are a `Plug`, which is all that `host.plugs` knows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, TypeAlias, runtime_checkable

from astara.contract.agent import PortAttachment
from astara.host.links import Link, LinkError
from astara.host.options import NodeOptions


class AttachRefused(Exception):
    """The port cannot be plugged here. `field` is a path below the port; `remedy` says what to change."""

    def __init__(self, field: str, message: str, remedy: str) -> None:
        self.field = field
        self.remedy = remedy
        super().__init__(message)


class NotThere(LinkError):
    """The interface of a port is not on this machine: it may come any moment."""


class Plug(Protocol):
    """One way for a port into an instance's namespace; `inside` is its path, None the agent's own."""

    def prepare(self) -> None: ...

    def tend(self) -> None: ...

    def plug(self, port: PortAttachment, inside: Path | None, macs: frozenset[str]) -> None:
        """Bring the port's interface into the namespace, where `macs` are, and connect it; idempotent.

        Raises AttachRefused, NotThere, LinkError, OSError.
        """
        ...

    def unplug(self, port: PortAttachment, inside: Path | None) -> None: ...

    def in_place(self, port: PortAttachment) -> bool:
        """Whether a port whose interface is inside is connected as it should be."""
        ...


@runtime_checkable
class Standby(Protocol):
    """A Plug whose ports may belong to two instances of this node, one of which has the network behind them."""

    def stand_by(self, port: PortAttachment, inside: Path, macs: frozenset[str]) -> None:
        """Bring the port's interface into the namespace without a network behind it; idempotent. Raises like `plug`."""
        ...

    def standing_by(self, port: PortAttachment) -> bool:
        """Whether a port whose interface is inside has its outer end, and no network behind it."""
        ...

    def leave(self, ports: Sequence[PortAttachment]) -> None:
        """Remove the links of ports that stand by; absence is success."""
        ...

    def join(self, port: PortAttachment) -> None:
        """Called for all ports before any is taken over: who gets one at once needs the others. Raises LinkError."""
        ...

    def take_over(self, port: PortAttachment, inside: Path) -> None:
        """Have the network lead to the interface inside, and whoever had it stand by; idempotent. Raises LinkError."""
        ...


@runtime_checkable
class Sharing(Protocol):
    """An Attachment that bears two links of one port for a moment, so that there is none without."""

    def join(self, port: PortAttachment, link: Link) -> None:
        """Connect `link` beside the one that is there. Raises LinkError."""
        ...


@runtime_checkable
class Replacing(Protocol):
    """An Attachment whose ports are wired by somebody else, who shall not have to do it again for another link."""

    def replace(self, port: PortAttachment, exchange: Callable[[], Link], inside: Path) -> None:
        """Connect what `exchange` returns, which has the name of the link that is there by then, as that one was.

        Cut off in between, `plug` connects it as a new one. Raises LinkError.
        """
        ...


class Attachment(Protocol):
    """One kind of layer-2 plug. Called from many threads; calls for one port take turns."""

    kind: str

    def prepare(self) -> None:
        """Called once at start, before anything is plugged. May raise nothing that keeps the agent from starting."""
        ...

    def tend(self) -> None:
        """Called once in each slow round, for what belongs to the whole node; logs what it mends, raises nothing."""
        ...

    def plug(self, port: PortAttachment, host_link: Link, inside: Path) -> None:
        """Connect `host_link` to the network of `port` and set it up; idempotent, also after a restart.

        `inside` is the path of the namespace the other end is in.

        Raises:
            AttachRefused: this node cannot serve the port.
            LinkError: the kernel refused.
        """
        ...

    def unplug(self, port: PortAttachment) -> None:
        """Disconnect and clear what is no longer needed; absence is success. The link itself is removed after this."""
        ...

    def in_place(self, port: PortAttachment) -> bool:
        """Whether this port is plugged as it should be: a look at one port."""
        ...


AttachmentFactory: TypeAlias = Callable[[NodeOptions], Attachment]
