"""What a container of ours may do: configure its own namespace, and nothing of the machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

#: NET_ADMIN, NET_RAW: links, routes, nftables, raw sockets of the daemons. NET_BIND_SERVICE: DNS, DHCP, metadata.
#: SETUID, SETGID, CHOWN, DAC_OVERRIDE, KILL, SYS_PTRACE: daemons run under accounts of their own, the agent watches
#: and ends them. SYS_NICE: the election of a pair is scheduled before all others, or pairs change places whenever the
#: node is busy. SYS_ADMIN: rulesets are judged in an empty namespace (setns(2), unshare(2)); what else it allows
#: is taken away by the system calls denied below.
CAPABILITIES = (
    "NET_ADMIN",
    "NET_RAW",
    "NET_BIND_SERVICE",
    "SETUID",
    "SETGID",
    "CHOWN",
    "DAC_OVERRIDE",
    "KILL",
    "SYS_PTRACE",
    "SYS_ADMIN",
    "SYS_NICE",
)
_DENIED = frozenset(
    {
        *("mount", "umount", "umount2", "pivot_root", "chroot", "move_mount", "open_tree", "mount_setattr"),
        *("fsopen", "fsconfig", "fsmount", "fspick", "bpf", "perf_event_open", "ptrace", "quotactl", "quotactl_fd"),
        *("process_vm_readv", "process_vm_writev", "sethostname", "setdomainname", "syslog", "fanotify_init"),
        *("lookup_dcookie", "kcmp", "userfaultfd", "keyctl", "add_key", "request_key", "swapon", "swapoff"),
    }
)
#: Settings of the kernel that are not a namespace's.
_HIDDEN = ("/proc/sys/kernel", "/proc/sys/vm", "/proc/sys/fs", "/proc/sys/dev", "/proc/sys/user", "/proc/sys/debug")
_PODMANS = Path("/usr/share/containers/seccomp.json")


def security(profile: Path) -> tuple[str, ...]:
    """Return podman's `--security-opt`s: `/proc/sys/net` of its own namespace can be written, nothing else there."""
    hidden = ":".join(_HIDDEN)
    return ("no-new-privileges", "unmask=/proc/sys", f"mask={hidden}", f"seccomp={profile}")


def narrowed(profile: bytes) -> bytes:
    """Return podman's seccomp profile without the system calls that SYS_ADMIN would open. Raises ValueError."""
    found: dict[str, Any] = json.loads(profile)
    for rule in found["syscalls"]:
        if rule["action"] == "SCMP_ACT_ALLOW":
            rule["names"] = [name for name in rule["names"] if name not in _DENIED]
    found["syscalls"] = [rule for rule in found["syscalls"] if rule["names"]]
    return json.dumps(found).encode()


def podmans_profile() -> bytes:
    """Raises OSError."""
    return _PODMANS.read_bytes()
