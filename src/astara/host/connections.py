"""The connections that cross one instance, made known to the one that takes its place on this node."""

from __future__ import annotations

import structlog

from astara.appliance.boundaries import Place
from astara.appliance.system import ctnetlink, netns
from astara.appliance.system.netlink import NETFILTER, Netlink, NetlinkError

_log = structlog.get_logger(__name__)


def hand_over(source: Place, target: Place) -> None:
    """Copy what the namespace of `source` tracks into that of `target`; what cannot be copied is logged.

    A machine tracks inside, where this does not reach: there is nothing to copy from or to, and connections that are
    translated begin anew unless both ends make the same translation of the next packet.
    """
    log = _log.bind(source=source.instance_id, target=target.instance_id)
    try:
        with netns.entered(source.netns), Netlink(NETFILTER) as kernel:
            copies = ctnetlink.copies(kernel)
        with netns.entered(target.netns), Netlink(NETFILTER) as kernel:
            made = ctnetlink.restore(kernel, copies)
    except (NetlinkError, netns.NetnsGone) as error:
        log.warning("connections.not_handed_over", reason=str(error))
        return
    log.info("connections.handed_over", found=len(copies), made=made)
