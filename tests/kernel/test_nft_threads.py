"""libnftables keeps link names per process; two namespaces at once must not see each other's."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from astara.appliance.system import netns
from astara.appliance.system.nft import Nft
from astara.host import namespaces
from support.node_agent import isolated
from support.segment import ip

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(not isolated(), reason="makes network namespaces: run it by `make kernel`"),
]
_ROUNDS = 30


def test_rulesets_of_many_namespaces_are_loaded_at_once_without_mixing_up_their_links() -> None:
    namespaces.prepare_directory()
    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(_names_its_own_link, range(6)))


def _names_its_own_link(number: int) -> bool:
    instance = str(uuid.uuid4())
    namespaces.ensure(instance)
    name = f"ap{number}"
    try:
        ip("-n", f"astara-{instance}", "link", "add", name, "type", "veth", "peer", "name", f"aq{number}")
        return all(_round(instance, name) for _ in range(_ROUNDS))
    finally:
        namespaces.remove(instance)


def _round(instance: str, name: str) -> bool:
    with netns.entered(namespaces.path_of(instance)):
        with Nft() as nft:
            nft.run("flush ruleset\nadd table inet t\nadd set inet t s { type iface_index; }")
            nft.run(f'add element inet t s {{ "{name}" }}')
        with Nft() as nft:
            return f'"{name}"' in nft.run("list table inet t")
