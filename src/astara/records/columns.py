"""Column types that mean the same in SQLite and in MariaDB. Migrations use them: add one, never change one."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

#: A name or key. MariaDB compares without case unless told otherwise: two resources must never become one.
NAME = sa.String(255).with_variant(mysql.VARCHAR(255, charset="utf8mb4", collation="utf8mb4_bin"), "mysql", "mariadb")

#: Words of people, or of a program. TEXT takes 64 KiB in MariaDB.
WORDS = sa.Text().with_variant(mysql.TEXT(charset="utf8mb4", collation="utf8mb4_bin"), "mysql", "mariadb")

#: Seconds since the epoch. MariaDB's FLOAT rounds them to minutes.
SECONDS: sa.Double[float] = sa.Double()

#: A number that only grows. SQLite numbers rows by itself for INTEGER alone.
COUNT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

#: Encoded wire types. MariaDB's BLOB ends at 64 KiB.
BYTES = sa.LargeBinary().with_variant(mysql.MEDIUMBLOB(), "mysql", "mariadb")
