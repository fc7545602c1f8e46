"""The `[astara]` section of neutron.conf."""

from __future__ import annotations

from oslo_config import cfg

GROUP = "astara"

OPTIONS = [
    cfg.ListOpt(
        "notify_url",
        default=["http://127.0.0.1:19810/v1/notifications"],
        help="Where the notification driver astara_http delivers: the HTTP intake of each orchestrator, with commas.",
    ),
    cfg.StrOpt(
        "notify_secret_file",
        help="File holding the secret that signs deliveries; the orchestrator's [intake] http_secret_file is the same.",
    ),
    cfg.StrOpt("notify_ca_file", help="Certificate authority of an https notify_url; default: the system's."),
    cfg.IntOpt(
        "notify_queue",
        default=10000,
        min=1,
        help="Notifications kept while the orchestrator does not answer. What does not fit is dropped and counted, "
        "and an astara.resync notification says so as soon as deliveries work again.",
    ),
    cfg.FloatOpt("notify_timeout", default=5.0, min=0.1, help="Seconds one delivery may take."),
    cfg.StrOpt(
        "dhcp",
        default="auto",
        choices=[
            ("auto", "all, but none where ML2's mechanism driver ovn answers DHCP itself"),
            ("all", "every network that no DHCP agent serves"),
            ("none", "Astara serves no network"),
        ],
        help="Which networks Astara serves with DHCP, DNS and metadata.",
    ),
    cfg.StrOpt(
        "bind_hosts",
        default="any",
        choices=[("any", "bind a port on any host named in it"), ("nodes", "only on nodes the orchestrator announced")],
        help="Where the mechanism driver astara_bridge binds ports.",
    ),
    cfg.StrOpt(
        "ovn_both_chassis",
        default="auto",
        choices=[
            ("auto", "where tenants' networks are tunnels and the frames of the network at hand fit into them"),
            ("always", "on every network: frames that do not fit are refused by OVN (ICMP, from 23.03 on)"),
            ("never", "ports follow the active half, which takes about a second"),
        ],
        help="Whether OVN delivers to the chassis of both halves of a highly available router, so that a fail-over "
        "waits for nobody. Every frame to such a port goes to both chassis, through tunnels.",
    ),
    cfg.IntOpt(
        "journal_overlap",
        default=60,
        min=1,
        help="Seconds of the change journal that are answered again, because a transaction may commit late.",
    ),
    cfg.IntOpt("journal_keep", default=86400, min=600, help="Seconds a change stays in the journal."),
]


def register(conf: cfg.ConfigOpts = cfg.CONF) -> cfg.ConfigOpts:
    """Make `conf.astara` available; may be called any number of times."""
    conf.register_opts(OPTIONS, group=GROUP)
    return conf


def list_opts() -> list[tuple[str, list[cfg.Opt]]]:
    """Entry point `oslo.config.opts`, for oslo-config-generator."""
    return [(GROUP, OPTIONS)]
