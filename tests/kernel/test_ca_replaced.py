"""The deployment's CA is replaced as docs/howto/operate.md says: nobody is refused at any step, nor restarted."""

from __future__ import annotations

import dataclasses
import datetime
import shutil
from pathlib import Path

import pytest

from astara.clients.authority import Authority, issue, open_authority
from astara.clients.issuing import Papers, make_issuer, open_issuer
from astara.clients.revoking import revoke
from astara.contract.identity import ORCHESTRATOR, node_role
from astara.host.options import NodeOptions
from astara.model.errors import AstaraError
from astara.peers.identity import Identity
from support.node_agent import NODE, Deployment, isolated, running

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(not isolated(), reason="makes network namespaces: run it by `make kernel`"),
]
TODAY = datetime.datetime.now(datetime.UTC)


def answered(deployment: Deployment, port: int, identity: Identity) -> bool:
    """Ask over a connection of its own."""
    client = deployment.client(port, identity)
    try:
        return bool(client.node())
    except AstaraError:
        return False
    finally:
        client.close()


def put(source: Identity, target: Identity) -> None:
    """Copy a certificate and its key over others."""
    for name in ("cert_file", "key_file"):
        shutil.copyfile(getattr(source, name), getattr(target, name))


def revoked_one(authority: Authority) -> None:
    issue(authority, "nobody", ORCHESTRATOR, [], TODAY)
    revoke(authority, "nobody", TODAY)


@pytest.mark.parametrize("with_lists", [False, True], ids=["", "lists of revoked ones"])
def test_the_ca_is_replaced_step_by_step_and_nobody_is_refused(tmp_path: Path, with_lists: bool) -> None:
    deployment = Deployment.at(tmp_path)
    old, new = deployment.authority, open_authority(tmp_path / "tls.new", TODAY)
    if with_lists:
        revoked_one(old)
        revoked_one(new)
    node, orchestrator = _copies(deployment, tmp_path)
    deployment = Deployment(old, orchestrator, _with(deployment, node))
    both = (old.directory / "ca.crt").read_text() + (new.directory / "ca.crt").read_text()
    new_node = issue(new, NODE, node_role(NODE), ["127.0.0.1"], TODAY)
    new_orchestrator = issue(new, "orchestrator", ORCHESTRATOR, [], TODAY)
    steps = (
        lambda: node.ca_file.write_text(both),
        lambda: orchestrator.ca_file.write_text(both),
        lambda: put(new_node, node),
        lambda: put(new_orchestrator, orchestrator),
        lambda: shutil.copyfile(new.directory / "ca.crt", node.ca_file),
        lambda: shutil.copyfile(new.directory / "ca.crt", orchestrator.ca_file),
    )
    with running(deployment) as (agent, _):
        port = agent.server.port
        for number, step in enumerate(steps):
            assert answered(deployment, port, orchestrator), f"before step {number + 1}"
            step()
        assert answered(deployment, port, orchestrator)
        late = issue(old, "late", ORCHESTRATOR, [], TODAY)
        believes_new = Identity(orchestrator.ca_file, late.cert_file, late.key_file)
        assert not answered(deployment, port, believes_new), "the old CA is believed no more"


def _copies(deployment: Deployment, home: Path) -> tuple[Identity, Identity]:
    """The files of node and orchestrator on their own machines, so to speak."""
    made = []
    options = deployment.options
    node = Identity(options.ca_file, options.cert_file, options.key_file)
    for name, source in (("node", node), ("orchestrator", deployment.orchestrator)):
        (home / name).mkdir()
        copy = Identity(*(home / name / file for file in ("ca.crt", "own.crt", "own.key")))
        shutil.copyfile(source.ca_file, copy.ca_file)
        put(source, copy)
        made.append(copy)
    return made[0], made[1]


def _with(deployment: Deployment, node: Identity) -> NodeOptions:
    files = {"ca_file": node.ca_file, "cert_file": node.cert_file, "key_file": node.key_file}
    return dataclasses.replace(deployment.options, **files)


def test_instances_are_told_of_both_cas_by_the_folder_their_papers_come_from(tmp_path: Path) -> None:
    """Their agents believe what their credential says: the new CA is in it before somebody shows what it issued."""
    old, new = (open_authority(tmp_path / name, TODAY) for name in ("old", "new"))
    directory = make_issuer(old, TODAY)
    with (directory / "ca.crt").open("a") as file:
        file.write((new.directory / "ca.crt").read_text())
    credential = Papers(open_issuer(directory), 7).issue("0b5d3c1e-4b0f-4f0e-9d5a-0d5f6c1b2a3c").credential
    assert credential.ca.count("BEGIN CERTIFICATE") == 2
