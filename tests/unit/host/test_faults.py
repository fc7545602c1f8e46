"""Every known failure is told with the right status, the field and the remedy."""

from __future__ import annotations

from http import HTTPStatus

import pytest

from astara.appliance.api.routing import Request, Response, Route, Router
from astara.appliance.apply.errors import ApplyFailed, StorageUnavailable
from astara.appliance.boundaries import NotPlugged, SubsystemError
from astara.contract.agent import Deviation, Problem
from astara.contract.codec import ContractError, decode
from astara.host.faults import told
from astara.host.links import LinkError
from astara.model.errors import Gone, Stale

ROLE = "astara:role/x"


def answered(error: Exception) -> tuple[int, Problem]:
    def handler(request: Request, taken: object) -> Response:
        raise error

    router = Router([Route("GET", "/v1/x", told(handler))], ROLE)
    response = router.answer(Request("GET", "/v1/x", "", b"", frozenset({ROLE})))
    return response.status, decode(response.body, Problem)


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (Stale("older", "look again"), HTTPStatus.CONFLICT, "stale-generation"),
        (Gone("no namespace", "create it"), HTTPStatus.NOT_FOUND, "not-found"),
        (StorageUnavailable("full", "free space"), HTTPStatus.INSUFFICIENT_STORAGE, "unavailable"),
        (SubsystemError("dnsmasq", "check", "bad option"), HTTPStatus.UNPROCESSABLE_ENTITY, "refused-by-daemon"),
        (NotPlugged("links", "check", ["fa:16:3e:00:00:01"]), HTTPStatus.SERVICE_UNAVAILABLE, "unavailable"),
        (SubsystemError("dnsmasq", "apply", "died"), HTTPStatus.INTERNAL_SERVER_ERROR, "apply-failed"),
        (LinkError("av1: no"), HTTPStatus.INTERNAL_SERVER_ERROR, "apply-failed"),
        (ContractError("$.a", "wrong"), HTTPStatus.UNPROCESSABLE_ENTITY, "invalid"),
        (ContractError("$", "not valid JSON: x"), HTTPStatus.BAD_REQUEST, "bad-request"),
        (OSError(28, "No space left on device"), HTTPStatus.INSUFFICIENT_STORAGE, "unavailable"),
        (OSError(30, "Read-only file system"), HTTPStatus.SERVICE_UNAVAILABLE, "unavailable"),
        (OSError(24, "Too many open files"), HTTPStatus.SERVICE_UNAVAILABLE, "unavailable"),
        (RuntimeError("secret"), HTTPStatus.INTERNAL_SERVER_ERROR, "internal"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_each_failure_has_its_status(error: Exception, status: int, kind: str) -> None:
    found, problem = answered(error)
    assert (found, problem.error) == (status, kind)
    assert "secret" not in problem.message


def test_the_daemons_words_and_the_field_are_told() -> None:
    _, problem = answered(SubsystemError("dnsmasq", "check", "bad option at line 3", "$.section.hosts[0]"))
    assert "bad option at line 3" in problem.message
    assert problem.field == "$.section.hosts[0]"


def test_a_failed_apply_tells_what_differs() -> None:
    one = Deviation(subsystem="links", detail="address missing")
    _, problem = answered(ApplyFailed("read-back differs", [one], restored=True))
    assert problem.deviations == (one,)
    assert "previous configuration runs again" in (problem.remedy or "")


def test_who_lacks_the_role_is_told_nothing_else() -> None:
    router = Router([], ROLE)
    response = router.answer(Request("GET", "/v1/x", "", b"", frozenset({"astara:role/node/a"})))
    assert response.status == HTTPStatus.FORBIDDEN


def test_an_unknown_path_and_a_wrong_method_are_told_apart() -> None:
    router = Router([Route("GET", "/v1/{a}", lambda request, taken: Response(200))], ROLE)
    statuses = [
        router.answer(Request(method, path, "", b"", frozenset({ROLE}))).status
        for method, path in (("GET", "/v1/x"), ("PUT", "/v1/x"), ("GET", "/v1/x/y"))
    ]
    assert statuses == [200, 405, 404]
