"""Namespace-wide settings."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SysctlConfig:
    """`settings`: (path below /proc/sys/net, value), e.g. ("ipv4/ip_forward", "1").

    Written in this order; removal puts `closed` in its place.
    """

    settings: tuple[tuple[str, str], ...] = ()


def forwarding(*, ipv4: bool, ipv6: bool) -> SysctlConfig:
    """Return a router's settings: what is forwarded at all, and nothing learnt from what others send."""
    return SysctlConfig(
        (
            ("ipv4/ip_forward", "1" if ipv4 else "0"),  # first: the kernel resets accept_redirects with it
            ("ipv6/conf/all/forwarding", "1" if ipv6 else "0"),
            ("ipv4/conf/all/rp_filter", "0"),
            ("ipv4/conf/all/accept_redirects", "0"),
            ("ipv4/conf/all/send_redirects", "0"),
        )
    )
