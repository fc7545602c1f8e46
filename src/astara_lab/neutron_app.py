"""Neutron's API for uWSGI in a lab (`module = astara_lab.neutron_app:application`), on SQLite with several threads."""

from __future__ import annotations

from astara_lab import sqlite_for_threads

sqlite_for_threads.listen()

from neutron import policy  # noqa: E402
from neutron.wsgi.api import application  # noqa: E402 - importing it starts Neutron, after the listeners

# Neutron loads its policy with the first request, unlocked: of several first requests at once some get a 403.
policy.init()

__all__ = ["application"]
