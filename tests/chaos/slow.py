"""`python -m chaos.slow HERE THERE SECONDS`: hands connections on to another port of the loopback, late.

What comes first of a connection waits; after that nothing does. The lab's Neutron closes a connection after one answer,
so each call is late by that much, and only once.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys

_CHUNK = 65536


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, there: int, late_s: float) -> None:
    with contextlib.closing(writer), contextlib.suppress(OSError):
        first = await reader.read(_CHUNK)
        await asyncio.sleep(late_s)
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", there)
        with contextlib.closing(far_writer):
            far_writer.write(first)
            await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await source.read(_CHUNK):
            sink.write(data)
            await sink.drain()
    with contextlib.suppress(OSError):
        sink.write_eof()


async def main(here: int, there: int, late_s: float) -> None:
    server = await asyncio.start_server(lambda r, w: _serve(r, w, there, late_s), "127.0.0.1", here)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
