from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest
import structlog

from astara.runtime import logs


@pytest.fixture
def _restored() -> Iterator[None]:
    import logging

    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()


@pytest.mark.parametrize("key", ["psk", "password", "X-Auth-Token", "http_secret", "transport_url", "private_key"])
def test_what_is_named_like_a_secret_is_not_shown(key: str) -> None:
    assert logs.redact({"outer": [{key: "visible?"}]}) == {"outer": [{key: logs.REDACTED}]}


def test_the_password_of_a_url_is_cut_out_of_any_text() -> None:
    text = "cannot reach rabbit://osl:s3cret@127.0.0.1:5672/ now"
    assert logs.redact({"error": text}) == {"error": "cannot reach rabbit://osl:***@127.0.0.1:5672/ now"}


@pytest.mark.usefixtures("_restored")
def test_each_line_is_one_json_object_with_fields(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(debug=False)
    structlog.get_logger("astara.test").info("node.reachable", node="n1", token="t0p")
    (line,) = capsys.readouterr().err.splitlines()
    fields = msgspec.json.decode(line)
    assert (fields["event"], fields["node"], fields["token"], fields["level"]) == (
        "node.reachable",
        "n1",
        "***",
        "info",
    )


@pytest.mark.usefixtures("_restored")
def test_libraries_log_the_same_way_and_the_talkative_ones_less(capsys: pytest.CaptureFixture[str]) -> None:
    import logging

    logs.configure(debug=True)
    logging.getLogger("some.library").warning("at amqp://u:pw@h/")
    logging.getLogger("oslo.messaging._drivers").debug("received {'psk': 'x'}")
    (line,) = capsys.readouterr().err.splitlines()
    assert msgspec.json.decode(line)["event"] == "at amqp://u:***@h/"
