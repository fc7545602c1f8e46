from __future__ import annotations

from pathlib import Path

import pytest

from astara.clients.keystone import Anonymous
from astara.intake.http_feed import HttpFeedOptions
from astara.intake.rabbit_feed import RabbitFeedOptions
from astara.model.errors import BadConfiguration
from astara.pool.deficit import Size
from astara.pool.options import Kind
from astara.runtime import wiring
from astara.runtime.options import NodeAddress, Options, load

MINIMAL = """
[DEFAULT]
name = one
state_dir = {home}/state
[neutron]
url = http://127.0.0.1:19696
[intake]
http_secret_file = {home}/secret
[nodes]
node = n1=https://192.0.2.7:19801/
node = n2=https://[2001:db8::7]:19801
ca_file = {home}/ca
cert_file = {home}/cert
key_file = {home}/key
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_text("  s3cret\n")
    return tmp_path


def read(home: Path, text: str = MINIMAL) -> Options:
    file = home / "astara.conf"
    file.write_text(text.format(home=home))
    return load(["--config-file", str(file)])


def test_a_small_file_is_enough(home: Path) -> None:
    options = read(home)
    assert options.nodes == (
        NodeAddress("n1", "https://192.0.2.7:19801"),
        NodeAddress("n2", "https://[2001:db8::7]:19801"),
    )
    assert options.feeds == (HttpFeedOptions(secret=b"s3cret", host="127.0.0.1", port=19810),)
    assert (options.drivers, options.providers) == (("router", "network"), ("namespace",))
    assert isinstance(options.credentials, Anonymous)
    assert options.metrics_listen == ("127.0.0.1", 19811)


def test_what_listens_listens_on_loopback_unless_told_otherwise(home: Path) -> None:
    options = read(home)
    (feed,) = options.feeds
    assert isinstance(feed, HttpFeedOptions)
    assert options.metrics_listen is not None
    assert {feed.host, options.metrics_listen[0]} == {"127.0.0.1"}


def test_numbers_of_the_engine_reach_it(home: Path) -> None:
    engine = read(home, MINIMAL + "[engine]\nworkers = 3\nsilent_deadline_s = 9\nbrake_fraction = 0.5\n").engine
    assert (engine.workers, engine.policy.silent_deadline_s, engine.policy.brake.fraction) == (3, 9.0, 0.5)


def test_the_rabbit_feed_has_a_queue_of_this_orchestrators_own(home: Path) -> None:
    text = MINIMAL.replace("[intake]", "[intake]\nfeeds = rabbit\ntransport_url = rabbit://u:p4ss@h/")
    (feed,) = read(home, text).feeds
    assert isinstance(feed, RabbitFeedOptions)
    assert (feed.pool, feed.exchange, feed.topics) == ("astara-one", "neutron", ("notifications",))


def test_no_secret_is_in_a_representation_of_the_options(home: Path) -> None:
    text = MINIMAL.replace("[intake]", "[intake]\nfeeds = http,rabbit\ntransport_url = rabbit://u:p4ss@h/")
    shown = repr(read(home, text))
    assert "s3cret" not in shown
    assert "p4ss" not in shown


@pytest.mark.parametrize(
    ("before", "after", "named", "remedy"),
    [
        ("url = http://127.0.0.1:19696", "", "[neutron] url", "root URL"),
        ("n1=https://192.0.2.7:19801/", "n1=http://192.0.2.7:19801", "[nodes] node", "https"),
        ("node = n2=", "node = n1=", "n1 twice", "one line"),
        ("ca_file = {home}/ca", "", "[nodes] ca_file", "astara ca issue"),
        ("http_secret_file = {home}/secret", "", "http_secret_file is not set", "random secret"),
        ("{home}/secret", "{home}/absent", "http_secret_file", "readable"),
        ("[intake]", "[intake]\nfeeds = pigeon", "pigeon", "http, rabbit"),
        ("[intake]", "[intake]\nfeeds = rabbit", "transport_url", "Neutron's transport_url"),
        ("[intake]", "[intake]\nhttp_listen = 19810", "http_listen", "127.0.0.1:19810"),
        ("[nodes]", "[engine]\nworkers = many\n[nodes]", "workers", "--config-file"),
        ("[nodes]", "[engine]\nworkers = 0\n[nodes]", "workers", "--config-file"),
    ],
)
def test_each_mistake_names_the_option_and_the_remedy(
    home: Path, before: str, after: str, named: str, remedy: str
) -> None:
    assert before in MINIMAL
    with pytest.raises(BadConfiguration) as refused:
        read(home, MINIMAL.replace(before, after))
    assert named in str(refused.value)
    assert remedy in refused.value.remedy


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadConfiguration, match=r"absent\.conf"):
        load(["--config-file", str(tmp_path / "absent.conf")])


def test_an_unknown_driver_is_named_with_the_known_ones(home: Path) -> None:
    options = read(home, MINIMAL + "[services]\ndrivers = router,firewall\n")
    with pytest.raises(BadConfiguration, match="'firewall'") as refused:
        wiring.drivers(options)
    assert "network, router" in refused.value.remedy


def test_an_unknown_provider_is_named_with_the_known_ones(home: Path) -> None:
    options = read(home, MINIMAL + "[services]\ndefault_provider = zeppelin\n")
    with pytest.raises(BadConfiguration, match="'zeppelin'") as refused:
        wiring.providers(options, None, lambda: 0)
    assert "namespace" in refused.value.remedy


def test_sizes_of_pools_are_read_by_kind(home: Path) -> None:
    options = read(home, MINIMAL + "[pool]\nmicrovm = 1..4\ncontainer/frr = 2\n")
    assert options.pool.sizes == {Kind("microvm"): Size(1, 4), Kind("container", "frr"): Size(2, 2)}
    assert read(home).pool.sizes == {}


def test_where_routers_are_machines_some_are_kept_warm_unless_told_otherwise(home: Path) -> None:
    machines = MINIMAL + "[services]\ndefault_provider = microvm\n"
    assert read(home, machines).pool.sizes == {Kind("microvm"): Size(1, 4)}
    assert read(home, machines + "[pool]\nmicrovm = 0\n").pool.sizes == {Kind("microvm"): Size(0, 0)}
    of_one_image = read(home, machines + "[pool]\nmicrovm/frr = 1\n")
    assert of_one_image.pool.sizes == {Kind("microvm", "frr"): Size(1, 1)}, "who speaks of machines has said how many"


def test_a_size_that_cannot_be_read_names_the_option(home: Path) -> None:
    with pytest.raises(BadConfiguration, match=r"\[pool\] microvm = lots"):
        read(home, MINIMAL + "[pool]\nmicrovm = lots\n")
