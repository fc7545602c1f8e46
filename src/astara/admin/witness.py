"""What an operator did, as a line of the audit: pure. What may change anything is witnessed."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from astara.admin.api import ROOT, AbortRequest, HoldRequest, MoveRequest
from astara.admin.routes import Reply
from astara.contract.agent import Problem
from astara.contract.codec import ContractError, decode
from astara.model.operator import HistoryLine, UpgradeRequest
from astara.model.resource import ResourceKey

#: Told of every act; None: it concerned no single resource.
Witness = Callable[[ResourceKey | None, HistoryLine], None]

_RESOURCE = re.compile(re.escape(ROOT) + r"/resources/(?P<driver>[^/]+)/(?P<id>[^/]+)/(?P<act>.+)")
_OUTCOMES = {404: "refused", 409: "refused", 422: "refused", 400: "refused", 405: "refused", 503: "retry"}


@dataclass(frozen=True, slots=True)
class Act:
    """One request that may change something. `at` is in seconds since the epoch."""

    who: str
    method: str
    path: str
    body: bytes
    at: float
    duration_s: float


def witnessed(act: Act, reply: Reply) -> tuple[ResourceKey | None, HistoryLine]:
    """Return what happened. Of the body only what is known to be no secret is repeated."""
    found = _RESOURCE.fullmatch(act.path)
    key = None if found is None else ResourceKey(found["driver"], found["id"])
    name = found["act"] if found is not None else act.path.removeprefix(ROOT).strip("/")
    done = reply.status < 400
    words = name.replace("/", " ") + _details(name.rpartition("/")[2], act.body)
    return key, HistoryLine(
        at=act.at,
        reason="operator",
        phase="",
        steps=(words,) if done else (),
        undone=() if done else (words,),
        outcome="done" if done else _OUTCOMES.get(reply.status, "failed"),
        detail="" if done else _problem(reply),
        duration_ms=round(1000 * act.duration_s, 1),
        who=act.who,
    )


def _details(name: str, body: bytes) -> str:
    try:
        match name:
            case "hold" | "drain":
                return f": {decode(body, HoldRequest).reason}"
            case "move":
                return f" to {decode(body, MoveRequest).to or 'the body its flavor or the configuration says'}"
            case "upgrade":
                asked = decode(body, UpgradeRequest)
                return f" to {asked.image}" if asked.image is not None else f" of every {asked.body}"
            case "abort":
                return ", and back" if body and decode(body, AbortRequest).back else ""
            case _:
                return ""
    except ContractError:
        return ""


def _problem(reply: Reply) -> str:
    try:
        return decode(reply.body, Problem).message
    except ContractError:
        return f"status {reply.status}"
