"""What an upgrade puts into the wish of a resource. Pure."""

from __future__ import annotations

from dataclasses import replace

from astara.model.resource import DesiredInstance, DesiredState, Present
from astara.model.upgrade import Edition


def edited(desired: DesiredState, edition: Edition | None) -> DesiredState:
    """Wish for the edition, of the image it names, where the resource is of its kind.

    An image that a flavor names stays: the flavor says what its routers are made from.
    """
    if edition is None or not isinstance(desired, Present):
        return desired
    return replace(desired, instances=tuple(_edited(wanted, edition) for wanted in desired.instances))


def _edited(wanted: DesiredInstance, edition: Edition) -> DesiredInstance:
    if wanted.provider != edition.kind:
        return wanted
    return replace(wanted, edition=edition.number, image=wanted.image or edition.image)
