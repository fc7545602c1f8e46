"""Hears from the kernel what happens to our namespaces, links, addresses, routes, rulesets and daemons.

One thread, and for a thousand instances two netlink sockets instead of two thousand: with NETLINK_LISTEN_ALL_NSID a
socket of the node's own namespace hears every namespace the node has an id for (RTM_NEWNSID). What is lost (a full
buffer) makes us look at everything.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from astara.appliance.boundaries import Place
from astara.appliance.system import descriptors, netlink, processes
from astara.appliance.system.processes import Process
from astara.host import links, namespaces
from astara.host.hearing import (
    IN_Q_OVERFLOW,
    NETNSA_NSID,
    NO_NSID,
    inotify_events,
    inotify_on,
    listening,
    nsid_in,
    nsid_of,
)

_log = structlog.get_logger(__name__)
#: rtnetlink multicast groups: links, IPv4 and IPv6 addresses, routes and rules, ids of namespaces.
_ROUTE_GROUPS = (1, 5, 7, 8, 9, 11, 19, 28)
_NFT_GROUP = 7
_DELNSID = 89
_NEWLINK, _DELLINK, _NEWADDR = 16, 17, 20
_IFLA_IFNAME = 3
_AF_INET6 = 10
_RECEIVE_BYTES = 65536


@dataclass(slots=True)
class _Tracked:
    """What is known of one instance. `settled_at`: monotonic end of our own last work there; None while it goes on."""

    place: Place
    host_links: frozenset[str] = frozenset()
    nsid: int | None = None
    body_pid: int | None = None
    settled_at: float | None = None
    daemons: dict[int, Process] = field(default_factory=dict)  # pidfd -> process


class Watch:
    """Calls `suspect(instance id)` for hints and `suspect_all()` when hints were lost, from its own thread.

    Our own work makes the same noise as anybody else's. A hint read after the queue was once seen empty since our
    work ended cannot stem from it; everything older is taken for our own, and the slow round covers the difference.
    """

    def __init__(self, suspect: Callable[[str], None], suspect_all: Callable[[], None], *, solitary: bool) -> None:
        """`solitary`: hear the agent's own namespace, which is the one instance's, and no other."""
        self._solitary = solitary
        self._suspect = suspect
        self._suspect_all = suspect_all
        self._mutex = threading.Lock()
        self._tracked: dict[str, _Tracked] = {}
        self._by_nsid: dict[int, str] = {}
        self._by_link: dict[str, str] = {}
        self._by_pidfd: dict[int, str] = {}
        self._poller = select.epoll()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._fresh: set[str] = set()  # instances whose daemons are to be looked up
        self._inotify = -1
        self._sockets: dict[int, socket.socket] = {}
        self._drained_at: dict[int, float] = {}
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def start(self) -> None:
        """Listen from now on. Raises OSError when the kernel does not let us."""
        if not self._solitary:
            self._inotify = inotify_on(namespaces.RUN)
            self._poller.register(self._inotify, select.EPOLLIN)
        for protocol, groups in ((netlink.ROUTE, _ROUTE_GROUPS), (netlink.NETFILTER, (_NFT_GROUP,))):
            listener = listening(protocol, groups, everywhere=not self._solitary)
            self._sockets[listener.fileno()] = listener
            self._drained_at[listener.fileno()] = time.monotonic()
        for handle in (self._wake, *self._sockets):
            self._poller.register(handle, select.EPOLLIN)
        self._thread.start()

    def stop(self) -> None:
        self._ended = True
        os.eventfd_write(self._wake, 1)
        self._thread.join()
        for listener in self._sockets.values():
            listener.close()
        for handle in (self._wake, *([] if self._solitary else [self._inotify]), *self._by_pidfd):
            os.close(handle)
        self._poller.close()

    # Called by instances, under their turn

    def working(self, place: Place) -> None:
        """Our own work on this instance begins: what is heard of it now is ours."""
        with self._mutex:
            self._tracked.setdefault(place.instance_id, _Tracked(place)).settled_at = None

    def settled(self, place: Place, port_ids: frozenset[str], body_pid: int | None) -> None:
        """Our own work has ended; from now on hints count, and its daemons and its body are watched."""
        names = frozenset(links.host_name(port_id) for port_id in port_ids)
        nsid = nsid_of(place.netns)
        with self._mutex:
            tracked = self._tracked.setdefault(place.instance_id, _Tracked(place))
            for gone in tracked.host_links - names:
                self._by_link.pop(gone, None)
            tracked.host_links = names
            tracked.body_pid = body_pid
            self._by_link.update(dict.fromkeys(names, place.instance_id))
            self._renumber(tracked, nsid)
            tracked.settled_at = time.monotonic()
            self._fresh.add(place.instance_id)
        os.eventfd_write(self._wake, 1)

    def forget(self, place: Place) -> None:
        """The instance does not exist any more."""
        with self._mutex:
            tracked = self._tracked.pop(place.instance_id, None)
            if tracked is None:
                return
            self._renumber(tracked, None)
            for name in tracked.host_links:
                self._by_link.pop(name, None)
            for pidfd in list(tracked.daemons):
                self._drop_pidfd(tracked, pidfd)

    def _renumber(self, tracked: _Tracked, nsid: int | None) -> None:
        if tracked.nsid is not None and self._by_nsid.get(tracked.nsid) == tracked.place.instance_id:
            del self._by_nsid[tracked.nsid]
        tracked.nsid = nsid
        if nsid is not None:
            self._by_nsid[nsid] = tracked.place.instance_id

    # The thread

    def _run(self) -> None:
        while not self._ended:
            for handle, _ in self._poller.poll():
                try:
                    self._heard(handle)
                except Exception:  # noqa: BLE001  # one odd message must not make the node deaf
                    _log.exception("watch.bug")
                    self._suspect_all()

    def _heard(self, handle: int) -> None:
        if handle == self._wake:
            os.eventfd_read(self._wake)
            for listener in self._sockets.values():
                self._drain(listener)  # what comes later than this is not our work that has just ended
            self._watch_daemons()
        elif handle == self._inotify:
            self._names_gone()
        elif handle in self._sockets:
            self._drain(self._sockets[handle])
        else:
            self._daemon_ended(handle)

    def _names_gone(self) -> None:
        """A path below /run/netns was removed; our own removals forget the instance first."""
        for mask, name in inotify_events(os.read(self._inotify, _RECEIVE_BYTES)):
            if mask & IN_Q_OVERFLOW:
                self._suspect_all()
            elif name.startswith(namespaces.PREFIX):
                self._hint(name.removeprefix(namespaces.PREFIX), heard_since=time.monotonic())

    def _drain(self, listener: socket.socket) -> None:
        drained_at = self._drained_at[listener.fileno()]
        concerned: set[str] = set()
        while True:
            try:
                data, ancillary, _, _ = listener.recvmsg(_RECEIVE_BYTES, 64)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                _log.warning("watch.overrun")
                self._suspect_all()
                continue
            concerns = self._concerns(data, nsid_in(ancillary))
            if concerns is not None:
                concerned.add(concerns)
        for instance_id in concerned:
            self._hint(instance_id, heard_since=drained_at)
        self._drained_at[listener.fileno()] = time.monotonic()

    def _concerns(self, data: bytes, nsid: int) -> str | None:
        kind = struct.unpack_from("=H", data, 4)[0]
        if nsid != NO_NSID or self._solitary:
            if kind == _NEWADDR and data[16] == _AF_INET6:
                return None  # the end of duplicate address detection
            with self._mutex:
                return next(iter(self._tracked), None) if self._solitary else self._by_nsid.get(nsid)
        if kind == _DELNSID:
            ended = netlink.attributes(data, 20).get(NETNSA_NSID, b"\xff" * 4)
            with self._mutex:
                return self._by_nsid.get(struct.unpack("=i", ended)[0])
        if kind not in (_NEWLINK, _DELLINK):
            return None
        name = netlink.attributes(data, 32).get(_IFLA_IFNAME, b"").rstrip(b"\0").decode(errors="replace")
        with self._mutex:
            return self._by_link.get(name)

    def _hint(self, instance_id: str, heard_since: float) -> None:
        with self._mutex:
            tracked = self._tracked.get(instance_id)
            foreign = tracked is not None and tracked.settled_at is not None and tracked.settled_at <= heard_since
        if foreign:
            self._suspect(instance_id)

    def _watch_daemons(self) -> None:
        with self._mutex:
            fresh, self._fresh = self._fresh, set()
            places = [(self._tracked[one].place, self._tracked[one].body_pid) for one in fresh if one in self._tracked]
        for place, body_pid in places:
            found = _daemons(place, body_pid)
            with self._mutex:
                tracked = self._tracked.get(place.instance_id)
                if tracked is not None:
                    self._update_daemons(tracked, found)

    def _update_daemons(self, tracked: _Tracked, found: set[Process]) -> None:
        known = set(tracked.daemons.values())
        for pidfd in [fd for fd, process in tracked.daemons.items() if process not in found]:
            self._drop_pidfd(tracked, pidfd)
        for process in found - known:
            handle = processes.watch(process)
            if handle is not None:
                handle = descriptors.lifted(handle)
                tracked.daemons[handle] = process
                self._by_pidfd[handle] = tracked.place.instance_id
                self._poller.register(handle, select.EPOLLIN)

    def _drop_pidfd(self, tracked: _Tracked, pidfd: int) -> None:
        tracked.daemons.pop(pidfd, None)
        if self._by_pidfd.pop(pidfd, None) is not None:
            self._poller.unregister(pidfd)
            os.close(pidfd)

    def _daemon_ended(self, pidfd: int) -> None:
        with self._mutex:
            instance_id = self._by_pidfd.get(pidfd)
            tracked = self._tracked.get(instance_id) if instance_id is not None else None
            if instance_id is None or tracked is None:
                return  # forgotten in this moment
            process = tracked.daemons.get(pidfd)
            self._drop_pidfd(tracked, pidfd)
        if process is not None:
            processes.alive(process)  # reaps it when it was our child
        self._suspect(instance_id)


def _daemons(place: Place, body_pid: int | None) -> set[Process]:
    found = [processes.find(place.netns, path) for path in place.files.rglob("*.pid")]
    found += [processes.running(body_pid)] if body_pid is not None else []
    return {process for process in found if process is not None}
