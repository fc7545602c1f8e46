"""Profile `neutron` with a second node: what the agents there are told, and where there is none."""

from __future__ import annotations

import configparser
from pathlib import Path

import pytest

from astara_lab.control import Control
from astara_lab.places import Lab
from astara_lab.pod import Pod
from astara_lab.profiles import neutron
from astara_lab.profiles.astara import Setting
from astara_lab.trust import establish
from astara_lab.variant import Variant


def setting(directory: Path, **choices: object) -> Setting:
    lab = Lab(directory, "neutron")
    lab.make_directories()
    return Setting(lab, Control(Pod(lab)), establish(lab), Variant(nodes=2, **choices))  # type: ignore[arg-type]


@pytest.mark.parametrize("l3_agent", [False, True])
def test_each_node_has_a_switch_an_agent_on_it_and_who_serves_routers(tmp_path: Path, l3_agent: bool) -> None:
    tasks = {task.name for task in neutron.plan(setting(tmp_path, l3_agent=l3_agent))}
    serving = {"neutron-l3-agent", "neutron-l3-agent-2"} if l3_agent else {"node", "node-2"}
    assert {"openvswitch", "openvswitch-2", "cable", "neutron-ovs-agent", "neutron-openvswitch-agent-2"} <= tasks
    assert serving <= tasks


def test_agents_of_the_second_node_are_another_host_with_files_of_their_own(tmp_path: Path) -> None:
    neutron.plan(setting(tmp_path))
    first, second = (configparser.ConfigParser(strict=False, interpolation=None) for _ in range(2))
    first.read(tmp_path / "etc" / "neutron.conf")
    second.read(tmp_path / "etc" / "agent-2.ini")
    for option in ("host", "state_path", "transport_url"):
        assert second["DEFAULT"][option] != first["DEFAULT"][option]
    ovs = configparser.ConfigParser(strict=False, interpolation=None)
    ovs.read(tmp_path / "etc" / "ovs_agent.ini")
    assert second["ovs"]["ovsdb_connection"] != ovs["ovs"]["ovsdb_connection"]


def test_on_ovn_the_second_node_is_a_chassis(tmp_path: Path) -> None:
    tasks = {task.name for task in neutron.plan(setting(tmp_path, mech="ovn"))}
    assert {"ovn-controller", "ovn-controller-2", "cable", "node-2"} <= tasks
    assert "neutron-openvswitch-agent-2" not in tasks
