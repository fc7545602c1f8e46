"""What Nova's and Neutron's answers mean: capacity that is missing, a wish that cannot be met, a cloud that is away."""

from __future__ import annotations

from http import HTTPStatus

from astara.model.errors import AstaraError, Gone, Retry, Terminal

#: Quotas and hypervisors do not become larger within seconds.
CAPACITY_AFTER_S = 300.0

_QUOTA_REMEDY = "raise the quota of Astara's project, or delete what it does not need"
_NO_HOST_REMEDY = "add compute hosts or free some; the flavor in [provider:nova] may ask for less"
_AWAY_REMEDY = "see that Nova, Neutron and Keystone answer"
_PASSING = frozenset(
    {
        HTTPStatus.CONFLICT,
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.UNAUTHORIZED,
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.LOCKED,
    }
)


def refusal(what: str, status: int, message: str) -> AstaraError:
    """Return what an error answer means; `what` says what was asked, `message` is the service's own words."""
    said = f"{what}: {message or f'HTTP {status}'}"
    if _is_quota(status, message):
        return Retry(said, _QUOTA_REMEDY, CAPACITY_AFTER_S)
    if status == HTTPStatus.NOT_FOUND:
        return Gone(said)
    if status in _PASSING or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return Retry(said, _AWAY_REMEDY)
    if status == HTTPStatus.FORBIDDEN:
        return Terminal(said, "give Astara's user the roles its documentation names")
    return Terminal(said, "check image, flavor and management_network in [provider:nova]")


def _is_quota(status: int, message: str) -> bool:
    """Nova says 403 and Neutron 409 when a quota is used up; both say so in words."""
    overrun = {HTTPStatus.FORBIDDEN, HTTPStatus.CONFLICT, HTTPStatus.REQUEST_ENTITY_TOO_LARGE}
    return status in overrun and "quota" in message.lower()


def away(what: str, reason: str) -> Retry:
    """Return what a call means that was not answered: whether it was carried out is not known."""
    return Retry(f"{what}: no answer ({reason})", _AWAY_REMEDY)


def is_capacity(fault: str) -> bool:
    """Whether a server failed because no hypervisor has room for it (nova.exception.NoValidHost)."""
    return "no valid host" in fault.lower()


def no_room(fault: str, after_s: float) -> Retry:
    return Retry(f"Nova: {fault}", _NO_HOST_REMEDY, after_s)
