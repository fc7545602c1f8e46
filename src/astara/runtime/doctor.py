"""`astara doctor`: what an installation needs, checked one by one, each with its remedy."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from cryptography import x509

from astara.model.boundaries import NeutronApi
from astara.model.errors import AstaraError
from astara.model.operator import CheckLine, NodeLine
from astara.runtime.operator import CountingFeed
from astara.runtime.options import Options

#: Below this much free space the records may soon fail to be written.
DISK_FREE_BYTES = 100 * 1024 * 1024
CERTIFICATE_WARNING_S = 30 * 86400


def _ok(check: str, detail: str) -> CheckLine:
    return CheckLine(check=check, ok=True, detail=detail)


def _bad(check: str, detail: str, remedy: str) -> CheckLine:
    return CheckLine(check=check, ok=False, detail=detail, remedy=remedy)


def examine(
    options: Options,
    neutron: NeutronApi,
    feeds: Sequence[CountingFeed],
    nodes: Callable[[], Sequence[NodeLine]],
) -> list[CheckLine]:
    """Make every check now; asks Neutron and every node."""
    return [
        *_neutron(neutron, options.neutron.url),
        *(_feed(feed) for feed in feeds),
        *(_node(line) for line in nodes()),
        *([] if options.nodes else [_bad("nodes", "no node is configured", "list node agents under [nodes]")]),
        *_certificate(options),
        _writable(options.state_dir),
        _space(options.state_dir),
    ]


def _neutron(neutron: NeutronApi, url: str) -> Iterator[CheckLine]:
    try:
        revision = neutron.changes(2**62).revision
    except AstaraError as error:
        yield _bad("neutron", str(error), error.remedy)
        return
    yield _ok("neutron", f"the plug-in at {url} answers, revision {revision}")


def _feed(feed: CountingFeed) -> CheckLine:
    check = f"feed {feed.name}"
    if not feed.connected():
        return _bad(check, "not connected", "check [intake] and that the broker runs; until then changes are polled")
    counts = feed.counts()
    if counts.events == 0:
        return _ok(check, "connected; nothing heard yet")
    return _ok(check, f"connected; {counts.events} events, {counts.unknown} of unknown kind")


def _node(line: NodeLine) -> CheckLine:
    check = f"node {line.name}"
    if line.reachable:
        return _ok(check, f"agent {line.agent_version}, {line.instances} instances")
    return _bad(check, line.error or "does not answer", f"check that astara-node runs there and answers at {line.url}")


def _certificate(options: Options) -> Iterator[CheckLine]:
    identity = options.identity
    if identity is None:
        return
    for name, path in (("orchestrator", identity.cert_file), ("authority", identity.ca_file)):
        check = f"certificate {name}"
        try:
            expires = x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc
        except (OSError, ValueError) as error:
            yield _bad(check, f"{path}: {type(error).__name__}", "make it anew with `astara ca issue`")
            continue
        left_s = expires.timestamp() - time.time()
        detail = f"{path} is valid until {expires:%Y-%m-%d}"
        if left_s < CERTIFICATE_WARNING_S:
            yield _bad(check, detail, "make a new one with `astara ca issue` and restart")
        else:
            yield _ok(check, detail)


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
