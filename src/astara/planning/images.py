"""Which image somebody means by a name or a digest, and whether every node that needs it has it. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from astara.model.errors import Terminal

#: So much of a digest is enough to name it.
_ENOUGH = 6


@dataclass(frozen=True, slots=True)
class NodeImages:
    """What a node that answers has: names by kind, and digests by kind and name as far as it knows them."""

    node: str
    names: Mapping[str, Sequence[str]]
    digests: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def known(self) -> Iterator[tuple[str, str, str | None]]:
        """Yield kind, name and digest of each."""
        for kind, names in self.names.items():
            for name in names:
                yield kind, name, self.digests.get(kind, {}).get(name)

    def words(self) -> tuple[str, ...]:
        return tuple(" ".join(filter(None, (kind, name, digest))) for kind, name, digest in self.known())


@dataclass(frozen=True, slots=True)
class Target:
    kind: str
    name: str
    digest: str | None


def meant(text: str, kind: str | None, nodes: Sequence[NodeImages]) -> Target:
    """Return the one image `text` names, a name or (the beginning of) a digest, of `kind` if given.

    Raises Terminal, with what is known on which node: nobody has it, several are meant, or a node lacks it that makes
    instances of its kind.
    """
    found = [
        (node, Target(of, name, digest))
        for node in nodes
        for of, name, digest in node.known()
        if kind in (None, of) and (name == text or _begins(digest, text))
    ]
    if not found:
        raise Terminal(f"no node that answers has an image {text!r}", f"they have: {_told(nodes)}")
    targets = {target for _, target in found}
    if len(targets) > 1:
        kinds = {target.kind for target in targets}
        said = "; ".join(sorted(f"{one.kind} {one.name} {one.digest or ''} on {node.node}" for node, one in found))
        remedy = "say which by --body" if len(kinds) > 1 else "name a digest, and have it under one name on every node"
        raise Terminal(f"{text!r} is more than one image: {said}", remedy)
    [target] = targets
    lacking = _lacking(target.kind, {node.node for node, _ in found}, nodes)
    if lacking:
        where = ", ".join(lacking)
        raise Terminal(f"{where} has no {target.kind} image {target.name}", f"put it there first; {_told(nodes)}")
    return target


def _lacking(kind: str, having: Collection[str], nodes: Sequence[NodeImages]) -> list[str]:
    return sorted(node.node for node in nodes if kind in node.names and node.node not in having)


def _begins(digest: str | None, text: str) -> bool:
    wanted = text.removeprefix("sha256:")
    return digest is not None and len(wanted) >= _ENOUGH and digest.removeprefix("sha256:").startswith(wanted)


def _told(nodes: Sequence[NodeImages]) -> str:
    said = [f"{node.node}: {', '.join(node.words()) or 'none'}" for node in nodes]
    return "; ".join(said) or "no node answers"
