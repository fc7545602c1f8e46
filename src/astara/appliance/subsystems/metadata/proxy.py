"""The metadata proxy of a node: one thread serves every instance; there is no process and no thread per instance.

A listening socket stays in the network namespace it was made in, so one event loop can hold a pair of sockets in
each of a thousand namespaces.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import structlog

from astara.appliance.boundaries import Place
from astara.appliance.subsystems.metadata import neighbours
from astara.appliance.subsystems.metadata.config import (
    METADATA_PORT,
    METADATA_V4,
    METADATA_V6,
    Identity,
    MetadataConfig,
)
from astara.appliance.subsystems.metadata.exchange import Exchange, Limits, Nova
from astara.appliance.subsystems.metadata.identity import Directory
from astara.appliance.system import descriptors, netlink, netns, rtnetlink

_log = structlog.get_logger()

_IP_FREEBIND = 15
_IPV6_FREEBIND = 78
_SO_BINDTOIFINDEX = 62
_BACKLOG = 64
_CONTROL_TIMEOUT_S = 5.0
_BUSY = b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Spot:
    """Where sockets listen: a namespace (by the kernel's number for it) and a link's index in it."""

    namespace: int
    link_index: int


@dataclass(slots=True)
class _Served:
    spot: Spot
    place: Place
    config: MetadataConfig
    directory: Directory
    servers: list[asyncio.Server] = field(default_factory=list)
    connections: dict[asyncio.Task[None], str] = field(default_factory=dict)  # -> source address


class NotServing(Exception):
    """The proxy is not started, or does not answer."""


class MetadataProxy:
    """Answers metadata requests of every instance on the node. Safe to call from many threads.

    `shared_secret` is Nova's `[neutron] metadata_proxy_shared_secret`; it never leaves this object. `transport`
    replaces the way to Nova in tests.
    """

    def __init__(
        self,
        nova_url: str,
        shared_secret: bytes,
        limits: Limits | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._url = httpx.URL(nova_url)
        self._shared_secret = shared_secret
        self._limits = limits or Limits()
        self._transport = transport
        self._served: dict[str, _Served] = {}
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._nova: Nova | None = None
        self._lookups = ThreadPoolExecutor(max_workers=2, thread_name_prefix="metadata-lookup")

    def start(self) -> None:
        """Start the one thread. Returns when it accepts work."""
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(ready,), name="metadata", daemon=True)
        self._thread.start()
        ready.wait(_CONTROL_TIMEOUT_S)

    def stop(self) -> None:
        """Close every socket and end the thread; a second call does nothing."""
        loop, thread = self._loop, self._thread
        if loop is not None and thread is not None and thread.is_alive():
            loop.call_soon_threadsafe(loop.stop)
            thread.join(_CONTROL_TIMEOUT_S)
        self._loop = self._thread = None
        self._lookups.shutdown(wait=False, cancel_futures=True)

    def serve(self, place: Place, config: MetadataConfig) -> bool:
        """Answer for `place` as `config` says; return whether anything changed.

        Raises:
            NotServing: the proxy does not run. OSError: no such namespace or link, or the sockets cannot be bound.
        """
        with self._lock:
            spot = locate(place, config.mac)
            served = self._served.get(place.instance_id)
            if served is not None and served.spot == spot:
                changed = served.config != config
                served.config, served.directory = config, Directory.of(config.identities)
                return changed
            if served is not None:
                self._withdraw(place)
            self._listen(place, spot, config)
            return True

    def withdraw(self, place: Place) -> bool:
        """Stop answering for `place`; return whether it was served."""
        with self._lock:
            return self._withdraw(place)

    def differences(self, place: Place, config: MetadataConfig) -> Iterator[str]:
        """Say what keeps guests of `place` from being answered as `config` says; nothing when all is well."""
        served = self._served.get(place.instance_id)
        if served is None:
            yield "nobody listens"
        elif served.spot != locate(place, config.mac):
            yield "listens on a link or in a namespace that is not there any more"
        elif served.config != config:
            yield "answers with other identities"
        elif not all(server.is_serving() for server in served.servers):
            yield "a listening socket was closed"
        elif not self._responsive():
            yield "the proxy's thread does not answer"

    def _run(self, ready: threading.Event) -> None:
        loop = asyncio.new_event_loop()
        client = httpx.AsyncClient(
            timeout=httpx.Timeout(self._limits.answer_s, connect=self._limits.connect_s),
            limits=httpx.Limits(max_connections=256, max_keepalive_connections=16),
            follow_redirects=False,
            trust_env=False,
            # Where Nova's API is plain HTTP nobody has to read what certificates the world believes in.
            verify=self._url.scheme == "https",
            transport=self._transport,
            headers={"accept-encoding": "identity"},
        )
        self._nova = Nova(client, self._url, self._shared_secret)
        self._loop = loop
        loop.call_soon(ready.set)
        try:
            loop.run_forever()
        finally:
            loop.run_until_complete(self._close_all())
            loop.run_until_complete(client.aclose())
            loop.close()

    async def _close_all(self) -> None:
        for served in list(self._served.values()):
            await self._close(served)
        self._served.clear()

    def _listen(self, place: Place, spot: Spot, config: MetadataConfig) -> None:
        sockets = listening_sockets(place.netns, spot.link_index)
        served = _Served(spot, place, config, Directory.of(config.identities))
        try:
            self._in_loop(lambda: self._open(served, sockets))
        except BaseException:
            for each in sockets:
                each.close()
            raise
        self._served[place.instance_id] = served

    def _withdraw(self, place: Place) -> bool:
        served = self._served.pop(place.instance_id, None)
        if served is None:
            return False
        with contextlib.suppress(NotServing):  # a stopped proxy has closed everything
            self._in_loop(lambda: self._close(served))
        return True

    async def _open(self, served: _Served, sockets: list[socket.socket]) -> None:
        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self._accept(served, reader, writer)

        for each in sockets:
            served.servers.append(await asyncio.start_server(accept, sock=each, limit=self._limits.head_bytes))

    async def _close(self, served: _Served) -> None:
        for server in served.servers:
            server.close()
        tasks = list(served.connections)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _accept(self, served: _Served, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or self._nova is None:
            return
        try:
            peer = writer.get_extra_info("peername")
            if peer is None:
                return  # gone already
            source = str(peer[0])
            if self._busy(served, source):
                writer.write(_BUSY)
                return
            served.connections[task] = source
            await self._exchange(served, reader, writer, self._nova)
        except OSError:
            pass  # the guest went away
        except Exception as error:  # noqa: BLE001 - one guest's connection must not end the others'
            _log.error("metadata_exchange_failed", instance=served.place.instance_id, error=type(error).__name__)
        finally:
            served.connections.pop(task, None)
            writer.close()

    def _busy(self, served: _Served, source: str) -> bool:
        sources = list(served.connections.values())
        return len(sources) >= self._limits.connections or sources.count(source) >= self._limits.connections_of_one

    async def _exchange(
        self, served: _Served, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, nova: Nova
    ) -> None:
        peer = writer.get_extra_info("peername")
        source = ipaddress.ip_address(str(peer[0]).partition("%")[0])

        async def identify() -> Identity | None:
            mac = None
            if isinstance(source, ipaddress.IPv6Address) and source.is_link_local:
                mac = await self._mac_of(served, source)
            return served.directory.identify(source, mac)

        await Exchange(reader, writer, source, identify, nova, self._limits).run()

    async def _mac_of(self, served: _Served, source: ipaddress.IPv6Address) -> str | None:
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(
                self._lookups, neighbours.mac_of, served.place.netns, served.spot.link_index, source
            )
        except OSError:
            return None

    def _in_loop(self, make: Callable[[], object]) -> None:
        """Run a coroutine in the proxy's thread and wait for it. Raises NotServing, and what it raises."""
        loop, thread = self._loop, self._thread
        if loop is None or thread is None or not thread.is_alive():
            raise NotServing("the metadata proxy is not running")
        work = make()
        assert asyncio.iscoroutine(work)
        try:
            asyncio.run_coroutine_threadsafe(work, loop).result(_CONTROL_TIMEOUT_S)
        except TimeoutError:
            raise NotServing("the metadata proxy does not answer") from None

    def _responsive(self) -> bool:
        try:
            self._in_loop(lambda: asyncio.sleep(0))
        except NotServing:
            return False
        return True


def locate(place: Place, mac: str) -> Spot:
    """Find the link with `mac` in the place's namespace. Raises NetnsGone, NetlinkError, FileNotFoundError."""
    with netns.entered(place.netns), netlink.Netlink() as kernel:
        link = rtnetlink.by_mac(rtnetlink.links(kernel)).get(mac)
    if link is None:
        raise FileNotFoundError("no link has the MAC address metadata is served on")
    return Spot(netns.inode(place.netns), link.index)


def listening_sockets(place_netns: Path | None, link_index: int) -> list[socket.socket]:
    """Return the IPv4 and the IPv6 socket, bound inside the namespace; the addresses may come later."""
    with netns.entered(place_netns):
        return [_v4(link_index), _v6(link_index)]


def _v4(link_index: int) -> socket.socket:
    """Bound to the link: a machine has another one into this namespace, and is nobody's guest."""
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, _SO_BINDTOIFINDEX, link_index)
    made.setsockopt(socket.SOL_IP, _IP_FREEBIND, 1)
    return _bound(made, (str(METADATA_V4), METADATA_PORT))


def _v6(link_index: int) -> socket.socket:
    made = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
    made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    made.setsockopt(socket.IPPROTO_IPV6, _IPV6_FREEBIND, 1)
    return _bound(made, (str(METADATA_V6), METADATA_PORT, 0, link_index))


def _bound(made: socket.socket, address: tuple[str, int] | tuple[str, int, int, int]) -> socket.socket:
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
        made.listen(_BACKLOG)
    except OSError as error:
        made.close()
        raise OSError(error.errno, f"{address[0]} port {address[1]} cannot be bound: {error.strerror}") from None
    made.setblocking(False)
    return descriptors.lifted_socket(made)
