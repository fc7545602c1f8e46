"""The process side: loads neutron.wsgi.api and serves it; `python -m support.neutron.process PORT_FILE`.

Each answer carries X-Test-Queries, the number of SQL statements it took, so that tests can count them.
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import sqlalchemy as sa
from cheroot import wsgi

from astara_lab import sqlite_for_threads

_counter = threading.local()


def main(port_file: str) -> None:
    sys.argv = ["neutron-api"]
    from sqlalchemy import event

    event.listen(sa.engine.Engine, "before_cursor_execute", _count)
    sqlite_for_threads.listen(synchronous="OFF")  # waiting for the disk was much of every call
    from neutron.wsgi.api import application

    server = wsgi.Server(("127.0.0.1", 0), _counting(application), numthreads=4)
    server.prepare()
    part = Path(port_file + ".part")
    part.write_text(str(server.bind_addr[1]))
    part.rename(port_file)
    server.serve()


def _count(_connection, _cursor, statement, _parameters, _context, _many):
    if statement == "BEGIN":  # SQLite's way to start a transaction; no work for a database server
        return
    _counter.statements = [*getattr(_counter, "statements", []), statement]


def _counting(application):
    def serve(environ, start_response):
        _counter.statements = []

        def start(status, headers, exc_info=None):
            shown = " | ".join(" ".join(text.split())[:100] for text in _counter.statements)
            extra = [("X-Test-Queries", str(len(_counter.statements)))]
            if environ.get("HTTP_X_TEST_SHOW"):
                extra.append(("X-Test-Statements", shown[:60000]))
            return start_response(status, [*headers, *extra], exc_info)

        if "HTTP_X_TEST_ROLES" in environ:
            environ["neutron.context"] = _tenant(environ)
        return application(environ, start)

    return serve


def _tenant(environ):
    """What keystonemiddleware and neutron.auth would make of a token with these roles (with X-Project-Id)."""
    from neutron_lib import context

    roles = environ["HTTP_X_TEST_ROLES"].split(",")
    return context.Context(user_id="user", project_id=environ["HTTP_X_PROJECT_ID"], roles=roles)


if __name__ == "__main__":
    main(sys.argv[1])
