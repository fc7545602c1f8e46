"""Keystone being away is told as such; nobody waits for it for ever."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from astara.clients import keystone
from astara.model.errors import Retry

SECTION = """
[neutron]
auth_type = v3password
auth_url = http://127.0.0.1:{port}/v3
username = astara
password = s3cret
project_name = service
user_domain_name = Default
project_domain_name = Default
"""


@pytest.mark.filterwarnings("ignore:'cgi' is deprecated:DeprecationWarning")  # an import of keystoneauth1's
def test_a_keystone_that_hangs_is_away_also_when_no_timeout_is_configured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """keystoneauth1 waits for ever by default: every call to Neutron would stand behind one that never ends."""
    monkeypatch.setattr(keystone, "TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        file = tmp_path / "astara.conf"
        file.write_text(SECTION.format(port=mute.getsockname()[1]))
        with pytest.raises(Retry, match="Keystone does not answer") as away:
            keystone.load("v3password", [str(file)]).headers()
    assert "s3cret" not in f"{away.value} {away.value.remedy}"
