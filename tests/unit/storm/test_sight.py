"""What iproute2 and nft print, as they print it."""

from __future__ import annotations

from storm.sight import elements, links_of, routes_of

LOOPBACK = {"ifname": "lo", "link_type": "loopback", "mtu": 65536, "flags": ["UP"], "addr_info": []}
LINK = {
    "ifname": "ap1",
    "link_type": "ether",
    "address": "fa:16:3e:00:00:01",
    "mtu": 1450,
    "flags": ["BROADCAST", "UP", "LOWER_UP"],
    "addr_info": [
        {"local": "10.0.0.1", "prefixlen": 24, "scope": "global"},
        {"local": "2001:db8::1", "prefixlen": 64, "scope": "global", "tentative": True},
        {"local": "fe80::1", "prefixlen": 64, "scope": "link"},
        {},
    ],
}


def test_links_are_read_without_loopback_and_link_local_addresses() -> None:
    (found,) = links_of([LOOPBACK, LINK])
    assert (found.mac, found.mtu, found.up) == ("fa:16:3e:00:00:01", 1450, True)
    assert found.addresses == {"10.0.0.1/24", "2001:db8::1/64"}
    assert found.unusable == {"2001:db8::1/64"}


def test_only_our_routes_with_a_next_hop_are_read() -> None:
    shown = [
        {"dst": "default", "gateway": "198.51.100.1", "protocol": "91"},
        {"dst": "default", "gateway": "2001:db8::1", "protocol": "91"},
        {"dst": "192.168.9.7", "gateway": "10.0.0.9", "protocol": "91"},
        {"dst": "10.0.0.0/24", "protocol": "kernel"},
        {"dst": "default", "gateway": "10.0.0.3", "protocol": "ra"},
    ]
    assert set(routes_of(shown)) == {
        ("0.0.0.0/0", "198.51.100.1"),
        ("::/0", "2001:db8::1"),
        ("192.168.9.7/32", "10.0.0.9"),
    }


def test_elements_of_sets_and_maps_are_taken_apart() -> None:
    table = {
        "nftables": [
            {"metainfo": {}},
            {"set": {"name": "internal", "elem": ["ap1"]}},
            {"set": {"name": "external"}},
            {"map": {"name": "floating_to_fixed", "elem": [["198.51.100.5", "10.0.0.7"]]}},
            {
                "map": {
                    "name": "forward_port",
                    "elem": [
                        [{"concat": ["198.51.100.5", "tcp", 2007]}, {"concat": ["10.0.0.7", 7]}],
                    ],
                }
            },
        ]
    }
    assert elements(table) == {
        "internal": [(["ap1"], [])],
        "external": [],
        "floating_to_fixed": [(["198.51.100.5"], ["10.0.0.7"])],
        "forward_port": [(["198.51.100.5", "tcp", 2007], ["10.0.0.7", 7])],
    }
