"""What is known after decoding: records, metrics, statistics, figures, reports and regression gates."""

from __future__ import annotations

from pathlib import Path


def write_outputs(run_dir: str | Path) -> dict[str, Path]:
    """Write the tables, figures and report of one run directory; see `results.outputs.write_outputs`."""
    from results import outputs  # matplotlib and pandas take a second to import, so only when needed

    return outputs.write_outputs(run_dir)
