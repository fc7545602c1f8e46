"""Just enough of the OVSDB protocol (RFC 7047) to run transactions: one connection, one request, one answer.

Why not a library: ovsdbapp keeps a replica of the whole database in memory and brings eventlet; `ovs-vsctl` is a
process per plug. Five operations are all an attachment needs (docs/design/node-agent.md).
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any

import msgspec

_DATABASE = "Open_vSwitch"
_TIMEOUT_S = 10.0
_RECEIVE_BYTES = 65536
Operation = dict[str, Any]


class OvsdbError(Exception):
    """The database is away or refused a transaction; the message is its own."""


def transact(remote: str, operations: Sequence[Operation]) -> list[dict[str, Any]]:
    """Run `operations` as one transaction at `remote` (unix:PATH or tcp:HOST:PORT) and return their results.

    Raises:
        OvsdbError: nothing of it was done.
    """
    request = {"id": 0, "method": "transact", "params": [_DATABASE, *operations]}
    try:
        with _connected(remote) as connection:
            connection.sendall(msgspec.json.encode(request))
            answer = _answer(connection)
    except OSError as error:
        raise OvsdbError(f"the database at {remote} does not answer: {error}") from None
    if answer.get("error"):
        raise OvsdbError(f"refused: {answer['error']}")
    results: list[dict[str, Any]] = answer["result"]
    for result in results:
        if result and result.get("error"):
            raise OvsdbError(f"refused: {result['error']} {result.get('details', '')}".rstrip())
    return results


def select(table: str, where: Sequence[Any], columns: Sequence[str]) -> Operation:
    return {"op": "select", "table": table, "where": list(where), "columns": list(columns)}


def insert(table: str, row: dict[str, Any], name: str) -> Operation:
    """Insert a row that later operations of the transaction call `["named-uuid", name]`."""
    return {"op": "insert", "table": table, "row": row, "uuid-name": name}


def mutate(table: str, where: Sequence[Any], column: str, mutator: str, value: Any) -> Operation:
    return {"op": "mutate", "table": table, "where": list(where), "mutations": [[column, mutator, value]]}


def wait_until_set(table: str, where: Sequence[Any], column: str, timeout_ms: int) -> Operation:
    """Hold the transaction until an optional column has a value."""
    return _wait_while(table, where, column, [{column: ["set", []]}], timeout_ms)


def wait_until_some(table: str, where: Sequence[Any], column: str, timeout_ms: int) -> Operation:
    """Hold the transaction until a row of the table is like that; `column` is any of its columns."""
    return _wait_while(table, where, column, [], timeout_ms)


def _wait_while(
    table: str, where: Sequence[Any], column: str, rows: Sequence[dict[str, Any]], timeout_ms: int
) -> Operation:
    return {
        "op": "wait",
        "timeout": timeout_ms,
        "table": table,
        "where": list(where),
        "columns": [column],
        "until": "!=",
        "rows": list(rows),
    }


def as_map(pairs: dict[str, str]) -> list[Any]:
    return ["map", [[key, value] for key, value in pairs.items()]]


def from_map(value: list[Any]) -> dict[str, str]:
    return {str(key): str(content) for key, content in value[1]}


def _connected(remote: str) -> socket.socket:
    kind, _, where = remote.partition(":")
    if kind == "unix":
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        connection.settimeout(_TIMEOUT_S)
        try:
            connection.connect(where)
        except OSError:
            connection.close()
            raise
        return connection
    host, _, port = where.rpartition(":")
    return socket.create_connection((host.strip("[]"), int(port)), timeout=_TIMEOUT_S)


def _answer(connection: socket.socket) -> dict[str, Any]:
    """Return the one JSON value the server sends; it neither ends the stream nor says a length."""
    received = b""
    while True:
        part = connection.recv(_RECEIVE_BYTES)
        if not part:
            raise OvsdbError("the database closed the connection")
        received += part
        if not received.endswith(b"}"):
            continue
        try:
            answer: dict[str, Any] = msgspec.json.decode(received)
        except msgspec.DecodeError:
            continue
        return answer
