"""`astara upgrade --image DIGEST` with real instances of two images, under a conversation, and back to the first.

They need a lab with the appliance's image: `make e2e BODY=container`, `BODY=microvm`; the pair needs `NODES=2` besides.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from click.testing import CliRunner

from astara.admin.cli import cli
from astara.admin.client import OperatorClient
from astara.contract.codec import convert
from astara.model.operator import InstanceLine, UpgradeView
from astara_lab import bodies, second_node
from astara_lab.conversation import Conversation, conversation
from astara_lab.hosts import Host, OutsideHost
from astara_lab.places import ADMIN_SOCKET, Lab
from astara_lab.waiting import patient, until
from support.another_image import Images, another_image

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]
OUTSIDE = "198.51.100.1"
#: Enough of a digest to name an image.
ENOUGH = len("sha256:") + 12


@pytest.fixture(scope="module")
def images(lab: Lab, body: str) -> Iterator[Images]:
    if body == "namespace":
        pytest.skip("namespaces have no image: make e2e BODY=container or BODY=microvm")
    nodes = (bodies.FIRST, bodies.SECOND) if second_node.is_there() else (bodies.FIRST,)
    with another_image(lab, body, nodes) as found:
        yield found


def upgrade(*words: str) -> UpgradeView:
    """Ask as an operator would, and wait until it is done."""
    for line in (("upgrade", *words), ("upgrade", "status", "--watch", "--json")):
        done = CliRunner().invoke(cli, ["--socket", str(ADMIN_SOCKET), *line], prog_name="astara")
        assert done.exit_code == 0, done.output
    return convert(json.loads(done.stdout), UpgradeView)


def to(image: str, body: str) -> tuple[str, ...]:
    """All at once: what is wanted here is the end. The lab's nodes have the same image for other bodies too."""
    return ("--image", image, "--body", body, "--canary", "100%", "--soak", "0")


def instances(*keys: str) -> list[InstanceLine]:
    return [line for line in OperatorClient(ADMIN_SOCKET).instances() if line.resource in keys]


def halves(key: str) -> list[str]:
    """The roles of a pair that is whole."""
    return sorted(line.role or "" for line in instances(key) if line.health == "healthy")


class Watched:
    """Resources that are upgraded while something is said through them."""

    def __init__(self, lab: Lab, body: str, said: Conversation, *keys: str) -> None:
        self._lab, self._body, self._said, self._keys = lab, body, said, keys
        self._known = {line.id for line in instances(*keys)}

    def made_anew(self, digest: str, *words: str) -> None:
        """Each of the instances is another one than before, of `digest`, and what was said went on."""
        assert len(self._said.seen_as) == 1, "one translation so far"
        lost, sent = self._said.lost, len(self._said.sent)
        view = upgrade(*words)
        assert (view.state, view.kind, view.waiting, view.in_work) == ("done", self._body, 0, ()), view
        now = instances(*self._keys)
        assert {line.resource for line in now} == set(self._keys)
        assert {line.image_digest for line in now} == {digest}
        assert self._known.isdisjoint(line.id for line in now), "what was made from the other image is gone"
        self._known = {line.id for line in now}
        steady = self._said.tcp_answers + 50
        until("answers after it", lambda: self._said.tcp_broken or self._said.tcp_answers > steady, 20.0)
        assert self._said.tcp_broken is None, self._said.tcp_broken
        assert len(self._said.seen_as) == 1, "the translation stays"
        told = f"{max(0, self._said.lost - lost)} of {len(self._said.sent) - sent} datagrams lost so far"
        with (self._lab.log / "upgrades.txt").open("a") as stream:
            stream.write(
                f"{self._body}, {len(now)} instances, {words[0]} {digest[:ENOUGH]}: {told}, load "
                f"{os.getloadavg()[0]:.0f}, longest silence {self._said.gap_s * 1000:.0f} ms, longest answer over TCP "
                f"{self._said.tcp_longest_s * 1000:.0f} ms\n"
            )


def test_a_router_and_its_network_run_another_image_and_then_the_first_again(
    images: Images, cloud: Any, hosts: Callable[..., Host], outside: OutsideHost, body: str, lab: Lab
) -> None:
    router = cloud.router("r")
    network = cloud.routed("n", "10.8.3.0/24", router=router)
    host = hosts("a", network)
    keys = f"router/{router.id}", f"network/{network.id}"
    until("the way out", lambda: host.ping(OUTSIDE) is not None, 20.0)
    until("both", lambda: {line.image_digest for line in instances(*keys)} == {images.first}, 60.0)
    with conversation(host.netns, outside.netns, OUTSIDE, 7011) as said:
        until("the connection", lambda: said.tcp_answers > 50, 10.0)
        watched = Watched(lab, body, said, *keys)
        watched.made_anew(images.second, *to(images.second[:ENOUGH], body))
        watched.made_anew(images.first, "abort", "--back")


def test_a_pair_runs_another_image_one_half_after_the_other(
    images: Images, cloud: Any, hosts: Callable[..., Host], outside: OutsideHost, body: str, lab: Lab
) -> None:
    if not second_node.is_there():
        pytest.skip("a pair needs two nodes: make e2e NODES=2 BODY=container")
    router = cloud.router("r", is_ha=True)
    host = hosts("a", cloud.routed("n", "10.8.4.0/24", router=router))
    key = f"router/{router.id}"
    until("the way out", lambda: host.ping(OUTSIDE) is not None, 30.0)
    until("two halves, one of them active", lambda: halves(key) == ["active", "standby"], 60.0)
    with conversation(host.netns, outside.netns, OUTSIDE, 7012) as said:
        until("the connection", lambda: said.tcp_answers > 50, 10.0)
        watched = Watched(lab, body, said, key)
        watched.made_anew(images.second, *to(images.second[:ENOUGH], body))
        until("the pair is whole", lambda: halves(key) == ["active", "standby"], patient(30.0))
        watched.made_anew(images.first, *to(images.first, body))
