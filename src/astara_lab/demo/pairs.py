"""The demo of a highly available router: sessions run through a pair whose active half dies, and is then upgraded."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from astara.admin.client import OperatorClient
from astara.model.operator import InstanceLine, UpgradeView
from astara.model.resource import ResourceKey
from astara_lab import bodies, second_node, waiting
from astara_lab.conversation import Conversation, conversation
from astara_lab.demo import wounds
from astara_lab.demo.cloud import OUTSIDE_GATEWAY_V4, SAME_ADDRESS, WEB_V4, Cloud
from astara_lab.demo.machines import boot
from astara_lab.demo.proofs import Stage, metadata, tenant_to_outside
from astara_lab.demo.screen import Proof, Result, Screen
from astara_lab.demo.traffic import Voices
from astara_lab.hosts import OutsideHost
from astara_lab.places import ADMIN_SOCKET, Lab
from astara_lab.up import bring_up
from astara_lab.variant import Variant
from astara_lab.waiting import NotInTime, patient, until

_DEADLINE_S = 60.0
#: Answers by which a session counts as running, before anything happens to it and afterwards.
_STEADY = 200
_PORT = 7007


def story(lab: Lab, screen: Screen, variant: Variant) -> Result:
    """Play it inside the pod."""
    os.environ[waiting.PATIENCE] = bodies.patience(variant.body)
    screen.chapter("A cloud on two nodes: two network namespaces joined by a wire, a node agent on each")
    bring_up(lab, screen.console, variant)
    screen.chapter("A tenant asks for a highly available router")
    stage = _furnish(screen, lab, variant)
    shown = [screen.proved(tenant_to_outside(stage)), screen.proved(metadata(stage))]
    first_packet_s = screen.since()
    screen.chapter("A stream of 500 datagrams a second and a terminal session run through it")
    shown.extend(screen.proved(proof) for proof in _scenes(screen, stage))
    stage.voices.close()
    memory = wounds.memory_bytes()
    return Result.of(shown, first_packet_s=first_packet_s, memory_bytes=memory, total_s=screen.since())


def _furnish(screen: Screen, lab: Lab, variant: Variant) -> Stage:
    cloud = screen.done("openstacksdk connects", Cloud)
    outside = screen.done("the world outside", cloud.outside)
    world = OutsideHost.open(lab, outside.network_id)
    stage = Stage(lab, cloud, Voices(), outside, world, variant.body)
    stage.voices.speak(world.netns, "outside")
    with screen.doing(f"blue's network web: {WEB_V4}"):
        cloud.tenant_network(stage.blue, "web", WEB_V4)
    with screen.doing("$ openstack router create --ha blue, a gateway outside, an interface in web"):
        cloud.router(stage.blue, outside, ha=True)
        cloud.interface(stage.blue, stage.blue.subnets["web"][0])
    with screen.doing("machine blue-web has its address by DHCP"):
        machine = boot(lab, stage.blue, "web", SAME_ADDRESS)
    stage.machines[machine.name] = machine
    stage.voices.speak(machine.netns, machine.name)
    with screen.doing(f"both halves, each a {variant.body}, are configured, one of them is active"):
        until("an active half and one that stands by", lambda: _halves(stage) is not None, _DEADLINE_S)
    return stage


def _scenes(screen: Screen, stage: Stage) -> Iterator[Proof]:
    for claim in ("the active half is killed: every connection goes on", "and so is the one that took over"):
        yield _through(stage, claim, lambda: _killed(stage))
        with screen.doing("its node makes a new half, which learns what is established"):
            _settled(stage)
    claim = "then it is upgraded, the half that stands by first: every connection goes on"
    yield _through(stage, claim, lambda: _upgraded(screen, stage))


def _killed(stage: Stage) -> str:
    active, standby = _settled(stage)
    second_node.kill_instance(active.host, wounds.netns_of(active.id))
    until("the other half to be active", lambda: _role(standby.id) == "active", _DEADLINE_S)
    return f"every process and link of it on {active.host} gone at once, {standby.host} took over"


def _upgraded(screen: Screen, stage: Stage) -> str:
    """By the command an operator would give: everything of this body is made anew from what its node has now."""
    before = {half.id for half in _settled(stage)}
    words = ("upgrade", "--body", stage.body, "--soak", "0", "--watch", "--json")
    screen.console.print(f"  $ astara {' '.join(words)}", markup=False)
    done = subprocess.run(
        [Path(sys.prefix) / "bin" / "astara", "--socket", str(ADMIN_SOCKET), *words],
        check=False,
        capture_output=True,
        text=True,
        timeout=patient(3 * _DEADLINE_S),
    )
    if done.returncode != 0:
        raise NotInTime(f"astara upgrade: {done.stderr.strip() or done.stdout.strip()}")
    after = {half.id for half in _settled(stage)}
    if before & after:
        raise NotInTime("the upgrade left a half of before")
    view = msgspec.json.decode(done.stdout, type=UpgradeView)
    return f"`astara upgrade`: {view.total} resources made anew, both halves are new"


def _through(stage: Stage, claim: str, happens: Callable[[], str]) -> Proof:
    """Talk through the router while it happens; `took_s` is the longest time nothing came through."""
    with conversation(stage.web.netns, stage.world.netns, OUTSIDE_GATEWAY_V4, _PORT) as said:
        try:
            until("the sessions run", lambda: _answers(said) >= _STEADY, _DEADLINE_S, 0.01)
            began = time.monotonic()
            what = happens()
            steady = _answers(said) + _STEADY
            until("the sessions go on", lambda: said.tcp_broken or _answers(said) >= steady, _DEADLINE_S, 0.01)
        except NotInTime as late:
            return Proof(claim=claim, ok=False, evidence=str(late))
    gap_s = said.gap_since(began)
    evidence = (
        f"{what}; {said.lost} of {len(said.sent)} datagrams lost, {gap_s * 1000:.0f} ms of silence; terminal session: "
        f"{said.tcp_answers} answers, the slowest {said.tcp_longest_s * 1000:.0f} ms; load {os.getloadavg()[0]:.1f}"
    )
    unharmed = said.tcp_broken is None and len(said.seen_as) == 1
    return Proof(claim=claim, ok=unharmed, evidence=evidence, took_s=gap_s)


def _answers(said: Conversation) -> int:
    return min(said.tcp_answers, len(said.answered))


def _key(stage: Stage) -> ResourceKey:
    return ResourceKey("router", stage.blue.router_id)


def _halves(stage: Stage) -> tuple[InstanceLine, InstanceLine] | None:
    """Return (active, standby), None unless there is exactly one of each, both healthy."""
    lines = [one for one in OperatorClient(ADMIN_SOCKET).instances() if one.resource == str(_key(stage))]
    by_role = {one.role: one for one in lines if one.health == "healthy"}
    if len(lines) != 2 or set(by_role) != {"active", "standby"}:
        return None
    return by_role["active"], by_role["standby"]


def _settled(stage: Stage) -> tuple[InstanceLine, InstanceLine]:
    until("one active half and one that stands by", lambda: _halves(stage) is not None, _DEADLINE_S)
    found = _halves(stage)
    if found is None:
        raise NotInTime("the halves changed while we looked")
    return found


def _role(instance_id: str) -> str | None:
    return next((one.role for one in OperatorClient(ADMIN_SOCKET).instances() if one.id == instance_id), None)
