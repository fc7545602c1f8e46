"""An agent that is somebody else's by now takes no more memory and time of who asks it than an answer is worth."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from astara.peers import calls


def asked(body: Iterator[bytes]) -> httpx.Response:
    transport = httpx.MockTransport(lambda _: httpx.Response(200, headers={"x": "y"}, content=body))
    with httpx.Client(transport=transport, base_url="https://agent") as http:
        return calls.send(http, http.build_request("GET", "/v1/node", timeout=5.0))


def test_an_answer_comes_whole_with_its_headers() -> None:
    answer = asked(iter([b"one ", b"two"]))
    assert (answer.content, answer.headers["x"]) == (b"one two", "y")


def test_an_answer_that_is_too_large_is_given_up() -> None:
    sent = 0

    def much() -> Iterator[bytes]:
        nonlocal sent
        while True:
            sent += 1 << 20
            yield bytes(1 << 20)

    with pytest.raises(httpx.HTTPError, match="an answer of more than"):
        asked(much())
    assert sent <= calls._MOST_BYTES + (2 << 20)


def test_an_answer_that_drips_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter(range(0, 10_000, 3))
    monkeypatch.setattr(calls.time, "monotonic", lambda: float(next(now)))

    def dripping() -> Iterator[bytes]:
        while True:
            yield b"x"

    with pytest.raises(httpx.ReadTimeout, match="does not end"):
        asked(dripping())
