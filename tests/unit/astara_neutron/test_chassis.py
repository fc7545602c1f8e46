"""OVN is told where the active half is before the bindings are, in one transaction; what that cannot do, they do."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from astara_neutron import chassis


class Northbound:
    """Notes what each transaction would write."""

    def __init__(self) -> None:
        self.written: list[list[tuple[Any, ...]]] = []

    @contextlib.contextmanager
    def transaction(self, *, check_error: bool) -> Iterator[Any]:
        assert check_error
        commands: list[tuple[Any, ...]] = []
        yield SimpleNamespace(add=commands.append)
        self.written.append(commands)

    def db_set(self, table: str, record: str, *, if_exists: bool, options: dict[str, str]) -> tuple[Any, ...]:
        assert if_exists
        return table, record, options


def plugin(monkeypatch: pytest.MonkeyPatch, **mechanisms: Any) -> None:
    drivers = {name: SimpleNamespace(obj=obj) for name, obj in mechanisms.items()}
    found = SimpleNamespace(mechanism_manager=SimpleNamespace(mech_drivers=drivers))
    monkeypatch.setattr(chassis.directory, "get_plugin", lambda: found)


def southbound(*columns: str) -> Any:
    return SimpleNamespace(is_col_present=lambda table, column: (table, column) == ("Port_Binding", *columns))


def test_all_ports_are_led_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    north = Northbound()
    plugin(monkeypatch, ovn=SimpleNamespace(nb_ovn=north, sb_ovn=southbound("additional_chassis")))
    chassis.lead([("p1", "node-a"), ("p2", "")], "node-b")
    table = "Logical_Switch_Port"
    asked = ("node-a,node-b", "node-b")
    wanted = [(table, port, {"requested-chassis": one}) for port, one in zip(("p1", "p2"), asked, strict=True)]
    assert north.written == [wanted]


def test_nothing_is_asked_for_no_port_or_without_ovn(monkeypatch: pytest.MonkeyPatch) -> None:
    north = Northbound()
    plugin(monkeypatch, ovn=SimpleNamespace(nb_ovn=north, sb_ovn=southbound("additional_chassis")))
    chassis.lead([], "node-b")
    plugin(monkeypatch, openvswitch=SimpleNamespace())
    chassis.lead([("p1", "node-a")], "node-b")
    assert north.written == []
    assert not chassis.offered()


def test_a_database_that_is_away_keeps_no_binding_from_being_made(monkeypatch: pytest.MonkeyPatch) -> None:
    class Away(Northbound):
        def db_set(self, *_args: Any, **_options: Any) -> tuple[Any, ...]:
            raise TimeoutError("no leader")

    north = Away()
    plugin(monkeypatch, ovn=SimpleNamespace(nb_ovn=north, sb_ovn=southbound("additional_chassis")))
    chassis.lead([("p1", "node-a")], "node-b")
    assert north.written == []


def test_an_ovn_that_knows_one_chassis_for_a_port_is_asked_for_no_second(monkeypatch: pytest.MonkeyPatch) -> None:
    north = Northbound()
    plugin(monkeypatch, ovn=SimpleNamespace(nb_ovn=north, sb_ovn=southbound("chassis")))
    assert not chassis.offered()
    chassis.lead([("p1", "node-a")], "node-b")
    assert north.written == []
    plugin(monkeypatch, ovn=SimpleNamespace(sb_ovn=southbound("additional_chassis")))
    assert chassis.offered()
