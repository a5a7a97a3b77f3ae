"""Texts beside points of an axes, placed where they cover neither a point nor one another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke
from matplotlib.transforms import Bbox

_ANGLES = np.deg2rad([90, -90, 0, 180, 45, 135, -45, -135, 20, 160, -20, -160, 68, 112, -68, -112])
_REACHES = (9, 16, 25, 36, 50, 66, 84)
_MARKER_PX = 7.0


@dataclass(frozen=True)
class Label:
    """A text for the point (x, y), in data coordinates."""

    x: float
    y: float
    text: str
    colour: str


def place(axes: Axes, labels: Sequence[Label], obstacles: Sequence[tuple[float, float]], size: float) -> None:
    """Draw the labels greedily, each at the nearest free place around its point.

    A hair line leads to the point from a text that is far from it or nearer to another. The figure's layout
    must be final: drawn once, without a layout engine that moves it again.

    Args:
        obstacles: points (data coordinates) that no text may cover; the labels' own points belong to them.
        size: font size in points.
    """
    figure = axes.figure
    scale = figure.dpi / 100
    inside = axes.get_window_extent()
    pad = _MARKER_PX * scale
    centres = axes.transData.transform(np.asarray(obstacles, dtype=float).reshape(-1, 2))
    taken = [Bbox.from_extents(x - pad, y - pad, x + pad, y + pad) for x, y in centres]
    for label in labels:
        text = axes.annotate(
            label.text,
            (label.x, label.y),
            xytext=(0, 0),
            textcoords="offset pixels",
            fontsize=size,
            color=label.colour,
            ha="center",
            va="center",
            zorder=6,
            path_effects=[withStroke(linewidth=2.2, foreground="white")],
        )
        extent = text.get_window_extent()
        spot = axes.transData.transform((label.x, label.y))
        box, offset, reach = _best(spot, extent.width, extent.height, inside, taken, scale)
        text.set_position(offset)
        taken.append(box)
        if reach > _REACHES[1] or _distance(box, spot) > min(_distance(box, each) for each in centres):
            _leader(axes, label, box, spot)


def _best(
    spot: np.ndarray, width: float, height: float, inside: Bbox, taken: list[Bbox], scale: float
) -> tuple[Bbox, tuple[float, float], int]:
    """The free place of least reach, else the one that covers least."""
    best: tuple[float, Bbox, tuple[float, float], int] | None = None
    for reach in _REACHES:
        for angle in _ANGLES:
            dx = np.cos(angle) * (reach * scale + width / 2 * abs(np.cos(angle)))
            dy = np.sin(angle) * (reach * scale + height / 2)
            x, y = spot[0] + dx, spot[1] + dy
            box = Bbox.from_extents(x - width / 2 - 1, y - height / 2, x + width / 2 + 1, y + height / 2)
            covered = sum(_overlap(box, other) for other in taken) + 3 * _outside(box, inside)
            if covered == 0:
                return box, (float(dx), float(dy)), reach
            if best is None or covered < best[0]:
                best = (covered, box, (float(dx), float(dy)), reach)
    assert best is not None
    return best[1:]


def _overlap(a: Bbox, b: Bbox) -> float:
    width = min(a.x1, b.x1) - max(a.x0, b.x0)
    height = min(a.y1, b.y1) - max(a.y0, b.y0)
    return width * height if width > 0 and height > 0 else 0.0


def _distance(box: Bbox, spot: np.ndarray) -> float:
    """From a text's box to a point, in pixels."""
    dx = max(box.x0 - spot[0], spot[0] - box.x1, 0.0)
    dy = max(box.y0 - spot[1], spot[1] - box.y1, 0.0)
    return float(np.hypot(dx, dy))


def _outside(box: Bbox, inside: Bbox) -> float:
    return box.width * box.height - _overlap(box, inside)


def _leader(axes: Axes, label: Label, box: Bbox, spot: np.ndarray) -> None:
    """A hair line from the point to the nearest edge of its text."""
    x = min(max(spot[0], box.x0), box.x1)
    y = min(max(spot[1], box.y0), box.y1)
    end = axes.transData.inverted().transform((x, y))
    axes.plot(
        [label.x, end[0]],
        [label.y, end[1]],
        color=label.colour,
        lw=0.9,
        zorder=2,
        scalex=False,
        scaley=False,
    )
