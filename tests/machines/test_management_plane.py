"""Whom a machine can reach beside its tenants, and who reaches it: docs/design/management-plane.md."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest
from msgspec.structs import replace

from astara.appliance.system import netns
from astara.contract.agent import InstanceSpec
from astara.contract.generation import Generation
from astara.contract.identity import instance_role, leaves_in
from astara.host import namespaces
from astara.host.bodies.microvm import machine
from astara.host.bodies.microvm.command import MANAGEMENT_MAC
from astara.model.errors import Retry
from astara.peers.identity import Identity, context_for
from support.machines import (
    agent_with_patience,
    credential,
    deployment,
    has_template,
    host_on,
    machine_spec,
    needs_image,
    unpacked_initramfs,
)
from support.node_agent import NODE, Deployment, isolated, port, router_document
from support.segment import eventually, ip
from support.terrain import terrain

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not isolated(), reason="makes network namespaces: run it by `make machines`"),
    needs_image,
]
#: The node's own address elsewhere; a server listens on it, and on all others.
NODE_ADDRESS, PORT = "192.0.2.1", 8080
#: Where the agent in a machine listens, on the link of its own.
AGENT = ("169.254.0.2", 19801)
LAST = Generation(99, 0)
_INTRUDER = """#!/bin/busybox sh
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox mount -t proc proc /proc
for module in $(/bin/busybox cat /modules); do /bin/busybox insmod "/lib/$module"; done
cd /bin; set -- ; export PATH=/bin; busybox --install -s /bin 2>/dev/null
ip link set lo up; ip link set eth0 up
ip addr add 169.254.0.2/16 dev eth0; ip route add default via 169.254.0.1; ip -6 route add default via fe80::1 dev eth0
echo INTRUDER
{attempts}
echo GONE
poweroff -f
"""


@pytest.fixture
def server() -> Iterator[None]:
    """Something to be found on the node, which forwards besides."""
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    ip("addr", "add", f"{NODE_ADDRESS}/32", "dev", "lo")
    with closing(socket.create_server(("", PORT))):
        yield
    ip("addr", "del", f"{NODE_ADDRESS}/32", "dev", "lo")


def intruder(directory: Path, attempts: Sequence[str]) -> Path:
    """An image whose first process makes these attempts and says on the console which were answered."""
    lines = [
        f'if {attempt} >/dev/null 2>&1; then echo "YES {n}"; else echo "NO {n}"; fi'
        for n, attempt in enumerate(attempts)
    ]
    with unpacked_initramfs(directory) as (image, tree):
        (tree / "init").write_text(_INTRUDER.format(attempts="\n".join(lines)))
    return image


def test_a_machine_reaches_its_own_node_side_and_nothing_else(server: None, tmp_path: Path) -> None:
    attempts = {
        "ping -c1 -W2 169.254.0.1": True,  # the probe works
        f"nc -w2 169.254.0.1 {PORT} </dev/null": False,
        "nc -w2 169.254.0.1 19801 </dev/null": False,
        f"ping -c1 -W2 {NODE_ADDRESS}": False,
        f"nc -w2 {NODE_ADDRESS} {PORT} </dev/null": False,
        "ping -c1 -W2 169.254.0.3": False,
        "ping -c1 -W2 169.254.169.254": False,
        "ping -6 -c1 -W2 fe80::1%eth0": False,
    }
    image = intruder(tmp_path, list(attempts))
    node = deployment(tmp_path / "node", images_dir=image)
    with agent_with_patience(node) as (_, client), pytest.raises(Retry) as told:
        client.put_instance(machine_spec(node.authority))
    said = str(told.value)
    assert "INTRUDER" in said, said
    assert "GONE" in said, said
    for number, (attempt, answered) in enumerate(attempts.items()):
        assert f"{'YES' if answered else 'NO'} {number}" in said, (attempt, said)


def test_two_machines_have_no_way_to_each_other(tmp_path: Path) -> None:
    """Both have the same address; each answers in its own namespace only, and none in the node's."""
    node = deployment(tmp_path, templates=False)
    with agent_with_patience(node) as (_, client):
        one = machine_spec(node.authority)
        client.put_instance(one)
        with pytest.raises(OSError, match=r"unreachable|timed out"):
            socket.create_connection(("169.254.0.2", 19801), timeout=1)
        client.delete_instance(one.id, one.generation)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    """One whose machines wake from a template."""
    made = deployment(tmp_path_factory.mktemp("node"), templates=True)
    with agent_with_patience(made):
        assert eventually(lambda: has_template(made), 200.0)
    return made


def shown(node: Deployment, instance: InstanceSpec) -> bytes:
    """The certificate its agent shows, as DER."""
    context = context_for(own(node), instance_role(instance.id))
    with netns.entered(namespaces.path_of(instance.id)):
        raw = socket.create_connection(AGENT, timeout=30)
    with context.wrap_socket(raw) as wrapped:
        return wrapped.getpeercert(binary_form=True) or b""


def own(node: Deployment) -> Identity:
    return Identity(node.options.ca_file, node.options.cert_file, node.options.key_file)


def given(instance: InstanceSpec) -> bytes:
    assert instance.credential is not None
    return ssl.PEM_cert_to_DER_cert(leaves_in(instance.credential.certificate)[0])


def test_clones_of_a_template_have_nothing_in_common(node: Deployment) -> None:
    """What `boot_id` is made of is the random generator that all of them had in the picture."""
    with agent_with_patience(node) as (agent, client):
        clones = [machine_spec(node.authority) for _ in range(3)]
        for one in clones:
            client.put_instance(one)
        assert [shown(node, one) for one in clones] == [given(one) for one in clones]
        engine = agent.node._around.bodies["microvm"]._guest
        said = [engine._asked(agent.node.get(one.id).place, lambda link: link.node()) for one in clones]
        assert [view.name for view in said] == [one.id for one in clones]
        assert len({view.boot_id for view in said}) == len(clones)
        for one in clones:
            client.delete_instance(one.id, LAST)


def test_a_machine_takes_another_credential_while_it_runs(node: Deployment) -> None:
    with agent_with_patience(node) as (_, client):
        instance = machine_spec(node.authority, port())
        client.put_instance(instance)
        before = machine.marked(NODE)[instance.id]
        renewed = credential(node.authority, "renewed", instance_role(instance.id))
        changed = replace(instance, credential=renewed)
        client.put_instance(changed)
        assert shown(node, instance) == given(changed) != given(instance)
        client.configure(instance.id, router_document(instance))
        assert machine.marked(NODE)[instance.id] == before
        client.delete_instance(instance.id, LAST)


def test_a_tenant_cannot_take_the_place_of_the_machines_own_link_by_its_mac_address(node: Deployment) -> None:
    with agent_with_patience(node) as (_, client):
        instance = machine_spec(node.authority, port(mac=MANAGEMENT_MAC))
        with pytest.raises(Retry, match="machine's own link"):
            client.put_instance(instance)
        assert client.instances().instances == ()


def test_qemu_runs_under_an_account_of_its_own_without_rights(node: Deployment) -> None:
    with agent_with_patience(node) as (_, client):
        instances = [machine_spec(node.authority, port()) for _ in range(2)]
        accounts = set()
        for one in instances:
            client.put_instance(one)
            status = Path(f"/proc/{machine.marked(NODE)[one.id]}/status").read_text()
            said = dict(line.split(":\t", 1) for line in status.splitlines())
            accounts |= {*said["Uid"].split(), *said["Gid"].split()}
            assert {int(said[kind], 16) for kind in ("CapEff", "CapPrm", "CapInh", "CapAmb")} == {0}
            assert (said["Seccomp"].strip(), said["Groups"].split()) == ("2", said["Gid"].split()[:1])
        assert len(accounts) == len(instances)
        assert all(int(account) >= 0x70000000 for account in accounts)
        client.attach(instances[0].id, port(), Generation(1, 2))  # it has what it needs to take another interface
        for one in instances:
            client.delete_instance(one.id, LAST)


def test_the_agent_in_a_machine_is_the_only_listener_and_no_tenants_link_leads_to_it(
    node: Deployment, tmp_path: Path
) -> None:
    with agent_with_patience(node) as (_, client), terrain(tmp_path) as land:
        instance = machine_spec(node.authority, port())
        client.put_instance(instance)
        client.configure(instance.id, router_document(instance))
        a = host_on(land, "a", instance.ports[0], "10.0.0.5/24", via="10.0.0.1")
        assert a.pings("10.0.0.1")
        for address in ("10.0.0.1", AGENT[0]):
            assert [at for at in (22, 80, 179, 443, AGENT[1]) if a.reaches(address, at)] == []
        with netns.entered(namespaces.path_of(instance.id)):
            assert [at for at in (*range(1, 1100), 2601, 8080, 9697, AGENT[1]) if _open(at)] == [AGENT[1]]
        client.delete_instance(instance.id, LAST)


def _open(at: int) -> bool:
    with closing(socket.socket()) as asked:
        asked.settimeout(5.0)
        return asked.connect_ex((AGENT[0], at)) == 0
