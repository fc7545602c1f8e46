"""A MariaDB of a test's own, gone afterwards."""

from __future__ import annotations

import contextlib
import socket
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
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        install = ["mariadb-install-db", "--no-defaults", f"--datadir={directory / 'data'}", "--user=root"]
        install += ["--skip-test-db", "--auth-root-authentication-method=normal"]
        subprocess.run(install, check=True, stdout=subprocess.DEVNULL)

    def start(self) -> None:
        """Start it and wait until it answers."""
        # 2: a commit survives the death of the server, if not of the machine.
        quick = ["--innodb-flush-log-at-trx-commit=2", "--innodb-buffer-pool-size=64M", "--performance-schema=0"]
        where = [f"--datadir={self._directory / 'data'}", f"--socket={self._socket}"]
        where += [f"--pid-file={self._directory / 'pid'}", "--bind-address=127.0.0.1", f"--port={self.port}"]
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

    def create(self, database: str) -> str:
        """Make an empty database with a user of its own, and return its URL."""
        user = f"{database}@127.0.0.1"
        self.run(
            f"CREATE DATABASE {database} CHARACTER SET utf8mb4",
            f"CREATE USER {user} IDENTIFIED BY 's3cret'",
            f"GRANT ALL ON {database}.* TO {user}",
        )
        return f"mysql+pymysql://{database}:s3cret@127.0.0.1:{self.port}/{database}"

    def on_socket(self, database: str) -> str:
        """Return the URL of a database by the unix socket, as root."""
        return f"mysql+pymysql://root@localhost/{database}?unix_socket={self._socket}"

    def dump(self, database: str) -> bytes:
        """Return what `mariadb-dump --single-transaction` makes of a database."""
        command = ["mariadb-dump", "--no-defaults", f"--socket={self._socket}", "--single-transaction", database]
        return subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout

    def load(self, database: str, dump: bytes) -> None:
        """Play a dump into a database."""
        subprocess.run(["mariadb", "--no-defaults", f"--socket={self._socket}", database], input=dump, check=True)

    def run(self, *statements: str) -> None:
        """Run statements as root."""
        client = ["mariadb", "--no-defaults", f"--socket={self._socket}", "-e", "; ".join(statements)]
        subprocess.run(client, check=True)


@contextlib.contextmanager
def mariadb(directory: Path) -> Iterator[str]:
    """Start a server with everything in `directory`; yield the URL of an empty database `neutron`."""
    with server(directory) as started:
        started.run("CREATE DATABASE neutron CHARACTER SET utf8mb3")
        yield started.on_socket("neutron")


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
