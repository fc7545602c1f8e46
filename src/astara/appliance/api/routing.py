"""From a request to a handler and back to bytes: no sockets here.

A handler takes a `Request` and returns a `Response`, or raises `Refusal` or `ContractError`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, TypeAlias, TypeVar
from urllib.parse import parse_qsl

import structlog

from astara.appliance.api import refusals
from astara.appliance.api.refusals import Refusal
from astara.contract.codec import ContractError, decode, encode

_log = structlog.get_logger(__name__)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request after TLS: `roles` are those of the verified client certificate.

    `term`: the greatest the caller knows (contract.generation.TERM_HEADER); 0: it did not say.
    """

    method: str
    path: str
    query: str
    body: bytes
    roles: frozenset[str]
    term: int = 0

    def decoded(self, kind: type[T]) -> T:
        """Return the body as a `kind`; raises ContractError naming the field."""
        return decode(self.body, kind)

    def parameters(self) -> dict[str, str]:
        return dict(parse_qsl(self.query))


@dataclass(frozen=True, slots=True)
class Response:
    status: int
    body: bytes = b""
    content_type: str = "application/json"


Handler: TypeAlias = Callable[[Request, Mapping[str, str]], Response]


@dataclass(frozen=True, slots=True)
class Route:
    """`template` has `{name}` where one path segment is taken."""

    method: str
    template: str
    handler: Handler


def json_response(value: Any, status: int = HTTPStatus.OK) -> Response:
    return Response(status, encode(value))


class Router:
    """Chooses the handler and turns whatever it raises into a Problem."""

    def __init__(self, routes: Sequence[Route], role: str, heard: Callable[[int], None] = lambda term: None) -> None:
        self._heard = heard
        self._routes = [(route, _pattern(route.template)) for route in routes]
        self._role = role

    def answer(self, request: Request) -> Response:
        """Never raises: a bug becomes a 500 without details, logged once."""
        try:
            return self._dispatch(request)
        except Refusal as refusal:
            return _refused(refusal)
        except ContractError as error:
            return _refused(refusals.from_contract_error(error))
        except Exception as error:  # noqa: BLE001  # the last line before the wire
            return _refused(_unexpected(request, error))

    def _dispatch(self, request: Request) -> Response:
        if self._role not in request.roles:
            raise refusals.forbidden("this certificate may not ask that", f"use one with the role {self._role}")
        if request.term:
            self._heard(request.term)  # before anything is read: what is answered is answered under this term
        other_method = False
        for route, pattern in self._routes:
            found = pattern.fullmatch(request.path)
            if found is None:
                continue
            if route.method == request.method:
                return route.handler(request, found.groupdict())
            other_method = True
        if other_method:
            raise Refusal(HTTPStatus.METHOD_NOT_ALLOWED, "bad-request", f"{request.method} is not offered here")
        raise refusals.not_found("such path", "see the contract for the paths of this version")


def _unexpected(request: Request, error: Exception) -> Refusal:
    known = refusals.from_os_error(error) if isinstance(error, OSError) else None
    if known is not None:
        _log.error("api.unavailable", method=request.method, path=request.path, reason=known.problem.message)
        return known
    _log.exception("api.bug", method=request.method, path=request.path)
    return refusals.from_bug()


def _refused(refusal: Refusal) -> Response:
    return json_response(refusal.problem, refusal.status)


def _pattern(template: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", template))
