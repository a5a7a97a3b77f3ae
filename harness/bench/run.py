"""One bench: what was asked for, measured in one process, as tables and one JSON document."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.bench import naive
from harness.bench.clock import Spread
from harness.bench.report import share, size, spread, table
from harness.bench.roofline import Roofline
from harness.bench.steps import StepCost, step_cost
from harness.bench.throughput import Gauge, Memory, Throughput, decoding, in_turn, naive_decoding, needed
from harness.bench.workload import Workload
from harness.errors import UserError
from strategies import Strategy


@dataclass
class Bench:
    """The measurements of one workload. measure: the machine's rates now. say: where finished tables go."""

    workload: Workload
    strategies: Sequence[Strategy]
    batch_sizes: Sequence[int]
    repeats: int
    measure: Callable[[], Roofline]
    say: Callable[[str], None]
    found: dict[str, Any] = field(default_factory=dict)

    def steps(self) -> None:
        """(a) and (c): a step's parts, and the forward against the machine's floor."""
        costs = [
            (strategy, batch, step_cost(self.workload, strategy, batch, self.measure))
            for strategy in self.strategies
            for batch in self.batch_sizes
        ]
        head = (
            "strategy",
            "batch",
            "lanes",
            "columns",
            "step ms",
            "forward",
            "selection",
            "bookkeeping",
            "bare forward",
        )
        rows = [
            (s.spec, b, c.lanes, round(c.columns), *(f"{part.median:.3g}" for part in _parts(c)))
            for s, b, c in costs
        ]
        self.say(
            table(
                "One step, median milliseconds",
                (*head, "host", "outside forward"),
                [(*row, share(c.host), share(c.outside)) for row, (_, _, c) in zip(rows, costs, strict=True)],
            )
        )
        self.say(
            table(
                "Forward against the floor, by the rates measured beside it",
                (
                    "strategy",
                    "batch",
                    "GFLOP/s",
                    "GB/s",
                    "floor ms",
                    "bound by",
                    "achieved",
                    "useful columns",
                    "useful pairs",
                ),
                [
                    (
                        s.spec,
                        b,
                        f"{c.flops / 1e9:.0f}",
                        f"{c.bandwidth / 1e9:.1f}",
                        f"{c.floor_ms:.3g}",
                        c.binding,
                        share(c.floor_share),
                        f"{c.useful_columns:.3f}",
                        f"{c.useful_pairs:.3f}",
                    )
                    for s, b, c in costs
                ],
            )
        )
        self.found["steps"] = [_row(s, b, dataclasses.asdict(c)) for s, b, c in costs]

    def throughputs(self, against_naive: bool) -> bool:
        """(b) and (d): samples and tokens a second; false where the naive loop decoded something else."""
        rows, kept, same = [], [], True
        model, prompts = self.workload.model, self.workload.prompts
        for strategy in self.strategies:
            what = self.workload, prompts, strategy, self.workload.references(prompts, strategy)
            runs = [decoding(*what, batch) for batch in self.batch_sizes]
            if against_naive:
                runs.insert(0, naive_decoding(*what))
            found = in_turn(runs, model.device, self.repeats)
            if against_naive:
                base = found.pop(0)
                rows.append((strategy.spec, "naive", *_rates(base), "1", ""))
                kept.append(_row(strategy, "naive", _speed(base)))
            for batch, done in zip(self.batch_sizes, found, strict=True):
                extra, told = {}, ("", "")
                if against_naive:
                    gain = base.times(done)
                    equal = sum(a == b for a, b in zip(base.decoded, done.decoded, strict=True))
                    same = same and equal == len(prompts)
                    extra = _ratio("speedup_over_naive", gain) | {"same_tokens_and_nfe": equal}
                    told = (spread(gain), f"{equal}/{len(prompts)}")
                rows.append((strategy.spec, str(batch), *_rates(done), *told))
                kept.append(_row(strategy, batch, _speed(done) | extra))
        head = ("strategy", "batch", "samples/s", "tokens/s", "NFE", "seconds", "over naive", "same")
        self.say(table(f"Throughput, {len(prompts)} samples, {self.repeats} rounds", head, rows))
        self.found["throughput"] = kept
        return same

    def linearity(self) -> None:
        """Seconds for twice the problems over seconds for all of them."""
        rows, kept = [], []
        workload, prompts = self.workload, self.workload.prompts
        for strategy in self.strategies:
            known = workload.references(prompts, strategy)
            for batch in self.batch_sizes:
                runs = [
                    decoding(workload, prompts * times, strategy, known and known * times, batch)
                    for times in (1, 2)
                ]
                once, twice = in_turn(runs, workload.model.device, self.repeats)
                ratio = twice.times(once)
                rows.append(
                    (strategy.spec, batch, spread(once.seconds), spread(twice.seconds), spread(ratio))
                )
                kept.append(
                    _row(
                        strategy,
                        batch,
                        {"seconds": once.seconds.to_json(), "twice": twice.seconds.to_json()}
                        | _ratio("ratio", ratio),
                    )
                )
        self.say(table("Twice the problems", ("strategy", "batch", "seconds", "twice", "ratio"), rows))
        self.found["linearity"] = kept

    def memory(self, gauge: Gauge) -> None:
        """Peak memory of one decode; asked for alone, because a process' peak does not come down again."""
        if len(self.strategies) != 1 or len(self.batch_sizes) != 1:
            raise UserError("--only memory measures one strategy at one batch size; give one of each")
        strategy, batch = self.strategies[0], self.batch_sizes[0]
        prompts = self.workload.prompts[:batch]
        gauge.restart()
        decoding(self.workload, prompts, strategy, self.workload.references(prompts, strategy), batch)()
        length = max(map(len, prompts)) + self.workload.gen_length
        width = self.workload.gen_length if strategy.unmask.whole_region else self.workload.block_length
        parts = needed(
            self.workload.model, len(prompts), length, len(prompts) * width, strategy.cache.keeps_kv
        )
        memory = Memory(gauge.peak(), *parts)
        head = ("strategy", "batch", "peak", "weights", "KV", "read logits", "peak / needed")
        values = (memory.peak, memory.weights, memory.kv, memory.logits)
        row = (strategy.spec, batch, *map(size, values), f"{memory.ratio:.2f}")
        self.say(table("Memory", head, [row]))
        facts = dataclasses.asdict(memory) | {"ratio": memory.ratio}
        self.found["memory"] = [_row(strategy, batch, facts)]


def check_naive(strategies: Sequence[Strategy]) -> None:
    """Raise UserError for a strategy that the yardstick does not know."""
    for strategy in strategies:
        naive.check(strategy)


def _parts(cost: StepCost) -> tuple[Any, ...]:
    return cost.total_ms, cost.forward_ms, cost.selection_ms, cost.bookkeeping_ms, cost.bare_ms


def _row(strategy: Strategy, batch: int | str, facts: dict[str, Any]) -> dict[str, Any]:
    return {"strategy": strategy.spec, "batch": batch, **facts}


def _ratio(name: str, found: Spread) -> dict[str, Any]:
    """The median under that name, and how far rounds lay apart."""
    return {name: found.median, f"{name}_spread": found.to_json()}


def _rates(done: Throughput) -> tuple[str, ...]:
    return f"{done.samples_per_s:.3g}", f"{done.tokens_per_s:.4g}", f"{done.nfe:.1f}", spread(done.seconds)


def _speed(done: Throughput) -> dict[str, Any]:
    return {
        "samples_per_s": done.samples_per_s,
        "tokens_per_s": done.tokens_per_s,
        "nfe": done.nfe,
        "seconds": done.seconds.to_json(),
    }
