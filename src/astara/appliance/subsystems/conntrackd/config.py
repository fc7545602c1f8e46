"""Whom to tell. Addresses are parsed: nothing here can carry syntax."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address

PORT = 3780


@dataclass(frozen=True, slots=True)
class ConntrackdConfig:
    """`heart`: MAC address of the link on which the halves speak; `address` and `peer` are on it."""

    heart: str
    address: IPv4Address
    peer: IPv4Address
