from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest

import astara_neutron.snapshot
from astara_neutron import watch
from astara_neutron.recorder import _merged

SNAPSHOT = Path(astara_neutron.snapshot.__file__).parent

#: Tables a snapshot reads that need no watch, and why.
EXEMPT = {
    "standardattributes": "revision numbers count what we have no interest in too; nothing is derived from them",
    "astara_placements": "our own; placement.py marks what it writes",
}


def tables_read() -> set[str]:
    """Every table some module of the snapshot has a name for."""
    found = set()
    for path in SNAPSHOT.glob("*.py"):
        module = importlib.import_module(f"astara_neutron.snapshot.{path.stem}")
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Assign) and ast.unparse(node.value).endswith(".__table__"):
                found.add(getattr(module, ast.unparse(node.targets[0])).name)
    return found


def test_every_table_a_snapshot_reads_moves_the_journal_when_it_is_written():
    watched = {item.model.__table__.name for item in watch.WATCHES}
    assert len(tables_read()) > 20
    assert tables_read() - watched == EXEMPT.keys()


def test_no_table_is_watched_twice_and_every_column_named_exists():
    models = [item.model for item in watch.WATCHES]
    assert len(models) == len(set(models))
    for item in watch.WATCHES:
        assert (item.columns or set()) <= set(item.model.__mapper__.column_attrs.keys())


def test_what_is_followed_never_leads_back():
    order = [kind for kind, _ in watch._FOLLOW]
    assert len(order) == len(set(order))


@pytest.mark.parametrize(
    ("owner", "keys"),
    [
        ("", {("network", "n")}),
        ("compute:nova", {("network", "n")}),
        ("network:dhcp", {("network", "n")}),
        ("network:router_interface", {("network", "n"), ("router", "d")}),
        ("network:router_gateway", {("router", "d")}),
        ("network:floatingip", set()),
    ],
)
def test_a_port_concerns_its_network_and_the_router_it_is_of(owner, keys):
    row = {"network_id": "n", "device_owner": owner, "device_id": "d"}
    assert set(watch.port_references(row)) == keys


def test_a_changed_row_has_its_old_values_where_they_changed():
    assert dict(_merged({"router_id": "old"}, {"router_id": "new", "id": "f"})) == {"router_id": "old", "id": "f"}
