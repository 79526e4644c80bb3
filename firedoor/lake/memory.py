"""Memory and processors for work that takes and gives back the same large blocks all the time."""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

# Of glibc's malloc.h. https://man7.org/linux/man-pages/man3/mallopt.3.html
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
LARGEST: Final = 32 << 20
"""The most that may be a threshold, and more than a block of a log, in bytes."""
KEPT: Final = 256 << 20
"""How much is kept for the next block, in bytes."""
USUAL: Final = 128 << 10
"""What both thresholds are by default, in bytes."""

CORES: Final = max(1, (os.cpu_count() or 1) // 2)
"""How many threads work at once. Two threads of one core get in each other's way."""


@contextmanager
def reused() -> Iterator[None]:
    """Keep the blocks that are given back, until the work is done.

    Otherwise each goes back to the kernel, which hands it out again page by page, and that takes a
    quarter of the time of reading a log. Where the C library is another one, nothing happens.
    """
    library = ctypes.CDLL(None)
    if not hasattr(library, "mallopt"):
        yield
        return
    library.mallopt(M_MMAP_THRESHOLD, LARGEST)
    library.mallopt(M_TRIM_THRESHOLD, KEPT)
    try:
        yield
    finally:
        library.mallopt(M_MMAP_THRESHOLD, USUAL)
        library.mallopt(M_TRIM_THRESHOLD, USUAL)
        library.malloc_trim(0)
