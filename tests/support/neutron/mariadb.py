"""A MariaDB of a test's own, on a unix socket, gone afterwards."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path


class MariaDB:
    """A server with everything in `directory`; `start` after `kill` finds what was committed. `stop` at the end."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._socket = directory / "sock"
        self._server: subprocess.Popen[bytes] | None = None
        install = ["mariadb-install-db", "--no-defaults", f"--datadir={directory / 'data'}", "--user=root"]
        install += ["--skip-test-db", "--auth-root-authentication-method=normal"]
        subprocess.run(install, check=True, stdout=subprocess.DEVNULL)

    def start(self) -> None:
        """Start it and wait until it answers."""
        # 2: a commit survives the death of the server, if not of the machine.
        quick = ["--innodb-flush-log-at-trx-commit=2", "--innodb-buffer-pool-size=64M", "--performance-schema=0"]
        where = [f"--datadir={self._directory / 'data'}", f"--socket={self._socket}"]
        where += [f"--pid-file={self._directory / 'pid'}", "--skip-networking"]
        with (self._directory / "log").open("ab") as log:
            self._server = subprocess.Popen(
                ["mariadbd", "--no-defaults", "--user=root", *where, *quick], stdout=log, stderr=subprocess.STDOUT
            )
        try:
            _wait_for(self._socket, self._server)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End it in good order."""
        if self._server is not None:
            self._server.terminate()
            self._server.wait(30)
            self._server = None

    def kill(self) -> None:
        """End it as a crash does."""
        assert self._server is not None
        self._server.kill()
        self._server.wait(30)
        self._server = None

    def create(self, database: str, charset: str) -> str:
        """Make an empty database and return its URL."""
        statement = f"CREATE DATABASE {database} CHARACTER SET {charset}"
        subprocess.run(["mariadb", "--no-defaults", f"--socket={self._socket}", "-e", statement], check=True)
        return f"mysql+pymysql://root@localhost/{database}?unix_socket={self._socket}"


@contextlib.contextmanager
def mariadb(directory: Path) -> Iterator[str]:
    """Start a server with everything in `directory`; yield the URL of an empty database `neutron`."""
    with server(directory) as started:
        yield started.create("neutron", "utf8mb3")


@contextlib.contextmanager
def server(directory: Path) -> Iterator[MariaDB]:
    """Start a server with everything in `directory`."""
    made = MariaDB(directory)
    try:
        made.start()
        yield made
    finally:
        made.stop()


def _wait_for(socket: Path, server: subprocess.Popen[bytes]) -> None:
    ping = ["mariadb-admin", "--no-defaults", f"--socket={socket}", "ping"]
    deadline = time.monotonic() + 60
    while subprocess.run(ping, capture_output=True, check=False).returncode != 0:
        assert server.poll() is None, "MariaDB ended at once"
        assert time.monotonic() < deadline, "MariaDB did not start within 60 s"
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(0.1)
