"""The lab's Keystone: tokens, the service catalogue, and clouds.yaml.

A handful of REST calls (Identity API v3) without the weight of an SDK: a lab starts in seconds.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx

from astara_lab.places import CLOUD_NAME, GLANCE_URL, KEYSTONE_URL, NEUTRON_URL, NOVA_URL, PLACEMENT_URL, Lab
from astara_lab.tasks import BringUpError
from astara_lab.trust import trust_of

#: Returns a valid token of the administrator. Raises httpx.HTTPError.
Token = Callable[[], str]

ADMIN = "admin"
REGION = "RegionOne"
SERVICE_PROJECT = "service"
#: Services and what the catalogue says of them; Astara is a user without a service of its own.
SERVICES = {
    "neutron": ("network", NEUTRON_URL),
    "glance": ("image", GLANCE_URL),
    "placement": ("placement", PLACEMENT_URL),
    "nova": ("compute", NOVA_URL),
}
USERS = (*SERVICES, "astara")

_TIMEOUT_S = 30.0
_DOMAIN = "default"


def token_of(lab: Lab) -> Token | None:
    """The administrator's token for a lab that has a Keystone; None for one that has not."""
    return functools.partial(_token, trust_of(lab).password) if lab.profile == "cloud" else None


@functools.cache
def _token(password: str) -> str:
    """One for the life of the process: a lab's tokens are valid for a day."""
    user = {"name": ADMIN, "domain": {"id": _DOMAIN}, "password": password}
    scope = {"project": {"name": ADMIN, "domain": {"id": _DOMAIN}}}
    body = {"auth": {"identity": {"methods": ["password"], "password": {"user": user}}, "scope": scope}}
    answer = httpx.post(f"{KEYSTONE_URL}/auth/tokens", json=body, timeout=_TIMEOUT_S, trust_env=False)
    answer.raise_for_status()
    return answer.headers["X-Subject-Token"]


def clouds_yaml(password: str) -> str:
    """What `openstack --os-cloud astara` reads. JSON is YAML."""
    auth = {
        "auth_url": KEYSTONE_URL,
        "username": ADMIN,
        "password": password,
        "project_name": ADMIN,
        "user_domain_id": _DOMAIN,
        "project_domain_id": _DOMAIN,
    }
    cloud = {"auth": auth, "region_name": REGION, "identity_api_version": 3, "interface": "public"}
    return json.dumps({"clouds": {CLOUD_NAME: cloud}}, indent=2) + "\n"


@dataclass(frozen=True)
class Catalogue:
    """Writes users, roles, services and endpoints; what is there is kept."""

    client: httpx.Client
    password: str

    @classmethod
    def open(cls, lab: Lab) -> Catalogue:
        """Raises httpx.HTTPError."""
        password = trust_of(lab).password
        client = httpx.Client(
            base_url=KEYSTONE_URL, headers={"X-Auth-Token": _token(password)}, timeout=_TIMEOUT_S, trust_env=False
        )
        return cls(client, password)

    def fill(self) -> None:
        """Every service's user with the roles admin and service, and its endpoints. Raises BringUpError."""
        project = self._ensure("projects", {"name": SERVICE_PROJECT, "domain_id": _DOMAIN})
        roles = [self._ensure("roles", {"name": name}) for name in (ADMIN, "service")]
        for name in USERS:
            user = self._ensure("users", {"name": name, "domain_id": _DOMAIN}, {"password": self.password})
            for role in roles:
                self._call("PUT", f"/projects/{project}/users/{user}/roles/{role}")
        for name, (kind, url) in SERVICES.items():
            service = self._ensure("services", {"name": name, "type": kind})
            for face in ("public", "internal"):
                self._ensure("endpoints", {"service_id": service, "interface": face}, {"url": url, "region": REGION})

    def _ensure(self, collection: str, known_by: dict[str, str], further: dict[str, str] | None = None) -> str:
        """The id of the member `known_by` describes; makes it when there is none."""
        found = self._call("GET", f"/{collection}", params=known_by)[collection]
        if not found:
            member = collection.removesuffix("s")
            found = [self._call("POST", f"/{collection}", json={member: known_by | (further or {})})[member]]
        return str(found[0]["id"])

    def _call(self, method: str, path: str, **rest: Any) -> Any:
        answer = self.client.request(method, path, **rest)
        if answer.is_error:
            raise BringUpError(f"Keystone: {method} {path}: {answer.status_code} {answer.text[:500]}")
        return answer.json() if answer.content else None
