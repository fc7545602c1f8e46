"""The last good document of a place, kept on disk so that it can be re-applied without the orchestrator."""

from __future__ import annotations

from pathlib import Path

from astara.appliance.apply.errors import StorageUnavailable
from astara.appliance.boundaries import Place
from astara.appliance.system import files
from astara.contract.codec import ContractError, decode, encode
from astara.contract.document import Document

_KEPT = "last-good.json"
_STAGED = "next.json"


def read(place: Place) -> Document | None:
    """Return the last good document; None when there is none or what is there is no document of ours."""
    content = files.read(_kept(place))
    if content is None:
        return None
    try:
        return decode(content, Document)
    except ContractError:
        return None  # the orchestrator pushes again; the file is replaced then


def stage(place: Place, document: Document) -> None:
    """Take the disk space for `document` before anything is touched. Raises StorageUnavailable."""
    try:
        files.replace(place.files / _STAGED, encode(document))
    except OSError as error:
        raise StorageUnavailable(
            f"cannot keep the document of {place.instance_id}: {error.strerror}",
            f"free space or repair permissions below {place.files}; what runs is untouched",
        ) from error


def commit(place: Place) -> None:
    """Make the staged document the last good one. Takes no new space."""
    (place.files / _STAGED).replace(_kept(place))


def discard(place: Place) -> None:
    """Forget the staged document."""
    files.remove(place.files / _STAGED)


def forget(place: Place) -> None:
    """Forget everything about the place; absence is success."""
    discard(place)
    files.remove(_kept(place))


def _kept(place: Place) -> Path:
    return place.files / _KEPT
