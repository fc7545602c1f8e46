"""A stand-in for Nova's metadata service, which the lab does not run.

`python -m astara_lab.metadata SECRET_FILE [ADDRESS]`

It checks a request as Nova does (nova/api/metadata/handler.py with `service_metadata_proxy`) and answers the usual
EC2 and OpenStack paths from what Neutron knows of the instance's ports; it knows no images, keys or user data.
"""

from __future__ import annotations

import hashlib
import hmac
import http.server
import json
import socketserver
import sys
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

from astara_lab.places import LOOPBACK, METADATA_PORT, NEUTRON_URL

Ports = Sequence[Mapping[str, Any]]


class Refusal(Exception):
    """An answer that is not the metadata."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


@dataclass(frozen=True)
class Caller:
    """Whose metadata is asked for, after the signature was found right."""

    instance_id: str
    project_id: str
    address: str


def signature(secret: bytes, instance_id: str) -> str:
    """Nova's X-Instance-ID-Signature."""
    return hmac.new(secret, instance_id.encode(), hashlib.sha256).hexdigest()


def verify(received: Mapping[str, str], secret: bytes) -> Caller:
    """Raises Refusal: 400 for a header that is missing, 403 for a wrong signature, as Nova does."""
    headers = {name.title(): value for name, value in received.items()}
    instance_id = headers.get("X-Instance-Id")
    project_id = headers.get("X-Tenant-Id")
    signed = headers.get("X-Instance-Id-Signature")
    if not instance_id:
        raise Refusal(HTTPStatus.BAD_REQUEST, "X-Instance-ID header is missing from request.")
    if not signed:
        raise Refusal(HTTPStatus.BAD_REQUEST, "X-Instance-ID-Signature header is missing from request.")
    if not project_id:
        raise Refusal(HTTPStatus.BAD_REQUEST, "X-Tenant-ID header is missing from request.")
    if not hmac.compare_digest(signature(secret, instance_id).encode(), signed.encode()):
        raise Refusal(HTTPStatus.FORBIDDEN, "Invalid proxy request signature.")
    return Caller(instance_id, project_id, headers.get("X-Forwarded-For") or "")


def answer(path: str, caller: Caller, ports: Ports) -> tuple[str, str]:
    """Body and content type for a path. Raises Refusal 404 for what is not there or not the caller's."""
    if not ports or any(port["project_id"] != caller.project_id for port in ports):
        raise Refusal(HTTPStatus.NOT_FOUND, "no instance of that project has this id")
    words = tuple(word for word in path.split("/") if word)
    if words == ("openstack",):
        return "2018-08-27\nlatest", "text/plain"
    if words[:1] == ("openstack",) and len(words) == 3:
        return _openstack(words[2], caller, ports), "application/json"
    return _ec2(words, caller, ports), "text/plain"


def _openstack(name: str, caller: Caller, ports: Ports) -> str:
    if name == "meta_data.json":
        host = _hostname(caller, ports)
        body: Any = {"uuid": caller.instance_id, "project_id": caller.project_id, "hostname": host, "name": host}
    elif name == "network_data.json":
        body = {"links": [{"id": p["id"], "ethernet_mac_address": p["mac_address"]} for p in ports]}
    else:
        raise Refusal(HTTPStatus.NOT_FOUND, name)
    return json.dumps(body)


def _ec2(words: tuple[str, ...], caller: Caller, ports: Ports) -> str:
    if not words:
        return "1.0\n2009-04-04\nlatest"
    leaves = {
        "hostname": _hostname(caller, ports),
        "instance-id": caller.instance_id,
        "local-ipv4": _local_ipv4(caller, ports),
        "mac": str(ports[0]["mac_address"]),
    }
    match words[1:]:
        case ():
            return "meta-data/"
        case ("meta-data",):
            return "\n".join(sorted(leaves))
        case ("meta-data", leaf) if leaf in leaves:
            return leaves[leaf]
    raise Refusal(HTTPStatus.NOT_FOUND, "/".join(words))


def _hostname(caller: Caller, ports: Ports) -> str:
    return str(ports[0].get("dns_name") or ports[0].get("name") or f"host-{caller.instance_id[:8]}")


def _local_ipv4(caller: Caller, ports: Ports) -> str:
    """The address the request came from if it is one of the instance's, else its first IPv4 address."""
    addresses = [fixed["ip_address"] for port in ports for fixed in port["fixed_ips"]]
    if caller.address in addresses:
        return caller.address
    return next((address for address in addresses if ":" not in address), "")


def ports_of(instance_id: str) -> Ports:
    """The instance's ports, from the lab's Neutron."""
    query = urllib.parse.urlencode({"device_id": instance_id})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"{NEUTRON_URL}/v2.0/ports?{query}", timeout=10) as reply:
        ports: Ports = json.load(reply)["ports"]
    return ports


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], secret: bytes, lookup: Callable[[str], Ports]) -> None:
        self.secret = secret
        self.lookup = lookup
        super().__init__(address, _Handler)


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Server
    timeout = 20

    def do_GET(self) -> None:
        try:
            caller = verify(dict(self.headers), self.server.secret)
            body, kind = answer(urllib.parse.urlsplit(self.path).path, caller, self.server.lookup(caller.instance_id))
            status = HTTPStatus.OK
        except Refusal as refusal:
            body, kind, status = refusal.message, "text/plain", refusal.status
        except OSError as error:
            body, kind, status = f"Neutron does not answer: {error}", "text/plain", HTTPStatus.SERVICE_UNAVAILABLE
        data = body.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


if __name__ == "__main__":
    shared = Path(sys.argv[1]).read_text().strip().encode()
    Server((sys.argv[2] if len(sys.argv) > 2 else LOOPBACK, METADATA_PORT), shared, ports_of).serve_forever()
