"""One dnsmasq per instance that has subnets to serve; ports come and go without restarting it."""

from __future__ import annotations

import select
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

import structlog

from astara.appliance.boundaries import Place, SubsystemError
from astara.appliance.subsystems import unprivileged
from astara.appliance.subsystems.daemon import Daemon
from astara.appliance.subsystems.dnsmasq import leases, probe
from astara.appliance.subsystems.dnsmasq.config import DnsmasqConfig
from astara.appliance.subsystems.dnsmasq.leases import Lease, LeaseFile
from astara.appliance.subsystems.dnsmasq.probe import Answer
from astara.appliance.subsystems.dnsmasq.render import (
    HOSTS,
    LEASES,
    MAIN,
    NAMES,
    OPTIONS,
    SETTLED,
    Claim,
    Rendered,
    render,
)
from astara.appliance.system import files, netlink, netns, processes, rtnetlink
from astara.appliance.system.processes import Process
from astara.contract.agent import Deviation

NAME = "dnsmasq"

_log = structlog.get_logger()

_PROGRAM = "/usr/sbin/dnsmasq"
_ACCOUNT = "dnsmasq"
_UNNAMED_LINK = "link"
_DEADLINE_S = 3.0
#: A busy machine may answer late; only one that misses the second, longer chance counts as hanging.
_PATIENCE_S = (0.2, 1.0)
_RELEASE_TIMEOUT_S = 0.3
_FIRST_LOOK_S = 0.0005
_LONGEST_LOOK_S = 0.05


class DnsmasqSubsystem:
    """Rendered is None when there is nothing to serve."""

    name = NAME

    def __init__(self, program: str = _PROGRAM, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._program = program
        self._monotonic = monotonic

    def render(self, place: Place, config: DnsmasqConfig) -> Rendered | None:
        """Return the files' content."""
        return render(_directory(place), config)

    def check(self, place: Place, rendered: Rendered | None) -> None:
        """Let dnsmasq judge the whole text, unless only ports differ from what runs already.

        A line about a port cannot end dnsmasq: it is skipped. Raises SubsystemError(phase="check") with its words.
        """
        if rendered is None:
            return
        link = _link_name(place, rendered.mac) or _UNNAMED_LINK
        if self._runs(place, rendered, link):
            return
        text = rendered.dry_run(link, self._account(place))
        try:
            status, words = processes.run(None, [self._program, "--test", "--conf-file=-"], stdin=text.encode())
        except (OSError, TimeoutError) as error:
            raise SubsystemError(NAME, "check", f"cannot ask {self._program}: {error}") from error
        if status != 0:
            raise SubsystemError(NAME, "check", " ".join(words.split()))

    def apply(self, place: Place, rendered: Rendered | None, previous: Rendered | None) -> bool:
        """Write what differs and let dnsmasq read it; restart it only for its main file.

        Raises:
            SubsystemError(phase="apply"): it does not run or does not answer afterwards; OSError: files.
        """
        if rendered is None:
            return self._stop(place)
        link = _link_name(place, rendered.mac)
        if link is None:
            raise SubsystemError(NAME, "apply", "no link has the MAC address DHCP is served on")
        for item in rendered.left_out:
            _log.warning("dnsmasq_left_out", instance=place.instance_id, item=item.port_id, what=item.what)
        daemon = self._daemon(place)
        daemon.prepare(place)
        before = _claims(place)
        main = rendered.main(link, self._account(place))
        files.replace_if_different(_directory(place) / MAIN, main, unprivileged.FILE_MODE)
        touched = _write(place, rendered)
        process = daemon.running(place)
        current = process is not None and daemon.has_loaded(process, main)
        if process is None or not current or not self._reread(place, rendered, process, written=touched):
            self._restart(place, daemon, rendered, main, before)
            touched = True
        elif self._release(place, rendered, link, before):
            touched = True
        _settle(place, rendered)
        return touched

    def read_back(self, place: Place, rendered: Rendered | None) -> Sequence[Deviation]:
        """Ask the process, the files, its DNS (which only answers if it has read them), and its leases."""
        return [Deviation(subsystem=NAME, detail=detail) for detail in self._differences(place, rendered)]

    def remove(self, place: Place) -> None:
        """End it and take its files, leases included."""
        self._daemon(place).remove()

    def _differences(self, place: Place, rendered: Rendered | None) -> Iterator[str]:
        daemon = self._daemon(place)
        process = daemon.running(place)
        if rendered is None:
            if process is not None:
                yield "runs with nothing to serve"
        elif process is None:
            yield "does not run"
        else:
            daemon.trim_log()
            yield from self._main_differences(place, rendered, daemon, process)
            yield from _file_differences(place, rendered)

    def _main_differences(self, place: Place, rendered: Rendered, daemon: Daemon, process: Process) -> Iterator[str]:
        link = _link_name(place, rendered.mac)
        if link is None:
            yield "its link is gone"
        elif not daemon.has_loaded(process, rendered.main(link, self._account(place))):
            yield "runs with another main file"

    def _runs(self, place: Place, rendered: Rendered, link: str) -> bool:
        """Whether a process runs with this main file and these options of the subnets."""
        daemon = self._daemon(place)
        process = daemon.running(place)
        if process is None or not daemon.has_loaded(process, rendered.main(link, self._account(place))):
            return False
        return _text(place, OPTIONS).startswith(rendered.own_options)

    def _account(self, place: Place) -> str:
        return unprivileged.account(_ACCOUNT, place.files)

    def _daemon(self, place: Place) -> Daemon:
        directory = _directory(place)
        return Daemon(directory, (self._program, "--keep-in-foreground", f"--conf-file={directory / MAIN}"))

    def _stop(self, place: Place) -> bool:
        daemon = self._daemon(place)
        ran = daemon.running(place) is not None
        daemon.remove()
        return ran

    def _restart(self, place: Place, daemon: Daemon, rendered: Rendered, main: str, before: frozenset[Claim]) -> None:
        daemon.stop()
        content = _text(place, LEASES)
        stale = leases.unclaimed(leases.parse(content).leases, rendered.claims, before)
        if stale:
            files.replace(_directory(place) / LEASES, leases.without(content, stale))
        process = daemon.start(place)
        if not self._until(process, lambda: _answer(place, rendered) is Answer.KNOWN):
            words = f"does not answer after its start: {daemon.last_words()}"
            raise SubsystemError(NAME, "apply", words, remedy=processes.remedy_for_start(place.netns))
        daemon.note_loaded(process, main)

    def _reread(self, place: Place, rendered: Rendered, process: Process, *, written: bool) -> bool:
        """Whether the process has read the files as they are now, after SIGHUP if need be. One that hangs is killed."""
        answer = _answer(place, rendered)
        if answer is Answer.KNOWN and not written:
            return True
        if answer is Answer.SILENT:
            processes.send(process, signal.SIGKILL)
            return False
        if not self._daemon(place).reload(process):
            return False
        return self._until(process, lambda: _answer(place, rendered) is Answer.KNOWN)

    def _release(self, place: Place, rendered: Rendered, link: str, before: frozenset[Claim]) -> bool:
        """Take back what ports that are gone still hold. Raises SubsystemError when dnsmasq keeps it."""
        found = _lease_file(place)
        stale = leases.unclaimed(found.leases, rendered.claims, before)
        for lease in stale:
            _send_release(place, rendered, link, found, lease)
        gone = {lease.address for lease in stale}
        if not self._until(None, lambda: not gone & _held(place, rendered, before)):
            raise SubsystemError(NAME, "apply", f"keeps {len(stale)} leases of ports that are gone")
        return bool(stale)

    def _until(self, process: Process | None, holds: Callable[[], bool]) -> bool:
        """Look until it holds, the process ends, or the deadline has passed."""
        deadline = self._monotonic() + _DEADLINE_S
        pause_s = _FIRST_LOOK_S
        while not holds():
            if self._monotonic() > deadline or (process is not None and not processes.alive(process)):
                return False
            select.select([], [], [], pause_s)
            pause_s = min(pause_s * 2, _LONGEST_LOOK_S)
        return True


def _answer(place: Place, rendered: Rendered) -> Answer:
    answer = Answer.SILENT
    for timeout_s in _PATIENCE_S:
        answer = probe.ask(place.netns, rendered.addresses[0], rendered.marker, timeout_s)
        if answer is not Answer.SILENT:
            break
    return answer


def _file_differences(place: Place, rendered: Rendered) -> Iterator[str]:
    yield from (f"file {name} differs" for name, text in _parts(rendered) if _text(place, name) != text)
    answer = _answer(place, rendered)
    if answer is Answer.SILENT:
        yield "does not answer"
    elif answer is Answer.UNKNOWN:
        yield "answers from other files than it should have read"
    if leases.unclaimed(_lease_file(place).leases, rendered.claims, _claims(place)):
        yield "holds leases of ports that are gone"


def _directory(place: Place) -> Path:
    return place.files / NAME


def _parts(rendered: Rendered) -> tuple[tuple[str, str], ...]:
    return ((HOSTS, rendered.hosts), (OPTIONS, rendered.options), (NAMES, rendered.names_with_marker))


def _write(place: Place, rendered: Rendered) -> bool:
    written = [
        files.replace_if_different(_directory(place) / name, text, unprivileged.FILE_MODE)
        for name, text in _parts(rendered)
    ]
    return any(written)


def _text(place: Place, name: str) -> str:
    return (files.read(_directory(place) / name) or b"").decode(errors="replace")


def _lease_file(place: Place) -> LeaseFile:
    return leases.parse(_text(place, LEASES))


def _settle(place: Place, rendered: Rendered) -> None:
    """Say, after the fact, which hosts all leases agree with."""
    files.replace_if_different(_directory(place) / SETTLED, rendered.hosts)


def _claims(place: Place) -> frozenset[Claim]:
    """Who could hold a lease of which address when leases were last settled."""
    found: set[Claim] = set()
    for line in _text(place, SETTLED).splitlines():
        mac, *words = line.split(",")
        for word in words:
            try:
                found.add(Claim(mac, ip_address(word.strip("[]"))))
            except ValueError:
                continue  # the name
    return frozenset(found)


def _held(place: Place, rendered: Rendered, before: frozenset[Claim]) -> set[IPv4Address | IPv6Address]:
    stale = leases.unclaimed(_lease_file(place).leases, rendered.claims, before)
    return {lease.address for lease in stale}


def _send_release(place: Place, rendered: Rendered, link: str, found: LeaseFile, lease: Lease) -> None:
    if lease.address.version == 6:
        leases.release_v6(place.netns, link, found.server_duid, lease, _RELEASE_TIMEOUT_S)
        return
    for server in rendered.addresses:
        if isinstance(server, IPv4Address):
            leases.release_v4(place.netns, link, server, lease)


def _link_name(place: Place, mac: str) -> str | None:
    with netns.entered(place.netns), netlink.Netlink() as kernel:
        link = rtnetlink.by_mac(rtnetlink.links(kernel)).get(mac)
    return link.name if link else None
