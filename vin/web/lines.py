"""Bodies of many lines, in and out as they come, so that memory stays flat."""

from collections.abc import AsyncIterator, Sequence

from aiohttp import web

NDJSON = "application/x-ndjson"
MAX_LINE_BYTES = 64 * 1024

# Its number from 1, and what stands on it; None when that is too long.
Line = tuple[int, bytes | None]


class Splitter:
    """Cuts what arrives into lines; blank ones are counted and left out."""

    def __init__(self) -> None:
        self._number = 0
        self._rest = b""
        self._too_long = False

    def take(self, chunk: bytes) -> list[Line]:
        """The lines that this chunk ends; never more than one line and a chunk are kept."""
        *ended, self._rest = (self._rest + chunk).split(b"\n")
        lines = [self._end(line) for line in ended]
        if len(self._rest) > MAX_LINE_BYTES:
            self._rest, self._too_long = b"", True
        return [line for line in lines if line[1] != b""]

    def _end(self, line: bytes) -> Line:
        self._number += 1
        too_long = self._too_long or len(line) > MAX_LINE_BYTES
        self._too_long = False
        return self._number, None if too_long else line.strip()


async def receive_lines(request: web.Request) -> AsyncIterator[Sequence[Line]]:
    """The lines of a body, those that arrived together at a time."""
    splitter = Splitter()
    async for chunk in request.content.iter_any():
        if lines := splitter.take(chunk):
            yield lines
    if last := splitter.take(b"\n"):
        yield last


async def answer_lines(request: web.Request) -> web.StreamResponse:
    """Begin an answer of lines."""
    response = web.StreamResponse(headers={"Content-Type": NDJSON})
    await response.prepare(request)
    return response
