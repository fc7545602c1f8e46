"""What is said on the wire when an address is new here."""

from __future__ import annotations

from ipaddress import ip_interface

from astara.appliance.system.announce import frames

MAC = bytes.fromhex("fa163e000001")


def test_arp_announcements_name_the_address_as_sender_and_target() -> None:
    """RFC 5227 3: sender and target protocol address are both the announced one, to everybody."""
    request, reply = frames(MAC, ip_interface("203.0.113.9/32"))
    for frame, operation in ((request, 1), (reply, 2)):
        assert frame[:6] == b"\xff" * 6
        assert frame[12:14] == b"\x08\x06"
        assert frame[20:22] == bytes([0, operation])
        assert frame[22:28] == MAC
        assert frame[28:32] == frame[38:42] == bytes([203, 0, 113, 9])


def test_neighbour_advertisements_have_a_valid_checksum_and_override() -> None:
    """RFC 4861 7.2.6: to all nodes, hop limit 255, override set, target link-layer address given."""
    (frame,) = frames(MAC, ip_interface("2001:db8::9/64"))
    packet = frame[14:]
    body = packet[40:]
    assert packet[7] == 255
    assert body[0] == 136
    assert body[4] == 0xA0
    assert body[8:24] == ip_interface("2001:db8::9/64").ip.packed
    assert body[24:] == b"\x02\x01" + MAC
    pseudo = packet[8:40] + len(body).to_bytes(4, "big") + (58).to_bytes(4, "big")
    total = sum(int.from_bytes((pseudo + body)[at : at + 2], "big") for at in range(0, len(pseudo + body), 2))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    assert total == 0xFFFF
