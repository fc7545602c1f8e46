"""How what the engine and the kernel raise becomes a refusal on the wire."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

import structlog

from astara.appliance.api import refusals
from astara.appliance.api.refusals import Refusal
from astara.appliance.api.routing import Handler, Request, Response
from astara.appliance.apply.errors import ApplyFailed, StorageUnavailable
from astara.appliance.boundaries import NotPlugged, SubsystemError
from astara.host.bodies.boundary import BodyFailed
from astara.host.links import LinkError
from astara.model.errors import Gone, Stale

_log = structlog.get_logger(__name__)


def told(handler: Handler) -> Handler:
    """Wrap a handler so that everything known to go wrong is told as a Problem."""

    def answering(request: Request, taken: Mapping[str, str]) -> Response:
        try:
            return handler(request, taken)
        except (Stale, Gone, StorageUnavailable, ApplyFailed, SubsystemError, LinkError, BodyFailed) as error:
            refusal = refusal_of(error)
            _log.warning("request.failed", path=request.path, error=refusal.problem.error, reason=str(error))
            raise refusal from error

    return answering


def refusal_of(error: Exception) -> Refusal:
    """Return the refusal for an error of the engine's or the kernel's vocabulary."""
    remedy = getattr(error, "remedy", "") or None
    match error:
        case Stale():
            return Refusal(HTTPStatus.CONFLICT, "stale-generation", str(error), field="$.generation", remedy=remedy)
        case Gone():
            return refusals.not_found("such instance: " + str(error), remedy or "create it again")
        case StorageUnavailable():
            return Refusal(HTTPStatus.INSUFFICIENT_STORAGE, "unavailable", str(error), remedy=remedy)
        case BodyFailed():
            return refusals.unavailable(str(error), remedy or "see the instance's console log, then ask again")
        case NotPlugged():
            # Not 422: no other wish is needed, and whoever asks again finds the ports plugged in once more.
            return refusals.unavailable(str(error), "push again; if it stays, see the agent's log for the port")
        case SubsystemError(phase="check"):
            remedy = remedy or "correct what these words name; what runs is untouched"
            status = HTTPStatus.UNPROCESSABLE_ENTITY
            return Refusal(status, "refused-by-daemon", str(error), field=error.field, remedy=remedy)
        case ApplyFailed():
            return refusals.apply_failed(str(error), remedy, error.deviations)
        case _:
            return refusals.apply_failed(str(error), remedy)
