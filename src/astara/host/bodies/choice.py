"""Which body an instance gets, and what stands in for one the node has lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from astara.appliance.api import refusals
from astara.appliance.boundaries import Place
from astara.contract.agent import ApplyReport, Connection, Health, Role, StateView
from astara.contract.agent import Body as BodyWish
from astara.contract.document import Document
from astara.host.bodies.boundary import Birth, Body, BodyFailed


def chosen(bodies: Mapping[str, Body], wish: BodyWish, present: BodyWish | None) -> BodyWish:
    """Return the body to make with its image named, or the one an instance has already: `present`.

    Raises:
        Refusal: 422 naming the field, and what this node has.
    """
    if present is not None:
        _refuse_change(wish, present)
        return present
    body = bodies.get(wish.kind)
    if body is None:
        raise refusals.invalid("$.body.kind", "no such body on this node", f"use one of: {', '.join(sorted(bodies))}")
    images = body.images()
    if wish.image is None:
        return BodyWish(kind=wish.kind, image=images[0] if images else None)
    if wish.image not in images:
        known = f"use one of: {', '.join(images)}" if images else "this node has none for it: name no image"
        raise refusals.invalid("$.body.image", f"no such image on this node for a {wish.kind}", known)
    return wish


def _refuse_change(wish: BodyWish, present: BodyWish) -> None:
    remedy = "make another instance, then delete this one"
    if wish.kind != present.kind:
        raise refusals.invalid("$.body.kind", f"the instance exists and is a {present.kind}", remedy)
    if wish.image not in (None, present.image):
        raise refusals.invalid("$.body.image", f"the instance exists with the image {present.image}", remedy)


class LostBody:
    """Stands in for a kind that instances were made with and this node cannot handle any more.

    They are left as they are, with the reason in their state, until the node can again.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.engine = self
        self.tracking = self

    def apply(self, place: Place, document: Document) -> ApplyReport:
        self._refuse()

    def state(self, place: Place) -> StateView:
        return StateView(health=Health.FAILED, last_error=str(self._reason()))

    def role(self, place: Place, within_s: float) -> Role | None:
        return None

    def repair(self, place: Place) -> StateView:
        self._refuse()

    def remove(self, place: Place) -> None:
        self._refuse()

    def tracked(self, place: Place) -> Sequence[Connection]:
        return ()

    def restore(self, place: Place, connections: Sequence[Connection]) -> int:
        return 0

    def images(self) -> Sequence[str]:
        return ()

    def digests(self) -> Mapping[str, str]:
        return {}

    def image_of(self, instance_id: str) -> str | None:
        return None

    def prepare(self) -> None:
        """There is nothing to prepare."""

    def ensure(self, birth: Birth) -> None:
        self._refuse()

    def whole(self, birth: Birth) -> bool:
        return False

    def end(self, instance_id: str, files: Path) -> None:
        self._refuse()

    def pid(self, instance_id: str, files: Path) -> int | None:
        return None

    def console(self, files: Path) -> bytes:
        return b""

    def strays(self) -> Sequence[str]:
        return ()

    def _refuse(self) -> NoReturn:
        raise self._reason()

    def _reason(self) -> BodyFailed:
        return BodyFailed(
            f"this node cannot handle instances of kind {self.kind} any more",
            "see body.unavailable and body.unusable in the log of astara-node, mend it, restart the agent",
        )
