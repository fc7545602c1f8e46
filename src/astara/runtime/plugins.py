"""Drivers and providers by name: the entry points `astara.drivers` and `astara.providers`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import structlog

from astara.installed import Plugin, plugins
from astara.model.errors import BadConfiguration
from astara.model.operator import PluginLine

_log = structlog.get_logger(__name__)
DRIVERS = "astara.drivers"
PROVIDERS = "astara.providers"


def load(group: str, name: str, option: str) -> Any:
    """Return the object a name stands for.

    Raises:
        BadConfiguration: naming the option and the known names, or what its import lacks.
    """
    known = {point.name: point for point in plugins(group)}
    if name not in known:
        raise BadConfiguration(f"{option}: {name!r} is not known", f"installed are: {', '.join(sorted(known))}")
    try:
        return known[name].load()
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
        raise BadConfiguration(f"{option}: {name!r} cannot be loaded: {said}", "install what it needs") from error


def loadable(group: str) -> dict[str, Any]:
    """Return every installed plug-in of a group that can be loaded, by name; one that cannot is logged."""
    found = {}
    for point in plugins(group):
        try:
            found[point.name] = point.load()
        except Exception as error:  # noqa: BLE001 - importing a package of others may raise anything, also when not enabled
            _log.warning("plugin.unusable", group=group, name=point.name, reason=f"{type(error).__name__}: {error}")
    return found


def lines(group: str, enabled: Iterable[str]) -> tuple[PluginLine, ...]:
    """Return every installed plug-in of a group, with its own `summary`."""
    wanted = frozenset(enabled)
    points = sorted(plugins(group), key=lambda point: point.name)
    return tuple(PluginLine(name=p.name, enabled=p.name in wanted, description=_description(p)) for p in points)


def _description(point: Plugin) -> str:
    try:
        plugin = point.load()
    except Exception as error:  # noqa: BLE001 - as above; the operator's list says it
        return f"cannot be loaded: {type(error).__name__}: {error}"
    return str(getattr(plugin, "summary", "(says nothing about itself)"))
