"""astara.conf: read once at start, handed in as frozen values. Secrets come from files and are never shown."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from oslo_config import cfg

from astara.clients import keystone
from astara.clients.keystone import Credentials
from astara.clients.neutron import NeutronOptions
from astara.intake.http_feed import HttpFeedOptions
from astara.intake.rabbit_feed import RabbitFeedOptions
from astara.model.boundaries import DriverOptions
from astara.model.errors import BadConfiguration
from astara.peers.identity import Identity
from astara.planning.policy import Policy
from astara.planning.rollout import Budget
from astara.pool.options import PoolOptions, sizes
from astara.reconcile.evacuation import HealingOptions
from astara.reconcile.options import EngineOptions
from astara.records.lines import Keep
from astara.runtime.cluster import ClusterSettings
from astara.runtime.policy_options import POLICY_OPTIONS, policy

FEEDS = ("http", "rabbit")
_ENGINE = EngineOptions()
_CLUSTER = ClusterSettings()
_WARM, _USUALLY = "microvm", "1..4"


@dataclass(frozen=True, slots=True)
class NodeAddress:
    """One node agent: its name (as Neutron's binding:host_id says it) and URL."""

    name: str
    url: str


@dataclass(frozen=True, slots=True)
class Options:
    """Everything the process is told. `feeds` has one entry per enabled feed."""

    name: str
    state_dir: Path
    debug: bool
    neutron: NeutronOptions
    credentials: Credentials = field(repr=False)
    feeds: tuple[HttpFeedOptions | RabbitFeedOptions, ...]
    nodes: tuple[NodeAddress, ...]
    identity: Identity | None
    drivers: tuple[str, ...]
    providers: tuple[str, ...]
    driver_options: DriverOptions
    engine: EngineOptions
    admin_socket: Path
    metrics_listen: tuple[str, int] | None
    pool: PoolOptions = field(default_factory=PoolOptions)
    #: Of the records' database; None: a file in `state_dir`. There may be a password in it.
    connection: str | None = field(default=None, repr=False)
    #: Of the audit.
    keep: Keep = field(default_factory=Keep)
    #: Of the authority that issues to instances; None: there is none.
    ca_dir: Path | None = None
    credential_days: int = 7
    cluster: ClusterSettings = field(default_factory=ClusterSettings, repr=False)
    healing: HealingOptions = field(default_factory=HealingOptions)
    upgrade_budget: Budget = field(default_factory=Budget)
    #: Section [provider:NAME] of the file, by name: options of providers that this version does not know.
    provider_settings: Mapping[str, Mapping[str, str]] = field(default_factory=dict, repr=False)


def load(arguments: Sequence[str]) -> Options:
    """Read the files named by `--config-file` in `arguments`.

    Raises:
        BadConfiguration: naming the option and the remedy.
    """
    conf = cfg.ConfigOpts()
    _register(conf)
    try:
        conf(list(arguments), project="astara", prog="astara-orchestrator")
        return _options(conf)
    except cfg.Error as error:
        raise BadConfiguration(str(error), "correct the file given with --config-file") from None


def _register(conf: Any) -> None:
    conf.register_opts(
        [
            cfg.StrOpt("name", default=socket.gethostname(), help="Name of this orchestrator; names its queue"),
            cfg.StrOpt("state_dir", default="/var/lib/astara", help="Where this process keeps its records"),
            cfg.BoolOpt("debug", default=False, help="Log more"),
        ]
    )
    for group, options in _GROUPS.items():
        conf.register_opts(options, group=group)


_GROUPS = {
    "database": [
        cfg.StrOpt(
            "connection",
            secret=True,
            help="mysql+pymysql://USER:PASSWORD@HOST/DATABASE, for several orchestrators; default: a file in state_dir",
        ),
    ],
    "neutron": [
        cfg.StrOpt("url", help="Root URL of Neutron's API, e.g. http://127.0.0.1:9696"),
        cfg.StrOpt(
            "auth_type", default="none", help="none, or a kind of keystoneauth1's with its options, e.g. password"
        ),
        cfg.StrOpt("cafile", help="Authority of an https url; default: the system's"),
        cfg.FloatOpt("connect_timeout_s", default=5.0, min=0.1),
        cfg.FloatOpt("read_timeout_s", default=30.0, min=0.1),
    ],
    "intake": [
        cfg.ListOpt("feeds", default=["http"], help="Where Neutron's notifications come from: http, rabbit"),
        cfg.StrOpt("http_listen", default="127.0.0.1:19810", help="ADDRESS:PORT of the HTTP feed"),
        cfg.StrOpt("http_secret_file", help="The secret that Neutron's [astara] notify_secret_file holds too"),
        cfg.StrOpt("transport_url", secret=True, help="As Neutron's transport_url"),
        cfg.ListOpt("topics", default=["notifications"]),
        cfg.StrOpt("exchange", default="neutron"),
    ],
    "audit": [
        cfg.IntOpt(
            "keep_lines", default=Keep().lines, min=100, help="So many lines of people and of orchestrators each"
        ),
        cfg.FloatOpt("keep_days", default=Keep().days, min=0.01, help="Nothing older is kept"),
    ],
    "nodes": [
        cfg.MultiStrOpt("node", default=[], help="NAME=https://ADDRESS:PORT of a node agent; may be given many times"),
        cfg.StrOpt("ca_file", help="Certificate of the deployment's authority"),
        cfg.StrOpt("cert_file", help="The orchestrator's certificate"),
        cfg.StrOpt("key_file", help="Its key"),
    ],
    "identity": [
        cfg.StrOpt("ca_dir", help="The authority of instances, made by `astara ca init`: /etc/astara/tls/instances"),
        cfg.IntOpt("credential_days", default=7, min=1, help="How long an instance's certificate lasts"),
    ],
    "services": [
        cfg.ListOpt("drivers", default=["router", "network"], help="Which network services are served"),
        cfg.StrOpt("default_provider", default="namespace", help="Kind of instance, unless a flavor says otherwise"),
        cfg.StrOpt("network_provider", help="Kind of instance that serves networks; default: default_provider"),
        cfg.ListOpt("providers", default=[], help="Further kinds of instance that flavors may choose"),
        cfg.StrOpt("domain", default="openstacklocal", help="DNS domain of networks without one"),
        cfg.ListOpt("upstream_dns", default=[], help="Resolvers for names outside"),
        cfg.BoolOpt("metadata", default=True, help="Serve Nova's metadata"),
    ],
    "engine": [
        cfg.IntOpt("workers", default=_ENGINE.workers, min=1, max=256),
        *(
            cfg.FloatOpt(name, default=getattr(_ENGINE, name), min=0.05)
            for name in ("reconcile_deadline_s", "full_resync_s", "changes_poll_s", "drift_look_s")
        ),
        *POLICY_OPTIONS,
    ],
    "healing": [
        cfg.FloatOpt(
            "node_patience_s",
            default=HealingOptions().node_patience_s,
            min=5.0,
            help="A node silent for so long is given up: what is on it is placed elsewhere, while most nodes answer",
        ),
        *(
            cfg.IntOpt(name, default=getattr(HealingOptions().budget, name), min=1, help=words)
            for name, words in (
                ("per_node", "So many resources are moved to or from one node at once"),
                ("in_total", "So many are moved at once in all"),
            )
        ),
    ],
    "upgrade": [
        cfg.IntOpt("per_node", default=Budget().per_node, min=1, help="So many resources of a node in work at once"),
        cfg.IntOpt("in_total", default=Budget().in_total, min=1, help="So many resources in work at once in all"),
    ],
    "cluster": [
        cfg.StrOpt(
            "coordination_url",
            secret=True,
            help="Where orchestrators that share the work find each other: etcd3+http://, redis://, zookeeper://, or "
            "`database` for that of [database] connection; default: this one is alone",
        ),
        cfg.StrOpt("group", default=_CLUSTER.group, help="Name of their group there; one per deployment"),
        cfg.FloatOpt(
            "weight", default=_CLUSTER.weight, min=0.01, max=100.0, help="Its part of the work beside others'"
        ),
        cfg.FloatOpt("lease_s", default=_CLUSTER.lease_s, min=2.0, max=60.0, help="A silent one's work goes to others"),
    ],
    "admin": [cfg.StrOpt("socket", default="/run/astara/admin.sock")],
    "metrics": [cfg.StrOpt("listen", default="127.0.0.1:19811", help="ADDRESS:PORT, or empty for none")],
}


def _options(conf: Any) -> Options:
    if not conf.neutron.url:
        raise BadConfiguration("[neutron] url is not set", "write the root URL of Neutron's API")
    nodes = tuple(_node(text) for text in conf.nodes.node)
    if doubled := sorted({node.name for node in nodes if [other.name for other in nodes].count(node.name) > 1}):
        raise BadConfiguration(f"[nodes] node names {', '.join(doubled)} twice", "give each node one name and one line")
    free = _sections(conf.config_file or ())
    named = (conf.services.default_provider, conf.services.network_provider, *conf.services.providers)
    return Options(
        name=conf.name,
        state_dir=Path(conf.state_dir).absolute(),
        debug=conf.debug,
        connection=conf.database.connection,
        keep=Keep(lines=conf.audit.keep_lines, days=conf.audit.keep_days),
        neutron=NeutronOptions(
            url=conf.neutron.url,
            connect_timeout_s=conf.neutron.connect_timeout_s,
            read_timeout_s=conf.neutron.read_timeout_s,
            connections=conf.engine.workers + 8,
            ca_file=conf.neutron.cafile,
        ),
        credentials=keystone.load(conf.neutron.auth_type, conf.config_file or ()),
        feeds=_feeds(conf),
        nodes=nodes,
        identity=_identity(conf.nodes) if nodes or conf.nodes.cert_file else None,
        ca_dir=Path(conf.identity.ca_dir) if conf.identity.ca_dir else None,
        credential_days=conf.identity.credential_days,
        drivers=tuple(dict.fromkeys(conf.services.drivers)),
        providers=tuple(dict.fromkeys(filter(None, named))),
        driver_options=DriverOptions(
            default_provider=conf.services.default_provider,
            network_provider=conf.services.network_provider,
            domain=conf.services.domain.strip("."),
            upstream_dns=tuple(conf.services.upstream_dns),
            metadata=conf.services.metadata,
        ),
        engine=_engine(conf.engine, policy(conf.engine)),
        cluster=ClusterSettings(
            coordination_url=conf.cluster.coordination_url or None,
            group=conf.cluster.group,
            weight=conf.cluster.weight,
            lease_s=conf.cluster.lease_s,
        ),
        healing=HealingOptions(
            node_patience_s=conf.healing.node_patience_s,
            budget=Budget(per_node=conf.healing.per_node, in_total=conf.healing.in_total),
        ),
        upgrade_budget=Budget(per_node=conf.upgrade.per_node, in_total=conf.upgrade.in_total),
        admin_socket=Path(conf.admin.socket),
        metrics_listen=address("[metrics] listen", conf.metrics.listen) if conf.metrics.listen else None,
        pool=_pool(free.get("pool", {}), conf.services.default_provider),
        provider_settings={
            name.removeprefix("provider:").strip(): section
            for name, section in free.items()
            if name.startswith("provider:")
        },
    )


def _sections(config_files: Sequence[str]) -> dict[str, dict[str, str]]:
    """Every section, for names oslo.config cannot know, by its own parser; of an option given twice the last counts."""
    sections: dict[str, dict[str, list[str]]] = {}
    for file in config_files:
        cfg.ConfigParser(file, sections).parse()
    return {name: {option: values[-1] for option, values in section.items()} for name, section in sections.items()}


def _pool(section: Mapping[str, str], default_provider: str) -> PoolOptions:
    """Where routers are machines unless told otherwise, some are kept: such a one is there in a tenth of the time."""
    try:
        said = sizes(section)
    except ValueError as error:
        raise BadConfiguration(str(error), "write e.g. microvm = 1..4") from None
    spoken_of = any(kind.provider == _WARM for kind in said)
    usual = sizes({_WARM: _USUALLY}) if default_provider == _WARM and not spoken_of else {}
    return PoolOptions(sizes={**usual, **said})


def _engine(section: Any, chosen: Policy) -> EngineOptions:
    return EngineOptions(
        workers=section.workers,
        reconcile_deadline_s=section.reconcile_deadline_s,
        full_resync_s=section.full_resync_s,
        changes_poll_s=section.changes_poll_s,
        drift_look_s=section.drift_look_s,
        policy=chosen,
    )


def _feeds(conf: Any) -> tuple[HttpFeedOptions | RabbitFeedOptions, ...]:
    unknown = sorted(set(conf.intake.feeds) - set(FEEDS))
    if unknown or not conf.intake.feeds:
        raise BadConfiguration(
            f"[intake] feeds: {', '.join(unknown) or 'none'} is not known", f"choose from {', '.join(FEEDS)}"
        )
    makers: dict[str, Callable[[Any], HttpFeedOptions | RabbitFeedOptions]] = {
        "http": _http_feed,
        "rabbit": _rabbit_feed,
    }
    return tuple(makers[name](conf) for name in dict.fromkeys(conf.intake.feeds))


def _http_feed(conf: Any) -> HttpFeedOptions:
    host, port = address("[intake] http_listen", conf.intake.http_listen)
    return HttpFeedOptions(
        secret=secret("[intake] http_secret_file", conf.intake.http_secret_file), host=host, port=port
    )


def _rabbit_feed(conf: Any) -> RabbitFeedOptions:
    if not conf.intake.transport_url:
        raise BadConfiguration("[intake] transport_url is not set", "write Neutron's transport_url, or use feeds=http")
    return RabbitFeedOptions(
        transport_url=conf.intake.transport_url,
        pool=f"astara-{conf.name}",
        exchange=conf.intake.exchange,
        topics=tuple(conf.intake.topics),
        config_files=tuple(conf.config_file or ()),
    )


def _node(text: str) -> NodeAddress:
    name, _, url = text.partition("=")
    if not name.strip() or not url.strip().startswith("https://"):
        raise BadConfiguration(
            f"[nodes] node={text} is not NAME=https://ADDRESS:PORT", "write e.g. n1=https://192.0.2.7:19801"
        )
    return NodeAddress(name.strip(), url.strip().rstrip("/"))


def _identity(section: Any) -> Identity:
    files = {}
    for option in ("ca_file", "cert_file", "key_file"):
        value = getattr(section, option)
        if not value:
            raise BadConfiguration(
                f"[nodes] {option} is not set", "make certificates with `astara ca issue`, name them"
            )
        files[option] = Path(value)
    return Identity(**files)


def secret(option: str, path: str | None) -> bytes:
    """Read a secret from its file, without surrounding white space; never repeats it."""
    if not path:
        raise BadConfiguration(
            f"{option} is not set", "name a file with a random secret, readable by this process only"
        )
    try:
        value = Path(path).read_bytes().strip()
    except OSError as error:
        raise BadConfiguration(
            f"{option}={path}: {error.strerror}", "make the file readable for this process"
        ) from None
    if not value:
        raise BadConfiguration(
            f"{option}={path} is empty", "write a random secret into it, e.g. `openssl rand -hex 32`"
        )
    return value


def address(option: str, text: str) -> tuple[str, int]:
    """Read ADDRESS:PORT; IPv6 in brackets."""
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdigit() or int(port) > 65535:
        raise BadConfiguration(f"{option}: {text!r} is not ADDRESS:PORT", "write e.g. 127.0.0.1:19810")
    return host, int(port)
