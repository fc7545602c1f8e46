"""Structured logs: one JSON object per line on stderr, never with a secret in it."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any

import structlog

REDACTED = "***"
_SECRET = re.compile(
    r"secret|passw|token|psk|private|credential|authorization|signature|user_data|transport_url", re.IGNORECASE
)
#: "scheme://user:password@host": the password of a URL anywhere in a text.
_URL_PASSWORD = re.compile(r"(?P<before>[a-z+]+://[^/\s:@]*:)[^/\s@]+(?=@)", re.IGNORECASE)
#: At debug level these write whole messages, payloads included.
_TALKATIVE = ("oslo.messaging", "oslo_messaging", "amqp", "kombu", "httpx", "httpcore", "keystoneauth", "urllib3")


def redact(value: Any) -> Any:
    """Return `value` without what looks like a secret: by key in mappings, by form in URLs."""
    if isinstance(value, Mapping):
        return {key: REDACTED if _SECRET.search(str(key)) else redact(inner) for key, inner in value.items()}
    if isinstance(value, str):
        return _URL_PASSWORD.sub(rf"\g<before>{REDACTED}", value)
    if isinstance(value, list | tuple):
        return [redact(inner) for inner in value]
    return value


def _redaction(_logger: Any, _method: str, fields: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    cleaned = redact(fields)
    assert isinstance(cleaned, dict)
    return cleaned


def configure(*, debug: bool) -> None:
    """Set up logging of this process, that of libraries included."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    finish: list[Any] = [
        structlog.processors.format_exc_info,
        _redaction,
        structlog.processors.JSONRenderer(default=str),
    ]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *finish],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.DEBUG if debug else logging.INFO)
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
