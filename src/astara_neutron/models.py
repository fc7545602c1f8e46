"""The plug-in's own tables, beside Neutron's and on Neutron's metadata (`create_all` makes them on SQLite)."""

from __future__ import annotations

import sqlalchemy as sa
from neutron_lib.db import model_base

KIND_ROUTER = "router"
KIND_NETWORK = "network"
#: Where slot 1 of a router that is a pair is placed; slot 0 is placed as the router.
KIND_SECOND = "router/1"
#: A journal row that says "look at everything": written when a change could not be traced to its resources.
KIND_ALL = "*"


class AstaraChange(model_base.BASEV2):
    """One row per transaction and resource that the transaction made look different."""

    __tablename__ = "astara_changes"

    #: Integer, not BigInteger, on SQLite: only that is a rowid alias and so grows by itself.
    seq = sa.Column(sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True, autoincrement=True)
    kind = sa.Column(sa.String(16), nullable=False)
    resource_id = sa.Column(sa.String(36), nullable=False)
    created_at = sa.Column(sa.Integer(), nullable=False, index=True)  # seconds since the epoch

    # AUTOINCREMENT: SQLite would otherwise give a pruned highest number out again.
    __table_args__ = ({**model_base.BASEV2.__table_args__, "sqlite_autoincrement": True},)


class AstaraNode(model_base.BASEV2):
    """A node that can serve instances, as the orchestrator announced it."""

    __tablename__ = "astara_nodes"

    host = sa.Column(sa.String(255), primary_key=True)
    available = sa.Column(sa.Boolean, nullable=False)


class AstaraPlacement(model_base.BASEV2):
    """Which node serves a router or a network; stays until somebody moves it or the resource is gone."""

    __tablename__ = "astara_placements"

    kind = sa.Column(sa.String(16), primary_key=True)
    resource_id = sa.Column(sa.String(36), primary_key=True)
    host = sa.Column(sa.String(255), nullable=False, index=True)


class AstaraTerm(model_base.BASEV2):
    """One row: the greatest term an orchestrator has said."""

    __tablename__ = "astara_terms"

    id = sa.Column(sa.Integer, primary_key=True, autoincrement=False)  # always 1
    term = sa.Column(sa.BigInteger, nullable=False)


TABLES = (AstaraChange.__table__, AstaraNode.__table__, AstaraPlacement.__table__, AstaraTerm.__table__)
