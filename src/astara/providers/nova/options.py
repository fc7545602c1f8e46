"""Section [provider:nova] of astara.conf, judged at the door."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from astara.model.errors import BadConfiguration

_SECTION = "[provider:nova]"
_AGENT_PORT = 19801
_BOOT_DEADLINE_S = 180.0
#: How openstacksdk is told who we are: its own names.
_AUTH = (
    "auth_url",
    "username",
    "password",
    "user_domain_id",
    "user_domain_name",
    "project_name",
    "project_id",
    "project_domain_id",
    "project_domain_name",
    "application_credential_id",
    "application_credential_secret",
)
_ACCESS = (*_AUTH, "auth_type", "region_name", "interface", "cafile")
_NEEDED = {
    "auth_url": "write Keystone's URL, e.g. https://keystone.example:5000/v3",
    "image": "name the appliance's image in Glance (`make image` builds appliance.qcow2)",
    "flavor": "name a flavor with 256 MB of memory or more",
    "management_network": "name the network on which the orchestrator reaches the servers",
}
_OWN = (
    *_NEEDED,
    "availability_zone",
    "security_groups",
    "agent_port",
    "boot_deadline_s",
    "completes_checksums",
    "places",
)
_YES_NO = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


@dataclass(frozen=True, slots=True)
class Choice:
    """What servers are made of. Names or ids; `zone` is an availability zone."""

    image: str
    flavor: str
    management_network: str
    zone: str | None = None
    #: Of the management ports; none: those Neutron gives the project's ports by itself.
    security_groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NovaOptions:
    """`access` is for openstacksdk, with secrets.

    `completes_checksums`: the appliances themselves, for a switch in user space that does not.
    `places`: hosts that Neutron may put routers on although no node agent is there; each has a layer-2 agent.
    """

    access: Mapping[str, str] = field(repr=False)
    choice: Choice
    agent_port: int = _AGENT_PORT
    boot_deadline_s: float = _BOOT_DEADLINE_S
    completes_checksums: bool = False
    places: tuple[str, ...] = ()


def read(settings: Mapping[str, str]) -> NovaOptions:
    """Raises BadConfiguration, naming the option and the remedy; never repeats a value that may be a secret."""
    known = (*_ACCESS, *_OWN)
    if unknown := sorted(set(settings) - set(known)):
        raise BadConfiguration(
            f"{_SECTION} {unknown[0]} is not known", f"remove it; known are: {', '.join(sorted(known))}"
        )
    for name, remedy in _NEEDED.items():
        if not settings.get(name, "").strip():
            raise BadConfiguration(f"{_SECTION} {name} is not set", remedy)
    return NovaOptions(
        access={name: settings[name] for name in _ACCESS if settings.get(name)},
        choice=Choice(
            image=settings["image"],
            flavor=settings["flavor"],
            management_network=settings["management_network"],
            zone=settings.get("availability_zone") or None,
            security_groups=_words(settings.get("security_groups", "")),
        ),
        agent_port=int(_number(settings, "agent_port", _AGENT_PORT, 1, 65535)),
        boot_deadline_s=_number(settings, "boot_deadline_s", _BOOT_DEADLINE_S, 1, 3600),
        completes_checksums=_yes_no(settings, "completes_checksums"),
        places=_words(settings.get("places", "")),
    )


def auth_of(access: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in access.items() if name in _AUTH}


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _number(settings: Mapping[str, str], name: str, default: float, least: float, most: float) -> float:
    text = settings.get(name, str(default))
    try:
        number = float(text)
    except ValueError:
        number = least - 1
    if not least <= number <= most:
        raise BadConfiguration(f"{_SECTION} {name} = {text}", f"write a number from {least} to {most}")
    return number


def _yes_no(settings: Mapping[str, str], name: str) -> bool:
    text = settings.get(name, "false").strip().lower()
    if text not in _YES_NO:
        raise BadConfiguration(f"{_SECTION} {name} = {text}", "write true or false")
    return _YES_NO[text]
