"""Deliberate faults of the decode core, which the tests must notice: (name, file, text, replacement)."""

LANES, LOOP = "harness/decoding/lanes.py", "harness/decoding/loop.py"
DECODER, REGION, BASE = "harness/decoding/decoder.py", "harness/decoding/region.py", "strategies/base.py"
PREDICTIONS = "strategies/predictions.py"
UNMASK = "strategies/unmask.py"
CACHE, STOP, FILTER = "strategies/cache.py", "strategies/stop.py", "strategies/filter.py"
TRANSFORMER, KV, CANVAS = (
    "harness/models/transformer.py",
    "harness/models/kv.py",
    "harness/decoding/canvas.py",
)
ATTENTION, PACKING, SAMPLING = (
    "harness/models/attention.py",
    "harness/models/packing.py",
    "harness/decoding/sampling.py",
)
ENGINE, JOINING, GRAPHS = (
    "harness/models/engine.py",
    "harness/models/joining.py",
    "harness/models/graphs.py",
)

MUTATIONS = (
    # Attention and the KV store
    ("training key mask dropped", TRANSFORMER, "if lengths is not None:", "if False:"),
    ("decode key mask dropped", ATTENTION, "k, v, group.mask,", "k, v, None,"),
    ("keys are not stored", KV, "index_copy_(0, at, keys)", "add_(0 * keys.sum())"),
    ("values are not stored", KV, "index_copy_(0, at, values)", "add_(0 * values.sum())"),
    (
        "every row writes into slot 0",
        PACKING,
        "[columns, self._slots * store_length + columns]",
        "[columns, columns]",
    ),
    (
        "a row attends past its end",
        DECODER,
        "else row.end\n        return Segment",
        "else self.engine.kv.length if self.engine.kv else row.end\n        return Segment",
    ),
    (
        "positions restart at the query",
        PACKING,
        "columns += (first - self._begin)",
        "columns += (0 - self._begin)",
    ),
    (
        "a reused slot keeps the last sample's tokens",
        CANVAS,
        "self.tokens[slot, start:end] = mask_id",
        "pass",
    ),
    # Blocks
    ("block step not reset", DECODER, "row.block, row.step = row.block_end, 0", "row.block = row.block_end"),
    ("block entered with too many masks", DECODER, "row.entered = row.block_end - row.block\n\n", "pass\n\n"),
    (
        "cache never rebuilt",
        CACHE,
        "return (0 if row.step == 0 else row.block), row.end",
        "return (0 if row.nfe == 0 else row.block), row.end",
    ),
    ("dual window too wide", CACHE, "else (row.block, row.block_end)", "else (row.block, row.end)"),
    (
        "dual window too narrow",
        CACHE,
        "else (row.block, row.block_end)",
        "else (row.block + 1, row.block_end)",
    ),
    ("prefix window too narrow", CACHE, "else row.block), row.end", "else row.block), row.block_end"),
    ("stale suffix forgotten", DECODER, "keys = row.keys if cache.keeps_cut else row.end", "keys = row.end"),
    # Choosing
    (
        "progress not guaranteed",
        BASE,
        "if not self.patient:\n            rows",
        "if False:\n            rows",
    ),
    (
        "eligibility bound dropped in the rules",
        BASE,
        'answers.admitted(self, "admit", self.admit(p, score), shape) & p.eligible',
        'answers.admitted(self, "admit", self.admit(p, score), shape).copy()',
    ),
    ("eligibility bound dropped in the loop", REGION, "eligible=masked & inside,", "eligible=masked,"),
    (
        "confidence threshold flipped",
        UNMASK,
        "return score >= self.threshold",
        "return score < self.threshold",
    ),
    (
        "confidence threshold strict",
        UNMASK,
        "return score >= self.threshold",
        "return score > self.threshold",
    ),
    (
        "entropy threshold flipped",
        UNMASK,
        "return score >= -self.threshold",
        "return score < -self.threshold",
    ),
    (
        "entropy ranked the wrong way",
        UNMASK,
        "return -p.entropy\n\n    def admit",
        "return p.entropy\n\n    def admit",
    ),
    ("factor off by one", UNMASK, "1 - self.factor / (n + 1)", "1 - self.factor / n"),
    ("factor's first is not free", UNMASK, "fits[:, 0] = True", "pass"),
    ("upstream factor's last is refused", UNMASK, "run = run | (last & np.roll(run, 1, 1))", "pass"),
    (
        "quota's remainder last",
        UNMASK,
        "(p.step < p.entered % forwards)",
        "(p.step >= forwards - p.entered % forwards)",
    ),
    (
        "ties go to the last",
        UNMASK,
        '(-score).argsort(1, kind="stable")',
        'score.shape[1] - 1 - (-score[:, ::-1]).argsort(1, kind="stable")',
    ),
    ("the filter sees the tail", UNMASK, "np.arange(block) < p.width", "np.arange(block) < 99999"),
    (
        "the filter sees masks alone",
        UNMASK,
        "reads_block: ClassVar[bool] = True",
        "reads_block: ClassVar[bool] = False",
    ),
    (
        "the filter's quota dropped",
        UNMASK,
        "return accepted | (rank(score) < quota(p, steps))",
        "return accepted",
    ),
    ("the filter is not padded on the right", FILTER, "(0, self.width - n)", "(self.width - n, 0)"),
    (
        "the mask token may be predicted",
        PREDICTIONS,
        "logits[:, self.vocabulary.mask_id] = -torch.inf",
        "pass",
    ),
    ("the mask token's logit is lost", PREDICTIONS, "mask_id] = column", "mask_id] *= 1"),
    (
        "confidence of the wrong token",
        PREDICTIONS,
        "own = weights.gather(1, tokens[:, None])",
        "own = weights.amax(1, keepdim=True)",
    ),
    (
        "a scan forgets all but its first rows",
        PREDICTIONS,
        "torch.cat(confidence), torch.cat(total)",
        "confidence[0], total[0]",
    ),
    ("oracle admits everything", UNMASK, "return p.tokens == p.best", "return p.eligible"),
    ("an unwilling rule commits nothing", BASE, "best[lost] = p.eligible[lost].argmax(1)", "pass"),
    # Lanes
    ("lanes do not give the threads back", LANES, "torch.set_num_threads(threads)\n", "pass\n"),
    (
        "a lane left alone keeps its part of the threads",
        LANES,
        "self._held.close()  # alone",
        "pass  # alone",
    ),
    ("a failure leaves forwards running", LANES, "        wait(self._underway.values())\n", ""),
    ("what waits is computed after a failure", LANES, "forward.cancel()", "pass"),
    ("lanes are not as large as what they are dealt", LANES, "slots + number - 1 - lane", "slots + lane"),
    (
        "only one lane's rows are charged",
        LANES,
        "for lane in live for entry",
        "for lane in live[:1] for entry",
    ),
    ("one lane computes at a time", LANES, "yield _pool(together, ", "yield _pool(1, "),
    ("every lane decodes the same", LOOP, "range(at, len(prompts), len(decoders))", "range(len(prompts))"),
    (
        "a layout outlives its rows' blocks",
        ENGINE,
        "self._laid.segments != segments",
        "len(self._laid.segments) != len(segments)",
    ),
    ("a refresh is told by its step", DECODER, "(first, last) == (0, row.end)", "row.step == 0"),
    ("what is read need not be recomputed", REGION, "read[row.block : first].any()", "False"),
    ("what is read behind need not be recomputed", REGION, "read[last:behind].any()", "False"),
    ("a store is read before it is filled", REGION, "not row.nfe and", "False and"),
    (
        "a rule's mask may have any shape",
        "strategies/answers.py",
        "found.shape != shape or found.dtype != bool",
        "found.dtype != bool",
    ),
    (
        "noise is drawn for tokens first",
        PREDICTIONS,
        '("uniform", "entropy", "margin", "confidence", "tokens", "best")',
        '("entropy", "margin", "confidence", "tokens", "best", "uniform")',
    ),
    # Ends
    (
        "eotp one too few",
        STOP,
        "np.where(ends, p.confidence, -1.0).argmax(1) + 1",
        "np.where(ends, p.confidence, -1.0).argmax(1)",
    ),
    (
        "eotp one too many",
        STOP,
        "np.where(ends, p.confidence, -1.0).argmax(1) + 1",
        "np.where(ends, p.confidence, -1.0).argmax(1) + 2",
    ),
    ("committed end one too many", STOP, "ends.argmax(1) + 1", "ends.argmax(1) + 2"),
    ("eotp takes the first end", STOP, "np.where(ends, p.confidence, -1.0)", "ends"),
    (
        "eotp ignores the tail",
        DECODER,
        "self.tail = strategy.stop.reads_tail and not strategy.cache.keeps_kv",
        "self.tail = False",
    ),
    (
        "a cut moves the end right",
        DECODER,
        "row.end = min(row.end, row.block + kept)",
        "row.end = row.block + kept",
    ),
    (
        "what a cut removed is committed",
        DECODER,
        "transfer = transfer & (region.columns < ends)",
        "transfer = transfer.copy()",
    ),
    # The shift
    ("shift dropped in decoding", REGION, "columns[place, offset] - lead", "columns[place, offset]"),
    (
        "shift dropped in the plain forward",
        TRANSFORMER,
        "        if self.config.shift:\n",
        "        if False:\n",
    ),
    (
        "shifted model's first position not recomputed",
        DECODER,
        "            first -= 1  #",
        "            pass  #",
    ),
    (
        "shifted filter's first position not recomputed",
        DECODER,
        "reads_first = self.strategy.unmask.reads_block or self",
        "reads_first = self",
    ),
    # What a GPU takes, as far as a CPU can tell
    ("padding is stored in a row's column", PACKING, "0, 0, 0, self._store_length - 1]", "0, 0, 0, 0]"),
    (
        "rows use all of their slot's keys",
        ATTENTION,
        "used[rows.slot] = rows.count, rows.keys",
        "used[:] = 0, 1",
    ),
    (
        "rows at rest take a live row's place",
        ATTENTION,
        "counts[rows.slot], used",
        "counts[: len(rows.slot)], used",
    ),
    (
        "the last layer's queries are all columns'",
        PACKING,
        "self._groups(starts, ends - starts)",
        "self._groups(self._begin, ends - starts)",
    ),
    ("weights with a gap count as joined", JOINING, "if tensor.data_ptr() != place or", "if"),
    ("adapters are passed by", JOINING, "type(part) is nn.Linear and", "True and"),
    ("hooks are passed by", JOINING, "and not part._forward_hooks", ""),
    (
        "a graph keeps another layout",
        GRAPHS,
        "self._loaded.get(width) is not step.columns",
        "not self._loaded",
    ),
    (
        "a graph keeps its first tokens",
        GRAPHS,
        "mine, its = [captured.step.tokens], [step.tokens]",
        "mine, its = [], []",
    ),
    ("rows that read nothing", ATTENTION, "if groups and isinstance", "if isinstance"),
    ("weights in training are moved", JOINING, "any(p.requires_grad for part", "any(False for part"),
    # Sampling and bookkeeping
    ("what was cut off is in the trace", CANVAS, "kept = columns < end", "kept = columns >= 0"),
    ("one generator for all rows", SAMPLING, "generator=generator, dtype", "generator=generators[0], dtype"),
    ("seed by slot", DECODER, "self.generators[slot] = seeded(seed,", "self.generators[slot] = seeded(slot,"),
    (
        "commit step one too low",
        CANVAS,
        "np.arange(1, len(self.commits) + 1)",
        "np.arange(len(self.commits))",
    ),
    ("refreshes counted a forward late", DECODER, "row.refreshes += 1", "row.refreshes += row.nfe > 0"),
    (
        "queries counted as blocks",
        DECODER,
        "row.queries += last - first",
        "row.queries += row.block_end - row.block",
    ),
)
