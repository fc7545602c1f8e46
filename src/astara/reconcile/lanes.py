"""A queue that serves tenants in turn: who has much to do waits for himself, not others for him."""

from __future__ import annotations

from collections import deque

from astara.model.resource import ResourceKey


class FairQueue:
    """First in, first out for each tenant; between tenants one after the other. Every operation costs the same."""

    def __init__(self) -> None:
        self._of: dict[str, deque[tuple[ResourceKey, int]]] = {}
        self._turns: deque[str] = deque()

    def push(self, tenant: str, key: ResourceKey, ticket: int) -> None:
        """Add an entry behind the tenant's others."""
        waiting = self._of.get(tenant)
        if waiting is None:
            waiting = self._of[tenant] = deque()
            self._turns.append(tenant)
        waiting.append((key, ticket))

    def pop(self) -> tuple[ResourceKey, int] | None:
        """Return the oldest entry of the tenant whose turn it is; None when there is none at all."""
        if not self._turns:
            return None
        tenant = self._turns.popleft()
        waiting = self._of[tenant]
        entry = waiting.popleft()
        if waiting:
            self._turns.append(tenant)
        else:
            del self._of[tenant]
        return entry
