"""The model `dllm` of lm-eval: a checkpoint under a decoding strategy, which scores by generation only."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.api.registry import register_model
from tqdm import tqdm

from harness.decoding import Generation, decode
from harness.decoding.request import check_request
from harness.errors import UserError
from harness.lm_args import KEYS, ModelArgs, parse_model_args
from harness.models.loading import load_model
from harness.prepare import prepare, reference_strategy
from harness.response import Response, read_response
from harness.runner_decode import free_memory, out_of_memory
from harness.tasks.postprocess import cut
from results.metrics import summarise, to_frame
from results.records import SampleRecord
from strategies import Strategy, parse

NAME = "dllm"
LOGGER = logging.getLogger(__name__)
GEN_LENGTH, BLOCK_LENGTH = 256, 32  # where neither the arguments nor the task say more
LENGTH_KEYS = ("max_gen_toks", "max_new_tokens", "max_tokens")
COSTS = ("nfe", "refresh_nfe", "query_tokens", "tpf_raw", "tpf_eos", "tpf_scored", "tps", "latency_s")
SAMPLE_COSTS = (
    "nfe",
    "refresh_nfe",
    "query_tokens",
    "tokens_raw",
    "tokens_eos",
    "tokens_scored",
    "latency_s",
)


@dataclass(frozen=True)
class Job:
    """One request of lm-eval's, read."""

    request: Instance
    ids: list[int]
    until: tuple[str, ...]
    gen_length: int
    temperature: float


@register_model(NAME)
class DiffusionLM(LM):
    """A denoiser plus a strategy, as lm-eval sees it; the options are the fields of ModelArgs."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.args = args = ModelArgs.read(options)
        self.strategy = parse(args.strategy)
        self.batch_size = args.batch_size
        self.loaded = load_model(
            args.pretrained,
            dtype=args.dtype,
            device=args.device,
            adapter=self.strategy.adapter,
            revision=args.revision,
        )
        self.tokenizer = self.loaded.need_tokenizer()
        self.template: str | None = None
        self.records: list[SampleRecord] = []

    @classmethod
    def create_from_arg_string(cls, arg_string: str, additional_config: dict | None = None) -> DiffusionLM:
        return cls.create_from_arg_obj(parse_model_args(arg_string), additional_config)

    @classmethod
    def create_from_arg_obj(cls, arg_dict: dict, additional_config: dict | None = None) -> DiffusionLM:
        """The model of --model_args; lm-eval's own --batch_size and --device fill in what they leave open.

        lm-eval always names a device, cuda:0 where it was given none: without a GPU that means auto.
        """
        beside = {key: value for key, value in (additional_config or {}).items() if key in KEYS}
        if str(beside.get("device", "")).startswith("cuda") and not torch.cuda.is_available():
            del beside["device"]
        given = {key: value for key, value in arg_dict.items() if key != "trust_remote_code"}
        return cls(**{**beside, **given})

    @property
    def tokenizer_name(self) -> str:
        return str(self.loaded.path).replace("/", "__")

    @property
    def max_length(self) -> int:
        return self.loaded.config.max_length

    def chat_template(self, chat_template: bool | str = False) -> str | None:
        """The template that --apply_chat_template [NAME] asks for, which is then the one applied."""
        self.template = chat_template if isinstance(chat_template, str) else None
        return self.tokenizer.template(self.template) if chat_template and self.tokenizer.has_chat else ""

    def apply_chat_template(
        self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        return self.tokenizer.render(chat_history, add_generation_prompt, self.template)

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        """Raises UserError: a masked diffusion model gives no probability of a text, only bounds of it."""
        raise UserError(
            f"task {requests[0].task_name!r} scores by log-likelihood, which {NAME} has not; "
            "take a task of output_type generate_until"
        )

    def loglikelihood_rolling(self, requests: list[Instance]) -> list[float]:
        """Raises UserError, as `loglikelihood`."""
        self.loglikelihood(requests)
        raise AssertionError

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """The generated texts, each cut at the task's stop strings, decoded in ragged batches.

        Raises UserError before anything is decoded where a prompt does not fit or the strategy cannot
        decode a region of the task's length. Where memory runs out, the batch is halved.
        """
        self.records = []
        jobs = [self._job(request) for request in requests]
        groups: dict[tuple[int, float], list[int]] = defaultdict(list)
        for number in sorted(
            range(len(jobs)), key=lambda n: -len(jobs[n].ids)
        ):  # out of memory early or never
            groups[jobs[number].gen_length, jobs[number].temperature].append(number)
        texts: dict[int, str] = {}
        with tqdm(total=len(jobs), disable=disable_tqdm, desc=self.strategy.spec) as progress:
            for (gen_length, temperature), members in groups.items():

                def finish(number: int, generation: Generation) -> None:
                    texts[number] = self._finish(jobs[number], generation)
                    progress.update()

                strategy = prepare(self.strategy, self.loaded, gen_length, self._block(gen_length))
                answers = None
                if (reference := reference_strategy(strategy)) is not None:
                    reference = prepare(reference, self.loaded, gen_length, self._block(gen_length))
                    answers = self._decode(jobs, members, reference, gen_length, temperature)
                self._decode(jobs, members, strategy, gen_length, temperature, answers, finish)
        return [texts[number] for number in range(len(jobs))]

    def _decode(
        self,
        jobs: list[Job],
        members: list[int],
        strategy: Strategy,
        gen_length: int,
        temperature: float,
        answers: dict[int, list[int]] | None = None,
        finish: Callable[[int, Generation], None] | None = None,
    ) -> dict[int, list[int]]:
        """Decode the jobs `members`; their output ids by number."""
        done: dict[int, list[int]] = {}

        def keep(place: int, generation: Generation) -> None:
            done[now[place]] = generation.output_ids
            if finish is not None:
                finish(now[place], generation)

        while now := [number for number in members if number not in done]:
            try:
                decode(
                    self.loaded,
                    [jobs[number].ids for number in now],
                    strategy,
                    gen_length=gen_length,
                    block_length=self._block(gen_length),
                    batch_size=self.batch_size,
                    temperature=temperature,
                    seeds=[self.args.seed + (jobs[number].request.doc_id or 0) for number in now],
                    references=None if answers is None else [answers[number] for number in now],
                    on_finish=keep,
                )
            except Exception as error:
                if self.batch_size == 1 or not out_of_memory(error):
                    raise
                self.batch_size //= 2
                free_memory()
                LOGGER.warning("out of memory; going on with %d rows at a time", self.batch_size)
        return done

    def _block(self, gen_length: int) -> int:
        return self.args.block_length or min(BLOCK_LENGTH, gen_length)

    def _job(self, request: Instance) -> Job:
        context, settings = request.args
        ids = self.tokenizer.encode(context)
        until = settings.get("until") or ()
        asked = next((settings[key] for key in LENGTH_KEYS if settings.get(key)), GEN_LENGTH)
        gen_length = self.args.gen_length or int(asked)
        sampled = float(settings.get("temperature") or 0.0) if settings.get("do_sample") else 0.0
        try:
            check_request(
                self.loaded.model, [ids], self.strategy, gen_length, self._block(gen_length), references=()
            )
        except UserError as error:
            raise UserError(f"task {request.task_name}, document {request.doc_id}: {error}") from error
        return Job(
            request,
            ids,
            (until,) if isinstance(until, str) else tuple(until),
            gen_length,
            sampled if self.args.temperature is None else self.args.temperature,
        )

    def _finish(self, job: Job, generation: Generation) -> str:
        """Keep what the sample cost; its text, cut."""
        ends = self.loaded.config.terminators
        response = read_response(generation.output_ids, self.tokenizer, ends, job.until)
        self.records.append(self._record(job, generation, response))
        text = cut(response.text, job.until)
        self.cache_hook.add_partial("generate_until", job.request.args, text)
        return text

    def _record(self, job: Job, generation: Generation, response: Response) -> SampleRecord:
        return SampleRecord(
            strategy=self.strategy.spec,
            task=job.request.task_name or "",
            doc_id=job.request.doc_id or 0,
            nfe=generation.nfe,
            refresh_nfe=generation.refresh_nfe,
            query_tokens=generation.query_tokens,
            tokens_raw=response.tokens_raw,
            tokens_eos=response.tokens_eos,
            tokens_scored=response.tokens_scored,
            latency_s=generation.latency_s,
            batch_size=self.batch_size,
        )

    def get_model_info(self) -> dict[str, Any]:
        """What lm-eval puts under `config` of its results: the resolved model, and the costs by task."""
        rows = summarise(to_frame(self.records)).to_dict("records") if self.records else []
        samples: dict[str, dict[int, dict[str, Any]]] = defaultdict(dict)
        for record in self.records:
            samples[record.task][record.doc_id] = {name: getattr(record, name) for name in SAMPLE_COSTS}
        return {
            NAME: {
                "model": str(self.loaded.path),
                "model_family": self.loaded.config.family,
                "strategy": self.strategy.spec,
                "gen_length": self.args.gen_length,
                "block_length": self.args.block_length,
                "batch_size": self.batch_size,
                "dtype": self.loaded.dtype,
                "device": self.loaded.device,
                "costs": {str(row["task"]): {name: float(row[name]) for name in COSTS} for row in rows},
                "samples": dict(samples),
            }
        }


def add_costs(results: dict[str, Any], samples: Sequence[str] = SAMPLE_COSTS) -> dict[str, Any]:
    """Move the costs that `get_model_info` reports into the tables and logged samples of lm-eval's results.

    Every task gets COSTS beside its metrics (`nfe,none` ...), every logged sample SAMPLE_COSTS. What was
    answered from a response cache cost nothing and has none.
    """
    info = results["config"][NAME]
    by_sample = info.pop("samples")
    for task, costs in info["costs"].items():
        results["results"][task].update({f"{name},none": value for name, value in costs.items()})
        if task in results.get("higher_is_better", {}):
            results["higher_is_better"][task].update(nfe=False, tpf_eos=True)
        place: dict[str, int] = defaultdict(int)
        for sample in results.get("samples", {}).get(task, ()):
            # lm-eval numbers its requests from 0 whatever --samples selects, in the order of the samples
            number = place[sample["filter"]]
            place[sample["filter"]] += 1
            sample.update({name: by_sample[task].get(number, {}).get(name) for name in samples})
    return results
