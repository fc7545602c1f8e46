"""Nova and Neutron through openstacksdk's sessions: authentication, discovery and microversions are the SDK's.

Requests and answers are our own: what is needed of each is read at once, and an error's words are kept.
"""

from __future__ import annotations

import base64
import contextlib
import datetime
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from astara.contract.papers import CONFIG_DRIVE_PATH
from astara.model.errors import AstaraError, BadConfiguration, Gone, Terminal
from astara.model.resource import ResourceKey
from astara.providers.nova import doctor, marks, refusals
from astara.providers.nova.boundary import Finding, Nic, Server, Subnet
from astara.providers.nova.boundary import NewServer as Wanted
from astara.providers.nova.marks import Mark, NicMark
from astara.providers.nova.options import Choice, auth_of

#: Tags in a filter (2.26), at creation (2.52), a description (2.19), and files for the config drive (until 2.56).
_MICROVERSION = "2.56"
#: Of one request, in seconds: keystoneauth1 itself waits for ever.
_TIMEOUT_S = 60
_PAGE = 500
_CONSOLE_LINES = 500
#: What an image in Glance says of its content: the digest of its manifest.json.
_DIGEST_PROPERTY = "astara_digest"
_GROUP_POLICY = "soft-anti-affinity"


def connect(access: Mapping[str, str]) -> Any:
    """Return an SDK connection that has asked nobody anything yet. Raises BadConfiguration without the SDK."""
    try:
        import openstack
    except ImportError:
        raise BadConfiguration("provider nova needs openstacksdk", "pip install 'astara[nova]'") from None
    return openstack.connection.Connection(
        auth_type=access.get("auth_type", "password"),
        auth=auth_of(access),
        region_name=access.get("region_name"),
        interface=access.get("interface", "public"),
        cacert=access.get("cafile"),
        api_timeout=_TIMEOUT_S,
        app_name="astara",
    )


class SdkCloud:
    """Implements `boundary.Cloud`; safe to use from many threads as far as openstacksdk's sessions are.

    Raises Retry (away, busy, no capacity), Terminal (refused), Gone; nothing of openstacksdk's.
    """

    def __init__(self, connection: Any, choice: Choice) -> None:
        self._connection = connection
        self._choice = choice
        self._found: dict[str, str] = {}
        self._subnets: dict[str, Subnet] = {}

    # -- servers

    def servers(self, key: ResourceKey | None = None) -> Sequence[Server]:
        tag = marks.TAG if key is None else marks.key_tag(key)
        query = {"tags": tag, "limit": str(_PAGE)}
        read = (_server(record) for record in self._pages("compute", "/servers/detail", "servers", query))
        return [one for one in read if one is not None and key in (None, one.mark.key)]

    def create_server(self, new: Wanted) -> Server:
        body: dict[str, Any] = {
            "name": _name(new.mark),
            "imageRef": str(self._image(new.mark.image)["id"]),
            "flavorRef": self._id("compute", "/flavors", "flavors", self._choice.flavor),
            "metadata": new.mark.metadata(),
            "tags": marks.tags(new.mark.key),
            "networks": [{"port": nic} for nic in new.nics],
            "config_drive": True,
            "personality": [{"path": CONFIG_DRIVE_PATH, "contents": base64.b64encode(new.papers).decode()}],
        }
        if self._choice.zone is not None:
            body["availability_zone"] = self._choice.zone
        asked: dict[str, Any] = {"server": body}
        if new.group is not None:
            asked["os:scheduler_hints"] = {"group": new.group}
        made = self._call("compute", "POST", "/servers", asked)["server"]
        return Server(str(made["id"]), new.mark, datetime.datetime.now(datetime.UTC).timestamp(), building=True)

    def delete_server(self, server_id: str) -> None:
        self._delete("compute", f"/servers/{server_id}")

    def mark(self, server_id: str, mark: Mark) -> None:
        self._call("compute", "PUT", f"/servers/{server_id}/tags/{marks.key_tag(mark.key)}")
        self._call("compute", "POST", f"/servers/{server_id}/metadata", {"metadata": mark.metadata()})

    def rename(self, server_id: str, mark: Mark, was: ResourceKey) -> None:
        with contextlib.suppress(AstaraError):
            self._call("compute", "PUT", f"/servers/{server_id}", {"server": {"name": _name(mark)}})
            self._delete("compute", f"/servers/{server_id}/tags/{marks.key_tag(was)}")

    def plug(self, server_id: str, nic_id: str) -> None:
        body = {"interfaceAttachment": {"port_id": nic_id}}
        self._call("compute", "POST", f"/servers/{server_id}/os-interface", body)

    def unplug(self, server_id: str, nic_id: str) -> None:
        self._delete("compute", f"/servers/{server_id}/os-interface/{nic_id}")

    def console_log(self, server_id: str) -> str:
        asked = {"os-getConsoleOutput": {"length": _CONSOLE_LINES}}
        return str(self._call("compute", "POST", f"/servers/{server_id}/action", asked)["output"])

    # -- server groups, which carry nothing but a name

    def ensure_group(self, key: ResourceKey) -> str | None:
        found = self._groups(key)
        if found:
            return found[0]
        body = {"server_group": {"name": marks.key_tag(key), "policies": [_GROUP_POLICY]}}
        return str(self._call("compute", "POST", "/os-server-groups", body)["server_group"]["id"])

    def delete_group(self, key: ResourceKey) -> None:
        for group in self._groups(key):
            self._delete("compute", f"/os-server-groups/{group}")

    def _groups(self, key: ResourceKey) -> list[str]:
        found = self._call("compute", "GET", "/os-server-groups")["server_groups"]
        return sorted(str(group["id"]) for group in found if group["name"] == marks.key_tag(key))

    # -- ports

    def nics(self) -> Sequence[Nic]:
        query = {"project_id": self._project(), "limit": str(_PAGE)}
        read = (_nic(record) for record in self._pages("network", "/v2.0/ports", "ports", query))
        return [one for one in read if one is not None]

    def create_nic(self, mark: NicMark) -> Nic:
        """Without addresses, but for management: what the port carries is another port's, with addresses of its own."""
        body: dict[str, Any] = {
            "description": mark.description(),
            "project_id": self._project(),
            "name": "astara",
        }
        if mark.port_id is None:
            body["network_id"] = self._network(self._choice.management_network)
            if self._choice.security_groups:
                body["security_groups"] = [self._group(name) for name in self._choice.security_groups]
        else:
            # It sends and receives with the address of the port it carries, and for whoever is behind a router.
            body |= {"network_id": mark.network_id, "port_security_enabled": False, "fixed_ips": []}
        made = _nic(self._call("network", "POST", "/v2.0/ports", {"port": body})["port"])
        if made is None:
            raise Gone("Neutron returned a port without its description")
        return made

    def delete_nic(self, nic_id: str) -> None:
        self._delete("network", f"/v2.0/ports/{nic_id}")

    def subnet(self, subnet_id: str) -> Subnet:
        """One that was asked for is remembered: neither of the two ever changes where ports are."""
        if subnet_id not in self._subnets:
            found = self._call("network", "GET", f"/v2.0/subnets/{subnet_id}")["subnet"]
            self._subnets[subnet_id] = Subnet(str(found["cidr"]), found.get("gateway_ip") or None)
        return self._subnets[subnet_id]

    # -- images

    def image_digest(self, image: str | None) -> str | None:
        said = self._image(image).get(_DIGEST_PROPERTY)
        return None if said is None else str(said)

    def _image(self, wanted: str | None) -> dict[str, Any]:
        """Return the newest active image of a name, or that of an id; asked each time, for names are given anew.

        Raises Terminal when there is none.
        """
        name = wanted or self._choice.image
        query = {"name": name, "status": "active", "sort": "created_at:desc"}
        found = self._call("image", "GET", "/v2/images", params=query)["images"]
        if found:
            return dict(found[0])
        try:
            return dict(self._call("image", "GET", f"/v2/images/{name}"))
        except Gone:
            raise Terminal(f"Glance has no active image {name!r}", "upload it, or correct its name") from None

    # -- what the doctor asks

    def shortcomings(self) -> Iterator[Finding]:
        yield from doctor.shortcomings(self._call, self._choice, self._project())

    # -- how

    def _project(self) -> str:
        """Raises Retry, Terminal: Keystone is away, or does not believe us."""
        return str(self._asked("identity: a token", lambda: self._connection.current_project_id))

    def _network(self, wanted: str) -> str:
        return self._id("network", "/v2.0/networks", "networks", wanted)

    def _group(self, wanted: str) -> str:
        return self._id("network", "/v2.0/security-groups", "security_groups", wanted)

    def _id(self, service: str, path: str, collection: str, wanted: str) -> str:
        """Return the id behind a name or id; one name is asked for once."""
        if wanted not in self._found:
            query = {} if service == "compute" else {"name": wanted}
            found = self._call(service, "GET", path, params=query)[collection]
            ids = [str(one["id"]) for one in found if wanted == one["name"]]
            self._found[wanted] = ids[0] if len(ids) == 1 else wanted
        return self._found[wanted]

    def _pages(self, service: str, path: str, collection: str, query: Mapping[str, str]) -> Iterator[Any]:
        marker: dict[str, str] = {}
        while True:
            page = self._call(service, "GET", path, params={**query, **marker})[collection]
            yield from page
            if len(page) < _PAGE:
                return
            marker = {"marker": str(page[-1]["id"])}

    def _delete(self, service: str, path: str) -> None:
        try:
            self._call(service, "DELETE", path)
        except Gone:
            return

    def _call(
        self, service: str, method: str, path: str, body: Any = None, params: Mapping[str, str] | None = None
    ) -> Any:
        rest: dict[str, Any] = {"params": dict(params)} if params else {}
        if body is not None:
            rest["json"] = body
        if service == "compute":
            rest["microversion"] = _MICROVERSION
        what = f"{service}: {method} {path}"
        # The network proxy's endpoint is the root; the other two discover theirs.
        ask = lambda: getattr(self._connection, service).request(_path(service, path), method, **rest)  # noqa: E731
        answer = self._asked(what, ask)
        if answer.status_code >= 400:
            raise refusals.refusal(what, answer.status_code, _message(answer))
        return answer.json() if answer.content else None

    def _asked(self, what: str, ask: Callable[[], Any]) -> Any:
        from keystoneauth1 import exceptions
        from openstack.exceptions import SDKException

        try:
            return ask()
        except exceptions.Unauthorized:
            raise Terminal(
                f"{what}: Keystone refuses the credentials of [provider:nova]", "check username, password and project"
            ) from None
        except (exceptions.ClientException, SDKException) as error:
            raise refusals.away(what, type(error).__name__) from None


def _path(service: str, path: str) -> str:
    """Return the path below a service's endpoint, whose version the SDK has discovered."""
    return path.removeprefix("/v2.0").removeprefix("/v2") if service != "compute" else path


def _message(answer: Any) -> str:
    """Return an error's own words: {"forbidden": {"message": …}}, {"NeutronError": {"message": …}}, or nothing."""
    try:
        inner = next(iter(answer.json().values()))
        return str(inner["message"] if isinstance(inner, dict) else inner)
    except (ValueError, LookupError, TypeError, AttributeError, StopIteration):
        return ""


def _server(record: Mapping[str, Any]) -> Server | None:
    mark = marks.mark_in(record.get("metadata") or {})
    ending = record.get("OS-EXT-STS:task_state") == "deleting" or record["status"] in ("DELETED", "SOFT_DELETED")
    if mark is None or ending:
        return None
    return Server(
        id=str(record["id"]),
        mark=mark,
        created_at=_seconds(record["created"]),
        fault=_fault(record),
        building=record["status"] == "BUILD",
        hypervisor=record.get("hostId") or None,
    )


def _name(mark: Mark) -> str:
    """For people."""
    return f"astara-{mark.key.driver}-{mark.key.id[:8]}-{mark.slot[:8]}"[:63]


def _fault(record: Mapping[str, Any]) -> str | None:
    if record["status"] == "ERROR":
        return str((record.get("fault") or {}).get("message") or "its status is ERROR")
    if record["status"] in ("SHUTOFF", "PAUSED", "SUSPENDED", "SHELVED", "SHELVED_OFFLOADED"):
        return f"its status is {record['status']}"
    return None


def _nic(record: Mapping[str, Any]) -> Nic | None:
    mark = marks.nic_mark_in(record.get("description") or "")
    if mark is None:
        return None
    return Nic(
        id=str(record["id"]),
        mark=mark,
        mac=str(record["mac_address"]).lower(),
        server_id=record.get("device_id") or None,
        addresses=tuple(str(fixed["ip_address"]) for fixed in record["fixed_ips"]),
        subnets=tuple(str(fixed["subnet_id"]) for fixed in record["fixed_ips"]),
        created_at=_seconds(record["created_at"]),
    )


def _seconds(text: str) -> float:
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
