"""The tables as this version knows them; `migrations` make them.

All of it can be deleted; what is lost is holds, chosen bodies, upgrades and history. That is an operator's decision,
never ours.
"""

from __future__ import annotations

import sqlalchemy as sa

from astara.records.columns import BYTES, COUNT, NAME, SECONDS, WORDS

METADATA = sa.MetaData()

HOLDS = sa.Table(
    "holds",
    METADATA,
    sa.Column("key", NAME, primary_key=True),  # "driver/id"
    sa.Column("reason", WORDS, nullable=False),
    sa.Column("at", SECONDS, nullable=False),
)

BODIES = sa.Table(
    "bodies",
    METADATA,
    sa.Column("key", NAME, primary_key=True),
    sa.Column("body", NAME, nullable=False),  # a provider's name
)

TERM = sa.Table(
    "term",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),  # always 1
    sa.Column("value", COUNT, nullable=False),
)

HISTORY = sa.Table(
    "history",
    METADATA,
    sa.Column("id", COUNT, primary_key=True, autoincrement=True),
    sa.Column("key", NAME, nullable=False, index=True),  # "": of no single resource
    sa.Column("line", BYTES, nullable=False),  # a HistoryLine as canonical JSON
    # The line's own fields, to ask by; NULL in lines of the version before, until `lines.complete` comes by.
    sa.Column("at", SECONDS, nullable=True, index=True),
    sa.Column("who", NAME, nullable=True),
    sa.Column("outcome", NAME, nullable=True),
)

SAID = sa.Table(
    "said",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),  # always 1
    sa.Column("revision", COUNT, nullable=False),  # grows with every change of holds and bodies
)

RINGS = sa.Table(
    "rings",
    METADATA,
    sa.Column("epoch", COUNT, primary_key=True, autoincrement=False),
    sa.Column("follows", COUNT, nullable=False, unique=True),  # an epoch has one successor; 0: the first of all
    sa.Column("members", WORDS, nullable=False),  # a tuple of Member as canonical JSON
    sa.Column("at", SECONDS, nullable=False),
    sa.Column("said_by", NAME, nullable=False),
    sa.Column("why", WORDS, nullable=False),
)

BEATS = sa.Table(
    "beats",
    METADATA,
    sa.Column("member", NAME, primary_key=True),
    sa.Column("beat", COUNT, nullable=False),
)

CLAIMS = sa.Table(
    "claims",
    METADATA,
    sa.Column("key", NAME, primary_key=True),
    sa.Column("slot", NAME, primary_key=True),
    sa.Column("term", COUNT, nullable=False),
    sa.Column("at", SECONDS, nullable=False),
)

UPGRADES = sa.Table(
    "upgrades",
    METADATA,
    sa.Column("number", COUNT, primary_key=True, autoincrement=False),
    sa.Column("wish", WORDS, nullable=False),  # an UpgradeWish as canonical JSON
    sa.Column("state", NAME, nullable=False),
    sa.Column("why", WORDS, nullable=False),
    sa.Column("said_by", NAME, nullable=False),
    sa.Column("at", SECONDS, nullable=False),
    sa.Column("term", COUNT, nullable=False),  # of whoever decided last; nobody with a smaller one decides any more
    sa.Column("collected", sa.Integer, nullable=False),
    sa.Column("baseline", SECONDS, nullable=False),
    sa.Column("soaked_at", SECONDS, nullable=True),
)

UPGRADE_ITEMS = sa.Table(
    "upgrade_items",
    METADATA,
    sa.Column("number", COUNT, primary_key=True, autoincrement=False),
    sa.Column("key", NAME, primary_key=True),
    sa.Column("position", COUNT, nullable=False),
    sa.Column("stage", NAME, nullable=False),
    sa.Column("hosts", WORDS, nullable=False),  # a list of names as JSON
    sa.Column("since", SECONDS, nullable=False),
    sa.Column("image", NAME, nullable=True),
    sa.Column("before", NAME, nullable=True),
)

EDITIONS = sa.Table(
    "editions",
    METADATA,
    sa.Column("key", NAME, primary_key=True),
    sa.Column("kind", NAME, nullable=False),
    sa.Column("number", NAME, nullable=False),
    sa.Column("image", NAME, nullable=True),
)

COMPATIBILITY = sa.Table(
    "compatibility",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),  # always 1
    sa.Column("oldest", NAME, nullable=False),  # the oldest revision whose version can work with this schema
)
