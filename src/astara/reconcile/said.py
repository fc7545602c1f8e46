"""What operators said of resources, here or at another orchestrator: answered from memory, durable in the records."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

from astara.model.resource import ResourceKey


class Said:
    """One word for each resource that has one. Thread-safe; no lock is held while the records are asked."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._words: dict[ResourceKey, str] = {}
        self._unwritten: dict[ResourceKey, str | None] = {}
        self._changes = 0

    def say(self, key: ResourceKey, word: str | None, write: Callable[[], None]) -> None:
        """Let it be in force at once, None: nothing any more; then `write` it. Raises what `write` raises."""
        with self._lock:
            self._put(self._words, key, word)
            self._unwritten[key] = word
            self._changes += 1
        self._written(key, word, write)

    def _written(self, key: ResourceKey, word: str | None, write: Callable[[], None]) -> None:
        write()
        with self._lock:
            self._changes += 1  # a reading that began before does not know of it
            if key in self._unwritten and self._unwritten[key] == word:
                del self._unwritten[key]

    def write_again(self, write: Callable[[ResourceKey, str | None], None]) -> None:
        """Write what could not be written when it was said; raises what `write` raises."""
        with self._lock:
            unwritten = dict(self._unwritten)
        for key, word in unwritten.items():
            self._written(key, word, lambda key=key, word=word: write(key, word))  # type: ignore[misc]

    def say_again(self) -> None:
        """What is known is to be written once more: the records were lost."""
        with self._lock:
            self._unwritten = {**self._words, **self._unwritten}

    def read(self, read: Callable[[], Mapping[ResourceKey, str]]) -> frozenset[ResourceKey] | None:
        """Take over what the records say, and return whose word changed.

        None: something was said here meanwhile, read again. What could not be written stays in force.
        """
        with self._lock:
            before = self._changes
        words = dict(read())
        with self._lock:
            if before != self._changes:
                return None
            for key, word in self._unwritten.items():
                self._put(words, key, word)
            changed = frozenset(key for key, _ in words.items() ^ self._words.items())
            self._words = words
        return changed

    @property
    def unwritten(self) -> int:
        """Of how many resources a word is in force that is not durable."""
        return len(self._unwritten)

    def word(self, key: ResourceKey) -> str | None:
        with self._lock:
            return self._words.get(key)

    def all(self) -> dict[ResourceKey, str]:
        with self._lock:
            return dict(self._words)

    @staticmethod
    def _put(words: dict[ResourceKey, str], key: ResourceKey, word: str | None) -> None:
        if word is None:
            words.pop(key, None)
        else:
            words[key] = word
