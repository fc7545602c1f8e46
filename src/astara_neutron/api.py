"""The REST side: /v2.0/astara/*, bodies and answers in the types of `astara.contract.snapshot`.

    GET  routers[?id=A&id=B…][&limit=N][&marker=M]     RouterPage       POST routers  IdQuery -> RouterPage
    GET  networks[…same…]                              NetworkPage      POST networks IdQuery -> NetworkPage
    GET  changes?since=N                               ChangePage
    PUT  status       StatusReport    -> {"written": n}
    PUT  active       ActiveHalf      -> {"bound": n}
    PUT  nodes        NodeReport      -> {"bound": n, "waiting": n[, "withdrawn": [host]]}
    PUT  dhcp_ports   DhcpPortRequest -> DhcpPortReply
    PUT  placements   PlacementReport -> {"moved": n}

Every answer says the plug-in's version in the header `Astara-Version`.

Refusals have Neutron's shape, {"NeutronError": {"type", "message", "detail"}}; the message names the field.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from typing import Any, TypeVar

import pecan
import webob
import webob.exc
from neutron import policy
from neutron.pecan_wsgi.controllers import utils
from neutron_lib import exceptions as n_exc
from neutron_lib.plugins import directory
from oslo_config import cfg

from astara.contract.codec import ContractError, decode, encode
from astara.contract.generation import TERM_HEADER
from astara.contract.snapshot import (
    VERSION_HEADER,
    ActiveHalf,
    ChangePage,
    DhcpPortReply,
    DhcpPortRequest,
    IdQuery,
    NetworkPage,
    NodeReport,
    PlacementReport,
    RouterPage,
    StatusReport,
)
from astara_neutron import dhcp_ports, journal, moves, pairs, policies, status
from astara_neutron.snapshot import pages
from astara_neutron.snapshot.pages import Selection

T = TypeVar("T")

ALIAS = "astara"
DEFAULT_LIMIT = 200
MAX_LIMIT = 1000


_VERSION = version("astara")
_pruner = journal.Pruner()


class InvalidField(n_exc.BadRequest):
    """HTTP 400 that names the field and the remedy."""

    message = "%(field)s: %(reason)s"


class NoSuchPath(n_exc.NotFound):
    """HTTP 404 for a path that is not in the table below."""

    message = "there is no %(path)s"


class AstaraController:
    """Neutron's pecan application hands everything under /v2.0/astara to this.

    `resource` and `collection` are None: so Neutron's hooks for ordinary resources (attribute map, quota,
    pagination, `astara.create.end` notifications) leave these requests alone.
    """

    resource = None
    collection = None

    @utils.expose()
    def _default(self, *path: str, **_query: Any) -> webob.Response:
        request = pecan.request
        name = "/".join(part for part in path if part)
        handlers = _ROUTES.get(name)
        if handlers is None:
            raise NoSuchPath(path=f"/v2.0/astara/{name}")
        handler = handlers.get(request.method)
        if handler is None:
            raise webob.exc.HTTPMethodNotAllowed(f"/v2.0/astara/{name} knows {', '.join(sorted(handlers))}")
        context = request.context["neutron_context"]
        rule = policies.WRITE if request.method == "PUT" else policies.READ
        policy.enforce(context, rule, {}, pluralized=ALIAS)
        # Who may only read must not have writers refused by saying a term of the far future.
        term = _term(request) if policy.check(context, policies.WRITE, {}, pluralized=ALIAS) else 0
        answer = _judged(context.elevated(), request, handler, term)
        if request.method == "PUT":
            directory.get_plugin(ALIAS).hints.finished()
        response = webob.Response(body=encode(answer), content_type="application/json", charset="UTF-8")
        response.headers[VERSION_HEADER] = _VERSION
        return response


def _judged(context: Any, request: Any, handler: Callable[[Any, Any], Any], term: int) -> Any:
    """Answer under the term the request says; 0 says nothing, and is judged by nothing."""
    if term == 0:
        return handler(context, request)
    fence = directory.get_plugin(ALIAS).fence
    # Before anything is read: what is answered stays true for whoever asked under this term.
    fence.hear(context, term)
    if request.method != "PUT":
        return handler(context, request)
    fence.refuse_older(context, term)
    answer = handler(context, request)
    fence.overtaken(context, term)
    return answer


def _term(request: Any) -> int:
    said = request.headers.get(TERM_HEADER, "0")
    if not (said.isascii() and said.isdigit() and int(said) < 2**63):
        raise InvalidField(field=TERM_HEADER, reason="must be a whole number from 0 to 2^63 - 1")
    return int(said)


def _body(request: Any, kind: type[T]) -> T:
    try:
        return decode(request.body, kind)
    except ContractError as error:
        raise InvalidField(field=error.field, reason=f"{error.reason} ({error.remedy})") from None


def _number(request: Any, name: str, default: int, highest: int) -> int:
    text = request.GET.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and int(text) <= highest):
        raise InvalidField(field=name, reason=f"must be a whole number from 0 to {highest}")
    return int(text)


def _selection(request: Any) -> Selection:
    if request.method == "POST":
        ids = _body(request, IdQuery).ids
        return _ids("$.ids", ids)
    ids = tuple(request.GET.getall("id"))
    if ids:
        return _ids("id", ids)
    limit = _number(request, "limit", DEFAULT_LIMIT, MAX_LIMIT)
    if limit == 0:
        raise InvalidField(field="limit", reason=f"must be a whole number from 1 to {MAX_LIMIT}")
    return Selection(marker=request.GET.get("marker"), limit=limit)


def _ids(field: str, ids: tuple[str, ...]) -> Selection:
    unique = tuple(sorted(set(ids)))
    if len(unique) > MAX_LIMIT:
        raise InvalidField(field=field, reason=f"at most {MAX_LIMIT} in one call; ask in several calls")
    return Selection(ids=unique)


def _routers(context: Any, request: Any) -> RouterPage:
    return pages.router_page(context, _selection(request))


def _networks(context: Any, request: Any) -> NetworkPage:
    return pages.network_page(context, _selection(request))


def _changes(context: Any, request: Any) -> ChangePage:
    since = _number(request, "since", 0, 2**63 - 1)
    _pruner.maybe(context, cfg.CONF.astara.journal_keep)
    return journal.changes(context, since, cfg.CONF.astara.journal_overlap)


def _status(context: Any, request: Any) -> dict[str, int]:
    report = _body(request, StatusReport)
    for name in ("routers", "ports", "floating_ips"):
        for index, item in enumerate(getattr(report, name)):
            if item.status not in status.ALLOWED:
                allowed = ", ".join(sorted(status.ALLOWED))
                raise InvalidField(field=f"$.{name}[{index}].status", reason=f"must be one of {allowed}")
    return {"written": status.write(context, report)}


def _active(context: Any, request: Any) -> dict[str, int]:
    return {"bound": pairs.follow(context, _body(request, ActiveHalf))}


def _nodes(context: Any, request: Any) -> dict[str, int]:
    return moves.announce(context, _body(request, NodeReport))


def _dhcp_ports(context: Any, request: Any) -> DhcpPortReply:
    reply = dhcp_ports.ensure(context, _body(request, DhcpPortRequest))
    # The caller knows what it asked for; everybody else reads it in the journal.
    directory.get_plugin(ALIAS).hints.discard()
    return reply


def _placements(context: Any, request: Any) -> dict[str, int]:
    return moves.move(context, _body(request, PlacementReport))


_ROUTES: dict[str, dict[str, Callable[[Any, Any], Any]]] = {
    "routers": {"GET": _routers, "POST": _routers},
    "networks": {"GET": _networks, "POST": _networks},
    "changes": {"GET": _changes},
    "status": {"PUT": _status},
    "active": {"PUT": _active},
    "nodes": {"PUT": _nodes},
    "dhcp_ports": {"PUT": _dhcp_ports},
    "placements": {"PUT": _placements},
}
