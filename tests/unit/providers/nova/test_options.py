"""[provider:nova]: what is wrong is named with its remedy."""

from __future__ import annotations

import pytest

from astara.model.errors import BadConfiguration
from astara.providers.nova import options

NEEDED = {
    "auth_url": "http://keystone/v3",
    "image": "appliance",
    "flavor": "small",
    "management_network": "management",
    "password": "SECRET",
}


def test_a_section_is_read() -> None:
    read = options.read(NEEDED | {"security_groups": "ssh, agents", "completes_checksums": "true", "places": "c1,c2"})
    assert read.choice.security_groups == ("ssh", "agents")
    assert read.completes_checksums
    assert read.places == ("c1", "c2")
    assert options.auth_of(read.access) == {"auth_url": "http://keystone/v3", "password": "SECRET"}
    assert "SECRET" not in repr(read)


@pytest.mark.parametrize("name", ["auth_url", "image", "flavor", "management_network"])
def test_what_is_missing_is_named(name: str) -> None:
    with pytest.raises(BadConfiguration, match=name) as refused:
        options.read({one: value for one, value in NEEDED.items() if one != name})
    assert refused.value.remedy


@pytest.mark.parametrize(
    ("name", "text"),
    [("boot_deadline_s", "soon"), ("agent_port", "70000"), ("completes_checksums", "perhaps"), ("flavour", "small")],
)
def test_what_is_wrong_is_named(name: str, text: str) -> None:
    with pytest.raises(BadConfiguration, match=name) as refused:
        options.read(NEEDED | {name: text})
    assert "SECRET" not in f"{refused.value} {refused.value.remedy}"
