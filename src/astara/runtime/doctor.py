"""`astara doctor`: what an installation needs, checked one by one, each with its remedy."""

from __future__ import annotations

import datetime
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from cryptography import x509

from astara.installed import own_version
from astara.model.boundaries import NeutronApi
from astara.model.errors import AstaraError
from astara.model.operator import CheckLine, NodeLine, PoolLine
from astara.peers.identity import Identity
from astara.records.store import RecordsStanding
from astara.runtime.nodes import SAME_NODES
from astara.runtime.operator import CountingFeed
from astara.runtime.options import Options

#: Below this much free space the records may soon fail to be written.
DISK_FREE_BYTES = 100 * 1024 * 1024
CERTIFICATE_WARNING_S = 30 * 86400
#: More makes logs of two machines unreadable side by side; minutes make new certificates invalid.
CLOCK_SKEW_S = 5.0


def _ok(check: str, detail: str) -> CheckLine:
    return CheckLine(check=check, ok=True, detail=detail)


def _bad(check: str, detail: str, remedy: str) -> CheckLine:
    return CheckLine(check=check, ok=False, detail=detail, remedy=remedy)


def examine(
    options: Options,
    neutron: NeutronApi,
    feeds: Sequence[CountingFeed],
    nodes: Callable[[], Sequence[NodeLine]],
    disputed: Callable[[], Sequence[str]],
    plugin_version: Callable[[], str | None],
) -> list[CheckLine]:
    """Make every check now; asks Neutron and every node."""
    seen = nodes()
    return [
        *_neutron(neutron, options.neutron.url, plugin_version),
        *(_feed(feed) for feed in feeds),
        *(check for line in seen for check in of_node(line)),
        *([] if seen else [_bad("nodes", "no node is configured", "list node agents under [nodes]")]),
        *of_dispute(disputed()),
        *_certificate(options),
        _writable(options.state_dir),
        _space(options.state_dir),
    ]


def of_records(standing: RecordsStanding, trouble: str | None) -> CheckLine:
    """Judge the records' database; `trouble` is what it answers now."""
    check = "database"
    if trouble is not None:
        kept = f"; {standing.waiting} lines of the audit wait, {standing.lost} are lost"
        return _bad(check, f"{standing.name}: {trouble}{kept}", standing.remedy)
    if standing.lost:
        detail = f"{standing.name} answers; {standing.lost} lines of the audit were lost since the start"
        return _bad(check, detail, "look for the event records-failing in the orchestrator's log")
    return _ok(check, f"{standing.name} answers")


def of_pool(lines: Sequence[PoolLine]) -> Iterator[CheckLine]:
    """Judge what is kept warm; a host that is away has a line of its own already."""
    for line in lines:
        check = f"pool {line.provider} on {line.host}"
        if line.state == "failing":
            yield _bad(
                check, f"{line.ready} of {line.wanted} spares: {line.because}", "see `astara pool`; requests start cold"
            )
        elif line.state != "away":
            yield _ok(check, f"{line.ready} of {line.wanted} spares are ready")


def _neutron(neutron: NeutronApi, url: str, plugin_version: Callable[[], str | None]) -> Iterator[CheckLine]:
    try:
        revision = neutron.changes(2**62).revision
    except AstaraError as error:
        yield _bad("neutron", str(error), error.remedy)
        return
    yield _ok("neutron", f"the plug-in at {url} answers, revision {revision}")
    yield of_versions(plugin_version(), own_version())


def of_versions(plugin: str | None, ours: str) -> CheckLine:
    """Compare the plug-in's version with ours; None: it did not say."""
    check = "plug-in version"
    if plugin == ours:
        return _ok(check, f"{plugin}, as the orchestrator")
    said = "does not say its version, so it is older" if plugin is None else f"is {plugin}"
    return _bad(
        check,
        f"the plug-in in Neutron {said}; the orchestrator is {ours}",
        "install the same release of Astara where neutron-server runs and here, then restart both",
    )


def _feed(feed: CountingFeed) -> CheckLine:
    check = f"feed {feed.name}"
    if not feed.connected():
        return _bad(check, "not connected", "check [intake] and that the broker runs; until then changes are polled")
    counts = feed.counts()
    if counts.events == 0:
        return _ok(check, "connected; nothing heard yet")
    return _ok(check, f"connected; {counts.events} events, {counts.unknown} of unknown kind")


def of_node(line: NodeLine) -> Iterator[CheckLine]:
    """Judge what a node answered, and what its answer showed besides."""
    check = f"node {line.name}"
    if not line.reachable:
        remedy = f"check that astara-node runs there and answers at {line.url}"
        yield _bad(check, line.error or "does not answer", remedy)
        return
    if line.agent_version is None:
        yield _ok(check, f"without a node agent; serves {', '.join(line.bodies or ())}")
        return
    yield _ok(check, f"agent {line.agent_version}, {line.instances} instances")
    if line.clock_ahead_s is not None:
        yield _clock(line.name, line.clock_ahead_s)
    if line.certificate_expires_at is not None:
        remedy = (
            f"`astara ca issue node {line.name} --address …` where the CA is, "
            f"copy {line.name}.crt and {line.name}.key to the node; astara-node uses them without a restart"
        )
        yield _expiry(f"certificate {line.name}", "shown by its agent,", line.certificate_expires_at, remedy)


def of_dispute(nodes: Sequence[str]) -> Iterator[CheckLine]:
    """Judge what NodeWatch.disputed says; nothing where all is well."""
    if nodes:
        detail = f"another orchestrator announces {', '.join(nodes)}; each makes the other's nodes unavailable"
        yield _bad("nodes", detail, SAME_NODES)


def _clock(node: str, ahead_s: float) -> CheckLine:
    check = f"clock {node}"
    if abs(ahead_s) <= CLOCK_SKEW_S:
        return _ok(check, "as the orchestrator's")
    direction = "ahead of" if ahead_s > 0 else "behind"
    return _bad(
        check,
        f"{abs(ahead_s):.0f} s {direction} the orchestrator's",
        f"let both follow the same time servers (chrony); look at `timedatectl` here and on {node}",
    )


def _expiry(check: str, what: str, expires_at: float, remedy: str) -> CheckLine:
    until = datetime.datetime.fromtimestamp(expires_at, datetime.UTC)
    detail = f"{what} valid until {until:%Y-%m-%d}"
    return _bad(check, detail, remedy) if expires_at - time.time() < CERTIFICATE_WARNING_S else _ok(check, detail)


def own_certificates(identity: Identity | None) -> dict[str, float]:
    """Return when ours and the authority's end, in wall seconds; 0 for one that cannot be read."""
    found = {}
    for name, path in _files(identity):
        try:
            found[name] = _ends_at(path)
        except (OSError, ValueError):
            found[name] = 0.0
    return found


def _certificate(options: Options) -> Iterator[CheckLine]:
    for name, path in _files(options.identity):
        check = f"certificate {name}"
        try:
            expires = _ends_at(path)
        except (OSError, ValueError) as error:
            yield _bad(check, f"{path}: {type(error).__name__}", "make it anew with `astara ca issue`")
            continue
        remedy = "make a new one with `astara ca issue`; it is used without a restart"
        yield _expiry(check, f"{path} is", expires, remedy)


def _files(identity: Identity | None) -> tuple[tuple[str, Path], ...]:
    return () if identity is None else (("orchestrator", identity.cert_file), ("authority", identity.ca_file))


def _ends_at(path: Path) -> float:
    return x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc.timestamp()


def _writable(state_dir: Path) -> CheckLine:
    try:
        with tempfile.TemporaryFile(dir=state_dir) as probe:
            probe.write(b"\0")
            probe.flush()
            os.fsync(probe.fileno())
    except OSError as error:
        return _bad("state_dir", f"{state_dir}: {error.strerror}", "make it writable for this process and free space")
    return _ok("state_dir", f"{state_dir} can be written")


def _space(state_dir: Path) -> CheckLine:
    try:
        free = shutil.disk_usage(state_dir).free
    except OSError as error:
        return _bad("disk", f"{state_dir}: {error.strerror}", "create the directory")
    detail = f"{free // (1024 * 1024)} MB free below {state_dir}"
    return _ok("disk", detail) if free >= DISK_FREE_BYTES else _bad("disk", detail, "free some space")
