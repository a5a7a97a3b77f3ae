"""What a run shows while it works: where it is, how good the answers are so far, how long it will take."""

from __future__ import annotations

import sys
import time
from collections.abc import Collection, Mapping, Sequence
from statistics import fmean
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from harness.runner_plan import Cell
from results.records import SampleRecord
from strategies import Row

TERMINAL_EVERY_S = 0.25
PLAIN_EVERY_S = 15.0  # seconds between two lines where the output is not a terminal
Key = tuple[str, str]


class Estimate:
    """How long the rest takes, from the seconds a sample took so far.

    A strategy not measured yet is taken to cost what the measured ones do on the mean, and the estimate says
    how many such there are.
    """

    def __init__(self, todo: Mapping[Key, float]) -> None:
        self.todo = dict(todo)  # samples left by (strategy, task)
        self.done: dict[Key, float] = dict.fromkeys(
            todo, 0.0
        )  # samples, fractions of those underway included
        self.seconds: dict[Key, float] = dict.fromkeys(todo, 0.0)

    def update(self, key: Key, done: float, seconds: float) -> None:
        """`done` samples of a cell took `seconds` of wall time."""
        self.done[key], self.seconds[key] = done, seconds

    def left(self) -> tuple[float, int] | None:
        """(seconds left, strategies not measured yet), None while nothing has been measured."""
        rates = {key: self.seconds[key] / done for key, done in self.done.items() if done > 0}
        if not rates:
            return None
        own: dict[str, list[float]] = {}
        for (strategy, _), rate in rates.items():
            own.setdefault(strategy, []).append(rate)
        usual = fmean(map(fmean, own.values()))
        total, unmeasured = 0.0, set()
        for key, todo in self.todo.items():
            missing = max(0.0, todo - self.done[key])
            if missing and key[0] not in own:
                unmeasured.add(key[0])
            total += missing * (rates.get(key) or (fmean(own[key[0]]) if key[0] in own else usual))
        return total, len(unmeasured)


def clock(seconds: float) -> str:
    """Seconds as 12 s, 3:05 or 2:03:05."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    hours, rest = divmod(whole, 3600)
    minutes, seconds = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


class Display:
    """A live bar on a terminal, plain lines elsewhere; on stderr, so that stdout holds the results alone."""

    def __init__(self, cells: Sequence[Cell], records: Mapping[tuple[str, str, int], SampleRecord]) -> None:
        self.console = Console(stderr=True)
        self.live = self.console.is_terminal
        todo = {}
        for cell in cells:
            name = cell.suite.task.name
            held = [
                records.get((cell.strategy.spec, name, problem.doc_id)) for problem in cell.suite.problems
            ]
            todo[cell.strategy.spec, name] = float(sum(r is None or r.correct is None for r in held))
        self.records, self.estimate = records, Estimate(todo)
        self.started = self.said = time.monotonic()
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[facts]}"),
            console=self.console,
            transient=True,
        )
        self.whole = self.bar.add_task("all", total=max(1.0, sum(todo.values())), facts="")
        self.part = self.bar.add_task("", total=1.0, facts="", visible=False)

    @property
    def seconds(self) -> float:
        """Wall time since the start."""
        return time.monotonic() - self.started

    def __enter__(self) -> Display:
        if self.live:
            self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.live:
            self.bar.stop()

    def note(self, text: str) -> None:
        """Say something once, above the bar."""
        if self.live:
            self.bar.console.print(text, markup=False, highlight=False)
        else:
            print(text, file=sys.stderr, flush=True)

    def begin(self, cell: Cell) -> None:
        """A cell starts to decode."""
        self.key, self.size = (cell.strategy.spec, cell.suite.task.name), len(cell.suite.problems)
        keys = [(*self.key, problem.doc_id) for problem in cell.suite.problems]
        held = [self.records[key] for key in keys if key in self.records]
        self.nfe = [record.nfe for record in held if record.nfe is not None]
        self.right = [record.correct for record in held if record.correct is not None]
        self.failed = 0
        self.began, self.fresh, self.underway = time.monotonic(), 0, 0.0
        self.bar.update(self.part, visible=True, total=float(self.size))
        if self.live:
            self._show()

    def forward(self, rows: Collection[Row]) -> None:
        """A forward is done; rows not finished count by the share of their blocks that is."""
        self.underway = sum((row.block - row.start) / max(1, row.end - row.start) for row in rows)
        if time.monotonic() - self.said >= (TERMINAL_EVERY_S if self.live else PLAIN_EVERY_S):
            self._show()

    def decoded(self, record: SampleRecord) -> None:
        """A sample's decoding ended."""
        self.fresh += 1
        if record.nfe is not None:
            self.nfe.append(record.nfe)

    def judged(self, record: SampleRecord) -> None:
        """A sample got its final row."""
        if record.correct is None:
            self.failed += 1
        else:
            self.right.append(record.correct)

    def end(self) -> None:
        """The current cell is complete."""
        self.underway = 0.0
        self._show()

    def where(self) -> str:
        """The cell and how far it is."""
        return f"{self.key[0]} on {self.key[1]} {len(self.nfe) + self.failed}/{self.size}"

    def facts(self) -> str:
        """NFE and accuracy of the cell so far."""
        said = [f"NFE {sum(self.nfe) / len(self.nfe):.1f}" if self.nfe else "NFE –"]
        said.append(
            f"accuracy {100 * sum(self.right) / len(self.right):.0f} %" if self.right else "accuracy –"
        )
        return ", ".join([*said, f"{self.failed} failed"] if self.failed else said)

    def remaining(self) -> str:
        """The time left in words."""
        left = self.estimate.left()
        if left is None:
            return "time left not known yet"
        unmeasured = f" ({left[1]} strategies not measured yet)" if left[1] else ""
        return f"about {clock(left[0])} left{unmeasured}"

    def _show(self) -> None:
        self.said = time.monotonic()
        self.estimate.update(self.key, self.fresh + self.underway, self.said - self.began)
        if not self.live:
            self.note(f"{self.where()}: {self.facts()}, {self.remaining()}")
            return
        place = len(self.nfe) + self.failed + self.underway
        self.bar.update(self.part, description=self.where(), completed=place, facts=self.facts())
        facts = f"{clock(self.seconds)} so far, {self.remaining()}"
        self.bar.update(self.whole, completed=sum(self.estimate.done.values()), facts=facts)
