"""From a request to an `Operator` call and back: pure, no sockets."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import unquote

import structlog

from astara.admin.api import ROOT, AbortRequest, HoldRequest, MoveRequest, ResyncReply, ResyncRequest
from astara.contract.agent import Problem
from astara.contract.codec import ContractError, convert, decode, encode
from astara.model.errors import AstaraError, Gone, Retry, Stale, Terminal
from astara.model.operator import AuditQuery, Operator, UpgradeRequest
from astara.model.resource import ResourceKey

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Reply:
    """One HTTP answer; `status` is the code."""

    status: int
    body: bytes = b""
    content_type: str = "application/json"


@dataclass(frozen=True, slots=True)
class _Call:
    operator: Operator
    arguments: dict[str, str]
    body: bytes
    query: Mapping[str, str]

    @property
    def key(self) -> ResourceKey:
        return ResourceKey(self.arguments["driver"], self.arguments["id"])

    def word(self, name: str) -> str:
        return unquote(self.arguments[name])


_Handler = Callable[[_Call], Reply]
_DONE = Reply(204)
#: So many lines of the audit are given at once.
MOST_LINES = 10_000


def _json(value: object) -> Reply:
    return Reply(200, encode(value))


def _rebuild(call: _Call) -> Reply:
    call.operator.rebuild(call.key)
    return _DONE


def _reason(call: _Call) -> str:
    reason = decode(call.body, HoldRequest).reason.strip()
    if not reason:
        raise ContractError("$.reason", "is empty", "say why: the next operator reads it")
    return reason


def _hold(call: _Call) -> Reply:
    call.operator.hold(call.key, _reason(call))
    return _DONE


def _drain(call: _Call) -> Reply:
    call.operator.drain(call.word("name"), _reason(call))
    return _DONE


def _undrain(call: _Call) -> Reply:
    call.operator.undrain(call.word("name"))
    return _DONE


def _upgrade(call: _Call) -> Reply:
    return _json(call.operator.begin_upgrade(decode(call.body, UpgradeRequest)))


def _abort(call: _Call) -> Reply:
    return _json(call.operator.abort_upgrade(back=decode(call.body or b"{}", AbortRequest).back))


def _release(call: _Call) -> Reply:
    call.operator.release(call.key)
    return _DONE


def _move(call: _Call) -> Reply:
    call.operator.move(call.key, decode(call.body, MoveRequest).to)
    return _DONE


def _release_brake(call: _Call) -> Reply:
    call.operator.release_brake()
    return _DONE


def _resync(call: _Call) -> Reply:
    wanted = decode(call.body or b"{}", ResyncRequest).resource
    try:
        key = None if wanted is None else ResourceKey.parse(wanted)
    except ValueError as error:
        raise ContractError("$.resource", str(error), "write DRIVER/ID") from None
    return _json(ResyncReply(queued=call.operator.resync(key)))


def _audit(call: _Call) -> Reply:
    asked: dict[str, object] = dict(call.query)
    for name, kind in (("since", float), ("limit", int)):
        if name in asked:
            try:
                asked[name] = kind(call.query[name])
            except ValueError:
                raise ContractError(f"$.{name}", "is not a number", "write a number") from None
    query = convert(asked, AuditQuery)
    if not 1 <= query.limit <= MOST_LINES:
        raise ContractError("$.limit", "is out of range", f"write 1 to {MOST_LINES}")
    return _json(list(call.operator.audit(query)))


def _console_log(call: _Call) -> Reply:
    text = call.operator.console_log(call.arguments["id"])
    return Reply(200, text.encode("utf-8", "replace"), "text/plain; charset=utf-8")


_RESOURCE = r"/resources/(?P<driver>[^/]+)/(?P<id>[^/]+)"
_ROUTES: tuple[tuple[str, re.Pattern[str], _Handler], ...] = tuple(
    (method, re.compile(ROOT + path), handler)
    for method, path, handler in (
        ("GET", r"/status", lambda call: _json(call.operator.status())),
        ("GET", r"/resources", lambda call: _json(list(call.operator.resources()))),
        ("GET", _RESOURCE, lambda call: _json(call.operator.resource(call.key))),
        ("GET", _RESOURCE + r"/history", lambda call: _json(list(call.operator.history(call.key)))),
        ("POST", _RESOURCE + r"/rebuild", _rebuild),
        ("POST", _RESOURCE + r"/hold", _hold),
        ("POST", _RESOURCE + r"/release", _release),
        ("POST", _RESOURCE + r"/move", _move),
        ("POST", r"/resync", _resync),
        ("GET", r"/audit", _audit),
        ("GET", r"/instances", lambda call: _json(list(call.operator.instances()))),
        ("GET", r"/instances/(?P<id>[^/]+)/console-log", _console_log),
        ("GET", r"/drivers", lambda call: _json(list(call.operator.drivers()))),
        ("GET", r"/providers", lambda call: _json(list(call.operator.providers()))),
        ("GET", r"/pool", lambda call: _json(list(call.operator.pool()))),
        ("GET", r"/cluster", lambda call: _json(call.operator.cluster())),
        ("GET", r"/cluster/without/(?P<name>[^/]+)", lambda call: _json(call.operator.cluster(call.word("name")))),
        (
            "GET",
            r"/cluster/of/(?P<driver>[^/]+)/(?P<id>[^/]+)",
            lambda call: _json(call.operator.cluster(None, call.key)),
        ),
        ("GET", r"/doctor", lambda call: _json(list(call.operator.doctor()))),
        ("POST", r"/brake/release", _release_brake),
        ("GET", r"/nodes", lambda call: _json(list(call.operator.nodes()))),
        ("POST", r"/nodes/(?P<name>[^/]+)/drain", _drain),
        ("POST", r"/nodes/(?P<name>[^/]+)/undrain", _undrain),
        ("GET", r"/upgrade", lambda call: _json(call.operator.upgrade())),
        ("POST", r"/upgrade", _upgrade),
        ("POST", r"/upgrade/pause", lambda call: _json(call.operator.pause_upgrade())),
        ("POST", r"/upgrade/resume", lambda call: _json(call.operator.resume_upgrade())),
        ("POST", r"/upgrade/abort", _abort),
    )
)


def answer(operator: Operator, method: str, path: str, body: bytes, query: Mapping[str, str] | None = None) -> Reply:
    """Answer one request; `query` are its parameters.

    Never raises: everything that goes wrong becomes a Problem without a traceback.
    """
    matches = [(wanted, handler, found) for wanted, form, handler in _ROUTES if (found := form.fullmatch(path))]
    if not matches:
        return _problem(404, "not-found", f"there is no {path}", "see `astara --help` for what can be asked")
    chosen = next(((handler, found) for wanted, handler, found in matches if wanted == method), None)
    if chosen is None:
        allowed = ", ".join(wanted for wanted, _, _ in matches)
        return _problem(405, "bad-request", f"{path} does not take {method}", f"use {allowed}")
    handler, found = chosen
    try:
        return handler(_Call(operator, found.groupdict(), body, query or {}))
    except ContractError as error:
        return _problem(400, "bad-request", error.reason, error.remedy, error.field)
    except AstaraError as error:
        return _refusal(error)
    except Exception as error:  # noqa: BLE001  the last line of defence: an operator gets words, the log gets the rest
        _log.error("admin.failed", method=method, path=path, error=type(error).__name__, exc_info=True)
        return _problem(
            500,
            "internal",
            f"the orchestrator failed while answering ({type(error).__name__})",
            "look for the event admin.failed in the orchestrator's log",
        )


def _refusal(error: AstaraError) -> Reply:
    status, name = next(
        (
            (status, name)
            for kind, status, name in (
                (Gone, 404, "not-found"),
                (Stale, 409, "stale-generation"),
                (Retry, 503, "unavailable"),
                (Terminal, 422, "invalid"),
            )
            if isinstance(error, kind)
        ),
        (422, "invalid"),
    )
    return _problem(status, name, str(error), error.remedy)


def _problem(status: int, error: str, message: str, remedy: str, field: str | None = None) -> Reply:
    return Reply(status, encode(Problem(error=error, message=message, remedy=remedy or None, field=field)))
