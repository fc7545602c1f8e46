"""The demo from beginning to end: a cloud, two tenants, packets, accidents, and the table of what was proved."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
from rich.console import Console
from rich.markup import escape

from astara.model.errors import AstaraError
from astara_lab import bodies, waiting
from astara_lab.demo import healing, pairs, proofs, wounds
from astara_lab.demo.cloud import DB_V4, SAME_ADDRESS, WEB_V4, WEB_V6, Cloud, Tenant
from astara_lab.demo.machines import await_slaac, boot
from astara_lab.demo.proofs import Machine, Stage
from astara_lab.demo.screen import Proof, Result, Screen, proof_table
from astara_lab.demo.traffic import Voices
from astara_lab.hosts import OutsideHost
from astara_lab.places import Lab, client_environment
from astara_lab.pod import PodError
from astara_lab.tasks import BringUpError
from astara_lab.up import bring_up
from astara_lab.variant import Variant
from astara_lab.waiting import NotInTime

#: By what the instances are. Machines without KVM boot once, for the template, before the first packet.
FIRST_PACKET_BUDGET_S = {"namespace": 15.0, "container": 30.0, "microvm": 90.0}
MEMORY_BUDGET_BYTES = {"namespace": 1 << 30, "container": 1 << 30, "microvm": 3 << 29}
_MEBIBYTE = 1 << 20
_PIPE_COLUMNS = 160
_Scene = Callable[[Screen, Stage], Iterator[Proof]]


def play(lab: Lab, as_json: bool, began: float, variant: Variant) -> int:
    """Play everything inside the pod; returns the exit status: 0 only when every claim was proved.

    `began` is the monotonic time at which the user's command started; `variant` says what instances run in.
    """
    console = Console(stderr=as_json, highlight=False)
    if not console.is_terminal:
        console.width = _PIPE_COLUMNS
    screen = Screen(console, began)
    try:
        result = pairs.story(lab, screen, variant) if variant.nodes > 1 else _story(lab, screen, variant)
    except (BringUpError, PodError, NotInTime, LookupError, AstaraError) as error:
        console.print("[bold red]the demo failed:[/]", escape(str(error)))
        return 1
    _closing(screen, lab, result)
    if as_json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(result)).decode() + "\n")
    sys.stdout.flush()
    return 0 if result.ok else 1


def _story(lab: Lab, screen: Screen, variant: Variant) -> Result:
    threading.Thread(target=_load_sdk, name="load-sdk", daemon=True).start()
    os.environ[waiting.PATIENCE] = bodies.patience(variant.body)
    screen.chapter("A cloud: real Neutron, Astara's orchestrator and node agent, in namespaces of their own")
    bring_up(lab, screen.console, variant)
    screen.chapter("A tenant asks Neutron for networks and a router")
    stage, first, first_packet_s = _first_packet(screen, lab, variant)
    shown = [first]
    for title, scene in (
        ("Packets", _packets),
        ("From outside", _from_outside),
        ("Another tenant with the same addresses", _second_tenant),
        ("Accidents", _accidents),
    ):
        screen.chapter(title)
        shown.extend(screen.proved(proof) for proof in scene(screen, stage))
    memory = wounds.memory_bytes()
    shown.extend(screen.proved(proof) for proof in _budgets(variant.body, first_packet_s, memory))
    stage.voices.close()
    return Result.of(shown, first_packet_s=first_packet_s, memory_bytes=memory, total_s=screen.since())


def _first_packet(screen: Screen, lab: Lab, variant: Variant) -> tuple[Stage, Proof, float]:
    """The shortest way from nothing to a forwarded packet; what else there is comes afterwards."""
    cloud = screen.done("openstacksdk connects", Cloud)
    outside = screen.done("the world outside: an external network, IPv4 and IPv6", cloud.outside)
    world = OutsideHost.open(lab, outside.network_id)
    stage = Stage(lab, cloud, Voices(), outside, world, variant.body)
    stage.voices.speak(world.netns, "outside")
    with screen.doing(f"blue's network web: {WEB_V4} and {WEB_V6}"):
        cloud.tenant_network(stage.blue, "web", WEB_V4, WEB_V6)
    with ThreadPoolExecutor(1) as meanwhile:
        # A machine needs a network to boot, not a router: DHCP is served before there is one.
        booting = meanwhile.submit(boot, lab, stage.blue, "web", SAME_ADDRESS)
        with screen.doing("blue's router: a gateway outside, an interface in web"):
            cloud.router(stage.blue, outside)
            cloud.interface(stage.blue, stage.blue.subnets["web"][0])
        with screen.doing("machine blue-web has its address by DHCP"):
            _enters(stage, booting.result())
    proof = screen.proved(proofs.tenant_to_outside(stage))
    return stage, proof, screen.since()


def _boot(screen: Screen, stage: Stage, tenant: Tenant, network: str, v4: str | None = None) -> None:
    with screen.doing(f"machine {tenant.name}-{network} asks for an address by DHCP"):
        _enters(stage, boot(stage.lab, tenant, network, v4))


def _enters(stage: Stage, machine: Machine) -> None:
    stage.machines[machine.name] = machine
    stage.voices.speak(machine.netns, machine.name)


def _packets(screen: Screen, stage: Stage) -> Iterator[Proof]:
    blue, cloud = stage.blue, stage.cloud
    with screen.doing(f"blue's network db {DB_V4}, and the router's interfaces for it and for web's IPv6"):
        cloud.tenant_network(blue, "db", DB_V4)
        cloud.interface(blue, blue.subnets["web"][1])
        cloud.interface(blue, blue.subnets["db"][0])
    _boot(screen, stage, blue, "db")
    yield proofs.leases(stage)
    yield proofs.across_subnets(stage)
    with screen.doing("machine blue-web makes itself an IPv6 address from the router's advertisements"):
        stage.machines[stage.web.name] = await_slaac(stage.lab, stage.web, WEB_V6)
        stage.world.add_route(WEB_V6, blue.router_v6)
    yield proofs.ipv6(stage)
    yield proofs.metadata(stage)


def _from_outside(screen: Screen, stage: Stage) -> Iterator[Proof]:
    web, db = stage.web, stage.db
    address = stage.cloud.floating_ip(stage.blue, stage.outside, web.port_id, web.v4)
    yield from proofs.floating_ip(stage, address)
    forwarded = stage.cloud.port_forwarding(stage.blue, stage.outside, db.port_id, db.v4)
    yield proofs.port_forwarding(stage, forwarded)
    yield _command_line(screen, stage.lab)


def _second_tenant(screen: Screen, stage: Stage) -> Iterator[Proof]:
    with screen.doing(f"green's network {WEB_V4}, router and floating IP"):
        stage.cloud.tenant_network(stage.green, "web", WEB_V4)
        stage.cloud.router(stage.green, stage.outside)
        stage.cloud.interface(stage.green, stage.green.subnets["web"][0])
    _boot(screen, stage, stage.green, "web", SAME_ADDRESS)
    rival = stage.rival
    address = stage.cloud.floating_ip(stage.green, stage.outside, rival.port_id, rival.v4)
    yield from proofs.isolation(stage, address)


def _accidents(_: Screen, stage: Stage) -> Iterator[Proof]:
    yield healing.killed_dhcp(stage)
    yield healing.flushed_ruleset(stage)
    yield healing.destroyed_body(stage)
    yield healing.still_ipv6(stage)


def _budgets(body: str, first_packet_s: float, memory: int) -> Iterator[Proof]:
    budget_s, budget = FIRST_PACKET_BUDGET_S[body], MEMORY_BUDGET_BYTES[body]
    yield Proof(
        claim=f"first forwarded packet within {budget_s:.0f} s",
        ok=first_packet_s <= budget_s,
        evidence=f"from the start of this program; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors",
        took_s=first_packet_s,
    )
    yield Proof(
        claim=f"the whole lab in {budget / (1 << 30):g} GB of memory",
        ok=memory <= budget,
        evidence=f"{memory / _MEBIBYTE:.0f} MB, proportional set sizes of all its processes",
    )


def _closing(screen: Screen, lab: Lab, result: Result) -> None:
    console = screen.console
    console.print()
    console.print(proof_table(result.proofs))
    failed = [proof for proof in result.proofs if not proof.ok]
    for proof in failed:
        console.print("[bold red]not proved:[/]", escape(f"{proof.claim}: {proof.evidence}"))
    verdict = "[bold green]every claim was proved[/]" if not failed else f"[bold red]{len(failed)} claims failed[/]"
    console.print(f"{verdict} in {result.total_s:.0f} s")
    where = Path(os.path.relpath(lab.root))
    console.print("\nLook around:")
    for command in ("astara status", "astara resource list", "astara resource history blue"):
        console.print(f"  .venv/bin/{command}", markup=False)
    console.print(f"  .venv/bin/astara lab exec --dir {where} -- openstack router list", markup=False)
    console.print("End it:\n  make demo-down")


def _command_line(screen: Screen, lab: Lab) -> Proof:
    """One call of the ordinary command line, shown as the user would see it."""
    words = ("router", "list", "-c", "ID", "-c", "Name", "-c", "Status")
    with screen.doing("$ openstack " + " ".join(words)):
        done = subprocess.run(
            [Path(sys.prefix) / "bin" / "openstack", *words],
            check=False,
            capture_output=True,
            text=True,
            env=dict(os.environ) | client_environment(lab),
        )
    screen.console.print(done.stdout + done.stderr, markup=False)
    status = next((line.split("|")[3].strip() for line in done.stdout.splitlines() if " blue " in line), "absent")
    return Proof(claim="the router is ACTIVE in Neutron", ok=status == "ACTIVE", evidence=f"openstack says {status}")


def _load_sdk() -> None:
    """Import what is slow to import while the services start."""
    import openstack  # noqa: F401
