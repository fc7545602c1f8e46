"""Everything of a body is made anew by `astara upgrade`, while packets cross it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner, Result

from astara.admin.cli import cli
from astara.admin.client import OperatorClient
from astara.contract.codec import convert
from astara.model.operator import NodeDetail, UpgradeView
from astara_lab.conversation import conversation
from astara_lab.hosts import Host, OutsideHost
from astara_lab.places import ADMIN_SOCKET
from astara_lab.waiting import patient, until

pytestmark = pytest.mark.e2e
OUTSIDE = "198.51.100.1"


def ask(*words: str) -> Result:
    return CliRunner().invoke(cli, ["--socket", str(ADMIN_SOCKET), *words], prog_name="astara")


def instances() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in OperatorClient(ADMIN_SOCKET).instances():
        found.setdefault(line.resource, []).append(line.id)
    return found


def test_a_router_and_its_network_are_made_anew_and_a_connection_through_them_lives(
    cloud: Any, hosts: Callable[..., Host], outside: OutsideHost, body: str, lab: Any
) -> None:
    router = cloud.router("r")
    host = hosts("a", cloud.routed("n", "10.8.2.0/24", router=router))
    until("the way out", lambda: host.ping(OUTSIDE) is not None, 20.0)
    before = instances()[f"router/{router.id}"]
    with conversation(host.netns, outside.netns, OUTSIDE, 7009) as said:
        until("the connection", lambda: said.tcp_answers > 50, 10.0)
        done = ask("upgrade", "--body", body, "--canary", "100%", "--soak", "0", "--watch", "--json")
        assert done.exit_code == 0, done.output
        steady = said.tcp_answers + 50
        until("answers after it", lambda: said.tcp_broken or said.tcp_answers > steady, 20.0)
    view = convert(json.loads(done.stdout), UpgradeView)
    assert (view.state, view.kind, view.waiting, view.in_work) == ("done", body, 0, ())
    assert said.tcp_broken is None
    assert len(said.seen_as) == 1, "the translation stays"
    (after,) = instances()[f"router/{router.id}"]
    assert after not in before
    with (lab.log / "upgrades.txt").open("a") as stream:
        lost = f"{said.lost} of {len(said.sent)} datagrams lost, silence {said.gap_s * 1000:.0f} ms"
        stream.write(f"{body}: {lost}, longest answer over TCP {said.tcp_longest_s * 1000:.0f} ms\n")


def test_an_image_nobody_has_is_refused_and_the_nodes_say_what_they_have(cloud: Any) -> None:
    refused = ask("upgrade", "--image", "sha256:0123456789")
    assert refused.exit_code == 1
    assert "no node that answers has an image" in refused.output
    assert "they have: " in refused.output


def test_a_drained_node_says_so_and_gets_no_new_router_until_it_is_undrained(cloud: Any) -> None:
    def nodes() -> tuple[NodeDetail, ...]:
        return convert(json.loads(ask("node", "list", "--json").stdout), tuple[NodeDetail, ...])

    (node,) = nodes()
    try:
        assert ask("node", "drain", node.name, "--reason", "a test").exit_code == 0
        assert [one.drained for one in nodes()] == ["a test"]
        until("Neutron to be told", lambda: _announced(node.name) == "unavailable", patient(10.0))
    finally:
        assert ask("node", "undrain", node.name).exit_code == 0
    until("Neutron to be told again", lambda: _announced(node.name) == "available", patient(10.0))
    router = cloud.router("after")
    until("a router there", lambda: f"router/{router.id}" in instances(), patient(15.0))


def _announced(node: str) -> str | None:
    """Return what Neutron was told last of a node, from the audit."""
    lines = json.loads(ask("audit", "--json").stdout)
    steps = [step for line in lines if line["reason"] == "nodes" for step in line["steps"] if f"{node} " in step]
    return steps[-1].rpartition(" ")[2] if steps else None
