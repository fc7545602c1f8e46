"""One guest's connection: HTTP/1.1 in (parsed by h11), a signed request to Nova out, the answer streamed back."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from ipaddress import IPv4Address, IPv6Address

import h11
import httpx
import structlog

from astara.appliance.subsystems.metadata.config import Identity
from astara.appliance.subsystems.metadata.signing import headers_for_nova

_log = structlog.get_logger()

_BLOCK = 65536
_HELD_BYTES = 262144
_READ_BYTES = 4096  # h11 bounds what is incomplete, so by this much a head may be longer than the limit
_NEVER = frozenset({b"CONNECT", b"TRACE"})
#: RFC 9110 7.6.1; framing is ours to decide.
_HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"server",
        b"date",
    }
)
_OUR_FAULT = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})

Identify = Callable[[], Awaitable[Identity | None]]


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one exchange, in seconds and bytes."""

    request_s: float = 10.0
    idle_s: float = 15.0
    connect_s: float = 5.0
    answer_s: float = 30.0
    write_s: float = 20.0
    exchange_s: float = 60.0  # one request with its answer, altogether
    head_bytes: int = 16384
    body_bytes: int = 65536
    connections: int = 128  # of one instance at a time
    connections_of_one: int = 32  # of these, from one address: one guest must not keep the others out


@dataclass(frozen=True, slots=True)
class Nova:
    """The upstream: Nova's metadata API, and the secret that only the node knows."""

    client: httpx.AsyncClient
    url: httpx.URL
    shared_secret: bytes

    def __repr__(self) -> str:
        return f"Nova(url={self.url!r})"


class _Refused(Exception):
    def __init__(self, status: HTTPStatus) -> None:
        self.status = status
        super().__init__(status.phrase)


class Exchange:
    """Serves one connection until it ends. `identify` is asked for every request."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        source: IPv4Address | IPv6Address,
        identify: Identify,
        nova: Nova,
        limits: Limits,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._source = source
        self._identify = identify
        self._nova = nova
        self._limits = limits
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=limits.head_bytes)

    async def run(self) -> None:
        """Serve requests one after another; returns when either side is done. Raises OSError when the guest left."""
        first = True
        while await self._serve_one(self._limits.request_s if first else self._limits.idle_s):
            first = False

    async def _serve_one(self, timeout_s: float) -> bool:
        try:
            request = await asyncio.wait_for(self._next_event(), timeout_s)
            if not isinstance(request, h11.Request):
                return False
            body = await asyncio.wait_for(self._body(), self._limits.request_s)
            await asyncio.wait_for(self._answer(request, body), self._limits.exchange_s)
        except TimeoutError:
            return False
        except h11.RemoteProtocolError as error:
            await self._refuse(HTTPStatus(error.error_status_hint))
            return False
        except _Refused as refused:
            await self._refuse(refused.status)
            return False
        if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
            return False
        self._http.start_next_cycle()
        return True

    async def _next_event(self) -> object:
        while True:
            event = self._http.next_event()
            if not isinstance(event, type) or event is h11.PAUSED:
                return event
            if self._http.they_are_waiting_for_100_continue:
                await self._send(h11.InformationalResponse(status_code=100, headers=[]))
            self._http.receive_data(await self._reader.read(_READ_BYTES))

    async def _body(self) -> bytes:
        body = bytearray()
        while isinstance(event := await self._next_event(), h11.Data):
            body += event.data
            if len(body) > self._limits.body_bytes:
                raise _Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        return bytes(body)

    async def _answer(self, request: h11.Request, body: bytes) -> None:
        if request.method in _NEVER:
            raise _Refused(HTTPStatus.METHOD_NOT_ALLOWED)
        if not request.target.startswith(b"/"):
            raise _Refused(HTTPStatus.BAD_REQUEST)
        identity = await self._identify()
        if identity is None:
            raise _Refused(HTTPStatus.NOT_FOUND)
        try:
            await self._relay(request, body, identity)
        except httpx.TimeoutException:
            raise _Refused(HTTPStatus.GATEWAY_TIMEOUT) from None
        except httpx.HTTPError as error:
            _log.warning("metadata_upstream_failed", error=type(error).__name__, instance_id=identity.instance_id)
            raise _Refused(HTTPStatus.BAD_GATEWAY) from None

    async def _relay(self, request: h11.Request, body: bytes, identity: Identity) -> None:
        headers = headers_for_nova(request.headers, identity, self._source, self._nova.shared_secret)
        url = self._nova.url.copy_with(raw_path=self._nova.url.raw_path.rstrip(b"/") + request.target)
        wanted = self._nova.client.stream(request.method.decode(), url, headers=headers, content=body or None)
        async with wanted as answer:
            _judge(answer, identity)
            head = _head(answer)
            blocks = answer.aiter_raw(_BLOCK)
            held, whole = await _beginning(blocks)
            if not whole:
                await self._send(head)
                await self._send(h11.Data(data=held))
                async for block in blocks:
                    await self._send(h11.Data(data=block))
        # What fits is sent after the connection to Nova is free again, so that slow guests do not use those up.
        if whole:
            await self._send(head)
            if held:
                await self._send(h11.Data(data=held))
        await self._send(h11.EndOfMessage())

    async def _refuse(self, status: HTTPStatus) -> None:
        """Say only the status: what went wrong inside is not a guest's affair."""
        if self._http.our_state not in {h11.IDLE, h11.SEND_RESPONSE}:
            return  # part of an answer has been sent; closing says that it is incomplete
        text = f"{status.value} {status.phrase}\n".encode()
        headers = [("content-type", "text/plain"), ("content-length", str(len(text))), ("connection", "close")]
        await self._send(h11.Response(status_code=status.value, headers=headers, reason=status.phrase.encode()))
        with contextlib.suppress(h11.LocalProtocolError):  # an answer to HEAD has no body
            await self._send(h11.Data(data=text))
            await self._send(h11.EndOfMessage())

    async def _send(self, event: h11.Event) -> None:
        data = self._http.send(event)
        if data:
            self._writer.write(data)
            await asyncio.wait_for(self._writer.drain(), self._limits.write_s)


async def _beginning(blocks: AsyncIterator[bytes]) -> tuple[bytes, bool]:
    """Read up to _HELD_BYTES and say whether that is all."""
    held = bytearray()
    async for block in blocks:
        held += block
        if len(held) >= _HELD_BYTES:
            return bytes(held), False
    return bytes(held), True


def _head(answer: httpx.Response) -> h11.Response:
    kept = [(name, value) for name, value in answer.headers.raw if name.lower() not in _HOP_BY_HOP]
    reason = answer.reason_phrase.encode("ascii", "replace")
    return h11.Response(status_code=answer.status_code, headers=kept, reason=reason)


def _judge(answer: httpx.Response, identity: Identity) -> None:
    """Let through what is between Nova and the guest; what is between Nova and us becomes 502."""
    if answer.status_code in _OUR_FAULT:
        _log.error(
            "metadata_signature_refused",
            status=answer.status_code,
            instance_id=identity.instance_id,
            remedy="make [metadata] shared_secret_file equal Nova's [neutron] metadata_proxy_shared_secret",
        )
        raise _Refused(HTTPStatus.BAD_GATEWAY)
    if answer.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
        raise _Refused(HTTPStatus.BAD_GATEWAY)
