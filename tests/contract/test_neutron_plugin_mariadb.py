"""The plug-in on the database clouds use: migrations, concurrent writers, transactions that commit late."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa

from support.neutron.cloud import Cloud, running
from support.neutron.mariadb import mariadb

pytestmark = [pytest.mark.neutron, pytest.mark.timeout(300)]

DB_MANAGE = str(Path(sys.executable).parent / "neutron-db-manage")


def manage(url: str, *command: str) -> str:
    database = ["--database-connection", url]
    done = subprocess.run([DB_MANAGE, *database, *command], check=False, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with mariadb(tmp_path_factory.mktemp("db")) as url:
        manage(url, "--subproject", "neutron", "upgrade", "heads")
        manage(url, "--subproject", "astara", "upgrade", "heads")
        yield url


@pytest.fixture(scope="module")
def cloud(database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with running(tmp_path_factory.mktemp("neutron"), database=database) as cloud:
        cloud.call("PUT", "/astara/nodes", {"nodes": [{"host": "node-a"}, {"host": "node-b"}]})
        yield cloud
        cloud.client.close()


def test_the_migrations_make_the_tables_of_the_models(database):
    current = manage(database, "--subproject", "astara", "current")
    assert "e0a57a7a0002" in current
    assert "c0a57a7a0001" in current
    script = (
        "import sys, sqlalchemy as sa\n"
        "from alembic import autogenerate, migration\n"
        "from neutron_lib.db import model_base\n"
        "from astara_neutron import models\n"
        "ours = {table.name for table in models.TABLES}\n"
        "def wanted(o, name, kind, reflected, to): return kind != 'table' or name in ours\n"
        "with sa.create_engine(sys.argv[1]).connect() as connection:\n"
        "    context = migration.MigrationContext.configure(connection, opts={'include_object': wanted})\n"
        "    sys.exit(repr(autogenerate.compare_metadata(context, model_base.BASEV2.metadata)) if\n"
        "             autogenerate.compare_metadata(context, model_base.BASEV2.metadata) else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, database], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_write_is_journaled_and_read_in_bulk(cloud):
    before = cloud.revision()
    network, (subnet,) = cloud.network("10.20.0.0/24")
    router = cloud.router(subnet)
    assert {("router", router["id"]), ("network", network["id"])} <= cloud.changed_after(before)
    cloud.routers(router["id"])
    one = cloud.queries
    others = [cloud.router(cloud.network("10.21.0.0/24")[1][0])["id"] for _ in range(4)]
    page = cloud.routers(router["id"], *others)
    assert len(page["routers"]) == 5
    assert cloud.queries == one
    assert page["routers"][0]["host"] in ("node-a", "node-b")


def test_writers_at_the_same_time_all_succeed_and_are_all_journaled(cloud):
    subnets = [cloud.network(f"10.{30 + number}.0.0/24")[1][0] for number in range(6)]
    router = cloud.router()
    before = cloud.revision()
    with ThreadPoolExecutor(6) as pool:
        made = list(pool.map(lambda subnet: cloud.router(subnet), subnets[:3]))
        body = [{"subnet_id": subnet["id"]} for subnet in subnets[3:]]
        list(pool.map(lambda item: cloud.call("PUT", f"/routers/{router['id']}/add_router_interface", item), body))
    changed = cloud.changed_after(before)
    assert {("router", item["id"]) for item in [*made, router]} <= changed
    assert {("network", subnet["network_id"]) for subnet in subnets} <= changed
    hosts = {port["host"] for port in cloud.routers(router["id"])["routers"][0]["interfaces"]}
    assert len(hosts) == 1


def test_a_transaction_that_commits_late_is_answered_after_higher_numbers_were(cloud, database):
    insert = "INSERT INTO astara_changes (kind, resource_id, created_at) VALUES ('router', 'late', UNIX_TIMESTAMP())"
    engine = sa.create_engine(database)
    with engine.connect() as connection:
        connection.execute(sa.text(insert))  # has its number, and is not committed
        cloud.network()
        seen = cloud.changes(0)
        assert "late" not in {change["id"] for change in seen["changes"]}
        connection.commit()
    engine.dispose()
    later = cloud.changes(seen["revision"])
    assert "late" in {change["id"] for change in later["changes"]}


def test_without_the_migration_neutron_refuses_to_start_and_says_what_to_do(database, tmp_path):
    engine = sa.create_engine(database)
    with engine.begin() as connection:
        connection.execute(sa.text("RENAME TABLE astara_nodes TO astara_nodes_away"))
    try:
        with (
            pytest.raises(AssertionError, match="--subproject astara upgrade heads"),
            running(tmp_path, database=database),
        ):
            pass
    finally:
        with engine.begin() as connection:
            connection.execute(sa.text("RENAME TABLE astara_nodes_away TO astara_nodes"))
        engine.dispose()
