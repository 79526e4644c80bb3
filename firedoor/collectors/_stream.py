"""A stream of bytes out of whatever hands them out piece by piece."""

import io
from collections.abc import Callable, Iterator
from typing import BinaryIO

SIZE = 1 << 20


class _Raw(io.RawIOBase):
    def __init__(self, read: Callable[[int], bytes], close: Callable[[], object]) -> None:
        self._read, self._close = read, close

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        got = self._read(len(buffer))
        buffer[: len(got)] = got
        return len(got)

    def close(self) -> None:
        if not self.closed:
            self._close()
        super().close()


def reading(read: Callable[[int], bytes], close: Callable[[], object] = lambda: None) -> BinaryIO:
    """Return a stream over a function that returns up to so many bytes, and none at the end."""
    return io.BufferedReader(_Raw(read, close), SIZE)


def chunks(pieces: Iterator[bytes], offset: int = 0) -> BinaryIO:
    """Return a stream over pieces that are not empty, from an offset."""
    rest = bytearray()

    def read(size: int) -> bytes:
        if not rest:
            rest.extend(next(pieces, b""))
        got = bytes(rest[:size])
        del rest[:size]
        return got

    stream = reading(read)
    stream.read(offset)
    return stream
