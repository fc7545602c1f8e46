"""Who we are towards Neutron: nobody (auth_type none) or a service user of Keystone's.

keystoneauth1 is imported only when there is a Keystone: it costs a second at start.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from astara.model.errors import BadConfiguration, Retry, Terminal

_GROUP = "neutron"
#: Longest wait for Keystone, in seconds, unless [neutron] timeout says another: keystoneauth1 itself waits for ever,
#: and all that asks Neutron would wait with it.
TIMEOUT_S = 30


class Credentials(Protocol):
    """What a request must carry."""

    def headers(self) -> dict[str, str]:
        """Return the authentication headers; raises Retry when Keystone is away, Terminal when it refuses us."""
        ...

    def forget(self) -> None:
        """The token was refused: ask for another next time."""
        ...


class Anonymous:
    """For a Neutron with auth_strategy = noauth."""

    def headers(self) -> dict[str, str]:
        """Return nothing."""
        return {}

    def forget(self) -> None:
        """Nothing to forget."""


class KeystoneToken:
    """A token of a keystoneauth1 session, kept by it until shortly before it expires."""

    def __init__(self, session: Any) -> None:
        self._session = session

    def headers(self) -> dict[str, str]:
        """Return X-Auth-Token."""
        from keystoneauth1 import exceptions

        try:
            return dict(self._session.get_auth_headers() or {})
        except exceptions.Unauthorized:
            raise Terminal(
                "Keystone refuses the credentials of [neutron]", "check username, password and project in [neutron]"
            ) from None
        except exceptions.ClientException as error:
            raise Retry(
                f"Keystone does not answer: {type(error).__name__}", "check [neutron] auth_url and that Keystone runs"
            ) from None

    def forget(self) -> None:
        """Drop the token."""
        self._session.invalidate()


def load(auth_type: str | None, config_files: Sequence[str]) -> Credentials:
    """Return the credentials that section [neutron] of the files describes, in keystoneauth1's options.

    Raises:
        BadConfiguration: naming what is missing.
    """
    if auth_type in (None, "", "none"):
        return Anonymous()
    from keystoneauth1 import exceptions, loading
    from oslo_config import cfg

    conf = cfg.ConfigOpts()
    loading.register_auth_conf_options(conf, _GROUP)
    loading.register_session_conf_options(conf, _GROUP)
    conf.set_default("timeout", TIMEOUT_S, group=_GROUP)
    conf(args=[], project="astara", default_config_files=list(config_files), default_config_dirs=[])
    try:
        plugin = loading.load_auth_from_conf_options(conf, _GROUP)
        return KeystoneToken(loading.load_session_from_conf_options(conf, _GROUP, auth=plugin))
    except (exceptions.MissingRequiredOptions, exceptions.NoMatchingPlugin) as error:
        raise BadConfiguration(
            f"[neutron] {error}", "write auth_type=password with auth_url, username, password and project_name, or none"
        ) from None
