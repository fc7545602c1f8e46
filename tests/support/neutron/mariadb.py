"""A MariaDB of a test's own, on a unix socket, gone afterwards."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def mariadb(directory: Path) -> Iterator[str]:
    """Start a server with everything in `directory`; yield the URL of an empty database `neutron`."""
    data, socket = directory / "data", directory / "sock"
    install = ["mariadb-install-db", "--no-defaults", f"--datadir={data}", "--user=root", "--skip-test-db"]
    authentication = "--auth-root-authentication-method=normal"
    subprocess.run([*install, authentication], check=True, stdout=subprocess.DEVNULL)
    quick = ["--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=64M", "--performance-schema=0"]
    where = [f"--datadir={data}", f"--socket={socket}", f"--pid-file={directory / 'pid'}", "--skip-networking"]
    with (directory / "log").open("wb") as log:
        server = subprocess.Popen(
            ["mariadbd", "--no-defaults", "--user=root", *where, *quick], stdout=log, stderr=subprocess.STDOUT
        )
        try:
            _wait_for(socket, server)
            statement = "CREATE DATABASE neutron CHARACTER SET utf8mb3"
            subprocess.run(["mariadb", "--no-defaults", f"--socket={socket}", "-e", statement], check=True)
            yield f"mysql+pymysql://root@localhost/neutron?unix_socket={socket}"
        finally:
            server.terminate()
            server.wait(30)


def _wait_for(socket: Path, server: subprocess.Popen[bytes]) -> None:
    ping = ["mariadb-admin", "--no-defaults", f"--socket={socket}", "ping"]
    deadline = time.monotonic() + 60
    while subprocess.run(ping, capture_output=True, check=False).returncode != 0:
        assert server.poll() is None, "MariaDB ended at once"
        assert time.monotonic() < deadline, "MariaDB did not start within 60 s"
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(0.1)
