"""node.conf: read once at start, handed in as frozen values."""

from __future__ import annotations

import enum
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from astara.contract.identity import ORCHESTRATOR, parse_role
from astara.model.errors import BadConfiguration

_NODE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")


@dataclass(frozen=True, slots=True)
class BridgeOptions:
    """`mappings`: Neutron's physical network -> the device of this node that reaches it.

    `tunnel_address` is this node's, `tunnel_peers` those of the other nodes: VXLAN networks span them all.
    """

    mappings: tuple[tuple[str, str], ...] = ()
    tunnel_address: IPv4Address | None = None
    tunnel_peers: tuple[IPv4Address, ...] = ()


@dataclass(frozen=True, slots=True)
class OvsOptions:
    """`netdev`: the integration bridge uses the userspace datapath, which completes no checksums."""

    integration_bridge: str = "br-int"
    ovsdb: str = "unix:/run/openvswitch/db.sock"
    netdev: bool = False


@dataclass(frozen=True, slots=True)
class MetadataOptions:
    """Where Nova's metadata API is; the secret signs instance identities towards it."""

    nova_url: str = "http://127.0.0.1:8775"
    shared_secret_file: Path | None = None


@dataclass(frozen=True, slots=True)
class ContainerOptions:
    """How containers are made; None leaves it to podman's own configuration.

    `image`: the default one. `roots`: further images that are directories with a root file system, by name.
    `command`: what starts the agent inside. `storage`: directory for images and containers of this agent alone.
    """

    image: str = "localhost/astara-appliance"
    roots: tuple[tuple[str, Path], ...] = ()
    command: tuple[str, ...] = ("/usr/bin/python3", "-I", "-m", "astara.host.container")
    storage: Path | None = None
    containers_conf: Path | None = None
    boot_deadline_s: float = 10.0


_CONTAINER = ContainerOptions()


@dataclass(frozen=True, slots=True)
class MicrovmOptions:
    """`accel`: "kvm", "tcg", or "auto" for KVM where it really works. `templates`: whether machines wake from one.

    `shell`: whether the node's root has a root shell in each machine, at /run/astara/microvm/<instance>.shell.
    """

    images_dir: Path = Path("/var/lib/astara/images")
    accel: str = "auto"
    memory_mb: int = 192
    boot_deadline_s: float = 60.0
    templates: bool = True
    program: str = "qemu-system-x86_64"
    shell: bool = False


class Solitary(enum.StrEnum):
    """Whether the agent is inside an instance's body, and then serves that one instance (docs/design/bodies.md)."""

    NO = "no"  # a node: many instances, each in a namespace of its own
    NAMESPACE = "namespace"  # the instance is the namespace the agent runs in: a container
    MACHINE = "machine"  # the instance has a namespace of its own, the machine's interfaces are moved there


@dataclass(frozen=True, slots=True)
class NodeOptions:
    """`serves` is the role a client's certificate must carry. `image`: digest of what this agent was booted from.

    `completes_checksums`: inside a machine, whether what is behind its cards completes none.
    """

    name: str
    state_dir: Path
    host: str
    port: int
    ca_file: Path
    cert_file: Path
    key_file: Path
    debug: bool = False
    serves: str = ORCHESTRATOR
    solitary: Solitary = Solitary.NO
    image: str | None = None
    completes_checksums: bool = False
    bridge: BridgeOptions = BridgeOptions()
    ovs: OvsOptions = OvsOptions()
    metadata: MetadataOptions = MetadataOptions()
    container: ContainerOptions = _CONTAINER
    microvm: MicrovmOptions = MicrovmOptions()


def load(arguments: Sequence[str]) -> NodeOptions:
    """Read the files named by `--config-file` in `arguments`.

    Raises:
        BadConfiguration: naming the option and the remedy.
    """
    from oslo_config import cfg  # slow to import: only a start needs it

    conf = cfg.ConfigOpts()
    _register(conf, cfg)
    try:
        conf(list(arguments), project="astara-node", prog="astara-node")
        return _options(conf)
    except cfg.Error as error:
        raise BadConfiguration(str(error), "correct the file given with --config-file") from None


def _register(conf: Any, cfg: Any) -> None:
    conf.register_opts(
        [
            cfg.StrOpt("name", help="name of this node, as Neutron's binding:host_id says it"),
            cfg.StrOpt("state_dir", default="/var/lib/astara/node"),
            cfg.StrOpt("listen", default="127.0.0.1:19801"),
            cfg.StrOpt("ca_file"),
            cfg.StrOpt("cert_file"),
            cfg.StrOpt("key_file"),
            cfg.BoolOpt("debug", default=False),
            cfg.StrOpt("serves", default="orchestrator", help="who may ask: orchestrator, or node/NAME inside a body"),
            cfg.StrOpt("solitary", default="no", choices=[one.value for one in Solitary]),
            cfg.StrOpt("image_file", help="file with the digest of the image this machine was booted from"),
        ]
    )
    conf.register_opts(
        [
            cfg.MultiStrOpt("mappings", default=[]),
            cfg.StrOpt("tunnel_address", help="this node's IPv4 address for VXLAN networks"),
            cfg.ListOpt("tunnel_peers", default=[], help="the other nodes'"),
        ],
        group="bridge",
    )
    conf.register_opts(
        [
            cfg.StrOpt("integration_bridge", default="br-int"),
            cfg.StrOpt("ovsdb", default="unix:/run/openvswitch/db.sock"),
            cfg.BoolOpt("netdev", default=False),
        ],
        group="ovs",
    )
    conf.register_opts(
        [
            cfg.StrOpt("image", default=_CONTAINER.image),
            cfg.MultiStrOpt("roots", default=[], help="NAME:DIRECTORY, a root file system as an image"),
            cfg.StrOpt("command", default=shlex.join(_CONTAINER.command)),
            cfg.StrOpt("storage"),
            cfg.StrOpt("containers_conf"),
            cfg.FloatOpt("boot_deadline_s", default=_CONTAINER.boot_deadline_s, min=0.1),
        ],
        group="container",
    )
    conf.register_opts(
        [cfg.StrOpt("nova_url", default="http://127.0.0.1:8775"), cfg.StrOpt("shared_secret_file")], group="metadata"
    )
    conf.register_opts(
        [
            cfg.StrOpt("images_dir", default="/var/lib/astara/images"),
            cfg.StrOpt("accel", default="auto", choices=["auto", "kvm", "tcg"]),
            cfg.IntOpt("memory_mb", default=192, min=96),
            cfg.FloatOpt("boot_deadline_s", default=60.0, min=1.0),
            cfg.BoolOpt("templates", default=True),
            cfg.StrOpt("program", default="qemu-system-x86_64"),
            cfg.BoolOpt("shell", default=False, help="a root shell in each machine, for this node's root"),
        ],
        group="microvm",
    )


def _options(conf: Any) -> NodeOptions:
    host, port = _listen(conf.listen)
    secret = conf.metadata.shared_secret_file
    return NodeOptions(
        name=_name(conf.name),
        state_dir=Path(conf.state_dir).absolute(),
        host=host,
        port=port,
        ca_file=Path(_required("ca_file", conf.ca_file)),
        cert_file=Path(_required("cert_file", conf.cert_file)),
        key_file=Path(_required("key_file", conf.key_file)),
        debug=conf.debug,
        serves=_role(conf.serves),
        solitary=Solitary(conf.solitary),
        image=_image(conf.image_file),
        bridge=BridgeOptions(
            tuple(_mapping(text) for text in conf.bridge.mappings),
            _tunnel("tunnel_address", conf.bridge.tunnel_address) if conf.bridge.tunnel_address else None,
            tuple(_tunnel("tunnel_peers", text) for text in conf.bridge.tunnel_peers),
        ),
        ovs=OvsOptions(conf.ovs.integration_bridge, _ovsdb(conf.ovs.ovsdb), conf.ovs.netdev),
        metadata=MetadataOptions(conf.metadata.nova_url, Path(secret) if secret else None),
        container=_container(conf.container),
        microvm=MicrovmOptions(
            images_dir=Path(conf.microvm.images_dir),
            accel=conf.microvm.accel,
            memory_mb=conf.microvm.memory_mb,
            boot_deadline_s=conf.microvm.boot_deadline_s,
            templates=conf.microvm.templates,
            program=conf.microvm.program,
            shell=conf.microvm.shell,
        ),
    )


def _required(option: str, value: str | None) -> str:
    if not value:
        raise BadConfiguration(f"[DEFAULT] {option} is not set", "make certificates with `astara ca issue`, name them")
    return value


def _role(text: str) -> str:
    try:
        return parse_role(text)
    except ValueError as error:
        raise BadConfiguration(
            f"[DEFAULT] serves: {error}", "inside a body write node/ and the name of its host"
        ) from None


def _image(path: str | None) -> str | None:
    try:
        return Path(path).read_text().strip() if path else None
    except (OSError, UnicodeDecodeError) as error:
        raise BadConfiguration(
            f"[DEFAULT] image_file: {path} cannot be read: {error}", "name the image's own"
        ) from None


def _name(text: str | None) -> str:
    if not text or not _NODE_NAME.fullmatch(text):
        raise BadConfiguration("[DEFAULT] name is missing or no host name", "write the node's name as Neutron knows it")
    return text


def _listen(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdigit() or int(port) > 65535:
        raise BadConfiguration(f"[DEFAULT] listen: {text!r} is not ADDRESS:PORT", "write e.g. 192.0.2.7:19801")
    return host, int(port)


def _mapping(text: str) -> tuple[str, str]:
    network, _, device = text.partition(":")
    if not network or not device:
        raise BadConfiguration(f"[bridge] mappings: {text!r} is not PHYSNET:DEVICE", "write e.g. public:eth1")
    return network, device


def _tunnel(option: str, text: str) -> IPv4Address:
    try:
        return IPv4Address(text.strip())
    except ValueError:
        raise BadConfiguration(f"[bridge] {option}: {text!r} is no IPv4 address", "write e.g. 192.0.2.7") from None


def _container(conf: Any) -> ContainerOptions:
    return ContainerOptions(
        image=conf.image,
        roots=tuple(_root(text) for text in conf.roots),
        command=tuple(shlex.split(conf.command)),
        storage=Path(conf.storage).absolute() if conf.storage else None,
        containers_conf=Path(conf.containers_conf).absolute() if conf.containers_conf else None,
        boot_deadline_s=conf.boot_deadline_s,
    )


def _root(text: str) -> tuple[str, Path]:
    name, _, directory = text.partition(":")
    if not name or not directory.startswith("/"):
        raise BadConfiguration(f"[container] roots: {text!r} is not NAME:/DIRECTORY", "write e.g. vendor:/srv/vendor")
    return name, Path(directory)


def _ovsdb(text: str) -> str:
    if not text.startswith(("unix:/", "tcp:")):
        raise BadConfiguration(f"[ovs] ovsdb: {text!r} is not understood", "write unix:/PATH or tcp:ADDRESS:PORT")
    return text
