"""The fence as an explicit-state model: every interleaving of two members, one key, one place, four epochs.

A place is whatever keeps the greatest term it has heard: a node agent, an appliance, Neutron's plug-in. Who owns the
key at each epoch is chosen freely (that is: members die, freeze, are cut off and come back as badly as can be). A
member holds some ring it has read, however old; it may be stopped between any two of its steps; what it sent arrives
whenever it likes, or never. A look tells the place the looker's epoch and sees what is there; an act carries the term
under which it was planned.

The promises: acts of two owners never carry one term; and what an owner saw stays true for it: once it has looked, no
act planned under an older term takes effect. So the newest owner, after one look, is the only one whose acts count.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest

EPOCHS = 4
MEMBERS = ("a", "b")
IN_FLIGHT = 3


@dataclass(frozen=True)
class Member:
    """`held`: the epoch of its ring. `planned`: the term it looked and planned under; 0: it plans nothing."""

    held: int = 0
    planned: int = 0


@dataclass(frozen=True)
class State:
    """`owners` by epoch, first is epoch 1. `looked`: the greatest epoch under which an owner looked at the place."""

    owners: tuple[str, ...] = ()
    members: tuple[Member, ...] = (Member(), Member())
    flying: frozenset[tuple[int, str]] = frozenset()
    heard: int = 0
    looked: int = 0
    broken: str = ""


@dataclass(frozen=True)
class Rules:
    """What is built; each rule can be left out, to see that the model notices."""

    looks_are_heard: bool = True
    acts_are_judged: bool = True
    checked_before_acting: bool = True


def following(state: State, rules: Rules) -> Iterator[State]:
    if len(state.owners) < EPOCHS:
        for name in MEMBERS:
            yield replace(state, owners=(*state.owners, name))
    for number, name in enumerate(MEMBERS):
        yield from _steps(state, rules, number, name)
    for act in state.flying:
        yield _arrives(state, rules, act)


def _steps(state: State, rules: Rules, number: int, name: str) -> Iterator[State]:
    member = state.members[number]
    for epoch in range(member.held + 1, len(state.owners) + 1):  # it reads the table, whenever
        yield _with(state, number, replace(member, held=epoch))
    owns = member.held > 0 and state.owners[member.held - 1] == name
    if owns:  # it takes the key under its term, and looks
        heard = max(state.heard, member.held) if rules.looks_are_heard else state.heard
        looking = replace(state, heard=heard, looked=max(state.looked, member.held))
        yield _with(looking, number, replace(member, planned=member.held))
    may_act = not rules.checked_before_acting or (owns and member.planned == member.held)
    if member.planned and may_act and len(state.flying) < IN_FLIGHT:
        yield replace(state, flying=state.flying | {(member.planned, name)})


def _arrives(state: State, rules: Rules, act: tuple[int, str]) -> State:
    term, name = act
    left = replace(state, flying=state.flying - {act})
    if rules.acts_are_judged and term < state.heard:
        return left  # refused
    broken = ""
    if state.owners[term - 1] != name:
        broken = f"{name} acted with term {term}, which is another's"
    elif term < state.looked:
        broken = f"{name} acted with term {term} after the owner of {state.looked} had looked"
    return replace(left, heard=max(state.heard, term), broken=broken)


def _with(state: State, number: int, member: Member) -> State:
    members = list(state.members)
    members[number] = member
    return replace(state, members=tuple(members))


def explored(rules: Rules) -> tuple[int, str]:
    """Visit every state; return how many there are, and what was broken in the first bad one."""
    seen = {State()}
    queue = deque(seen)
    while queue:
        for state in following(queue.popleft(), rules):
            if state.broken:
                return len(seen), state.broken
            if state not in seen:
                seen.add(state)
                queue.append(state)
    return len(seen), ""


def test_whatever_is_stopped_delayed_or_lost_the_newest_owner_s_look_stays_true():
    states, broken = explored(Rules())
    assert broken == ""
    assert states > 1000


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        (Rules(looks_are_heard=False), "after the owner of"),
        (Rules(acts_are_judged=False), "after the owner of"),
    ],
)
def test_without_either_half_of_the_fence_the_model_finds_who_does_harm(rules, words):
    assert words in explored(rules)[1]


def test_the_look_before_each_step_is_a_courtesy_the_fence_does_not_rest_on():
    assert explored(Rules(checked_before_acting=False))[1] == ""
