"""The bench's tables: plain text, one row a strategy and batch size."""

from __future__ import annotations

from collections.abc import Sequence

from harness.bench.clock import Spread


def table(title: str, head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A titled table; the first column is text, the others are aligned to the right."""
    cells = [[str(cell) for cell in row] for row in (head, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join(
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]
    return "\n".join([title, lines[0], "-" * len(lines[0]), *lines[1:]])


def spread(value: Spread, scale: float = 1.0) -> str:
    """`median (low to high)`."""
    return f"{value.median * scale:.3g} ({value.low * scale:.3g} to {value.high * scale:.3g})"


def share(value: float) -> str:
    """A fraction as a percentage."""
    return f"{100 * value:.1f} %"


def size(value: float) -> str:
    """Bytes in MiB."""
    return f"{value / 2**20:.1f} MiB"
