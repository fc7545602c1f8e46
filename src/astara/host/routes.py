"""The node agent's REST paths (contract/agent.py), each a few lines between the wire and the node."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from http import HTTPStatus

from astara.appliance.api import refusals
from astara.appliance.api.refusals import Refusal
from astara.appliance.api.routing import Handler, Request, Response, Route, json_response
from astara.contract.agent import AttachRequest, Connections, Fence, InstanceSpec, NodeView, PortAttachment, Restored
from astara.contract.document import Document
from astara.host.console import console
from astara.host.faults import told
from astara.host.instance import Instance
from astara.host.node import Node
from astara.host.records import is_instance_id

_MAX_WAIT_S = 60.0
#: How a port is called in an InstanceSpec; this request has only one.
_IN_SPEC = re.compile(r"^\$\.ports\[\d+\]")
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_MIN_MTU, _MAX_MTU = 68, 65535


def node_routes(node: Node, describe: Callable[[], NodeView]) -> Sequence[Route]:
    """Return the routes of version 1."""
    one = "/v1/instances/{instance}"
    handlers: list[tuple[str, str, Handler]] = [
        ("GET", "/v1/node", lambda request, taken: json_response(describe())),
        ("GET", "/v1/instances", partial(_list, node)),
        ("PUT", one, partial(_put, node)),
        ("DELETE", one, partial(_delete, node)),
        ("PUT", one + "/ports/{port}", partial(_attach, node)),
        ("DELETE", one + "/ports/{port}", partial(_detach, node)),
        ("PUT", one + "/cut-over", partial(_cut_over, node)),
        ("PUT", one + "/config", partial(_configure, node)),
        ("GET", one + "/connections", partial(_connections, node)),
        ("PUT", one + "/connections", partial(_restore, node)),
        ("GET", one + "/state", partial(_state, node)),
        ("GET", one + "/console-log", partial(_console_log, node)),
        ("GET", "/v1/changes", partial(_changes, node)),
    ]
    return [Route(method, template, _followed(node, method, told(handler))) for method, template, handler in handlers]


def _followed(node: Node, method: str, handler: Handler) -> Handler:
    """Wrap what changes an instance: an act that a newer term overtook is told of."""
    if method == "GET":
        return handler

    def following(request: Request, taken: Mapping[str, str]) -> Response:
        response = handler(request, taken)
        node.overtaken(taken["instance"], request.term)
        return response

    return following


def _list(node: Node, request: Request, taken: Mapping[str, str]) -> Response:
    asked = request.parameters()
    return json_response(node.listing(asked.get("driver"), asked.get("id")))


def _put(node: Node, request: Request, taken: Mapping[str, str]) -> Response:
    spec = request.decoded(InstanceSpec)
    if spec.id != taken["instance"] or not is_instance_id(spec.id):
        raise refusals.invalid("$.id", "not a UUID, or not the one in the path", "send the same UUID in both places")
    for index, port in enumerate(spec.ports):
        _judge_port(port, f"$.ports[{index}]")
    _judge_distinct(spec.ports)
    return json_response(node.put(spec))


def _delete(node: Node, request: Request, taken: Mapping[str, str]) -> Response:
    if not is_instance_id(taken["instance"]):
        raise refusals.not_found(f"instance {taken['instance']}")
    node.delete(taken["instance"], request.decoded(Fence).generation)
    return Response(HTTPStatus.NO_CONTENT)


def _attach(node: Node, request: Request, taken: Mapping[str, str]) -> Response:
    wanted = request.decoded(AttachRequest)
    if wanted.port.port_id != taken["port"]:
        raise refusals.invalid("$.port.port_id", "not the one in the path", "send the same id in both places")
    _judge_port(wanted.port, "$.port")
    try:
        return json_response(_instance(node, taken).attach(wanted.port, wanted.generation))
    except Refusal as refusal:
        raise refusal.at(_IN_SPEC, "$.port") from None


def _detach(node: Node, request: Request, taken: Mapping[str, str]) -> Response:
    generation = request.decoded(Fence).generation
    return json_response(_instance(node, taken).detach(taken["port"], generation))


def _cut_over(node: Node, request: Request, taken: Mapping[str, str]) -> Response:
    if not is_instance_id(taken["instance"]):
        raise refusals.not_found(f"instance {taken['instance']}")
    return json_response(node.cut_over(taken["instance"], request.decoded(Fence).generation))


def _configure(node: Node, request: Request, taken: Mapping[str, str]) -> Response:
    return json_response(_instance(node, taken).configure(request.decoded(Document)))


def _state(node: Node, request: Request, taken: Mapping[str, str]) -> Response:
    return json_response(_instance(node, taken).state())


def _connections(node: Node, request: Request, taken: Mapping[str, str]) -> Response:
    return json_response(Connections(connections=tuple(_instance(node, taken).tracked())))


def _restore(node: Node, request: Request, taken: Mapping[str, str]) -> Response:
    wanted = request.decoded(Connections)
    return json_response(Restored(made=_instance(node, taken).restore(wanted.connections)))


def _console_log(node: Node, request: Request, taken: Mapping[str, str]) -> Response:
    return Response(HTTPStatus.OK, console(_instance(node, taken)), "text/plain; charset=utf-8")


def _changes(node: Node, request: Request, taken: Mapping[str, str]) -> Response:
    asked = request.parameters()
    since = _number("since", asked.get("since", "0"))
    wait_s = min(_number("wait_s", asked.get("wait_s", "0")), _MAX_WAIT_S)
    return json_response(node.changes.since(int(since), wait_s))


def _instance(node: Node, taken: Mapping[str, str]) -> Instance:
    return node.get(taken["instance"])


def _number(name: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < 2**62:
        raise refusals.bad_request(f"query parameter {name} is not a number of zero or more", "correct the request")
    return number


def _judge_port(port: PortAttachment, field: str) -> None:
    """What the types cannot say; the ids become names of links, so their form matters."""
    for name in ("port_id", "network_id"):
        if not is_instance_id(getattr(port, name)):
            raise refusals.invalid(f"{field}.{name}", "not a UUID in lower case", "send Neutron's id")
    for name, mac in (("mac", port.mac), ("nic", port.nic)):
        if mac is not None and _MAC.fullmatch(mac) is None:
            raise refusals.invalid(f"{field}.{name}", "not a MAC address in lower case", "send e.g. fa:16:3e:00:00:01")
    if not _MIN_MTU <= port.mtu <= _MAX_MTU:
        raise refusals.invalid(f"{field}.mtu", f"not within {_MIN_MTU}..{_MAX_MTU}", "send the network's MTU in bytes")


def _judge_distinct(ports: Sequence[PortAttachment]) -> None:
    for name in ("port_id", "mac"):
        values = [getattr(port, name) for port in ports]
        for index, value in enumerate(values):
            if value in values[:index]:
                raise refusals.invalid(f"$.ports[{index}].{name}", "used twice in one instance", "send each port once")
