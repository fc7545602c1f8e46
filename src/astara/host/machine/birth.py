"""From papers to an agent's options: clock, entropy, management link, identity, in that order."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import threading
from pathlib import Path

from astara.appliance.system import rtnetlink
from astara.appliance.system.netlink import Netlink
from astara.contract.identity import node_role
from astara.host import papers
from astara.host.machine import kernel, shell
from astara.host.options import NodeOptions, Solitary
from astara.host.own_identity import OwnIdentity
from astara.host.papers import Papers

_PAPERS = Path("/sys/firmware/qemu_fw_cfg/by_name") / papers.FW_CFG_NAME / "raw"
_IDENTITY = Path("/run/astara/identity")
_STATE = Path("/var/lib/astara/node")
_IMAGE = Path("/usr/lib/astara/image")
_LOOK_EVERY_S = 0.01
_DISCARD = 9


def wait_for_papers() -> Papers:
    """Return the papers once they are written; those of a template stay blank until it is woken as somebody.

    Raises:
        OSError: this machine's hypervisor hands over none. ContractError: they cannot be understood.
    """
    pause = threading.Event()
    while (found := papers.unpacked(_PAPERS.read_bytes())) is None:
        pause.wait(_LOOK_EVERY_S)
    return found


def is_template() -> bool:
    return papers.unpacked(_PAPERS.read_bytes()) is None


def take_up(own: Papers) -> NodeOptions:
    """Become who the papers say; return the agent's options. Raises OSError."""
    kernel.set_clock(own.wall)
    kernel.stir(bytes.fromhex(own.seed))
    Path("/etc/machine-id").write_text(own.instance_id.replace("-", "") + "\n")
    identity = OwnIdentity(_IDENTITY / "ca.pem", _IDENTITY / "cert.pem", _IDENTITY / "key.pem")
    identity.take(own.credential)
    interface = ipaddress.ip_interface(own.address)
    _raise_management(own.mac, interface)
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
        serves=node_role(own.host),
        solitary=Solitary.MACHINE,
        image=_IMAGE.read_text().strip(),
    )


def _raise_management(mac: str, interface: rtnetlink.Interface) -> None:
    with Netlink() as netlink:
        found = {link.mac: link.index for link in rtnetlink.links(netlink)}
        loopback = next(link.index for link in rtnetlink.links(netlink) if link.name == "lo")
        index = found.get(mac)
        if index is None:
            raise OSError(f"no management interface with MAC {mac} on this machine")
        netlink.do(
            [
                rtnetlink.set_link(loopback, up=True),
                rtnetlink.set_link(index, up=True),
                rtnetlink.add_address(index, interface),
            ]
        )
    _be_seen(interface)


def _be_seen(interface: rtnetlink.Interface) -> None:
    """Ask for the node's MAC address, which tells it ours: a node that asks in vain asks again only after a second."""
    other = next(address for address in interface.network.hosts() if address != interface.ip)
    family = socket.AF_INET if interface.version == 4 else socket.AF_INET6
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as any_socket:
        any_socket.sendto(b"", (str(other), _DISCARD))
