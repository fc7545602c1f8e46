"""`astara ca …`: the deployment's own certificate authority for the node agents' mutual TLS."""

from __future__ import annotations

import click


@click.group()
def ca() -> None:
    """The certificates with which orchestrator and node agents know each other."""
