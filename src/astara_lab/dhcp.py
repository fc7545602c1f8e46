"""Real DHCP clients on simulated machines: busybox udhcpc for IPv4, ISC dhclient for IPv6, the kernel for SLAAC."""

from __future__ import annotations

import contextlib
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from astara_lab.machine import INTERFACE, Machine, Result
from astara_lab.namespaces import within
from astara_lab.waiting import NotInTime, patient, until

#: Seconds between two DHCPDISCOVER of udhcpc; it counts in whole ones.
_PAUSE_S = 1

# What udhcpc calls on every event, with the lease in its environment (see the comments in busybox's simple.script).
# With option 121 the router option is ignored: RFC 3442.
_UDHCPC_SCRIPT = """#!/bin/sh
case "$1" in
deconfig)
  ip -4 address flush dev "$interface"
  ip link set "$interface" up
  ;;
bound|renew)
  ip -4 address replace "$ip/$mask" dev "$interface"
  [ -z "$mtu" ] || ip link set "$interface" mtu "$mtu"
  ip -4 route flush dev "$interface" proto dhcp
  if [ -n "$staticroutes" ]; then
    set -- $staticroutes
    while [ $# -ge 2 ]; do
      if [ "$2" = 0.0.0.0 ]; then ip -4 route replace "$1" dev "$interface" proto dhcp
      else ip -4 route replace "$1" via "$2" dev "$interface" proto dhcp; fi
      shift 2
    done
  else
    for gateway in $router; do ip -4 route replace default via "$gateway" dev "$interface" proto dhcp; break; done
  fi
  {
    [ -z "$domain$search" ] || echo "search ${search:-$domain}"
    for server in $dns; do echo "nameserver $server"; done
  } >"$ASTARA_RESOLVER.v4"
  cat "$ASTARA_RESOLVER".v? >"$ASTARA_RESOLVER"
  env >"$ASTARA_LEASE"
  ;;
esac
"""

# What dhclient -6 calls; names in dhclient-script(8).
_DHCLIENT_SCRIPT = """#!/bin/sh
case "$reason" in
BOUND6|RENEW6|REBIND6)
  if [ -n "$new_ip6_address" ]; then
    ip -6 address replace "$new_ip6_address/${new_ip6_prefixlen:-128}" dev "$interface"
  fi
  ;;
esac
if [ -n "$new_dhcp6_name_servers$new_dhcp6_domain_search" ]; then
  {
    [ -z "$new_dhcp6_domain_search" ] || echo "search $new_dhcp6_domain_search"
    for server in $new_dhcp6_name_servers; do echo "nameserver $server"; done
  } >"$ASTARA_RESOLVER.v6"
  cat "$ASTARA_RESOLVER".v? >"$ASTARA_RESOLVER"
fi
env >"$ASTARA_LEASE.v6"
"""


@dataclass(frozen=True)
class Client:
    """The DHCP clients of one machine; `directory` keeps its leases."""

    machine: Machine
    directory: Path

    @property
    def lease_file(self) -> Path:
        return self.directory / f"{self.machine.name}.lease"

    def settle(self) -> None:
        """Kernel settings of a machine that takes router advertisements, in a hurry: no duplicate address detection."""
        values = {
            "accept_ra": "1",
            "autoconf": "1",
            "dad_transmits": "0",
            "router_solicitation_delay": "0",
            "router_solicitation_interval": "1",
            "disable_ipv6": "0",
            "forwarding": "0",
        }

        def write() -> None:
            for name, value in values.items():
                Path(f"/proc/sys/net/ipv6/conf/{INTERFACE}/{name}").write_text(value)

        within(self.machine.netns, write)

    def ask_v4(self, deadline_s: float = 20.0, *, options: tuple[str, ...] = ()) -> dict[str, str]:
        """Runs udhcpc until it has a lease; returns the lease as udhcpc hands it on. Raises NotInTime.

        `options` are further DHCP options to ask for, by udhcpc's names or numbers.
        """
        self.lease_file.unlink(missing_ok=True)
        deadline_s = patient(deadline_s)
        tries = max(1, round(deadline_s / _PAUSE_S))
        wanted = [word for option in ("121", "mtu", "search", *options) for word in ("-O", option)]
        argv = ["busybox", "udhcpc", "-f", "-n", "-q", "-t", str(tries), "-T", str(_PAUSE_S), "-i", INTERFACE]
        done = self._run("udhcpc", _UDHCPC_SCRIPT, [*argv, *wanted, "-s"], deadline_s)
        if not done.ok or not self.lease_file.exists():
            raise NotInTime(f"{self.machine.name}: no DHCPv4 lease after {deadline_s:g} s\n{done.stderr}")
        return self.lease

    def ask_v6(self, deadline_s: float = 20.0, *, stateless: bool = False) -> dict[str, str]:
        """Runs dhclient -6 until it has an address (or, stateless, options); returns its variables."""
        lease = self.lease_file.with_suffix(".lease.v6")
        lease.unlink(missing_ok=True)
        leases = self.directory / f"{self.machine.name}.leases6"
        leases.touch()
        # dhclient gives up at once without a link-local address, which comes a moment after the carrier.
        until(f"{self.machine.name}: a link-local address", lambda: self.machine.link_local is not None, deadline_s)
        argv = ["dhclient", "-6", *(["-S"] if stateless else []), "-1", "-d", "-v", "-lf", str(leases)]
        done = self._run("dhclient", _DHCLIENT_SCRIPT, [*argv, "-pf", "/dev/null", INTERFACE, "-sf"], deadline_s, lease)
        if not lease.exists() or "new_dhcp6_server_id" not in _variables(lease):
            raise NotInTime(f"{self.machine.name}: no answer from DHCPv6 after {deadline_s:g} s\n{done.stderr}")
        return _variables(lease)

    def await_slaac(self, prefixes: tuple[str, ...], deadline_s: float = 20.0) -> None:
        """Waits for an address in each of the prefixes, made from router advertisements."""
        wanted = [ipaddress.ip_network(prefix) for prefix in prefixes]
        until(
            f"{self.machine.name}: an address by SLAAC in {', '.join(prefixes)}",
            lambda: all(any(a in prefix for a in self.machine.addresses) for prefix in wanted),
            deadline_s,
        )

    @property
    def lease(self) -> dict[str, str]:
        """The last DHCPv4 lease: udhcpc's variables (ip, mask, router, dns, staticroutes, mtu, lease, serverid)."""
        return _variables(self.lease_file)

    def _run(
        self, name: str, script: str, argv: list[str], deadline_s: float, until_exists: Path | None = None
    ) -> Result:
        file = self.directory / f"{name}.script"
        if not file.exists():
            file.write_text(script)
            file.chmod(0o755)
        names = [f"ASTARA_RESOLVER={self.machine.resolver}", f"ASTARA_LEASE={self.lease_file}"]
        if name == "dhclient":  # it empties its script's environment but for what -e names
            argv = [argv[0], *(word for pair in names for word in ("-e", pair)), *argv[1:]]
        command = ["env", *names, *argv, str(file)]
        if until_exists is None:
            return self.machine.run(command, deadline_s + 5.0)
        return self._run_until(command, deadline_s, until_exists)

    def _run_until(self, command: list[str], deadline_s: float, appears: Path) -> Result:
        """For a client that does not end by itself in the foreground: ends it when the file has appeared."""
        process = self.machine.spawn(command)
        with contextlib.suppress(NotInTime):
            until(
                "an answer",
                lambda: process.poll() is not None or "new_dhcp6_server_id" in _variables(appears),
                deadline_s,
            )
        process.terminate()
        output, errors = process.communicate(timeout=5.0)
        return Result(tuple(command), process.returncode, output, errors)


def _variables(file: Path) -> dict[str, str]:
    if not file.exists():
        return {}
    pairs = (line.partition("=") for line in file.read_text().splitlines())
    return {name: value for name, _, value in pairs}
