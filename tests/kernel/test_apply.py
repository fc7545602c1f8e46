"""The engine on a real kernel: what is touched and what is not, and what stands after anything goes wrong."""

from __future__ import annotations

import contextlib
import subprocess
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from astara.appliance.apply.engine import Engine
from astara.appliance.apply.errors import ApplyFailed, StorageUnavailable
from astara.appliance.boundaries import Place, Subsystem, SubsystemError
from astara.appliance.subsystems.kernel import kernel_subsystems
from astara.appliance.subsystems.nftables.config import Ruleset
from astara.contract.agent import Deviation, Health, Outcome
from astara.contract.codec import ContractError
from astara.contract.document import document
from astara.contract.generation import Generation
from astara.drivers.router.appliance import RouterAppliance
from astara.drivers.router.schema import (
    ConntrackHelper,
    NdpProxy,
    RouterSection,
    Shaping,
    StaticRoute,
)
from astara.model.errors import Gone, Stale
from support.builders.router import external, floating, forwarding, internal
from support.terrain import Terrain, Unseen, eventually, router_engine, terrain

pytestmark = pytest.mark.kernel

GATEWAY = "203.0.113.2"
_LINKS = 4


@dataclass
class Bench:
    """A router with four links and nobody around it."""

    land: Terrain
    one: str
    two: str
    public: str
    other: str

    def full(self) -> RouterSection:
        """Return a section that uses every feature."""
        return RouterSection(
            router_id="r",
            internal=(
                internal(self.one, "10.0.0.1/24", "fd00:1::1/64", shaping=Shaping(egress_kbps=50_000)),
                internal(self.two, "10.0.1.1/24"),
            ),
            external=(
                external(
                    self.public,
                    f"{GATEWAY}/24",
                    "2001:db8::2/64",
                    nexthops=("203.0.113.1", "2001:db8::1"),
                    snat=GATEWAY,
                    shaping=Shaping(ingress_kbps=100_000, egress_kbps=100_000),
                ),
                external(self.other, "192.0.2.2/24", nexthops=("192.0.2.1",), snat="192.0.2.2"),
            ),
            floating_ips=(
                floating("203.0.113.9", "10.0.0.5", self.public, shaping=Shaping(egress_kbps=10_000)),
                floating("192.0.2.9", "10.0.1.5", self.other),
            ),
            port_forwardings=(
                forwarding("tcp", "203.0.113.10", (80, 80), "10.0.0.6", (8080, 8080), self.public),
                forwarding("udp", "203.0.113.10", (100, 200), "10.0.0.6", (100, 200), self.public),
                forwarding("icmp", "203.0.113.10", (0, 0), "10.0.0.6", (0, 0), self.public),
            ),
            routes=(
                StaticRoute(destination="192.168.0.0/16", nexthop="10.0.0.8"),
                StaticRoute(destination="192.168.0.0/16", nexthop="10.0.0.9"),
                StaticRoute(destination="fd09::/48", nexthop="fd00:1::9"),
            ),
            conntrack_helpers=(ConntrackHelper(protocol="tcp", port=21, helper="ftp"),),
            ndp_proxies=(NdpProxy(address="fd00:1::77", external_port_id=f"port-{self.public}"),),
            routed_v6=("fd00:1::/64",),
        )


@contextlib.contextmanager
def bench_in(files: Path, engine: Engine | None = None) -> Iterator[Bench]:
    with terrain(files, engine) as land:
        yield Bench(land, land.plug("one"), land.plug("two"), land.plug("pub"), land.plug("oth"))


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with bench_in(tmp_path) as made:
        yield made


class Watch:
    """One monitor program: what it prints, and how to make it print something that is not of the router's."""

    def __init__(self, land: Terrain, command: list[str], there: list[str], back: list[str], word: str) -> None:
        self._land, self._there, self._back, self._word = land, there, back, word
        self._lines: list[str] = []
        inside = ["ip", "netns", "exec", land.router, "stdbuf", "-oL", *command]
        self._process = subprocess.Popen(inside, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        self._lines.extend(iter(self._process.stdout.readline, ""))

    def hears(self) -> bool:
        """Make the noise; say whether an earlier one was heard."""
        self._land.inside(*self._there)
        self._land.inside(*self._back)
        return self._noises() > 0

    def _noises(self) -> int:
        return sum(self._word in line for line in list(self._lines))

    def end(self) -> list[str]:
        """Return the lines that are not our noise. The last noise, heard, means that all before it was heard."""
        before = self._noises()
        self.hears()
        assert eventually(lambda: self._noises() > before)
        self._process.terminate()
        self._process.wait()
        self._reader.join(5)
        assert self._process.stdout is not None
        self._process.stdout.close()
        return [line.rstrip() for line in self._lines if self._word not in line and "generation" not in line]


class Monitor:
    """Everything the kernel reports as changed in the router's namespace, from every table we write."""

    def __init__(self, land: Terrain) -> None:
        self._land = land
        self._watches: list[Watch] = []

    def __enter__(self) -> Monitor:
        # The kernel reports a carrier up to a second after the link came up: that is no event of ours.
        assert eventually(lambda: self._land.inside("ip", "-o", "link").count("state UP") >= _LINKS)
        noise = ["ip", "route"], ["dev", "lo", "table", "99"]
        for command, word, there, back in (
            (["nft", "monitor"], "noise", ["nft", "add", "table", "noise"], ["nft", "delete", "table", "noise"]),
            (
                ["ip", "-o", "-4", "monitor", "address", "route", "rule", "link"],
                "10.99.0.1",
                [*noise[0], "add", "10.99.0.1", *noise[1]],
                [*noise[0], "del", "10.99.0.1", *noise[1]],
            ),
            (
                ["ip", "-o", "-6", "monitor", "address", "route", "rule"],
                "fd99::1",
                [*noise[0], "add", "fd99::1", *noise[1]],
                [*noise[0], "del", "fd99::1", *noise[1]],
            ),
            (
                ["tc", "monitor"],
                "dev lo",
                ["tc", "qdisc", "add", "dev", "lo", "root", "pfifo"],
                ["tc", "qdisc", "del", "dev", "lo", "root"],
            ),
        ):
            self._watches.append(Watch(self._land, command, there, back, word))
        assert all(eventually(watch.hears) for watch in self._watches)
        return self

    def __exit__(self, *_: object) -> None:
        self.events()

    def events(self) -> str:
        """End the watch and return what was reported, one event per line."""
        watches, self._watches = self._watches, []
        return "\n".join(line for watch in watches for line in watch.end())


# --- unchanged means untouched -----------------------------------------------------------------------------------


def test_an_equal_document_touches_nothing_and_records_the_newer_generation(bench: Bench) -> None:
    bench.land.push(bench.full())
    assert bench.land.engine.state(bench.land.place).health is Health.HEALTHY
    with Monitor(bench.land) as watched:
        report = bench.land.push(bench.full(), revision=50)
        view = bench.land.engine.state(bench.land.place)
        bench.land.engine.repair(bench.land.place)
        assert watched.events() == ""
    assert report.outcome is Outcome.UNCHANGED
    assert view.generation == Generation(1, 50)
    with pytest.raises(Stale):
        bench.land.push(bench.full(), revision=49)
    assert bench.land.push(bench.full(), revision=50).outcome is Outcome.UNCHANGED


def test_a_new_element_does_not_replace_the_ruleset(bench: Bench) -> None:
    whole = bench.full()
    bench.land.push(replace(whole, floating_ips=()))
    with Monitor(bench.land) as watched:
        report = bench.land.push(whole)
        said = watched.events()
    assert report.outcome is Outcome.APPLIED
    assert "add element inet astara floating_to_fixed" in said
    assert "add rule" not in said
    assert "delete" not in said.lower()


def test_foreign_objects_are_left_alone(bench: Bench) -> None:
    bench.land.push(bench.full())
    bench.land.inside("nft", "add table inet theirs")
    bench.land.inside("ip", "route", "add", "172.30.0.0/16", "via", "10.0.0.3", "proto", "static")
    bench.land.inside("ip", "rule", "add", "from", "172.31.0.0/16", "lookup", "77")
    bench.land.inside("ip", "addr", "add", "172.29.0.1/32", "dev", "x1")
    bench.land.push(replace(bench.full(), routes=(), external=bench.full().external[:1], floating_ips=()))
    bench.land.engine.remove(bench.land.place)
    assert "theirs" in bench.land.inside("nft", "list", "tables")
    assert "172.30.0.0/16" in bench.land.inside("ip", "route")
    assert "172.31.0.0/16" in bench.land.inside("ip", "rule")
    assert "172.29.0.1" in bench.land.inside("ip", "addr")


# --- refusals ----------------------------------------------------------------------------------------------------


def test_refusals_name_the_field_and_touch_nothing(bench: Bench) -> None:
    whole = bench.full()
    bench.land.push(whole)
    before = bench.land.kernel()
    wrong = {
        "$.section.floating_ips[0].fixed": replace(
            whole, floating_ips=(replace(whole.floating_ips[0], fixed="10.0.0.5; drop"),)
        ),
        "$.section.routes[0].nexthop": replace(
            whole, routes=(StaticRoute(destination="1.0.0.0/8", nexthop="9.9.9.9"),)
        ),
        "$.section.internal[0].mac": replace(whole, internal=(replace(whole.internal[0], mac="eth0"),)),
    }
    for field, section in wrong.items():
        with pytest.raises(ContractError) as refused:
            bench.land.push(section)
        assert refused.value.field == field
    assert bench.land.kernel() == before
    assert bench.land.engine.state(bench.land.place).health is Health.HEALTHY


def test_envelopes_we_do_not_understand_are_refused(bench: Bench) -> None:
    good = document("router", Generation(1, 1), bench.full())
    engine, place = bench.land.engine, bench.land.place
    with pytest.raises(ContractError, match=r"\$\.contract.*speak one of: 1"):
        engine.apply(place, replace(good, contract=99))
    with pytest.raises(ContractError, match=r"\$\.driver.*router"):
        engine.apply(place, replace(good, driver="firewall"))
    with pytest.raises(ContractError, match=r"\$\.digest"):
        engine.apply(place, replace(good, digest="0" * 64))
    assert engine.state(place).health is Health.UNCONFIGURED


def test_a_link_that_is_not_plugged_in_is_refused_before_anything_is_touched(bench: Bench) -> None:
    bench.land.push(bench.full())
    before = bench.land.kernel()
    stranger = internal("fa:16:3e:ff:ff:ff", "10.0.9.1/24")
    with pytest.raises(SubsystemError, match="fa:16:3e:ff:ff:ff") as refused:
        bench.land.push(replace(bench.full(), internal=(*bench.full().internal, stranger)))
    assert refused.value.phase == "check"
    assert bench.land.kernel() == before


class BadRules(RouterAppliance):
    """A router whose ruleset is broken when its id says so."""

    def configs(self, section: RouterSection) -> dict[str, Any]:
        configs = dict(super().configs(section))
        if section.router_id == "bad":
            rules: Ruleset = configs["nftables"]
            bad = Path(__file__).parent.parent / "support" / "golden" / "bad-ruleset.nft"
            configs["nftables"] = Ruleset(rules.structure + bad.read_text(), rules.elements)
        return configs


def test_a_refused_ruleset_leaves_the_running_one_alone(tmp_path: Path) -> None:
    engine = Engine((*kernel_subsystems(), Unseen("radvd")), {"router": BadRules()})
    with bench_in(tmp_path, engine) as bench:
        bench.land.push(bench.full())
        before = bench.land.kernel()
        with pytest.raises(SubsystemError, match="syntax error") as refused:
            bench.land.push(replace(bench.full(), router_id="bad"))
        assert refused.value.phase == "check"
        assert bench.land.kernel() == before
        assert engine.state(bench.land.place).health is Health.HEALTHY


def test_a_helper_this_kernel_lacks_is_refused_by_name_with_the_remedy(tmp_path: Path) -> None:
    class Absent(RouterAppliance):
        def configs(self, section: RouterSection) -> dict[str, Any]:
            configs = dict(super().configs(section))
            rules: Ruleset = configs["nftables"]
            probes = tuple(replace_probe(probe) for probe in rules.probes)
            configs["nftables"] = Ruleset(rules.structure.replace('type "ftp"', 'type "none"'), rules.elements, probes)
            return configs

    def replace_probe(probe: Any) -> Any:
        return type(probe)(probe.field, probe.structure.replace('type "ftp"', 'type "none"'), probe.remedy)

    engine = Engine((*kernel_subsystems(), Unseen("radvd")), {"router": Absent()})
    with bench_in(tmp_path, engine) as bench:
        with pytest.raises(SubsystemError, match="nf_conntrack_ftp") as refused:
            bench.land.push(bench.full())
        assert refused.value.field == "$.section.conntrack_helpers[0].helper"
        assert bench.land.rules() == ["no table"]


def test_a_full_disk_is_named_and_what_runs_is_untouched(bench: Bench, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(small)], check=True)
    try:
        place = Place(bench.land.place.instance_id, bench.land.place.netns, small / "files")
        engine = router_engine()
        engine.apply(place, document("router", Generation(1, 1), bench.full()))
        before = bench.land.kernel()
        fill(small / "ballast")
        with pytest.raises(StorageUnavailable, match="No space left") as refused:
            engine.apply(place, document("router", Generation(1, 2), replace(bench.full(), routes=())))
        assert "free space" in refused.value.remedy
        assert bench.land.kernel() == before
        (small / "ballast").unlink()
        report = engine.apply(place, document("router", Generation(1, 2), replace(bench.full(), routes=())))
        assert report.outcome is Outcome.APPLIED
    finally:
        subprocess.run(["umount", str(small)], check=True)


def fill(path: Path) -> None:
    """Write until the disk is full."""
    with path.open("wb", buffering=0) as ballast, contextlib.suppress(OSError):
        while ballast.write(bytes(1024)):
            pass


def test_a_namespace_that_is_gone_is_said_so(bench: Bench) -> None:
    nowhere = Place("x", Path("/run/netns/astara-nowhere"), bench.land.place.files / "x")
    assert bench.land.engine.state(nowhere).health is Health.FAILED
    with pytest.raises(Gone):
        bench.land.engine.apply(nowhere, document("router", Generation(1, 1), bench.full()))
    bench.land.engine.remove(nowhere)


# --- drift and failure -------------------------------------------------------------------------------------------

ACCIDENTS = {
    "nftables": ["nft flush ruleset"],
    "one rule": ["nft flush chain inet astara forward"],
    "an added rule": ["nft insert rule inet astara forward accept"],
    "an element": ["nft delete element inet astara floating_to_fixed { 203.0.113.9 }"],
    "an address": ["ip addr del 203.0.113.9/32 dev x3"],
    "a link down": ["ip link set x1 down"],
    "an mtu": ["ip link set x1 mtu 1300"],
    "a route": ["ip route del 192.168.0.0/16"],
    "the default route": ["ip route del default metric 101"],
    "a rule": ["ip rule del priority 101"],
    "a sysctl": ["sysctl -qw net.ipv4.ip_forward=0"],
    "a link's sysctl": ["sysctl -qw net.ipv4.conf.x1.arp_ignore=0"],
    "a limit": ["tc qdisc del dev x3 root"],
    "a class": ["tc filter del dev x3 parent a57a:", "tc class del dev x3 classid a57a:1"],
    "the ingress": ["tc qdisc del dev x3 ingress"],
    "a proxy": ["ip -6 neigh del proxy fd00:1::77 dev x3"],
    "a renamed link": ["ip link set x1 down", "ip link set x1 name eth9"],
}


@pytest.mark.parametrize("accident", ACCIDENTS.values(), ids=ACCIDENTS.keys())
def test_what_somebody_breaks_by_hand_is_found_and_repaired(bench: Bench, accident: list[str]) -> None:
    bench.land.push(bench.full())
    before = bench.land.kernel()
    for command in accident:
        bench.land.inside("sh", "-c", command)
    broken = bench.land.engine.state(bench.land.place)
    assert broken.health is Health.DEGRADED
    assert broken.deviations
    repaired = bench.land.engine.repair(bench.land.place)
    assert repaired.health is Health.HEALTHY, repaired
    assert repaired.repairs == 1
    if "eth9" not in " ".join(accident):
        assert bench.land.kernel() == before


class Failing:
    """Stands in for the last subsystem: fails where it is told to."""

    name = "radvd"

    def __init__(self) -> None:
        self.at = ""

    def render(self, place: Place, config: Any) -> Any:
        return config

    def check(self, place: Place, rendered: Any) -> None:
        if self.at == "check":
            raise SubsystemError(self.name, "check", "line 3: no such word")

    def apply(self, place: Place, rendered: Any, previous: Any | None) -> bool:
        if self.at == "apply":
            self.at = ""  # the way back works
            raise SubsystemError(self.name, "apply", "did not start")
        return False

    def read_back(self, place: Place, rendered: Any) -> Sequence[Deviation]:
        if self.at == "read_back":
            self.at = ""
            return [Deviation(subsystem=self.name, detail="does not run")]
        return []

    def remove(self, place: Place) -> None: ...


@pytest.mark.parametrize("at", ["check", "apply", "read_back"])
def test_the_last_good_document_is_in_force_after_any_failure(tmp_path: Path, at: str) -> None:
    failing = Failing()
    engine = Engine((*kernel_subsystems(), failing), {"router": RouterAppliance()})
    with bench_in(tmp_path, engine) as bench:
        bench.land.push(bench.full())
        before = bench.land.kernel()
        failing.at = at
        with pytest.raises((ApplyFailed, SubsystemError)) as failed:
            bench.land.push(replace(bench.full(), floating_ips=(), routes=()))
        if isinstance(failed.value, ApplyFailed):
            assert failed.value.restored
        assert bench.land.kernel() == before
        assert engine.state(bench.land.place).health is Health.HEALTHY
        assert (
            router_engine().state(bench.land.place).digest == document("router", Generation(1, 1), bench.full()).digest
        )


def test_a_first_document_that_fails_leaves_nothing(tmp_path: Path) -> None:
    failing = Failing()
    engine = Engine((*kernel_subsystems(), failing), {"router": RouterAppliance()})
    with bench_in(tmp_path, engine) as bench:
        failing.at = "apply"
        with pytest.raises(ApplyFailed):
            bench.land.push(bench.full())
        assert bench.land.rules() == ["no table"]
        assert "203.0.113" not in bench.land.inside("ip", "addr")
        assert engine.state(bench.land.place).health is Health.UNCONFIGURED


def test_removal_takes_everything_of_ours_away_and_again_is_success(bench: Bench) -> None:
    fresh = bench.land.inside("ip", "rule") + bench.land.inside("tc", "qdisc")
    bench.land.push(bench.full())
    bench.land.engine.remove(bench.land.place)
    bench.land.engine.remove(bench.land.place)
    said = bench.land.inside("ip", "rule") + bench.land.inside("tc", "qdisc").replace("noqueue", "noop")
    assert said == fresh.replace("noqueue", "noop").replace("pfifo_fast", "noop") or "htb" not in said
    assert bench.land.rules() == ["no table"]
    assert "203.0.113" not in bench.land.inside("ip", "addr") + bench.land.inside("ip", "route", "show", "table", "all")
    assert "ifb" not in bench.land.inside("ip", "-d", "link")
    assert not [path for path in bench.land.place.files.rglob("*") if path.is_file()]
    assert bench.land.engine.state(bench.land.place).health is Health.UNCONFIGURED


# --- the laws ----------------------------------------------------------------------------------------------------


def test_law_replay_and_round_trip_of_the_whole(bench: Bench) -> None:
    empty = RouterSection(router_id="r")
    bench.land.push(bench.full())
    first = bench.land.kernel()
    bench.land.push(empty)
    bench.land.push(bench.full())
    assert bench.land.kernel() == first


def test_a_restarted_agent_finds_its_own_and_touches_nothing(bench: Bench) -> None:
    bench.land.push(bench.full())
    restarted = router_engine()
    with Monitor(bench.land) as watched:
        assert restarted.repair(bench.land.place).health is Health.HEALTHY
        assert watched.events() == ""
    with pytest.raises(Stale):
        restarted.apply(bench.land.place, document("router", Generation(0, 9), bench.full()))


def test_after_a_reboot_the_last_good_document_comes_back_filter_first(bench: Bench) -> None:
    bench.land.push(bench.full())
    before = bench.land.kernel()
    bench.land.engine.remove(
        Place(bench.land.place.instance_id, bench.land.place.netns, bench.land.place.files / "elsewhere")
    )
    seen: list[str] = []

    class Watching(Unseen):
        def apply(self, place: Place, rendered: Any, previous: Any | None) -> bool:
            seen.append(bench.land.inside("ip", "-4", "-o", "addr", "show", "scope", "global"))
            return False

    filter_first, *rest = kernel_subsystems()
    watching: list[Subsystem] = [filter_first, Watching("radvd"), *rest]
    rebooted = Engine(watching, {"router": RouterAppliance()})
    assert rebooted.state(bench.land.place).health is Health.DEGRADED
    assert rebooted.repair(bench.land.place).health is Health.HEALTHY
    assert seen == [""]  # the filter stood before the first address did
    assert bench.land.kernel() == before


class Killed(BaseException):
    """The process ends here."""


class Mortal:
    """A subsystem in a process that dies at its n-th step."""

    def __init__(self, inner: Subsystem, life: list[int]) -> None:
        self._inner = inner
        self._life = life
        self.name = inner.name

    def _step(self) -> None:
        self._life[0] -= 1
        if self._life[0] == 0:
            raise Killed

    def render(self, place: Place, config: Any) -> Any:
        return self._inner.render(place, config)

    def check(self, place: Place, rendered: Any) -> None:
        self._inner.check(place, rendered)

    def apply(self, place: Place, rendered: Any, previous: Any | None) -> bool:
        self._step()
        touched = self._inner.apply(place, rendered, previous)
        self._step()
        return touched

    def read_back(self, place: Place, rendered: Any) -> Sequence[Deviation]:
        self._step()
        return self._inner.read_back(place, rendered)

    def remove(self, place: Place) -> None:
        self._step()
        self._inner.remove(place)


def test_law_interrupt_killed_between_any_two_steps_then_restarted(bench: Bench) -> None:
    old = replace(bench.full(), floating_ips=(), external=bench.full().external[:1], routes=bench.full().routes[:1])
    new = bench.full()
    bench.land.push(new)
    wanted = bench.land.kernel()
    number = 100
    for step in range(1, 40):
        router_engine().apply(bench.land.place, document("router", Generation(1, number), old))
        life = [step]
        mortal = Engine(
            [Mortal(s, life) for s in (*kernel_subsystems(), Unseen("radvd"))], {"router": RouterAppliance()}
        )
        died = False
        try:
            mortal.apply(bench.land.place, document("router", Generation(1, number + 1), new))
        except Killed:
            died = True
        restarted = router_engine()
        assert restarted.repair(bench.land.place).health is Health.HEALTHY
        restarted.apply(bench.land.place, document("router", Generation(1, number + 1), new))
        assert bench.land.kernel() == wanted
        number += 10
        if not died:
            break
    assert step > 14  # it really died between the steps of seven subsystems


def sections(bench: Bench) -> st.SearchStrategy[RouterSection]:
    """Return sections that are any part of the full one, with varied values."""
    whole = bench.full()

    def some(items: tuple[Any, ...]) -> st.SearchStrategy[tuple[Any, ...]]:
        return st.lists(st.sampled_from(items), unique=True, max_size=len(items)).map(tuple)

    return st.builds(
        lambda enabled, gates, floats, forwards, routes, helpers, inner, v6: RouterSection(
            router_id="r",
            enabled=enabled,
            internal=(whole.internal[0], *inner),
            external=gates,
            floating_ips=tuple(f for f in floats if f.external_port_id in {gate.port_id for gate in gates}),
            port_forwardings=tuple(f for f in forwards if f.external_port_id in {gate.port_id for gate in gates}),
            routes=routes,
            conntrack_helpers=helpers,
            routed_v6=v6,
        ),
        st.booleans(),
        some(whole.external),
        some(whole.floating_ips),
        some(whole.port_forwardings),
        some(whole.routes),
        some(whole.conntrack_helpers),
        st.lists(st.just(whole.internal[1]), max_size=1),
        some(whole.routed_v6),
    )


def test_law_round_trip_and_replay_of_any_two_sections(tmp_path: Path) -> None:
    with bench_in(tmp_path) as bench:

        @settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
        @given(a=sections(bench), b=sections(bench))
        def holds(a: RouterSection, b: RouterSection) -> None:
            bench.land.push(a)
            first = bench.land.kernel()
            bench.land.push(b)
            again = router_engine()
            assert again.state(bench.land.place).health is Health.HEALTHY
            bench.land.push(a)
            assert bench.land.kernel() == first
            assert bench.land.push(a).outcome is Outcome.UNCHANGED

        holds()
