"""The executor on the simulated cloud: what is left done after each kind of failure."""

from __future__ import annotations

from dataclasses import replace

import pytest

from astara.contract.generation import Generation
from astara.contract.snapshot import StatusItem, StatusReport
from astara.model.boundaries import RouterWorld
from astara.model.errors import Gone, Retry, Stale, Terminal
from astara.planning.steps import (
    AttachPort,
    CreateInstance,
    DeleteInstance,
    DetachPort,
    EnsurePort,
    PushConfig,
    ReportStatus,
    Step,
    Why,
)
from astara.providers.memory.cloud import MemoryCloud
from astara.providers.memory.provider import MemoryProvider
from astara.reconcile.boundaries import NoMetrics
from astara.reconcile.executor import Executor, Outcome, Result
from astara.reconcile.following import Following
from astara.reconcile.options import EngineOptions
from astara.reconcile.statuses import StatusWriter
from support.builders.resources import KEY, port, router
from support.clock import VirtualClock
from support.fakes.drivers import SlottedRouters
from support.fakes.neutron import FakeNeutron
from support.fakes.records import FakeRecords

NOW = Generation(1, 5)


class Bench:
    def __init__(self) -> None:
        self.cloud, self.neutron, self.clock = MemoryCloud(), FakeNeutron(), VirtualClock()
        self.provider = MemoryProvider(self.cloud)
        statuses = StatusWriter(self.neutron, self.clock, EngineOptions(), NoMetrics())
        self.following = Following(self.neutron, self.clock)
        self.executor = Executor(
            self.neutron,
            {"memory": self.provider},
            statuses,
            self.following,
            FakeRecords(),
            self.clock,
            NoMetrics(),
        )
        self.neutron.put_router(router(ports=("p1",)))
        present = SlottedRouters().desired(KEY, RouterWorld(5, self.neutron.routers_by_id["r1"], {}))
        self.wanted = present.instances[0]

    def run(self, *steps: Step, generation: Generation = NOW, deadline: float = 1e9) -> Result:
        return self.executor.run(KEY, steps, generation, deadline)

    def build(self):
        assert self.run(CreateInstance(self.wanted), PushConfig(self.wanted, None)).outcome is Outcome.DONE
        return self.provider.list(KEY).instances[0]


@pytest.fixture
def bench() -> Bench:
    return Bench()


def up() -> ReportStatus:
    return ReportStatus(StatusReport(routers=(StatusItem(id="r1", status="ERROR"),)), serving=True)


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (Retry("x"), Outcome.RETRY),
        (Terminal("x"), Outcome.TERMINAL),
        (Stale("x"), Outcome.STALE),
        (Gone("x"), Outcome.STALE),
    ],
)
def test_each_error_has_its_outcome_and_names_the_step(bench, error, outcome):
    bench.cloud.inject("create", error)
    result = bench.run(CreateInstance(bench.wanted), PushConfig(bench.wanted, None), up())
    assert result.outcome is outcome
    assert result.failure is not None
    assert not bench.cloud.instances
    assert not bench.neutron.reports


def test_what_does_not_depend_on_the_failure_is_done(bench):
    instance = bench.build()
    bench.cloud.inject("push", Terminal("refused"))
    result = bench.run(
        AttachPort(instance, port("p2")), PushConfig(bench.wanted, instance), DetachPort(instance, "p1"), up()
    )
    assert result.outcome is Outcome.TERMINAL
    assert set(bench.cloud.instances[instance.id].ports) == {"p2"}
    assert not bench.neutron.reports


def test_a_stale_generation_stops_the_whole_plan(bench):
    instance = bench.build()
    bench.run(PushConfig(bench.wanted, instance), generation=Generation(2, 1))
    result = bench.run(DetachPort(instance, "p1"), EnsurePort("n1", "h1"), generation=Generation(1, 99))
    assert result.outcome is Outcome.STALE
    assert "ensure_dhcp_port" not in bench.neutron.calls
    assert set(bench.cloud.instances[instance.id].ports) == {"p1"}


def test_an_instance_that_boots_is_pending_and_its_old_one_is_kept(bench):
    instance = bench.build()
    bench.cloud.boots_slowly = True
    moved = replace(bench.wanted, host="h2")
    result = bench.run(CreateInstance(moved), PushConfig(moved, None), DeleteInstance(instance, Why.SURPLUS), up())
    assert result.outcome is Outcome.PENDING
    assert instance.id in bench.cloud.instances
    assert not bench.neutron.reports


def test_absence_is_success(bench):
    instance = bench.build()
    bench.cloud.lose(instance.id)
    assert bench.run(DeleteInstance(instance, Why.UNWANTED), DetachPort(instance, "p1")).outcome is Outcome.DONE


def test_no_step_begins_after_the_deadline(bench):
    result = bench.run(CreateInstance(bench.wanted), deadline=bench.clock.now() - 1)
    assert result.outcome is Outcome.RETRY
    assert not bench.cloud.calls


def test_an_unknown_provider_is_named_with_those_that_exist(bench):
    other = replace(bench.wanted, provider="nova")
    result = bench.run(CreateInstance(other))
    assert result.failure is not None
    assert "nova" in result.failure.message
    assert "memory" in result.failure.remedy


class Unfenced(MemoryProvider):
    """As a cloud that makes whatever it is asked for."""

    @property
    def capabilities(self) -> frozenset[str]:
        return super().capabilities - {"fenced"}


def test_where_nobody_can_refuse_a_creation_it_is_claimed_first_and_the_greater_term_has_it(bench):
    provider = Unfenced(bench.cloud)
    records = FakeRecords()
    statuses = StatusWriter(bench.neutron, bench.clock, EngineOptions(), NoMetrics())
    executor = Executor(
        bench.neutron, {"memory": provider}, statuses, bench.following, records, bench.clock, NoMetrics()
    )

    def make(term: int) -> Outcome:
        return executor.run(KEY, [CreateInstance(bench.wanted)], Generation(term, 1), 1e9).outcome

    records.claim(KEY, bench.wanted.slot, 7)
    assert make(6) is Outcome.STALE
    assert not bench.cloud.instances
    records.disk_full = True
    assert make(8) is Outcome.RETRY  # a claim that cannot be made is no permission
    assert not bench.cloud.instances
    records.disk_full = False
    assert make(8) is Outcome.DONE
    assert records.claims[KEY, bench.wanted.slot] == 8


def test_no_step_begins_once_the_owner_may_not_act_any_more(bench):
    instance = bench.build()
    answers = iter([True, False])
    steps = [AttachPort(instance, port("p2")), DetachPort(instance, "p1")]
    result = bench.executor.run(KEY, steps, NOW, 1e9, lambda: next(answers))
    assert result.outcome is Outcome.STALE
    assert set(bench.cloud.instances[instance.id].ports) == {"p1", "p2"}
