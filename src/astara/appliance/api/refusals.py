"""What an agent answers when it does not do what was asked: one table from causes to HTTP and Problem.

A reply never carries a traceback, an environment or a value of the request; those may be secrets.
"""

from __future__ import annotations

import errno
import re
from http import HTTPStatus

from astara.contract.agent import Deviation, Problem
from astara.contract.codec import ContractError


class Refusal(Exception):
    """A request that is not carried out. `status` is the HTTP status of the answer."""

    def __init__(
        self,
        status: HTTPStatus,
        error: str,
        message: str,
        *,
        field: str | None = None,
        remedy: str | None = None,
        deviations: tuple[Deviation, ...] = (),
    ) -> None:
        self.status = status
        self.problem = Problem(error=error, message=message, field=field, remedy=remedy, deviations=deviations)
        super().__init__(message)

    def at(self, elsewhere: re.Pattern[str], here: str) -> Refusal:
        """Return the same refusal with the field as this request calls it."""
        problem = self.problem
        field = problem.field if problem.field is None else elsewhere.sub(here, problem.field)
        return Refusal(
            self.status,
            problem.error,
            problem.message,
            field=field,
            remedy=problem.remedy,
            deviations=problem.deviations,
        )


def not_found(what: str, remedy: str = "list the instances and look again") -> Refusal:
    return Refusal(HTTPStatus.NOT_FOUND, "not-found", f"there is no {what}", remedy=remedy)


def stale(asked: object, recorded: object) -> Refusal:
    message = f"generation {asked} is older than {recorded}, which is recorded here"
    return Refusal(
        HTTPStatus.CONFLICT, "stale-generation", message, field="$.generation", remedy="observe again before acting"
    )


def invalid(field: str, message: str, remedy: str) -> Refusal:
    return Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid", message, field=field, remedy=remedy)


def forbidden(message: str, remedy: str) -> Refusal:
    return Refusal(HTTPStatus.FORBIDDEN, "bad-request", message, remedy=remedy)


def bad_request(message: str, remedy: str) -> Refusal:
    return Refusal(HTTPStatus.BAD_REQUEST, "bad-request", message, remedy=remedy)


def unavailable(message: str, remedy: str) -> Refusal:
    return Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "unavailable", message, remedy=remedy)


def apply_failed(message: str, remedy: str | None = None, deviations: tuple[Deviation, ...] = ()) -> Refusal:
    status = HTTPStatus.INTERNAL_SERVER_ERROR
    return Refusal(status, "apply-failed", message, remedy=remedy, deviations=deviations)


def from_contract_error(error: ContractError) -> Refusal:
    """422 naming the field; 400 when the body is not JSON at all."""
    if error.field == "$" and error.reason.startswith("not valid JSON"):
        return bad_request(error.reason, error.remedy)
    return invalid(error.field, error.reason, error.remedy)


def from_os_error(error: OSError) -> Refusal | None:
    """A full or read-only disk is a state of the machine, not a bug; None for everything else."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        status = HTTPStatus.INSUFFICIENT_STORAGE
        return Refusal(status, "unavailable", "the node's disk is full", remedy="free space below state_dir")
    if error.errno == errno.EROFS:
        return unavailable("the node's state directory is read-only", "remount it writable")
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return unavailable("the node agent has no file descriptors left", "raise its RLIMIT_NOFILE")
    return None


def from_bug() -> Refusal:
    """What is told of an exception nobody expected; the log has the rest."""
    remedy = "see the agent's log on the node, and report it"
    return Refusal(HTTPStatus.INTERNAL_SERVER_ERROR, "internal", "internal error", remedy=remedy)
