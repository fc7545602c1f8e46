"""Hearing at once what changes by itself on a node: one long-polling thread per node.

A hint only, like every event: what it missed, the next resync finds. A thread ends with `stop` and not before: nobody
would start it again, and what changes on its node would only be found by the drift look.

A long poll may outlive a break that other requests have met: TCP sends again, and it hears its answer later, as if
nothing had been. So whenever a node falls silent to anybody, a second thread asks it until it answers, and then
everything there is looked at.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from functools import partial
from typing import Protocol

import structlog

from astara.clients.appliance import NodeClient
from astara.contract.agent import ChangeFeed
from astara.model.errors import AstaraError
from astara.model.resource import ResourceKey

_log = structlog.get_logger(__name__)
_WAIT_S = 25.0
_PAUSE_S = 2.0
#: How often a silent node is asked; its client leaves it alone for longer the longer that lasts.
_ASK_S = 0.5
#: After an exception nobody foresaw: doubled each time, so that a bug fills neither the log nor a CPU.
_LONGEST_PAUSE_S = 60.0


class OnChange(Protocol):
    """Called from a feed's thread; must not block."""

    def __call__(self, host: str, keys: tuple[ResourceKey, ...] | None) -> None:
        """`keys` changed on `host`; None: the agent is new or was away, look at everything there."""
        ...


class Feed:
    """Runs until `stop`. `crashed` is told of exceptions that nobody foresaw, to be counted."""

    def __init__(
        self,
        clients: Iterable[NodeClient],
        on_change: OnChange,
        crashed: Callable[[str], None] | None = None,
    ) -> None:
        clients = tuple(clients)
        self._on_change = on_change
        self._crashed = crashed or (lambda thread: None)
        self._ended = threading.Event()
        self._threads = [
            threading.Thread(target=self._follow, args=(client,), name=f"feed-{client.name}", daemon=True)
            for client in clients
        ]
        self._asking: set[str] = set()
        self._mutex = threading.Lock()
        for client in clients:
            client.on_silence(partial(self._ask_again, client))
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End without waiting: a thread may sit in a long poll, whose answer it will then ignore."""
        self._ended.set()

    def _follow(self, client: NodeClient) -> None:
        last: ChangeFeed | None = None
        crashes = 0
        while not self._ended.is_set():
            try:
                last = self._listen(client, last)
                crashes = 0
            except AstaraError as error:
                if last is not None:
                    _log.warning("feed.lost", node=client.name, reason=str(error))
                last = None
                self._ended.wait(_PAUSE_S)
            except Exception:  # noqa: BLE001 - a bug, ours or a library's, must not deafen us; logged with its traceback
                _log.exception("feed.crashed", node=client.name)
                self._crashed("node-feed")
                last = None
                self._ended.wait(min(_PAUSE_S * 2**crashes, _LONGEST_PAUSE_S))
                crashes = min(crashes + 1, 8)

    def _ask_again(self, client: NodeClient) -> None:
        with self._mutex:
            if client.name in self._asking:
                return
            self._asking.add(client.name)
        threading.Thread(target=self._until_it_answers, args=(client,), name=f"ask-{client.name}", daemon=True).start()

    def _until_it_answers(self, client: NodeClient) -> None:
        while not self._ended.wait(_ASK_S):
            with self._mutex:  # a silence that begins while this is answered is another one
                self._asking.discard(client.name)
            if self._answers(client):
                _log.info("node.back", node=client.name)
                self._on_change(client.name, None)
                return
            with self._mutex:
                if client.name in self._asking:
                    return  # somebody else asks by now
                self._asking.add(client.name)

    def _answers(self, client: NodeClient) -> bool:
        try:
            client.sight()
        except AstaraError:
            return False
        except Exception:  # noqa: BLE001 - as in `_follow`; whatever it says, it answers
            _log.exception("feed.crashed", node=client.name)
            self._crashed("node-feed")
        return not self._ended.is_set()

    def _listen(self, client: NodeClient, last: ChangeFeed | None) -> ChangeFeed:
        """Wait for the next answer and tell it on; raises what the client raises."""
        heard = client.changes(0 if last is None else last.cursor, 0.0 if last is None else _WAIT_S)
        self._tell(client.name, last, heard)
        return heard

    def _tell(self, host: str, last: ChangeFeed | None, heard: ChangeFeed) -> None:
        if self._ended.is_set():
            return
        if last is None or last.boot_id != heard.boot_id:
            self._on_change(host, None)
        elif heard.keys:
            self._on_change(host, tuple(ResourceKey(key.driver, key.id) for key in heard.keys))
