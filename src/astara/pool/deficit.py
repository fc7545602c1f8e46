"""What a shelf has beside what it should have: which spares to end, how many to make. Pure."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from astara.contract.agent import Health, StateView
from astara.model.boundaries import Image
from astara.model.resource import ObservedInstance


@dataclass(frozen=True, slots=True, order=True)
class Shelf:
    """Spares that can stand for each other. `image` None: the provider's choice; `nics` 0: ports are plugged later."""

    provider: str
    host: str
    image: str | None = None
    nics: int = 0


@dataclass(frozen=True, slots=True)
class Size:
    """How many spares an operator allows on one host."""

    floor: int
    ceiling: int

    def within(self, needed: int) -> int:
        return max(self.floor, min(needed, self.ceiling))


class Standing(enum.StrEnum):
    READY = "ready"  # its agent answers, nothing is configured: can be handed out
    COMING = "coming"  # its agent does not answer yet
    DEAD = "dead"  # broken, or silent for too long
    OUTDATED = "outdated"  # of another image than new instances get, or of one nobody wants


@dataclass(frozen=True, slots=True)
class Spare:
    instance: ObservedInstance
    standing: Standing


@dataclass(frozen=True, slots=True)
class Order:
    """`drop` before `make`: what is dropped holds memory the new ones need."""

    make: int
    drop: tuple[ObservedInstance, ...]


#: Nothing is to be done.
FULL = Order(0, ())


def standing(instance: ObservedInstance, image: Image | None, wall: float, boot_deadline_s: float) -> Standing:
    """Judge one spare. `image`: what new ones are made from, None: not known; `wall`: seconds since the epoch."""
    if not fits(instance, image):
        return Standing.OUTDATED
    if not isinstance(instance.state, StateView):
        return Standing.COMING if wall - instance.created_at < boot_deadline_s else Standing.DEAD
    # A spare that somebody configured is not what a resource may be given.
    return Standing.READY if instance.state.health is Health.UNCONFIGURED else Standing.DEAD


def deficit(spares: Sequence[Spare], wanted: int) -> Order:
    """Compare one shelf with its size. Of what is too much go first those still coming, then the youngest.

    The choice is the same for everybody who looks at the same spares, so that two pools do not end two.
    """
    kept = sorted(
        (spare for spare in spares if spare.standing in (Standing.READY, Standing.COMING)),
        key=lambda spare: (spare.standing is Standing.COMING, spare.instance.created_at, spare.instance.id),
    )
    unusable = [spare for spare in spares if spare.standing in (Standing.DEAD, Standing.OUTDATED)]
    return Order(
        make=max(0, wanted - len(kept)),
        drop=tuple(spare.instance for spare in (*unusable, *kept[wanted:])),
    )


def _differs(instance: ObservedInstance, image: Image) -> bool:
    pairs = ((instance.image, image.name), (instance.image_digest, image.digest))
    return any(has is not None and should is not None and has != should for has, should in pairs)


def fits(instance: ObservedInstance, image: Image | None) -> bool:
    """Return whether a spare is what new instances are made from, as far as both are known."""
    return image is None or not _differs(instance, image)


def shelved(
    spares: Iterable[ObservedInstance], images: Mapping[Shelf, Image | None]
) -> dict[Shelf, list[ObservedInstance]]:
    """Put every spare on the shelf it was made for, or, when there is none such, on one of its own.

    `images` has every shelf that is kept, with what is made for it now.
    """
    result: dict[Shelf, list[ObservedInstance]] = {shelf: [] for shelf in images}
    for spare in spares:
        own = Shelf(spare.provider, spare.host, spare.image, _nics(spare))
        places = [
            shelf for shelf in images if (shelf.provider, shelf.host, shelf.nics) == (own.provider, own.host, own.nics)
        ]
        fitting = [shelf for shelf in places if fits(spare, images[shelf])]
        chosen = next(iter(fitting or places), own)
        result.setdefault(chosen, []).append(spare)
    return result


def _nics(spare: ObservedInstance) -> int:
    said = spare.key.id if spare.key is not None else ""
    return int(said) if said.isdecimal() else 0
