"""API extension `astara`: puts the controller of `astara_neutron.api` at /v2.0/astara.

Neutron loads this file by path and wants the class named after it.
"""

from __future__ import annotations

from typing import Any

from neutron.pecan_wsgi.controllers.utils import PecanResourceExtension
from neutron_lib.api import extensions
from neutron_lib.plugins import directory

from astara_neutron import api


class Astara(extensions.ExtensionDescriptor):
    """Described in docs/design/neutron-plugin.md."""

    @classmethod
    def get_name(cls) -> str:
        return "Astara"

    @classmethod
    def get_alias(cls) -> str:
        return api.ALIAS

    @classmethod
    def get_description(cls) -> str:
        return "Bulk snapshots, change journal, status and placement for the Astara orchestrator"

    @classmethod
    def get_updated(cls) -> str:
        return "2026-11-21T00:00:00-00:00"

    @classmethod
    def get_resources(cls) -> list[Any]:
        return []

    @classmethod
    def get_pecan_resources(cls) -> list[Any]:
        plugin = directory.get_plugin(api.ALIAS)
        # Asked for only where the API is built, so not in RPC servers and periodic workers.
        plugin.hints.expect_requests()
        return [PecanResourceExtension(api.ALIAS, api.AstaraController(), plugin)]
