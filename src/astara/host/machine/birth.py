"""From papers to an agent's options: clock, entropy, management link, identity, in that order."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import threading
from pathlib import Path

from astara.appliance.system import fib, rtnetlink
from astara.appliance.system.netlink import Netlink
from astara.contract.identity import ORCHESTRATOR, node_role
from astara.host import checksums, papers
from astara.host.machine import config_drive, kernel, shell
from astara.host.options import NodeOptions, Solitary
from astara.host.own_identity import OwnIdentity
from astara.host.papers import Papers

_PAPERS = Path("/sys/firmware/qemu_fw_cfg/by_name") / papers.FW_CFG_NAME / "raw"
_IDENTITY = Path("/run/astara/identity")
_STATE = Path("/var/lib/astara/node")
_IMAGE = Path("/usr/lib/astara/image")
_LOOK_EVERY_S = 0.01
_DISCARD = 9
_PAGE = 4096


def wait_for_papers() -> Papers:
    """Return the papers once they are written; those of a template stay blank until it is woken as somebody.

    Where QEMU's fw_cfg has none it is a cloud's machine, and a config drive brings them.

    Raises:
        OSError: this machine's hypervisor hands over none. ContractError: they cannot be understood.
    """
    if not _PAPERS.exists():
        return _from_a_cloud()
    pause = threading.Event()
    while is_template():
        pause.wait(_LOOK_EVERY_S)
    found = papers.unpacked(_content())
    assert found is not None  # it begins with something
    return found


def _from_a_cloud() -> Papers:
    found = papers.unpacked(config_drive.read())
    if found is None:
        raise FileNotFoundError("the config drive brings blank papers")
    return found


def is_template() -> bool:
    """Whether the papers are blank: one byte says it, whoever this machine has become while it was read."""
    if not _PAPERS.exists():
        return False
    with _PAPERS.open("rb", buffering=0) as file:
        return file.read(1) == b"\0"


def _content() -> bytes:
    """The papers without what they are padded with: the kernel takes every byte before a page once more to reach it."""
    content = b""
    with _PAPERS.open("rb", buffering=0) as file:
        while (page := file.read(_PAGE)) and not content.endswith(b"\0"):
            content += page
    return content


def take_up(own: Papers) -> NodeOptions:
    """Become who the papers say; return the agent's options. Raises OSError."""
    kernel.set_clock(own.wall)
    kernel.stir(bytes.fromhex(own.seed))
    Path("/etc/machine-id").write_text(own.instance_id.replace("-", "") + "\n")
    identity = OwnIdentity(_IDENTITY / "ca.pem", _IDENTITY / "cert.pem", _IDENTITY / "key.pem")
    identity.take(own.credential)
    interface = ipaddress.ip_interface(own.address)
    gateway = None if own.gateway is None else ipaddress.ip_address(own.gateway)
    _raise_management(own, interface, gateway)
    if own.shell:
        shell.offer()
    return NodeOptions(
        name=own.instance_id,
        state_dir=_STATE,
        host=str(interface.ip),
        port=own.port,
        ca_file=identity.ca_file,
        cert_file=identity.cert_file,
        key_file=identity.key_file,
        debug=own.debug,
        serves=ORCHESTRATOR if own.host is None else node_role(own.host),
        solitary=Solitary.MACHINE,
        image=_IMAGE.read_text().strip(),
        completes_checksums=own.completes_checksums,
    )


def _raise_management(own: Papers, interface: rtnetlink.Interface, gateway: fib.IPAddress | None) -> None:
    with Netlink() as netlink:
        found = rtnetlink.links(netlink)
        loopback = next(link.index for link in found if link.name == "lo")
        management = next((link for link in found if link.mac == own.mac), None)
        if management is None:
            raise OSError(f"no management interface with MAC {own.mac} on this machine")
        index = management.index
        if own.completes_checksums:
            checksums.complete(management.name, received=False)
        requests = [
            rtnetlink.set_link(loopback, up=True),
            rtnetlink.set_link(index, up=True),
            rtnetlink.add_address(index, interface),
        ]
        if gateway is not None:
            requests.append(fib.add_route(_way_out(index, gateway)))
        netlink.do(requests)
    _be_seen(interface)


def _way_out(index: int, gateway: fib.IPAddress) -> fib.Route:
    everywhere = ipaddress.ip_network("0.0.0.0/0" if gateway.version == 4 else "::/0")
    return fib.Route(everywhere, (fib.Hop(gateway, index),), metric=0)


def _be_seen(interface: rtnetlink.Interface) -> None:
    """Ask for the node's MAC address, which tells it ours: a node that asks in vain asks again only after a second."""
    other = next(address for address in interface.network.hosts() if address != interface.ip)
    family = socket.AF_INET if interface.version == 4 else socket.AF_INET6
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as any_socket:
        any_socket.sendto(b"", (str(other), _DISCARD))
