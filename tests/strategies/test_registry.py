"""The spec grammar: every name parses, a spec re-creates its parts, and errors list what exists."""

import dataclasses

import pytest

import strategies
from strategies import ALL, SpecError, Strategy, parse, resolve
from strategies.cache import DualCache, NoCache, PrefixCache
from strategies.registry import PARTS, PRESETS, RULE, split_list
from strategies.stop import EndOfTextPrediction, FullLength
from strategies.unmask import Confidence, Entropy, Factor, FixedSteps, LearnedFilter, Oracle
from strategies.values import Steps

GOLDEN_SPECS = (
    "entropy:threshold=0.3+dual-cache",
    "fixed:steps=32,remasking=entropy+prefix-cache",
    "fixed:steps=64,remasking=margin,schedule=dream",
    "factor:factor=0.5,variant=fast-dllm+dual-cache",
    "learn2pd:threshold=0.9,steps=128,filter=some/dir/f.safetensors+eotp+prefix-cache",
    "fixed:steps=1/4,eos=banned+eotp:trigger=committed+dual-cache:refresh=first,suffix=stale@adapters/x-1",
    "oracle:reference=confidence",
)


@pytest.mark.parametrize("name", [*ALL, *PRESETS])
def test_every_curated_name_and_preset_parses(name):
    assert isinstance(parse(name), Strategy)
    assert parse(name).spec == name


@pytest.mark.parametrize("part", PARTS.values(), ids=list(PARTS))
def test_every_part_constructs_by_default(part):
    assert part.cls() == part.cls()
    assert part.source
    assert parse(part.name if part.kind == RULE else f"fixed+{part.name}")


@pytest.mark.parametrize("spec", [*ALL, *PRESETS, *GOLDEN_SPECS])
def test_the_expanded_spec_recreates_the_parts(spec):
    made = parse(spec)
    again = parse(made.expanded)
    for field in ("unmask", "cache", "stop", "adapter", "expanded"):
        assert getattr(again, field) == getattr(made, field)
    assert parse(made.spec) == made


def test_parts_and_keys_reach_their_rules():
    assert parse("confidence").unmask == Confidence(0.9)
    assert parse("confidence").cache == NoCache()
    assert parse("confidence").stop == FullLength()
    assert parse("confidence:threshold=0.75+prefix-cache").cache == PrefixCache()
    assert parse("factor:variant=fast-dllm,factor=2").unmask == Factor(2.0, "fast-dllm")
    assert parse("entropy").unmask == Entropy(0.5)
    assert parse("oracle").unmask == Oracle("fixed")
    assert parse("fixed:steps=64").unmask == FixedSteps(Steps.parse("64"))
    whole = parse("dual-cache + eotp + learn2pd : filter = f.st , steps = 1/2 @ mine")
    assert whole.unmask == LearnedFilter(0.96, Steps.parse("1/2"), "f.st")
    assert (whole.cache, whole.stop, whole.adapter) == (DualCache(), EndOfTextPrediction(), "mine")
    assert parse("learn2pd:filter=my runs/f.st @ my runs/a").unmask.filter == "my runs/f.st"
    assert parse("learn2pd:filter=my runs/f.st @ my runs/a").adapter == "my runs/a"


def test_presets_stand_for_a_whole_spec_and_more_may_follow():
    assert parse("few-step").expanded == "fixed:steps=1/4"
    assert parse("few-step:remasking=margin").unmask == FixedSteps(Steps.parse("1/4"), "margin")
    assert parse("few-step:steps=8").unmask == FixedSteps(Steps.parse("8"))
    assert parse("dparallel").expanded == "entropy@dparallel"
    assert parse("dparallel+dual-cache").cache == DualCache()
    assert parse("dparallel+dual-cache").adapter == "dparallel"
    assert parse("dparallel@other").adapter == "other"
    assert parse("consistency").expanded == "fixed:steps=1/4@consistency"


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("", "is not a strategy"),
        ("@dparallel", "is not a strategy"),
        ("confidence@", "is not a strategy"),
        ("confidense", "no strategy part 'confidense'.*did you mean confidence.*known: fixed, confidence"),
        ("few-steps", "did you mean few-step"),
        ("xyzzy", "known: fixed, confidence, factor, entropy, learn2pd, oracle, prefix-cache"),
        ("confidence+", "no strategy part ''"),
        ("confidence:treshold=0.9", "no key 'treshold'; did you mean threshold.*its keys: threshold"),
        ("confidence:threshold", "'threshold' is not key=value"),
        ("confidence:", "is not key=value"),
        ("confidence:=0.9", "is not key=value"),
        ("confidence:threshold=0.9,threshold=0.8", "gives threshold twice"),
        ("confidence:threshold=high", "threshold=high is not a number"),
        ("confidence:threshold=1.5", "out of range: above 0 and at most 1"),
        ("confidence:threshold=0", "out of range"),
        ("confidence:threshold=nan", "not a finite number"),
        ("entropy:threshold=inf", "not a finite number"),
        ("confi dence", "no strategy part 'confi dence'"),
        ("entropy:threshold=-1", "out of range: at least 0"),
        ("factor:factor=0", "out of range: above 0"),
        ("learn2pd:threshold=1", "out of range: at least 0 and below 1"),
        ("learn2pd:filter=", "filter= has no value"),
        ("factor:variant=mine", "not one of published, fast-dllm"),
        ("fixed:remasking=low", "not one of low-confidence, random, margin, entropy"),
        ("fixed:steps=0", "steps=0 is neither"),
        ("fixed:steps=3/2", "steps=3/2 is neither"),
        ("fixed:steps=2.5", "steps=2.5 is neither"),
        ("eotp:trigger=eos+fixed", "not one of predicted, committed"),
        ("confidence+factor", "has two rules, confidence and factor"),
        ("few-step+confidence", "has two rules, fixed and confidence"),
        ("confidence+prefix-cache+dual-cache", "has two caches, prefix-cache and dual-cache"),
        ("confidence+eotp+eotp", "has two stops"),
        ("dual-cache", "has no unmasking rule; add one of fixed, confidence"),
    ],
)
def test_a_bad_spec_is_one_line_that_says_what_exists(spec, says):
    with pytest.raises(SpecError, match=says) as caught:
        parse(spec)
    assert "\n" not in str(caught.value)


def test_a_strategy_that_no_lengths_can_decode():
    whole = parse("fixed:schedule=dream+prefix-cache")
    with pytest.raises(SpecError, match=r"no blocks for a cache.*schedule=dream-block"):
        whole.check(64, 32)
    parse("fixed:schedule=dream").check(64, 32)


def test_lists_split_at_the_commas_between_specs():
    assert split_list("a, b:k=1,l=2 ,c") == ["a", "b:k=1,l=2", "c"]
    assert split_list("b : k = 1 , l = 2, c") == ["b : k = 1,l = 2", "c"]
    assert split_list("fixed:steps=4,remasking=margin+dual-cache,few-step,") == [
        "fixed:steps=4,remasking=margin+dual-cache",
        "few-step",
    ]


def test_resolving_lists():
    assert [s.spec for s in resolve("all")] == list(ALL)
    assert [s.spec for s in resolve("entropy, all")] == ["entropy", *(n for n in ALL if n != "entropy")]
    assert [s.spec for s in resolve("factor:factor=2,variant=fast-dllm,fixed,fixed")] == [
        "factor:factor=2,variant=fast-dllm",
        "fixed",
    ]
    with pytest.raises(SpecError, match="no strategy given"):
        resolve(" , ")


def test_the_curated_list_covers_every_built_in_part():
    expanded = "+".join(parse(spec).expanded for spec in ALL)
    built_in = [part for part in PARTS.values() if part.cls.__module__.startswith("strategies.")]
    assert all(part.name in expanded for part in built_in)


@dataclasses.dataclass(frozen=True)
class Eager(strategies.UnmaskRule):
    """Commits everything; `pace` is here to be parsed."""

    pace: int = 1

    def admit(self, p, score):
        return p.eligible


@dataclasses.dataclass(frozen=True)
class Idle(strategies.UnmaskRule):
    pass


class Loose(Eager):
    """Without a decorator of its own, so that its key would not exist."""

    share: float = 0.5


@dataclasses.dataclass(frozen=True)
class Listed(Eager):
    items: list[int] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class Demanding(strategies.UnmaskRule):
    """Keys of two more kinds, one without a default."""

    _: dataclasses.KW_ONLY
    level: float
    strict: bool = False
    memo: dict[str, int] = dataclasses.field(init=False, default_factory=dict, compare=False)

    def admit(self, p, score):
        return p.eligible


@pytest.fixture
def registered():
    before = dict(PARTS)
    yield strategies.register
    PARTS.clear()
    PARTS.update(before)


def test_a_registered_rule_joins_the_grammar(registered):
    registered("rule", "eager", Eager)
    assert parse("eager:pace=3+dual-cache").unmask == Eager(3)
    registered("rule", "eager", Eager)  # a file that is loaded twice
    with pytest.raises(SpecError, match="pace=x is not a number"):
        parse("eager:pace=x")


def test_keys_without_a_default_and_flags(registered):
    registered("rule", "demanding", Demanding)
    made = parse("demanding:level=0.5,strict=False")
    assert made.unmask == Demanding(level=0.5, strict=False)
    assert parse("demanding:strict=true,level=1").unmask == Demanding(level=1.0, strict=True)
    assert parse(parse("demanding:strict=true,level=1").expanded).unmask.strict
    with pytest.raises(SpecError, match="demanding needs level: write demanding:level="):
        parse("demanding:strict=true")
    with pytest.raises(SpecError, match="no key 'memo'"):
        parse("demanding:level=1,memo=x")
    with pytest.raises(SpecError, match="strict=yes is not true or false"):
        parse("demanding:level=1,strict=yes")


def test_built_in_parts_could_be_registered_again(registered):
    classes = {part.name: part.cls for part in PARTS.values()}
    for part in list(PARTS.values()):
        registered(part.kind, part.name, part.cls)
    assert {part.name: part.cls for part in PARTS.values()} == classes


@pytest.mark.parametrize(
    ("kind", "name", "cls", "says"),
    [
        ("metric", "eager", Eager, "kind 'metric' is not one of rule, cache, stop"),
        ("rule", "Eager!", Eager, "lower-case letters, digits and hyphens"),
        ("rule", "confidence", Eager, "already taken"),
        ("rule", "few-step", Eager, "already taken"),
        ("rule", "all", Eager, "already taken"),
        ("rule", "eager", int, "int is not a dataclass"),
        ("rule", "eager", Eager(), "register the class"),
        ("rule", "eager", PrefixCache, "PrefixCache is no subclass of UnmaskRule"),
        ("cache", "eager", Eager, "Eager lacks keeps_kv, keeps_cut, span, transfer"),
        ("stop", "eager", Eager, "Eager lacks reads_tail, cut"),
        ("rule", "eager", Idle, "Idle lacks admit"),
        ("rule", "eager", Loose, "share of Loose is no field; decorate it"),
        (
            "rule",
            "eager",
            Listed,
            "items of Listed cannot be read from a spec; use Steps, bool, float",
        ),
    ],
)
def test_what_cannot_be_registered(registered, kind, name, cls, says):
    with pytest.raises(SpecError, match=says):
        registered(kind, name, cls)
