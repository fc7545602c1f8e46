"""What is ours in Nova and Neutron is recognised by its marks, whole or not at all."""

from __future__ import annotations

import uuid

import pytest

from astara.contract.agent import PortAttachment
from astara.model.resource import ResourceKey
from astara.providers.nova.marks import Mark, NicMark, key_tag, mark_in, nic_mark, nic_mark_in

MARK = Mark("5c1f", ResourceKey("router", str(uuid.uuid4())), "a", "node-1", "appliance-2")
PORT = PortAttachment(
    port_id=str(uuid.uuid4()),
    mac="fa:16:3e:00:00:01",
    network_id=str(uuid.uuid4()),
    mtu=1450,
    attach="ovs",
    network_type="vlan",
    physical_network="p" * 64,
    segmentation_id=4094,
)


def test_a_servers_mark_comes_back_from_its_metadata_whatever_else_is_there() -> None:
    assert mark_in(MARK.metadata() | {"owner": "me", "astara:later": "a newer version's"}) == MARK


@pytest.mark.parametrize("missing", sorted(set(MARK.metadata()) - {"astara:image"}))
def test_a_server_without_a_part_of_the_mark_is_somebody_elses(missing: str) -> None:
    assert mark_in({name: value for name, value in MARK.metadata().items() if name != missing}) is None


def test_a_key_that_is_none_makes_a_server_somebody_elses() -> None:
    assert mark_in(MARK.metadata() | {"astara:key": "router"}) is None


def test_metadata_and_descriptions_fit_into_novas_and_neutrons_columns() -> None:
    assert all(len(name) <= 255 and len(value) <= 255 for name, value in MARK.metadata().items())
    assert len(nic_mark(str(uuid.uuid4()), PORT).description()) <= 255


def test_a_tag_is_one_nova_takes() -> None:
    tag = key_tag(MARK.key)
    assert len(tag) <= 60
    assert not set(tag) & set("/,")


def test_a_port_tells_what_it_carries() -> None:
    found = nic_mark_in(nic_mark("5c1f", PORT).description())
    assert found is not None
    assert (found.instance, found.carried()) == ("5c1f", PORT)


def test_a_management_port_carries_nothing() -> None:
    found = nic_mark_in(NicMark("5c1f").description())
    assert found is not None
    assert found.carried() is None


@pytest.mark.parametrize("text", ["", "my port", "astara:", "astara:{}", 'astara:["5c1f",7]', "astara:[]"])
def test_another_description_is_somebody_elses(text: str) -> None:
    assert nic_mark_in(text) is None
