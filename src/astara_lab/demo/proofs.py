"""The claims, one function each: every one sends packets and returns what came back."""

from __future__ import annotations

import http.client
import ipaddress
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from astara_lab.demo.cloud import (
    FORWARDED_PORT,
    OUTSIDE_GATEWAY_V4,
    OUTSIDE_GATEWAY_V6,
    SAME_ADDRESS,
    WEB_V6,
    Cloud,
    Outside,
    Tenant,
)
from astara_lab.demo.screen import Proof
from astara_lab.demo.traffic import Answer, Voices, ask
from astara_lab.hosts import OutsideHost
from astara_lab.namespaces import within
from astara_lab.places import Lab

_DEADLINE_S = 15.0
#: How long silence is listened to before it counts as isolation.
_SILENCE_S = 1.0
_METADATA_V4 = "169.254.169.254"


@dataclass(frozen=True, slots=True)
class Machine:
    """A simulated tenant machine: a network namespace whose addresses came by DHCP and SLAAC."""

    name: str
    netns: str
    port_id: str
    device_id: str
    v4: str
    v6: str | None = None
    lease: str = ""


@dataclass(slots=True)
class Stage:
    """Everybody who takes part."""

    lab: Lab
    cloud: Cloud
    voices: Voices
    outside: Outside
    world: OutsideHost
    body: str = "namespace"  # of the instances
    blue: Tenant = field(default_factory=lambda: Tenant("blue"))
    green: Tenant = field(default_factory=lambda: Tenant("green"))
    machines: dict[str, Machine] = field(default_factory=dict)

    @property
    def web(self) -> Machine:
        return self.machines["blue-web"]

    @property
    def db(self) -> Machine:
        return self.machines["blue-db"]

    @property
    def rival(self) -> Machine:
        return self.machines["green-web"]


def awaited(question: Callable[[], Answer | None], deadline_s: float = _DEADLINE_S) -> tuple[Answer | None, float]:
    """Ask until somebody answers; returns the answer and the seconds it took."""
    began = time.monotonic()
    while True:
        answer = question()
        took = time.monotonic() - began
        if answer is not None or took > deadline_s:
            return answer, took


def _judged(claim: str, answer: Answer | None, took_s: float, who: str, seen_as: str | None = None) -> Proof:
    if answer is None:
        return Proof(claim=claim, ok=False, evidence=f"no answer within {took_s:.0f} s")
    right = answer.name == who and (seen_as is None or answer.seen_as == seen_as)
    evidence = f"{answer.name} answered and saw {answer.seen_as}"
    expected = f"; expected {who}" + (f" to see {seen_as}" if seen_as else "")
    return Proof(claim=claim, ok=right, evidence=evidence if right else evidence + expected, took_s=took_s)


def tenant_to_outside(stage: Stage) -> Proof:
    """The first forwarded packet: a tenant machine is answered by the world outside."""
    answer, took = awaited(lambda: ask(stage.web.netns, OUTSIDE_GATEWAY_V4, timeout_s=0.05), 30.0)
    return _judged("tenant to outside through SNAT", answer, took, "outside", stage.blue.router_v4)


def leases(stage: Stage) -> Proof:
    told = "; ".join(f"{machine.name} {machine.lease or machine.v4}" for machine in stage.machines.values())
    return Proof(claim="leases by a real DHCP client", ok=all(m.v4 for m in stage.machines.values()), evidence=told)


def across_subnets(stage: Stage) -> Proof:
    answer, took = awaited(lambda: ask(stage.web.netns, stage.db.v4))
    return _judged("tenant to tenant across subnets", answer, took, stage.db.name, stage.web.v4)


def ipv6(stage: Stage) -> Proof:
    claim = "IPv6 by SLAAC, routed without translation"
    address = stage.web.v6
    if address is None or ipaddress.ip_address(address) not in ipaddress.ip_network(WEB_V6):
        return Proof(
            claim=claim, ok=False, evidence=f"the machine made itself no address in {WEB_V6}, it has {address}"
        )
    answer, took = awaited(lambda: ask(stage.web.netns, OUTSIDE_GATEWAY_V6))
    return _judged(claim, answer, took, "outside", address)


def floating_ip(stage: Stage, floating: str) -> tuple[Proof, Proof]:
    inward, took = awaited(lambda: ask(stage.world.netns, floating, timeout_s=0.05))
    outward, took_out = awaited(
        lambda: _when(ask(stage.web.netns, OUTSIDE_GATEWAY_V4), lambda answer: answer.seen_as == floating)
    )
    return (
        _judged(f"outside to tenant by floating IP {floating}", inward, took, stage.web.name),
        _judged("the machine goes out as its floating IP", outward, took_out, "outside", floating),
    )


def port_forwarding(stage: Stage, floating: str) -> Proof:
    answer, took = awaited(lambda: ask(stage.world.netns, floating, FORWARDED_PORT, tcp=True))
    return _judged(f"outside to tenant by port forwarding {floating}:{FORWARDED_PORT}", answer, took, stage.db.name)


def metadata(stage: Stage) -> Proof:
    claim = f"metadata answered at {_METADATA_V4}"
    began = time.monotonic()
    said = ""
    while time.monotonic() - began < _DEADLINE_S:
        said = within(stage.web.netns, _instance_id)
        if said == stage.web.device_id:
            took = time.monotonic() - began
            return Proof(claim=claim, ok=True, evidence=f"instance-id {said[:13]}… is the machine's own", took_s=took)
    return Proof(claim=claim, ok=False, evidence=f"said {said!r}, not {stage.web.device_id}")


def isolation(stage: Stage, green_floating: str) -> tuple[Proof, Proof]:
    """Blue and green use the same addresses; each is reached as itself, and neither reaches the other."""
    answer, took = awaited(lambda: ask(stage.world.netns, green_floating))
    own = _judged(f"a second tenant with the same {SAME_ADDRESS}", answer, took, stage.rival.name)
    heard, waited = awaited(lambda: ask(stage.rival.netns, stage.db.v4), _SILENCE_S)
    apart = Proof(
        claim="tenants cannot reach each other",
        ok=heard is None,
        evidence=f"{stage.rival.name} asked {stage.db.v4} for {waited:.1f} s and "
        + ("nobody answered" if heard is None else f"{heard.name} answered"),
    )
    return own, apart


def _when(answer: Answer | None, good: Callable[[Answer], bool]) -> Answer | None:
    return answer if answer is not None and good(answer) else None


def _instance_id() -> str:
    connection = http.client.HTTPConnection(_METADATA_V4, timeout=2)
    try:
        connection.request("GET", "/latest/meta-data/instance-id")
        response = connection.getresponse()
        text = response.read(200).decode("utf-8", "replace").strip()
    except (OSError, http.client.HTTPException) as error:
        return f"{type(error).__name__}: {error}"
    finally:
        connection.close()
    return text if response.status == http.HTTPStatus.OK else f"HTTP {response.status} {text}"
