"""Tenants' words in dnsmasq's syntax: made literal, or refused.

dnsmasq(8) reads its option files line by line; a comma separates, a quoted item is literal text in which `\\` and
`"` are escaped. Items of an ordinary shape stay unquoted, because dnsmasq derives an option's type (address,
number, hexadecimal) from the shape of an unquoted item only.
"""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv6Address

from astara.appliance.subsystems.dnsmasq.config import PortOption

_ORDINARY = re.compile(r"[0-9A-Za-z._:/-]+")
_OPTION_NAME = re.compile(r"(?:tag:(?P<tag>!?[0-9A-Za-z_.-]{1,64}),)?(?P<name>[0-9A-Za-z+-]{1,64})")
#: In bytes, quoting included. dnsmasq cuts what is longer than 1024 with its line end (MAXDNAME in its
#: src/dns-protocol.h, read_file in src/option.c) and reads the rest as a line of its own, without our tag.
LONGEST_LINE = 1000


def option_line(tag: str, option: PortOption) -> str | None:
    """Return the optsfile line that gives `option` to clients with `tag`; None when it cannot be said.

    Names differ between DHCPv4 and DHCPv6 and so do the prefixes: `option:` and `option6:`. Neutron lets a name be
    preceded by one more tag, as in "tag:ipxe,bootfile-name".
    """
    match = _OPTION_NAME.fullmatch(option.name)
    value = literal(option.value, option.ip_version)
    if match is None or value is None or option.ip_version not in {4, 6}:
        return None
    tags = [f"tag:{tag}", *([f"tag:{match['tag']}"] if match["tag"] else [])]
    line = ",".join([*tags, option_name(match["name"], option.ip_version), *([value] if value else [])])
    return line if len(line.encode()) <= LONGEST_LINE else None


def option_name(name: str, ip_version: int) -> str:
    """Return an option's name or number as dnsmasq wants it for that IP version."""
    if ip_version == 6:
        return f"option6:{name}"
    return name if name.isdigit() else f"option:{name}"


def literal(value: str, ip_version: int) -> str | None:
    """Return a comma separated list of items, each literal; None when it holds what no line can carry."""
    if not value.isprintable():
        return None
    items = [_item(item, ip_version) for item in value.split(",")] if value else []
    return ",".join(items)


def _item(item: str, ip_version: int) -> str:
    if ip_version == 6 and _is_ipv6(item):
        return f"[{item.strip('[]')}]"
    if _ORDINARY.fullmatch(item):
        return item
    escaped = item.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _is_ipv6(item: str) -> bool:
    try:
        IPv6Address(item.strip("[]"))
    except AddressValueError:
        return False
    return "%" not in item
