"""The service plug-in `astara`: hangs Astara's parts on Neutron.

    [DEFAULT]
    service_plugins = router,…,astara

Neutron makes one in every process (API workers, RPC server, periodic workers): events arrive in the process in
which they happen, and no thread is started before the first of them.
"""

from __future__ import annotations

import threading
from typing import Any

import sqlalchemy as sa
from neutron.services.portforwarding import constants as pf_consts
from neutron_lib import context as neutron_context
from neutron_lib.callbacks import events, priority_group, registry, resources
from neutron_lib.db import api as db_api
from neutron_lib.services import base as service_base

# `extensions` is imported so that Neutron finds its directory as an attribute of the package.
from astara_neutron import (
    api,
    dhcp_ports,
    extensions,
    fence,
    ha_networks,
    hints,
    models,
    options,
    ownership,
    pairs,
    placement,
    recorder,
    status,
)
from astara_neutron.models import KIND_NETWORK, KIND_ROUTER, KIND_SECOND
from astara_neutron.shield import shielded

__all__ = ["AstaraPlugin", "extensions"]

#: Singular resource names whose API writes end with BEFORE_RESPONSE, where a request's hint is sent.
RESPONDING = (
    "network",
    "subnet",
    "subnetpool",
    "port",
    "router",
    "floatingip",
    "port_forwarding",
    "conntrack_helper",
    "ndp_proxy",
    "policy",
    "bandwidth_limit_rule",
    "flavor",
    "service_profile",
)

_process = threading.Lock()
_started = False


class MissingTables(RuntimeError):
    """The plug-in's tables are not in the database."""


class AstaraPlugin(service_base.ServicePluginBase):
    """Entry point `astara` of neutron.service_plugins."""

    supported_extension_aliases = [api.ALIAS]

    def __init__(self) -> None:
        super().__init__()
        options.register()
        _require_tables()
        self.hints = hints.HintSender()
        self.fence = fence.Fence()
        _start_recorder_once(self.hints)
        self._subscribe()

    @classmethod
    def get_plugin_type(cls) -> str:
        return api.ALIAS

    def get_plugin_description(self) -> str:
        return "Astara: routers and networks served by instances of its orchestrator"

    def _subscribe(self) -> None:
        registry.subscribe(self.before_port, resources.PORT, events.BEFORE_CREATE)
        registry.subscribe(self.interface_added, resources.ROUTER_INTERFACE, events.AFTER_CREATE)
        registry.subscribe(self.interface_removed, resources.ROUTER_INTERFACE, events.AFTER_DELETE)
        # After Neutron's own callbacks have said whose router it is.
        last = priority_group.PRIORITY_ROUTER_DRIVER + 100
        registry.subscribe(self.router_created, resources.ROUTER, events.PRECOMMIT_CREATE, priority=last)
        for change in (events.AFTER_CREATE, events.AFTER_UPDATE):
            registry.subscribe(self.router_changed, resources.ROUTER, change, priority=last)
        registry.subscribe(self.router_deleted, resources.ROUTER, events.PRECOMMIT_DELETE)
        registry.subscribe(self.router_gone, resources.ROUTER, events.AFTER_DELETE, priority=last)
        registry.subscribe(self.network_deleted, resources.NETWORK, events.PRECOMMIT_DELETE)
        registry.subscribe(self.subnet_changed, resources.SUBNET, events.AFTER_UPDATE)
        registry.subscribe(self.subnet_changed, resources.SUBNET, events.AFTER_DELETE)
        registry.subscribe(self.floating_ip_changed, resources.FLOATING_IP, events.PRECOMMIT_UPDATE)
        registry.subscribe(self.forwarding_deleted, pf_consts.PORT_FORWARDING, events.AFTER_DELETE)
        for resource in RESPONDING:
            registry.subscribe(self.before_response, resource, events.BEFORE_RESPONSE)

    def before_port(self, resource: str, event: str, trigger: Any, payload: Any) -> None:
        shielded(placement.bind_at_creation)(payload.context, payload.latest_state)

    def interface_added(self, resource: str, event: str, trigger: Any, payload: Any) -> None:
        port = payload.metadata["port"]
        self.hints.told([(KIND_ROUTER, payload.resource_id), (KIND_NETWORK, port["network_id"])])
        shielded(placement.bind_attached)(payload.context, payload.resource_id, [port["id"]])

    def interface_removed(self, resource: str, event: str, trigger: Any, payload: Any) -> None:
        network_id = (payload.metadata.get("port") or {}).get("network_id", "")
        self.hints.told([(KIND_ROUTER, payload.resource_id), (KIND_NETWORK, network_id)])

    def router_created(self, resource: str, event: str, trigger: Any, payload: Any) -> None:
        shielded(status.begin)(payload.context, payload.metadata["router_db"])

    def router_deleted(self, resource: str, event: str, trigger: Any, payload: Any) -> None:
        for kind in (KIND_ROUTER, KIND_SECOND):
            shielded(placement.forget)(payload.context, kind, payload.resource_id)

    def router_changed(self, resource: str, event: str, trigger: Any, payload: Any) -> None:
        shielded(pairs.complete)(payload.context, payload.resource_id)

    def router_gone(self, resource: str, event: str, trigger: Any, payload: Any) -> None:
        shielded(ha_networks.router_gone)(payload.resource_id, (payload.states[0] or {}).get("project_id", ""))

    def network_deleted(self, resource: str, event: str, trigger: Any, payload: Any) -> None:
        shielded(placement.forget)(payload.context, KIND_NETWORK, payload.resource_id)

    def subnet_changed(self, resource: str, event: str, trigger: Any, payload: Any) -> None:
        def release() -> None:
            subnet = payload.latest_state or {}
            if subnet.get("network_id") and ownership.serves_dhcp():
                dhcp_ports.release(payload.context, subnet["network_id"])

        shielded(release)()

    def floating_ip_changed(self, resource: str, event: str, trigger: Any, payload: Any) -> None:
        before = payload.states[0]
        shielded(status.release)(payload.context, before["id"], before["router_id"], payload.desired_state.router_id)

    def forwarding_deleted(self, resource: str, event: str, trigger: Any, payload: Any) -> None:
        gone = payload.states[0]
        shielded(status.release_forwarded)(payload.context, gone.floatingip_id, gone.router_id)

    def before_response(self, resource: str, event: str, trigger: Any, payload: Any) -> None:
        def release() -> None:
            self.hints.told(hints.told_by(resource, payload.latest_state or {}))
            self.hints.finished()

        shielded(release)()


def _start_recorder_once(sender: hints.HintSender) -> None:
    global _started  # SQLAlchemy's listeners are global as well, and cannot be hung up twice
    with _process:
        if not _started:
            recorder.Recorder(sender.committed).start()
            _started = True


def _require_tables() -> None:
    with db_api.CONTEXT_READER.using(neutron_context.get_admin_context()) as session:
        present = set(sa.inspect(session.connection()).get_table_names())
    missing = sorted({table.name for table in models.TABLES} - present)
    if missing:
        raise MissingTables(
            f"tables {', '.join(missing)} are missing: run neutron-db-manage --subproject astara upgrade heads"
        )
