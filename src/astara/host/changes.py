"""What changed by itself on this node, for whoever waits at GET /v1/changes."""

from __future__ import annotations

import threading
import uuid

from astara.contract.agent import ChangeFeed, Key


class Changes:
    """A counter and, per resource, the count at its last change. `boot_id` changes with every start of the agent."""

    def __init__(self) -> None:
        self.boot_id = str(uuid.uuid4())
        self._condition = threading.Condition()
        self._cursor = 0
        self._last: dict[Key, int] = {}
        self._closed = False

    @property
    def cursor(self) -> int:
        with self._condition:
            return self._cursor

    def publish(self, key: Key) -> None:
        """Say that an instance of `key` changed by itself."""
        with self._condition:
            self._cursor += 1
            self._last[key] = self._cursor
            self._condition.notify_all()

    def forget(self, key: Key) -> None:
        with self._condition:
            self._last.pop(key, None)

    def since(self, cursor: int, wait_s: float) -> ChangeFeed:
        """Return what changed after `cursor`, waiting up to `wait_s` seconds for the first change.

        A cursor from before this agent's start is answered at once; the boot id tells the asker to look at all.
        """
        with self._condition:
            self._condition.wait_for(lambda: self._closed or self._cursor != cursor, timeout=wait_s)
            keys = tuple(key for key, at in self._last.items() if at > cursor)
            return ChangeFeed(cursor=self._cursor, keys=keys, boot_id=self.boot_id)

    def close(self) -> None:
        """Let everybody who waits go."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()
