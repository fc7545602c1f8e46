"""radvd.conf from a typed wish."""

from __future__ import annotations

import pytest

from astara.appliance.subsystems.radvd.config import AdvertisedLink, PrefixMode, RadvdConfig
from astara.appliance.subsystems.radvd.render import render
from support.builders.daemons import OWN_MAC, radvd_wishes
from support.golden_files import golden

NAMES = {OWN_MAC: "tap0", "fa:16:3e:00:00:03": "tap1"}


@pytest.mark.parametrize("name", sorted(radvd_wishes()))
def test_the_file_is_what_was_accepted(name: str) -> None:
    rendered = render(radvd_wishes()[name])
    assert rendered is not None

    text = rendered.text(NAMES)

    assert text == golden("radvd", f"{name}.conf", text)


@pytest.mark.parametrize(
    ("mode", "autonomous", "managed", "other"),
    [
        (PrefixMode.SLAAC, True, False, False),
        (PrefixMode.DHCPV6_STATELESS, True, False, True),
        (PrefixMode.DHCPV6_STATEFUL, False, True, True),
    ],
)
def test_flags_follow_the_mode(mode: PrefixMode, autonomous: bool, managed: bool, other: bool) -> None:
    assert (mode.autonomous, mode.managed, mode.other) == (autonomous, managed, other)


def test_a_link_without_prefix_is_not_advertised_on() -> None:
    assert render(RadvdConfig((AdvertisedLink(OWN_MAC, 1500, ()),))) is None
    assert render(RadvdConfig()) is None


def test_a_link_that_is_not_there_is_left_out() -> None:
    rendered = render(radvd_wishes()["two-links"])
    assert rendered is not None

    text = rendered.text({OWN_MAC: "tap0"})

    assert "interface tap0" in text
    assert text.count("interface") == 1


def test_the_order_of_links_in_the_wish_does_not_matter() -> None:
    links = radvd_wishes()["two-links"].links

    assert render(RadvdConfig(links)) == render(RadvdConfig(links[::-1]))


def test_a_link_name_cannot_carry_syntax() -> None:
    rendered = render(radvd_wishes()["slaac"])
    assert rendered is not None

    with pytest.raises(ValueError, match="link"):
        rendered.text({OWN_MAC: "x { };"})
