"""Our faults must not become a tenant's: what a hook of ours may let out, and what it may not."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from neutron_lib.db import api as db_api
from oslo_log import log as logging

LOG = logging.getLogger(__name__)


def must_pass(error: Exception) -> bool:
    """Return whether Neutron has to see an error: it then retries the whole call, and comes by here again."""
    return bool(db_api.is_retriable(error))


def shielded(hook: Callable[..., None]) -> Callable[..., None]:
    """Wrap a callback of Neutron's: the tenant's call goes on without it, and the orchestrator mends the rest."""

    @functools.wraps(hook)
    def guarded(*args: Any) -> None:
        try:
            hook(*args)
        except Exception as error:
            if must_pass(error):
                raise
            LOG.exception("Astara's hook %s failed; the call goes on without it", hook.__name__)

    return guarded
