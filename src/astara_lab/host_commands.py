"""`astara lab host …`: simulated tenant machines from the command line."""

from __future__ import annotations

import sys

import click

from astara_lab.options import lab_options
from astara_lab.places import Lab


@click.group()
def host() -> None:
    """Simulated tenant machines on the lab's networks."""


@host.command()
@lab_options
@click.argument("name")
@click.option("--network", required=True, help="Name or id of the network.")
@click.option("--project", help="Whose machine it is. [default: the network's project]")
@click.option("--ipv4-only", "only", flag_value="4", help="An address of IPv4 only.")
@click.option("--ipv6-only", "only", flag_value="6", help="An address of IPv6 only.")
@click.option("--no-dhcp", is_flag=True, help="Leave the interface up but without addresses.")
@click.option("--port-security/--no-port-security", default=None, help="As in `openstack port create`.")
@click.option("--timeout", "deadline_s", default=20.0, show_default=True, help="Seconds to wait for addresses.")
def add(
    place: Lab,
    *,
    name: str,
    network: str,
    project: str | None,
    only: str | None,
    no_dhcp: bool,
    port_security: bool | None,
    deadline_s: float,
) -> None:
    """Make a machine, let it get its addresses, and show what it got."""
    _enter(place)
    from astara_lab.hosts import Hosts

    versions = (int(only),) if only else (4, 6)
    port = {} if port_security is None else {"port_security_enabled": port_security}
    made = Hosts(place).add(
        name,
        network,
        project=project,
        versions=versions,
        configure=not no_dhcp,
        deadline_s=deadline_s,
        **port,
    )
    click.echo(f"{name}: port {made.port_id}, MAC {made.mac}, instance {made.instance_id}")
    click.echo(f"  addresses   {', '.join(str(i) for i in made.interfaces) or 'none'}")
    click.echo(f"  nameservers {', '.join(made.nameservers) or 'none'}")
    click.echo(f"  mtu         {made.mtu}")
    for route in made.routes:
        click.echo(f"  route       {route}")


@host.command("list")
@lab_options
def show(place: Lab) -> None:
    """The machines and their addresses."""
    _enter(place)
    from rich.console import Console
    from rich.table import Table

    from astara_lab.hosts import Hosts

    table = Table("name", "addresses", "MAC", "network", "port")
    for made in Hosts(place).list():
        addresses = "\n".join(str(a) for a in made.addresses)
        table.add_row(made.name, addresses, made.mac, made.record.network_id, made.port_id)
    Console().print(table)


@host.command("exec", context_settings={"ignore_unknown_options": True})
@lab_options
@click.argument("name")
@click.argument("command", nargs=-1, type=click.UNPROCESSED, required=True)
def execute(place: Lab, *, name: str, command: tuple[str, ...]) -> None:
    """Run a command on a machine."""
    _enter(place)
    import subprocess

    from astara_lab.hosts import Hosts

    machine = Hosts(place).get(name)
    sys.exit(machine.attached(lambda: subprocess.run(list(command), check=False).returncode))


@host.command()
@lab_options
@click.argument("name")
def delete(place: Lab, *, name: str) -> None:
    """Remove a machine and its port."""
    _enter(place)
    from astara_lab.hosts import Hosts

    Hosts(place).delete(name)


def _enter(place: Lab) -> None:
    from astara_lab.pod import Pod

    Pod(place).enter()
