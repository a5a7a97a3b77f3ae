"""What a step reads of each row: the positions whose predictions a rule or a stop may ask for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from harness.models.packing import Segment
from strategies import PartError, Row, Strategy, answers


def recomputed(strategy: Strategy, row: Row, masked: np.ndarray, tail: bool) -> tuple[int, int]:
    """First and one past the last column that the cache has this forward recompute for `row`.

    masked: [L] the row's. tail: everything behind the active block is read too. Raises PartError where
    what is read is not among them, or where a store is not filled at first.
    """
    cache = strategy.cache
    first, last = answers.span(cache, cache.span(row), row.end)
    behind = row.end if tail else row.block_end
    if first > row.block or last < behind:
        read = masked | strategy.unmask.reads_block
        if read[row.block : first].any() or read[last:behind].any():
            raise PartError(
                f"{type(cache).__name__}.span() answers ({first}, {last}), but positions from {row.block} to"
                f" {behind} are read"
            )
    if cache.keeps_kv and not row.nfe and (first, last) != (0, row.end):
        raise PartError(f"{type(cache).__name__}.span() has to fill its store first: (0, {row.end})")
    return first, last


class Region(NamedTuple):
    """What a step reads: [B, W] from each row's active block on, and where in the packed queries it lies.

    slots: [B, 1]. columns, masked, eligible: [B, W]. index: [N] flat places in [B, W]. read: [N] packed
    indices. counts: [B] positions read of each row.
    """

    slots: np.ndarray
    columns: np.ndarray
    masked: np.ndarray
    eligible: np.ndarray
    index: np.ndarray  # type: ignore[assignment]  # shadows tuple.index, which nothing here calls
    read: np.ndarray
    counts: np.ndarray


def read_region(
    masks: np.ndarray,
    rows: Sequence[Row],
    segments: Sequence[Segment],
    *,
    tail: bool,
    whole_block: bool,
    lead: int,
) -> Region:
    """The masked positions of each row's active block, given the canvas' masks [slots, L] and the queries.

    tail: of everything behind the block too. whole_block: the block's committed positions as well. lead:
    columns between a prediction and where it is read.
    """
    facts = [
        (row.slot, row.block, row.block_end, row.end if tail else row.block_end, s.first, s.last)
        for row, s in zip(rows, segments, strict=True)
    ]
    slots, block, block_end, read_end, first, last = np.array(facts)[:, :, None].transpose(1, 0, 2)
    columns = block + np.arange((read_end - block).max())
    masked = masks[slots, columns] & (columns < read_end)
    inside = columns < block_end
    place, offset = (masked | inside if whole_block else masked).nonzero()
    begin = (last - first).cumsum() - last[:, 0]  # where the row's column 0 would lie
    return Region(
        slots=slots,
        columns=columns,
        masked=masked,
        eligible=masked & inside,
        index=place * columns.shape[1] + offset,
        read=begin[place] + columns[place, offset] - lead,
        counts=np.bincount(place, minlength=len(rows)),
    )
