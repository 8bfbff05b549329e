"""How fast the load itself is: its rate against a server that does nothing but answer.

Figures of a stack that come near to it say more about the load than about the stack.
"""

import asyncio
import sys

import uvloop

from bench.accounts import HOST
from bench.effort import Effort
from bench.load import Call, drive, run_load
from bench.report import number
from bench.stacks import Running, Stack

CONNECTIONS = 16
_BODY = b'{"data":{"me":{"id":"1","name":"Ada Lovelace","email":"ada@example.org"}}}'
_ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(_BODY), _BODY)
_REQUEST = b"POST /graphql HTTP/1.1\r\ncontent-length: 0\r\n\r\n"

NOTHING = Stack("nothing", lambda port: ("bench.ceiling", str(port)), log_in="")


class _Answering(asyncio.Protocol):
    """Takes whatever comes for a request."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.WriteTransport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        del data
        self._transport.write(_ANSWER)


def written(running: Running, effort: Effort) -> str:
    """Return the sentence that says it."""
    calls = [Call(_REQUEST, _BODY.__eq__)] * CONNECTIONS
    tally = run_load(drive(running.port, calls, seconds=effort.seconds))
    return f"The load itself can ask {number(tally.rate)} requests/s, of a server that does nothing."


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(_Answering, HOST, port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))
