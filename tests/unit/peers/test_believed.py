"""An instance that was made again has the id of the one before; what that one had is believed no more."""

from __future__ import annotations

import datetime
import threading
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import httpx
import pytest

from astara.appliance.api.routing import Response
from astara.appliance.api.server import HttpsServer, ServerOptions
from astara.clients.authority import issue, open_authority
from astara.clients.issuing import Papers, make_issuer, open_issuer
from astara.contract.identity import instance_role, leaves_in, node_role
from astara.host.own_identity import OwnIdentity
from astara.peers.identity import context_for

NOW = datetime.datetime.now(datetime.UTC)
ONE = "11111111-1111-5111-8111-111111111111"


class Routes:
    def answer(self, _request: Any) -> Response:
        return Response(HTTPStatus.OK, b"{}")


class Impostor:
    """Serves with what the instance of that id was given in an earlier life, or in this one."""

    def __init__(self, home: Path) -> None:
        make_issuer(authority := open_authority(home, NOW), NOW)
        self.node = issue(authority, "n1", node_role("n1"), [], NOW)
        papers = Papers(open_issuer(home / "instances"), 7)
        self.earlier, self.now = papers.issue(ONE).credential, papers.issue(ONE).credential
        files = OwnIdentity(home / "ca.pem", home / "cert.pem", home / "key.pem")
        files.take(self.earlier)
        options = ServerOptions("127.0.0.1", 0, files.ca_file, files.cert_file, files.key_file, node_role("n1"))
        self.server = HttpsServer(options, Routes())  # type: ignore[arg-type]

    def asked(self, *believed: str) -> int:
        context = context_for(self.node, instance_role(ONE), lambda: believed)
        with httpx.Client(verify=context, trust_env=False) as http:
            return http.get(f"https://127.0.0.1:{self.server.port}/").status_code


@pytest.fixture
def impostor(tmp_path: Path) -> Iterator[Impostor]:
    before = set(threading.enumerate())
    made = Impostor(tmp_path)
    made.server.start()
    yield made
    made.server.stop()
    assert not [
        thread for thread in set(threading.enumerate()) - before if thread.name.startswith(("https", "CP Server"))
    ]


def test_a_certificate_of_an_earlier_life_is_refused(impostor: Impostor) -> None:
    earlier, now = (leaves_in(one.certificate) for one in (impostor.earlier, impostor.now))
    assert impostor.asked(now[0], earlier[0]) == HTTPStatus.OK
    for others in ([], now, earlier[1:]):  # nothing kept, another key, and what signed it
        with pytest.raises(httpx.ConnectError, match="not one this instance was given"):
            impostor.asked(*others)
