"""The instance is hurt in front of the user, and packets tell how long it took to heal."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from astara.admin.client import OperatorClient
from astara.model.resource import ResourceKey
from astara_lab.demo import wounds
from astara_lab.demo.cloud import OUTSIDE_GATEWAY_V4, OUTSIDE_GATEWAY_V6
from astara_lab.demo.proofs import Stage
from astara_lab.demo.screen import Proof
from astara_lab.demo.traffic import Watcher, ask_here, dns_question
from astara_lab.places import ADMIN_SOCKET
from astara_lab.waiting import NotInTime, until

_DEADLINE_S = 30.0
#: That many answers in a row after the repair say it lasts.
_STEADY = 20
_ASK_TIMEOUT_S = 0.1


@dataclass(frozen=True, slots=True)
class Wound:
    """`hurt` does it, `whole` tells that what was destroyed is there again, `question` is asked all the while."""

    claim: str
    what: str
    hurt: Callable[[], object]
    whole: Callable[[], bool]
    question: Callable[[], bool]


def instance_of(driver: str, resource_id: str) -> str:
    """Return the network namespace of the instance that serves a resource, as the orchestrator tells it.

    Raises LookupError when there is none.
    """
    key = str(ResourceKey(driver, resource_id))
    for line in OperatorClient(ADMIN_SOCKET).instances():
        if line.resource == key:
            return wounds.netns_of(line.id)
    raise LookupError(f"{key} has no instance")


def heal(netns: str, wound: Wound) -> Proof:
    """Hurt, watch from inside a tenant machine, and tell how long nobody answered: `took_s` is that silence."""
    with Watcher(netns, wound.question) as watcher:
        watch = watcher.watch
        try:
            until("answers before anything is hurt", lambda: len(watch.answered) >= _STEADY, _DEADLINE_S)
            at = time.monotonic()
            wound.hurt()
            hurt = time.monotonic()
            until("what was destroyed to be there again", wound.whole, _DEADLINE_S, 0.005)
            healed = time.monotonic()
            until("answers again", lambda: watch.answered_since(healed) >= _STEADY, _DEADLINE_S, 0.01)
        except NotInTime as late:
            return Proof(claim=wound.claim, ok=False, evidence=f"{wound.what}; {late}")
    silence = watch.gap_since(at)
    evidence = f"{wound.what}; whole again {_ms(healed - hurt)} later, {watch.lost} questions in {_ms(silence)} lost"
    return Proof(claim=wound.claim, ok=True, evidence=evidence, took_s=silence)


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"


def killed_dhcp(stage: Stage) -> Proof:
    """SIGKILL for the dnsmasq that gives a tenant network its leases and names; its DNS is asked all the while."""
    network_id = stage.blue.networks["web"]
    netns = instance_of("network", network_id)
    server = stage.cloud.dhcp_server(network_id)
    victims: list[int] = []

    def hurt() -> None:
        victims.extend(wounds.kill_daemon(netns, "dnsmasq"))

    def whole() -> bool:
        return bool(set(wounds.daemons(netns, "dnsmasq")) - set(victims))

    what = f"dnsmasq of {netns[:15]}… killed with SIGKILL"
    question = dns_question(server, "nobody.invalid")
    return heal(stage.web.netns, Wound("a killed daemon comes back", what, hurt, whole, question))


def flushed_ruleset(stage: Stage) -> Proof:
    """`nft flush ruleset` in the router; every question is a new connection that needs SNAT."""
    netns = instance_of("router", stage.blue.router_id)
    return heal(
        stage.db.netns,
        Wound(
            "a flushed ruleset comes back",
            f"nft flush ruleset in {netns[:15]}…",
            lambda: wounds.flush_ruleset(netns),
            lambda: wounds.has_ruleset(netns),
            lambda: ask_here(OUTSIDE_GATEWAY_V4, timeout_s=_ASK_TIMEOUT_S) is not None,
        ),
    )


def destroyed_body(stage: Stage) -> Proof:
    """Processes (a container's, a machine's QEMU), links, rules, routes, the namespace itself: all of the router is
    gone and made anew."""
    netns = instance_of("router", stage.blue.router_id)
    before = wounds.identity(netns)

    def whole() -> bool:
        # The node agent makes it anew under the same name; the inode tells old from new.
        return wounds.identity(netns) not in (None, before)

    return heal(
        stage.db.netns,
        Wound(
            f"a destroyed {stage.body} comes back",
            f"everything in {netns[:15]}… destroyed, the namespace too",
            lambda: wounds.destroy_namespace(netns),
            whole,
            lambda: ask_here(OUTSIDE_GATEWAY_V4, timeout_s=_ASK_TIMEOUT_S) is not None,
        ),
    )


def still_ipv6(stage: Stage) -> Proof:
    """After all that, the IPv6 path works as before."""
    claim = "IPv6 works after the rebuild"
    watcher = Watcher(stage.web.netns, lambda: ask_here(OUTSIDE_GATEWAY_V6) is not None)
    with watcher:
        try:
            until("an answer over IPv6", lambda: len(watcher.watch.answered) >= 1, _DEADLINE_S)
        except NotInTime as late:
            return Proof(claim=claim, ok=False, evidence=str(late))
    return Proof(claim=claim, ok=True, evidence="outside answered")
