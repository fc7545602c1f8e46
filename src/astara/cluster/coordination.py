"""The group by tooz: etcd, Redis, ZooKeeper, whatever tooz has a driver for that notices who is gone.

The member's id says all there is to know of it, so that one call answers who lives.
"""

from __future__ import annotations

import contextlib
import threading
import urllib.parse
from typing import Any

import structlog

from astara.cluster.patience import Patience, StillWaiting
from astara.model.cluster import Member
from astara.model.errors import BadConfiguration, Retry

_log = structlog.get_logger(__name__)
#: One driver of tooz's, by both its names.
_SESSIONS = frozenset({"zookeeper", "kazoo"})
#: A member there is a node of a tree, in whose name a slash would begin another level.
_SLASH = "%2F"
#: Of these tooz says itself that it never removes a member that died.
_NEVER_FORGETS = frozenset({"file", "ipc", "mysql", "postgresql"})


class ToozCoordinator:
    """Implements boundaries.Coordinator.

    Raises:
        BadConfiguration: at construction, for a url tooz has no working driver for.
    """

    def __init__(self, url: str, group: str, me: Member, lease_s: float) -> None:
        self._url, self._group, self._me = url, group.encode(), me
        self._scheme = urllib.parse.urlsplit(url).scheme.partition("+")[0]
        self._remedy = f"check the service of [cluster] coordination_url ({plain(url)}), and the way to it"
        self._lease_s = lease_s
        # Drivers try again for as much as a minute before they give a service up.
        self._patience: Patience[frozenset[Member]] = Patience("coordinator")
        self._driver: Any = self._made()
        self._started = False
        self._joined = False

    def beat(self) -> frozenset[Member]:
        """Beat, and join when the group does not know us."""
        try:
            # Connecting and joining are writes, to a majority and to disks; beats are not.
            return self._patience.ask(self._beat, self._lease_s / 3 if self._joined else self._lease_s)
        except StillWaiting:
            raise Retry("the coordinator does not answer in time", self._remedy) from None
        except Exception as error:  # noqa: BLE001 - drivers raise what their clients raise: tooz's, requests', redis's
            self._forget()
            raise Retry(f"the coordinator does not answer: {_words(error)}", self._remedy) from None

    def leave(self) -> None:
        """Leave the group; raises Retry."""
        if not self._joined:
            return
        try:
            self._patience.ask(self._left, self._lease_s)
        except StillWaiting:
            raise Retry("the coordinator does not answer in time", self._remedy) from None
        except Exception as error:  # noqa: BLE001 - as in `beat`
            raise Retry(f"the coordinator does not answer: {_words(error)}", self._remedy) from None

    def close(self) -> None:
        """Stop; the group forgets us when the lease ends, if it has not yet."""
        self._forget()

    def _left(self) -> frozenset[Member]:
        from tooz import coordination

        with contextlib.suppress(coordination.MemberNotJoined, coordination.GroupNotCreated):
            self._driver.leave_group(self._group).get(timeout=self._lease_s)
        self._joined = False
        return frozenset()

    def _beat(self) -> frozenset[Member]:
        if self._driver is None:
            self._driver = self._made()
        if not self._started:
            self._driver.start()
            self._started = True
        if not self._joined:
            self._join()
        self._driver.heartbeat()
        members = self._members()
        if self._me not in members:  # the lease ended before we came
            self._join()
            members = self._members()
        return members

    def _join(self) -> None:
        from tooz import coordination

        with contextlib.suppress(coordination.GroupAlreadyExist):
            self._driver.create_group(self._group).get(timeout=self._lease_s)
        with contextlib.suppress(coordination.MemberAlreadyExist):
            self._driver.join_group(self._group).get(timeout=self._lease_s)
        self._joined = True

    def _members(self) -> frozenset[Member]:
        found = self._driver.get_members(self._group).get(timeout=self._lease_s)
        return frozenset(member for member in map(self._parsed, found) if member is not None)

    def _identifier(self) -> bytes:
        text = str(self._me)
        return (text.replace("/", _SLASH) if self._scheme in _SESSIONS else text).encode()

    def _parsed(self, identifier: bytes) -> Member | None:
        try:
            text = identifier.decode()
            return Member.parse(text.replace(_SLASH, "/") if self._scheme in _SESSIONS else text)
        except ValueError:
            return None  # somebody else's in our group (an unrelated program): no member of ours

    def _made(self) -> Any:
        # Imported here: nobody without a coordinator pays for tooz.
        from tooz import coordination

        scheme = self._scheme
        if scheme in _NEVER_FORGETS:
            raise BadConfiguration(
                f"[cluster] coordination_url={plain(self._url)}: this driver of tooz never notices that a member died",
                "name etcd3+http://, redis:// or zookeeper://, or `database`",
            )
        # The whole lease may pass in one call that hangs, not more. In ZooKeeper `timeout` is how long a session lasts,
        # which its client keeps by itself: there a member is gone when its process ends or stands still.
        call_s = self._lease_s if scheme in _SESSIONS else self._lease_s / 2
        options: dict[str, Any] = {
            "timeout": max(1, int(call_s)),
            "membership_timeout": max(2, int(self._lease_s)),
        }
        try:
            return coordination.get_coordinator(self._url, self._identifier(), **options)
        except Exception as error:  # noqa: BLE001 - a driver's import fails as it likes
            raise BadConfiguration(
                f"[cluster] coordination_url={plain(self._url)}: {str(error)[:200]}",
                "name etcd3+http://HOST:2379, redis://HOST:6379 or zookeeper://HOST:2181 and install its client "
                "(pip install astara[etcd], astara[redis] or astara[zookeeper]), or say `database`",
            ) from None

    def _forget(self) -> None:
        """Begin anew the next time; what the old driver still holds ends by itself."""
        driver, started = self._driver, self._started
        self._driver, self._started, self._joined = None, False, False
        if driver is not None and started:
            threading.Thread(target=_stop, args=(driver,), name="coordinator-end", daemon=True).start()


def _stop(driver: Any) -> None:
    with contextlib.suppress(Exception):
        driver.stop()


def _words(error: Exception) -> str:
    return (str(error) or type(error).__name__)[:200]


def plain(url: str) -> str:
    """Return the url without user and password."""
    parts = urllib.parse.urlsplit(url)
    place = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{place}{parts.path}" if parts.netloc else parts.scheme or url
