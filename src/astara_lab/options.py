"""The options that the commands of labs share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import click

from astara_lab.places import BODIES, PROFILES, find_lab
from astara_lab.variant import Variant


def lab_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """--profile and --dir, handed on as one Lab called `place`."""
    profile = click.option(
        "--profile",
        type=click.Choice(PROFILES),
        default="embedded",
        show_default=True,
        envvar="ASTARA_LAB_PROFILE",
        help="What the lab consists of.",
    )
    directory = click.option("--dir", "directory", help="The lab's directory. [default: .lab/PROFILE]")

    def with_place(profile: str, directory: str | None, **rest: Any) -> Any:
        return command(place=find_lab(profile, directory), **rest)

    return _with_parameters_of(command, with_place, profile, directory)


def variant_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of a Variant, handed on as `variant`."""
    options = (
        click.option("--no-supervise", is_flag=True, help="Leave a service dead when it dies."),
        click.option(
            "--body",
            type=click.Choice(BODIES),
            default="namespace",
            show_default=True,
            envvar="BODY",
            help="What routers run in.",
        ),
        click.option(
            "--network-body",
            type=click.Choice(BODIES),
            envvar="NETWORK_BODY",
            help="What serves DHCP, DNS and metadata. [default: the same]",
        ),
        click.option(
            "--image",
            type=click.Path(path_type=Path, file_okay=False, resolve_path=True),
            envvar="ASTARA_IMAGE",
            help="Folder of the appliance's image, for containers and machines.",
        ),
        click.option(
            "--mech",
            type=click.Choice(("ovs", "ovn")),
            default="ovs",
            show_default=True,
            envvar="MECH",
            help="Profile neutron: Open vSwitch with Neutron's agent, or OVN.",
        ),
        click.option(
            "--l3-agent/--no-l3-agent",
            default=False,
            envvar="L3_AGENT",
            help="Profile neutron: Neutron's own L3 and DHCP agents instead of Astara.",
        ),
        click.option(
            "--nodes",
            type=click.IntRange(min=1, max=2),
            default=1,
            show_default=True,
            envvar="NODES",
            help="Nodes, for routers that are pairs. Profile neutron: networks are VLANs then.",
        ),
        click.option(
            "--node-patience",
            "node_patience_s",
            type=click.IntRange(min=5),
            envvar="NODE_PATIENCE",
            help="Profiles embedded and cluster: a node silent for so many seconds is given up. [default: 60]",
        ),
        click.option(
            "--privsep-threads",
            type=click.IntRange(min=1),
            envvar="PRIVSEP_THREADS",
            help="Profile neutron: threads of the agents' privileged helpers. [default: one for each CPU]",
        ),
        click.option(
            "--api-processes",
            type=click.IntRange(min=1),
            default=1,
            show_default=True,
            envvar="API_PROCESSES",
            help="Profile neutron: processes of Neutron's API.",
        ),
        click.option(
            "--direct-boot/--no-direct-boot",
            default=False,
            envvar="DIRECT_BOOT",
            help="Profile cloud: appliances by their kernel instead of the boot loader of their disk.",
        ),
        click.option(
            "--orchestrators",
            type=click.IntRange(min=1, max=9),
            default=1,
            show_default=True,
            envvar="ORCHESTRATORS",
            help="Profiles embedded and cluster: orchestrators that share the work.",
        ),
    )

    def with_variant(*, no_supervise: bool, **given: Any) -> Any:
        chosen = {field.name: given.pop(field.name) for field in fields(Variant) if field.name in given}
        return command(variant=Variant(supervise=not no_supervise, **chosen), **given)

    return _with_parameters_of(command, with_variant, *options)


def _with_parameters_of(command: Callable[..., Any], wrapper: Callable[..., Any], *options: Any) -> Callable[..., Any]:
    """Makes `wrapper` look like `command` to click, with further options."""
    wrapper.__name__, wrapper.__doc__ = command.__name__, command.__doc__
    wrapper.__click_params__ = getattr(command, "__click_params__", [])  # type: ignore[attr-defined]  # click's own
    for option in reversed(options):
        wrapper = option(wrapper)
    return wrapper
