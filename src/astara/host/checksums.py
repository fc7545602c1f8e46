"""Who completes checksums: a switch in user space forwards frames as they are, one left to hardware is never made."""

from __future__ import annotations

import ctypes
import fcntl
import socket
import struct

from astara.host.links import LinkError

_SIOCETHTOOL = 0x8946
#: Commands that ask, and those that set.
_RX, _TX = (0x14, 0x15), (0x16, 0x17)


def complete(name: str, *, received: bool = True) -> None:
    """Have the kernel complete what it sends by a link of the thread's namespace, and check what it receives.

    `received` False: only what it sends; some cards cannot be told otherwise about what they receive
    (ioctl SIOCETHTOOL, include/uapi/linux/ethtool.h). Raises LinkError.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as any_socket:
        for asks, sets in (_RX, _TX) if received else (_TX,):
            try:
                # A card that has no such thing says that it cannot be changed.
                if _told(any_socket, name, asks):
                    _told(any_socket, name, sets)
            except OSError as error:
                raise LinkError(f"{name}: checksum offload cannot be turned off: {error.strerror}") from None


def _told(any_socket: socket.socket, name: str, command: int) -> int:
    """Send a command with the value 0; return the value that came back (struct ethtool_value). Raises OSError."""
    value = ctypes.create_string_buffer(struct.pack("=II", command, 0), 8)
    request = struct.pack("16sP16x", name.encode(), ctypes.addressof(value))
    fcntl.ioctl(any_socket, _SIOCETHTOOL, request)
    answered: int = struct.unpack("=II", value.raw)[1]
    return answered
