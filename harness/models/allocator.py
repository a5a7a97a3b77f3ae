"""Large buffers of a forward on a CPU: kept by the process between steps, not handed back to the kernel."""

from __future__ import annotations

import ctypes
import sys
from functools import cache

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # mallopt's names for them in glibc's malloc.h
LARGEST_MMAP_THRESHOLD = 32 << 20  # what glibc takes at most
KEPT = 1 << 30  # bytes of free memory at the top of the heap before any is given back


@cache
def keep_freed_memory() -> None:
    """Let glibc reuse freed buffers of megabytes, where it is glibc that allocates.

    By default every activation of a large batch is mapped, page by page zeroed and unmapped again at
    every layer of every step (PERFORMANCE.md says what that costs). The process' peak stays the same.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(MMAP_THRESHOLD, LARGEST_MMAP_THRESHOLD)
        mallopt(TRIM_THRESHOLD, KEPT)
