"""What a server is born with, and how its first word is noticed."""

from __future__ import annotations

import queue
import socket
from types import SimpleNamespace

import pytest

from astara.clients.issuing import Issued
from astara.contract.agent import Credential
from astara.contract.codec import decode
from astara.contract.papers import Papers
from astara.model.errors import Retry, Terminal
from astara.providers.nova.birth import Births, PaperWriter
from astara.providers.nova.boundary import Nic, Subnet
from astara.providers.nova.marks import NicMark

NIC = Nic("n", NicMark("i"), "fa:16:3e:00:00:01", None, ("192.0.2.10",), 0.0, ("s",))


class Issuer:
    def issue(self, instance_id: str) -> Issued:
        return Issued(Credential(ca="CA", certificate=f"of {instance_id}", key="KEY"), 0.0)


def writer(subnet: Subnet = Subnet("192.0.2.0/24", None), issuer: object = Issuer()) -> PaperWriter:  # noqa: B008
    cloud = SimpleNamespace(subnet=lambda _: subnet)
    return PaperWriter(cloud, issuer, 19801, completes_checksums=True)  # type: ignore[arg-type]  # as much as is used


def test_papers_say_who_it_is_whom_it_serves_and_where_it_is_reached() -> None:
    first, second = (decode(writer()("i", NIC), Papers) for _ in range(2))
    assert (first.instance_id, first.host, first.credential.certificate) == ("i", None, "of i")
    assert (first.mac, first.address, first.port, first.gateway) == (NIC.mac, "192.0.2.10/24", 19801, None)
    assert first.completes_checksums
    assert first.seed != second.seed


def test_a_management_network_with_a_router_is_one_with_a_way_out() -> None:
    papers = decode(writer(Subnet("2001:db8::/64", "2001:db8::1"))("i", NIC), Papers)
    assert (papers.address, papers.gateway) == ("192.0.2.10/64", "2001:db8::1")


def test_nobody_to_issue_is_final_and_a_network_without_subnets_may_get_one() -> None:
    with pytest.raises(Terminal, match="nobody issues"):
        writer(issuer=None)("i", NIC)
    with pytest.raises(Retry, match="no address"):
        writer()("i", Nic("n", NicMark("i"), NIC.mac, None, (), 0.0))


def test_a_machine_that_takes_connections_is_noticed_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as machine:
        heard: queue.Queue[str] = queue.Queue()
        births = Births(machine.getsockname()[1], heard.put)
        try:
            births.expect("i", "127.0.0.1", within_s=60.0)
            assert heard.get(timeout=30.0) == "i"
            births.expect("i", "127.0.0.1", within_s=60.0)
            births.expect("j", "127.0.0.1", within_s=60.0)
            assert heard.get(timeout=30.0) == "j"
            assert heard.empty()
        finally:
            births.close()
