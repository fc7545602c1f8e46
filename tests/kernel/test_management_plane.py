"""Who can speak to whom (docs/design/management-plane.md): root in a container tries it with what it finds there."""

from __future__ import annotations

import dataclasses
import datetime
import json
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

import httpx
import pytest
from msgspec.structs import replace

from astara.admin.server import AdminServer
from astara.appliance.system import netns
from astara.clients.appliance import NodeClient
from astara.clients.authority import issue, open_authority
from astara.clients.issuing import Papers, make_issuer, open_issuer
from astara.contract.agent import Body, InstanceSpec
from astara.contract.generation import Generation
from astara.contract.identity import instance_role, node_role
from astara.host import namespaces
from astara.host.bodies.container.podman import Podman
from astara.host.container import BIRTH, PORT
from astara.host.main import Agent
from astara.model.errors import AstaraError
from astara.peers.identity import Identity, context_for
from support.containers import container_options, needs_podman
from support.fakes.operator import FakeOperator
from support.node_agent import NODE, Deployment, isolated, port, router_document, running, spec
from support.segment import ip

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(not isolated(), reason="makes network namespaces: run it by `make kernel`"),
    needs_podman,
]
TODAY = datetime.datetime.now(datetime.UTC)
NODE_ADDRESS, INSIDE = "192.0.2.1", ("10.0.0.1", "10.0.0.2")
_ATTEMPTS = """
import ctypes, json, os, pathlib, socket, ssl, sys
libc = ctypes.CDLL(None, use_errno=True)
birth, port, admin, abstract, files = json.loads(sys.argv[1])

def connects(address, at, family=socket.AF_INET):
    with socket.socket(family) as made:
        made.settimeout(1.0)
        made.connect((address, at) if family == socket.AF_INET else address)

def asks(address, at):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.load_cert_chain(birth + "/cert.pem", birth + "/key.pem")
    with context.wrap_socket(socket.create_connection((address, at), 1.0)) as wrapped:
        wrapped.sendall(b"GET /v1/node HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
        assert b" 200 " in wrapped.recv(100)

def call(name, *arguments):
    if getattr(libc, name)(*arguments) != 0:
        raise OSError(ctypes.get_errno(), name)

def sees(*programs):
    others = (path for path in pathlib.Path("/proc").glob("[0-9]*") if path.name != str(os.getpid()))
    shown = [(path / "cmdline").read_bytes() for path in others]
    assert any(program.encode() in line for line in shown for program in programs)

attempts = {
    "the probe works": lambda: connects("127.0.0.1", port),
    "its own agent": lambda: asks("127.0.0.1", port),
    "the neighbour's agent": lambda: connects("10.0.0.2", port),
    "the node's agent": lambda: connects("192.0.2.1", port),
    "the node's agent on its loopback": lambda: asks("127.0.0.1", port + 1),
    "the admin socket": lambda: connects(admin, 0, socket.AF_UNIX),
    "a socket without a file": lambda: connects("\\0" + abstract, 0, socket.AF_UNIX),
    "the node's files": lambda: os.listdir(files),
    "the namespaces' names": lambda: os.listdir("/run/netns"),
    "the node's processes": lambda: sees("pytest", "astara-node"),
    "a device": lambda: os.mknod("/run/disk", 0o060600, os.makedev(8, 0)),
    "a mount": lambda: call("mount", b"none", b"/run", b"tmpfs", 0, None),
    "a mount as a new user": lambda: (call("unshare", 0x10020000), call("mount", b"none", b"/run", b"tmpfs", 0, None)),
    "a write to its own identity": lambda: open(birth + "/cert.pem", "a"),
}
said = {}
for name, attempt in attempts.items():
    try:
        attempt()
        said[name] = True
    except (OSError, AssertionError):
        said[name] = False
print(json.dumps(said))
"""


@dataclass
class Site:
    """A node with its admin socket, and two containers on one network."""

    deployment: Deployment
    agent: Agent
    client: NodeClient
    papers: Papers
    first: InstanceSpec
    second: InstanceSpec

    def inside(self, *argv: str) -> str:
        """Run a program in the first container as its root, confined as it is."""
        podman = Podman(self.deployment.options.container)._argv
        command = [*podman, "exec", f"astara-{self.first.id}", *argv]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    @property
    def home(self) -> Path:
        return self.deployment.authority.directory


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """Everything of the node is below /run, which containers have of their own, as on a real node."""
    with ExitStack() as stack:
        home = Path(tempfile.mkdtemp(prefix="node.", dir="/run"))
        stack.callback(shutil.rmtree, home)
        made = Deployment.at(home)
        make_issuer(made.authority, TODAY)
        papers = Papers(open_issuer(made.authority.directory / "instances"), 7)
        options = dataclasses.replace(made.options, container=container_options(), host="0.0.0.0", port=PORT + 1)
        deployment = dataclasses.replace(made, options=options)
        ip("link", "add", "mgmt0", "type", "bridge")
        stack.callback(ip, "link", "del", "mgmt0")
        ip("addr", "add", f"{NODE_ADDRESS}/24", "dev", "mgmt0")
        ip("link", "set", "mgmt0", "up")
        Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
        agent, client = stack.enter_context(running(deployment))
        admin = AdminServer(FakeOperator(), home / "admin.sock")
        admin.start()
        stack.callback(admin.stop)
        network = port().network_id
        both = [replace(spec(port(network)), body=Body(kind="container")) for _ in INSIDE]
        both = [replace(one, credential=papers.issue(one.id).credential) for one in both]
        for one, address in zip(both, INSIDE, strict=True):
            client.put_instance(one)
            stack.callback(client.delete_instance, one.id, Generation(99, 0))
            client.configure(one.id, router_document(one, inside=f"{address}/24"))
        yield Site(deployment, agent, client, papers, *both)


# What a container reaches


def test_root_in_a_container_reaches_nothing_but_what_is_its_own(site: Site) -> None:
    space = namespaces.path_of(site.first.id).name
    inner = ip("-n", space, "-o", "-4", "addr", "show", "to", INSIDE[0]).split()[1]
    ip("-n", space, "route", "add", "default", "dev", inner)  # as a tenant's gateway would be
    abstract = socket.socket(socket.AF_UNIX)
    with closing(abstract), socket.create_server((NODE_ADDRESS, PORT)):
        abstract.bind(f"\0{site.home}")
        abstract.listen()
        with socket.socket(socket.AF_UNIX) as known:
            known.connect(str(site.home.parent / "admin.sock"))  # it is there
        told = [str(BIRTH), PORT, str(site.home.parent / "admin.sock"), str(site.home), str(site.home)]
        said = json.loads(site.inside(sys.executable, "-I", "-c", _ATTEMPTS, json.dumps(told)))
    assert said.pop("the probe works")
    assert [name for name, reached in said.items() if reached] == []


def test_nothing_of_a_container_listens_where_a_tenant_leads(site: Site) -> None:
    listening = site.inside("ss", "-Hlntu").splitlines()
    assert [line.split()[4] for line in listening] == [f"127.0.0.1:{PORT}"]


def test_a_daemons_account_in_a_namespace_opens_neither_the_admin_socket_nor_a_key(site: Site) -> None:
    """Daemons of namespaces run on the node, under accounts of their own."""
    admin, key = site.home.parent / "admin.sock", site.deployment.options.key_file
    site.home.parent.chmod(0o755)  # so that it is the files themselves that refuse
    code = (
        "import socket, sys\n"
        "for attempt in (lambda: socket.socket(socket.AF_UNIX).connect(sys.argv[1]), lambda: open(sys.argv[2])):\n"
        "    try: attempt(); print('open')\n"
        "    except PermissionError: print('refused')\n"
    )
    command = ["/usr/bin/python3", "-I", "-c", code, str(admin), str(key)]
    done = subprocess.run(command, user=65534, group=65534, extra_groups=[], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["refused", "refused"]


# Which certificate opens what


def files(site: Site, name: str, credential: object) -> Identity:
    """An instance's credential as the files of whoever stole it."""
    paths = [site.home / f"{name}.{kind}" for kind in ("ca", "pem", "key")]
    for path, text in zip(paths, (getattr(credential, kind) for kind in ("ca", "certificate", "key")), strict=True):
        path.write_text(text)
    return Identity(*paths)


def wielder(site: Site, who: str) -> Identity:
    """The identity of one who asks."""
    authority, long_ago = site.deployment.authority, TODAY - datetime.timedelta(days=400)
    match who:
        case "its node":
            options = site.deployment.options
            return Identity(options.ca_file, options.cert_file, options.key_file)
        case "the orchestrator":
            return site.deployment.orchestrator
        case "another node":
            return issue(authority, "node-b", node_role("node-b"), [], TODAY)
        case "its node, expired":
            return issue(authority, "expired", node_role(NODE), [], long_ago, days=30)
        case "its node, of a foreign CA":
            made = issue(open_authority(site.home / "foreign", TODAY), "n", node_role(NODE), [], TODAY)
            return Identity(site.deployment.options.ca_file, made.cert_file, made.key_file)
        case "itself" | "its neighbour":
            instance = site.first if who == "itself" else site.second
            return files(site, who.replace(" ", "-"), instance.credential)
    raise AssertionError(who)


def answered(http: httpx.Client, url: str) -> bool:
    with http:
        try:
            return http.get(url).status_code == HTTPStatus.OK
        except httpx.HTTPError:
            return False


@pytest.mark.parametrize(
    ("who", "heard"),
    [
        ("its node", True),
        ("the orchestrator", False),
        ("another node", False),
        ("its node, expired", False),
        ("its node, of a foreign CA", False),
        ("itself", False),
        ("its neighbour", False),
    ],
)
def test_the_agent_in_a_container_hears_its_node_alone(site: Site, who: str, heard: bool) -> None:
    context = context_for(wielder(site, who), instance_role(site.first.id))
    with netns.entered(namespaces.path_of(site.first.id)):
        http = httpx.Client(verify=context, trust_env=False)
        assert answered(http, f"https://127.0.0.1:{PORT}/v1/node") == heard


@pytest.mark.parametrize("who", ["its node", "another node", "itself", "its neighbour"])
def test_the_nodes_agent_hears_no_instance_and_no_node(site: Site, who: str) -> None:
    http = httpx.Client(verify=context_for(wielder(site, who), node_role(NODE)), trust_env=False)
    assert not answered(http, f"https://127.0.0.1:{site.agent.server.port}/v1/node")


def test_a_node_takes_no_instance_for_another(site: Site) -> None:
    """The neighbour's certificate is a good one, of a living instance, and of the same node."""
    with netns.entered(namespaces.path_of(site.second.id)):
        identity = wielder(site, "its node")
        http = httpx.Client(verify=context_for(identity, instance_role(site.first.id)), trust_env=False)
        with http, pytest.raises(httpx.ConnectError, match=f"does not carry the role {instance_role(site.first.id)}"):
            http.get(f"https://127.0.0.1:{PORT}/v1/node")


def test_an_instance_is_no_orchestrator_to_a_node(site: Site) -> None:
    thief = site.deployment.client(site.agent.server.port, wielder(site, "itself"))
    with pytest.raises(AstaraError):
        thief.delete_instance(site.second.id, Generation(100, 0))
    thief.close()
    assert {view.id for view in site.client.instances().instances} == {site.first.id, site.second.id}
