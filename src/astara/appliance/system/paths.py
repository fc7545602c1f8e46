"""Whether a next hop still answers, asked with a MAC address of our own so that nobody takes us for somebody else.

Probes (`system/probes.py`) each second, for every place of the process from one thread. What changes is written to a
file; nothing but that file is anybody's business here.

In the same rounds each half says on its links that it is there, under the same MAC address: OVN's chassis keep closed
what they have besides another until it did (activation strategy "rarp"; docs/design/ha.md).
"""

from __future__ import annotations

import contextlib
import ctypes
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from astara.appliance.system import netns, probes
from astara.appliance.system.probes import Address

EVERY_S = 1.0
#: So many questions in a row without an answer, and the path counts as dead.
MISSES = 3
#: An answer has that long, however late the round began.
_LISTEN_S = 0.3
#: packet(7), socket(7), linux/if_packet.h
_SOL_PACKET, _ADD_MEMBERSHIP, _ONE_ADDRESS, _ATTACH_FILTER = 263, 1, 3, 26


@dataclass(frozen=True, slots=True)
class Question:
    """Ask on `link` for `address`; `source` is the MAC address the answer comes to."""

    link: str
    address: Address
    source: str


@dataclass(frozen=True, slots=True)
class Presence:
    """Say on `link`, whose MAC address is `to`, that somebody is there; `source` is the MAC address that says so."""

    link: str
    to: str
    source: str


@dataclass(slots=True)
class _Watched:
    """One place: it is well while any of its next hops answers, and until one has answered for the first time."""

    place: Path | None
    questions: tuple[Question, ...]
    file: Path
    dead: str
    presences: tuple[Presence, ...] = ()
    held: Callable[[], bool] = lambda: False
    sockets: dict[tuple[str, int], socket.socket] = field(default_factory=dict)  # by link and protocol
    mouth: socket.socket | None = None  # for all presences
    known: bool = False  # somebody has answered since we ask
    asked: bool = False  # in this round
    answered: bool = False
    misses: int = 0

    def close(self) -> None:
        for one in [*self.sockets.values(), *filter(None, [self.mouth])]:
            one.close()


class Paths:
    """One background thread, started with the first place that has something to ask."""

    def __init__(self) -> None:
        self._watched: dict[Path, _Watched] = {}
        self._mutex = threading.Lock()
        self._thread: threading.Thread | None = None

    def watch(
        self,
        place: Path | None,
        questions: Iterable[Question],
        file: Path,
        dead: str,
        presences: Iterable[Presence] = (),
        held: Callable[[], bool] = lambda: False,
    ) -> None:
        """Keep `file` saying "0", or `dead` once none answers any more; idempotent. Replaces what was asked before.

        While `held` says so, what is dead stays it, whoever answers.
        """
        wanted, said = tuple(questions), tuple(presences)
        with self._mutex:
            known = self._watched.get(file)
            same = known is not None and (known.place, known.questions, known.presences) == (place, wanted, said)
            if same and file.exists():
                return
            if known is not None:
                known.close()
            self._watched[file] = _Watched(place, wanted, file, dead, said, held)
            _write(file, "0")
            if self._thread is None and (wanted or said):
                self._thread = threading.Thread(target=self._repeat, name="paths", daemon=True)
                self._thread.start()

    def forget(self, file: Path) -> None:
        with self._mutex:
            known = self._watched.pop(file, None)
        if known is not None:
            known.close()

    def _repeat(self) -> None:
        while True:
            began = time.monotonic()
            with self._mutex:
                everyone = list(self._watched.values())
            for watched in everyone:
                watched.asked = watched.answered = False
                _ask(watched)
                with self._mutex:
                    if self._watched.get(watched.file) is not watched:
                        watched.close()  # forgotten while it asked: nobody else knows of its new sockets
            self._listen(everyone, max(began + EVERY_S, time.monotonic() + _LISTEN_S))
            for watched in everyone:
                _judge(watched)

    def _listen(self, everyone: list[_Watched], until: float) -> None:
        while (left_s := until - time.monotonic()) > 0:
            owners = {one: watched for watched in everyone for one in watched.sockets.values() if one.fileno() >= 0}
            poller = select.poll()
            by_descriptor = {one.fileno(): (one, watched) for one, watched in owners.items()}
            for descriptor in by_descriptor:
                poller.register(descriptor, select.POLLIN)
            for descriptor, _ in poller.poll(left_s * 1000):
                one, watched = by_descriptor[descriptor]
                with contextlib.suppress(OSError):
                    _hear(watched, one.recv(128))


def _ask(watched: _Watched) -> None:
    for question in watched.questions:
        frame = probes.question(question.address, _packed(question.source))
        watched.asked |= _sent(watched, question.link, probes.protocol(question.address), question.source, frame)
    for one in watched.presences:
        _say(watched, one)


def _say(watched: _Watched, presence: Presence) -> None:
    """By one socket for all links that is bound to none: what other halves say on each of theirs must wake nobody."""
    frame = probes.presence(_packed(presence.to), _packed(presence.source))
    try:
        if watched.mouth is None:
            with netns.entered(watched.place):
                watched.mouth = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
                watched.mouth.setblocking(False)
        watched.mouth.sendto(frame, (presence.link, probes.RARP))
    except OSError:  # the link is going away, or the whole place is, and another one comes under its name
        if watched.mouth is not None:
            watched.mouth.close()
            watched.mouth = None


def _sent(watched: _Watched, link: str, protocol: int, source: str, frame: bytes) -> bool:
    way = link, protocol
    try:
        if way not in watched.sockets:
            watched.sockets[way] = _opened(watched.place, *way, _packed(source))
        watched.sockets[way].send(frame)
    except OSError:  # it is going away, or its link is: a socket never finds another one of that name
        if (lost := watched.sockets.pop(way, None)) is not None:
            lost.close()
        return False
    return True


def _opened(place: Path | None, link: str, protocol: int, source: bytes) -> socket.socket:
    with netns.entered(place), contextlib.ExitStack() as unless_bound:
        made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
        unless_bound.callback(made.close)
        if protocol == probes.IPV6:
            _only_advertisements(made)
        # The card of a machine keeps what is for another address than its own (virtio 1.2 5.1.6.5.1).
        member = struct.pack("=iHH8s", socket.if_nametoindex(link), _ONE_ADDRESS, len(source), source)
        made.setsockopt(_SOL_PACKET, _ADD_MEMBERSHIP, member)
        made.bind((link, protocol))
        made.setblocking(False)
        unless_bound.pop_all()
    return made


def _only_advertisements(made: socket.socket) -> None:
    code = b"".join(struct.pack("=HBBI", *line) for line in probes.ADVERTISEMENTS)
    buffer = ctypes.create_string_buffer(code)
    program = struct.pack("HP", len(probes.ADVERTISEMENTS), ctypes.addressof(buffer))
    made.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, program)


def _hear(watched: _Watched, frame: bytes) -> None:
    found = probes.answer(frame)
    if found in {(_packed(question.source), question.address) for question in watched.questions}:
        watched.answered = True


def _packed(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def _judge(watched: _Watched) -> None:
    """Rounds are counted, not seconds: on a machine that is too busy to ask, nobody fails to answer."""
    if watched.answered:
        watched.known, watched.misses = True, 0
    elif watched.asked and watched.known:
        watched.misses += 1
    wanted = watched.dead if watched.misses >= MISSES else "0"
    with contextlib.suppress(OSError):
        if watched.file.read_text().strip() != wanted and (wanted == watched.dead or not watched.held()):
            _write(watched.file, wanted)


def _write(file: Path, word: str) -> None:
    """In place: who follows the file follows this very one."""
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{word}\n")
