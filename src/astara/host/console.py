"""What an operator reads of one instance: its state as read back, its console, the ends of its daemons' logs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from astara.appliance.system import files
from astara.contract.agent import StateView
from astara.host.instance import Instance

_MAX_LOG_BYTES = 256 * 1024


def console(instance: Instance) -> bytes:
    """Return text in UTF-8: state, what differs, what failed last, then each log under its name.

    A namespace has no console of its own, and many instances run no daemon at all: what can be said of them is
    their state, and where else to look. Raises Refusal (404) for an instance that is gone.
    """
    told = "\n".join(_told(instance.id, instance.state()))
    said = instance.console()
    written = (b"==> console <==\n" + said if said else b"") + _logs(instance.place.files)
    return told.encode() + b"\n\n" + (written or _NO_LOGS % instance.id.encode())


_NO_LOGS = (
    b"No daemon of this instance has written anything.\n"
    b'What the node agent did to it stands in the log of astara-node on its node: lines with "%s".\n'
)


def _told(instance_id: str, state: StateView) -> Iterator[str]:
    yield f"instance {instance_id}: {state.health}"
    generation = "none yet" if state.generation is None else str(state.generation)
    yield f"configuration: {state.digest or 'none yet'}, generation: {generation}, repairs: {state.repairs}"
    for deviation in state.deviations:
        yield f"differs: {deviation.subsystem}: {deviation.detail}"
    if state.last_error:
        yield f"last error: {state.last_error}"


def _logs(directory: Path) -> bytes:
    parts = []
    for path in sorted(directory.rglob("log")) if directory.is_dir() else []:
        if said := (files.read(path) or b"")[-_MAX_LOG_BYTES:]:
            parts.append(f"==> {path.parent.relative_to(directory)} <==\n".encode() + said)
    return b"\n".join(parts)
