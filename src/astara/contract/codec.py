"""JSON in, frozen types out: the only door through which bytes become values.

A refusal names the field and the remedy and never repeats the value, which may be a secret.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")

CONTRACT_VERSION = 1
#: What this side can still read; the orchestrator speaks the previous version too while agents are upgraded.
SUPPORTED_VERSIONS = frozenset({1})


class _Studied(msgspec.StructMeta):
    """Has msgspec study a type when it is defined, in the one thread that imports its module.

    msgspec studies a type at its first use otherwise, and two threads that both use it first crash the process.
    """

    def __init__(
        cls,  # noqa: N805  # a metaclass
        name: str,
        bases: tuple[type, ...],
        namespace: dict[str, Any],
        **options: Any,
    ) -> None:
        super().__init__(name, bases, namespace)
        msgspec.json.Decoder(cls)


class Wire(msgspec.Struct, metaclass=_Studied, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of every type on the wire: immutable, and an unknown field is an error, not a surprise."""


class ContractError(ValueError):
    """Bytes that are not what the contract says.

    `field` is a path such as `$.section.links[0].mtu`; `reason` never contains the offending value.
    """

    def __init__(self, field: str, reason: str, remedy: str = "") -> None:
        self.field = field
        self.reason = reason
        self.remedy = remedy or "send the type and range the contract documents for this field"
        super().__init__(f"{field}: {reason} ({self.remedy})")


_AT = re.compile(r"^(?P<reason>.*?) - at `(?P<path>[^`]*)`$", re.DOTALL)
# msgspec quotes the value it did not know for enums and unknown fields: values stay out of messages.
_QUOTED_VALUE = re.compile(r"Invalid enum value .*")


def decode(data: bytes | str | msgspec.Raw, kind: type[T]) -> T:
    """Return `data` (JSON) as a `kind`.

    Raises:
        ContractError: naming the field, when the bytes are not JSON or not of that type.
    """
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.ValidationError as error:
        raise _as_contract_error(error) from None
    except msgspec.DecodeError as error:
        raise ContractError("$", f"not valid JSON: {error}", "send one JSON object") from None


def convert(data: Any, kind: type[T]) -> T:
    """Return plain Python data (dicts, lists, strings) as a `kind`; raises ContractError like `decode`."""
    try:
        return msgspec.convert(data, type=kind)
    except msgspec.ValidationError as error:
        raise _as_contract_error(error) from None


def encode(value: Any) -> bytes:
    """Return `value` as canonical JSON: sorted keys, so equal values are equal bytes."""
    return msgspec.json.encode(value, order="sorted")


def digest(value: Any) -> str:
    """Return the sha256 (hex) of the canonical JSON of `value`."""
    return hashlib.sha256(encode(value)).hexdigest()


def _as_contract_error(error: msgspec.ValidationError) -> ContractError:
    match = _AT.match(str(error))
    if match is None:
        return ContractError("$", _QUOTED_VALUE.sub("not one of the known values", str(error)))
    reason = _QUOTED_VALUE.sub("not one of the known values", match["reason"])
    return ContractError(match["path"], reason)
