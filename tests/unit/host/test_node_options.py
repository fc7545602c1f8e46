"""node.conf is understood, or refused with the option and the remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from astara.host.options import NodeOptions, Solitary, load
from astara.model.errors import BadConfiguration

GOOD = "[DEFAULT]\nname = node-a\nca_file = /ca\ncert_file = /cert\nkey_file = /key\n"


def read(tmp_path: Path, text: str) -> NodeOptions:
    path = tmp_path / "node.conf"
    path.write_text(text)
    return load(["--config-file", str(path)])


def test_the_least_configuration_has_sound_defaults(tmp_path: Path) -> None:
    options = read(tmp_path, GOOD)
    assert (options.name, options.host, options.port) == ("node-a", "127.0.0.1", 19801)
    assert options.bridge.mappings == ()
    assert options.ovs.integration_bridge == "br-int"


def test_everything_can_be_said(tmp_path: Path) -> None:
    text = (
        GOOD + "listen = [2001:db8::7]:443\nstate_dir = /s\n[bridge]\nmappings = public:eth1\nmappings = lab:eth2\n"
        "[ovs]\novsdb = tcp:127.0.0.1:6640\nnetdev = true\n[metadata]\nnova_url = http://n\nshared_secret_file = /x\n"
    )
    options = read(tmp_path, text)
    assert (options.host, options.port) == ("2001:db8::7", 443)
    assert options.bridge.mappings == (("public", "eth1"), ("lab", "eth2"))
    assert options.ovs.netdev
    assert options.metadata.shared_secret_file == Path("/x")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (GOOD.replace("name = node-a\n", ""), "name"),
        (GOOD.replace("node-a", "no/de"), "name"),
        (GOOD.replace("cert_file = /cert\n", ""), "cert_file"),
        (GOOD + "listen = nowhere\n", "listen"),
        (GOOD + "listen = 127.0.0.1:99999\n", "listen"),
        (GOOD + "[bridge]\nmappings = public\n", "mappings"),
        (GOOD + "[ovs]\novsdb = here\n", "ovsdb"),
        (GOOD + "debug = perhaps\n", "debug"),
    ],
)
def test_a_wrong_option_is_named_with_a_remedy(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(BadConfiguration, match=named) as raised:
        read(tmp_path, text)
    assert raised.value.remedy


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadConfiguration, match=r"nosuch\.conf"):
        load(["--config-file", str(tmp_path / "nosuch.conf")])


def test_inside_a_body_the_agent_serves_its_host_alone(tmp_path: Path) -> None:
    (tmp_path / "digest").write_text("d1635\n")
    inside = f"serves = node/compute-1\nsolitary = namespace\nimage_file = {tmp_path / 'digest'}\n"
    options = read(tmp_path, GOOD + inside)
    assert (options.serves, options.solitary, options.image) == (
        "astara:role/node/compute-1",
        Solitary.NAMESPACE,
        "d1635",
    )
    for wrong, named in (("serves = me\n", "serves"), ("solitary = yes\n", "solitary"), ("image_file = /x\n", "image")):
        with pytest.raises(BadConfiguration, match=named):
            read(tmp_path, GOOD + wrong)
