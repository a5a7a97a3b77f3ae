"""The names of rules, caches, stops and presets, and the grammar that composes them.

spec    := part ("+" part)* ["@" adapter]
part    := name [":" key "=" value ("," key "=" value)*]
"""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from strategies.base import Strategy, UnmaskRule
from strategies.cache import DualCache, NoCache, PrefixCache
from strategies.errors import SpecError
from strategies.stop import EndOfTextPrediction, FullLength
from strategies.unmask import Confidence, Entropy, Factor, FixedSteps, LearnedFilter, Oracle
from strategies.values import KINDS, read_value, readable

RULE, CACHE, STOP = "rule", "cache", "stop"
MEMBERS = {
    CACHE: ("keeps_kv", "keeps_cut", "span", "transfer"),
    STOP: ("reads_tail", "cut"),
}
SEPARATORS = re.compile(r"\s*([+:,=@])\s*")


@dataclass(frozen=True)
class Part:
    """A registered name: what kind of part it is, its class and where the rule comes from."""

    name: str
    kind: str
    cls: type
    source: str


PARTS: dict[str, Part] = {
    part.name: part
    for part in (
        Part("fixed", RULE, FixedSteps, "LLaDA (arXiv 2502.09992), Dream (arXiv 2508.15487)"),
        Part("confidence", RULE, Confidence, "Fast-dLLM (arXiv 2505.22618)"),
        Part("factor", RULE, Factor, "Fast-dLLM (arXiv 2505.22618)"),
        Part("entropy", RULE, Entropy, "dParallel (arXiv 2509.26488)"),
        Part("learn2pd", RULE, LearnedFilter, "Learn2PD (arXiv 2509.25188)"),
        Part("oracle", RULE, Oracle, "Learn2PD's extremely greedy parallel: the upper bound"),
        Part("prefix-cache", CACHE, PrefixCache, "Fast-dLLM (arXiv 2505.22618)"),
        Part("dual-cache", CACHE, DualCache, "Fast-dLLM (arXiv 2505.22618)"),
        Part("eotp", STOP, EndOfTextPrediction, "Learn2PD (arXiv 2509.25188)"),
    )
}

PRESETS = {
    "few-step": "fixed:steps=1/4",
    "consistency": "fixed:steps=1/4@consistency",
    "dparallel": "entropy@dparallel",
}

ALL = (
    "fixed",
    "fixed+dual-cache",
    "few-step",
    "confidence",
    "confidence+prefix-cache",
    "confidence+dual-cache",
    "factor",
    "entropy",
    "consistency",
    "dparallel",
    "dparallel+dual-cache",
    "learn2pd",
    "learn2pd+eotp",
    "learn2pd+eotp+prefix-cache",
    "learn2pd+eotp+dual-cache",
    "oracle",
)


def register(kind: str, name: str, cls: type, source: str = "plug-in") -> None:
    """Make a plug-in's rule, cache or stop known to the grammar under `name`.

    kind: "rule", "cache" or "stop". cls: a frozen dataclass whose fields are the spec's keys.
    Raises SpecError for a name that is taken or not of lower-case letters, digits and hyphens, and for a
    class that cannot be such a part.
    """
    if kind not in (RULE, CACHE, STOP):
        raise SpecError(f"plug-in {name!r}: kind {kind!r} is not one of rule, cache, stop")
    if not re.fullmatch(r"[a-z][a-z0-9-]*", name):
        raise SpecError(f"plug-in name {name!r} must be lower-case letters, digits and hyphens")
    if (name in PARTS and PARTS[name].cls is not cls) or name in PRESETS or name == "all":
        raise SpecError(f"plug-in name {name!r} is already taken")
    fault = _unfit(kind, cls)
    if fault:
        raise SpecError(f"plug-in {name!r}: {fault}")
    PARTS[name] = Part(name, kind, cls, source)


def _unfit(kind: str, cls: Any) -> str:
    """Why `cls` cannot be a part of that kind, empty where it can."""
    if not isinstance(cls, type):
        return f"register the class, not {cls!r}"
    if not dataclasses.is_dataclass(cls):
        return f"{cls.__name__} is not a dataclass"
    if kind == RULE and not issubclass(cls, UnmaskRule):
        return f"{cls.__name__} is no subclass of UnmaskRule"
    inherits = [getattr(cls, name, None) is getattr(UnmaskRule, name) for name in ("admit", "transfer_index")]
    if kind == RULE and all(inherits):
        return f"{cls.__name__} lacks admit"
    lacking = [name for name in MEMBERS.get(kind, ()) if not hasattr(cls, name)]
    if lacking:
        return f"{cls.__name__} lacks {', '.join(lacking)}"
    fields = _written(cls)
    known = {field.name for field in dataclasses.fields(cls)}
    loose = [
        name
        for name, hint in inspect.get_annotations(cls).items()
        if name not in known and not re.search("ClassVar|InitVar|KW_ONLY", str(hint))
    ]
    if loose:
        return f"{', '.join(loose)} of {cls.__name__} is no field; decorate it with @dataclass(frozen=True)"
    unreadable = [name for name, field in fields.items() if not readable(field)]
    if unreadable:
        kinds = ", ".join(sorted(KINDS))
        return (
            f"{', '.join(unreadable)} of {cls.__name__} cannot be read from a spec; use {kinds} or choice()"
        )
    return ""


def nearest(word: str, known: Iterable[str]) -> str:
    """`; did you mean X?` where something known is close, else nothing."""
    close = difflib.get_close_matches(word, list(known), 1)
    return f"; did you mean {close[0]}?" if close else ""


def normal(spec: str) -> str:
    """The spec without the white space around its separators; paths may hold some."""
    return SEPARATORS.sub(r"\1", spec.strip())


def parse(spec: str) -> Strategy:
    """Build the strategy that `spec` names.

    Raises SpecError, one line listing what exists, for unknown names and keys, bad values, and
    anything but exactly one rule, at most one cache and at most one stop.
    """
    text = normal(spec)
    body, at, adapter = text.partition("@")
    if not body or (at and not adapter):
        raise SpecError(
            f"{spec!r} is not a strategy: write rule[+cache][+stop][@adapter], for example confidence"
        )
    found: dict[str, tuple[Part, dict[str, str]]] = {}
    for part_text in body.split("+"):
        name, _, keys = part_text.partition(":")
        values = _keys(part_text, keys)
        if name in PRESETS:
            preset_body, _, preset_adapter = PRESETS[name].partition("@")
            adapter = adapter or preset_adapter
            name, _, preset_keys = preset_body.partition(":")
            values = _keys(preset_body, preset_keys) | values
        if name not in PARTS:
            known = [*PARTS, *PRESETS]
            raise SpecError(
                f"no strategy part {name!r} in {text!r}{nearest(name, known)} (known: {', '.join(known)})"
            )
        part = PARTS[name]
        if part.kind in found:
            raise SpecError(f"{text!r} has two {part.kind}s, {found[part.kind][0].name} and {name}; give one")
        found[part.kind] = (part, values)
    if RULE not in found:
        rules = ", ".join(p.name for p in PARTS.values() if p.kind == RULE)
        raise SpecError(f"{text!r} has no unmasking rule; add one of {rules}")
    built = {kind: _build(part, values) for kind, (part, values) in found.items()}
    expanded = "+".join(_describe(*found[kind], built[kind]) for kind in (RULE, STOP, CACHE) if kind in found)
    return Strategy(
        spec=text,
        expanded=expanded + (f"@{adapter}" if adapter else ""),
        unmask=built[RULE],
        cache=built.get(CACHE, NoCache()),
        stop=built.get(STOP, FullLength()),
        adapter=adapter or None,
    )


def _keys(part_text: str, keys: str) -> dict[str, str]:
    if ":" not in part_text:
        return {}
    values: dict[str, str] = {}
    for item in keys.split(","):
        key, equals, value = item.partition("=")
        if not equals or not key:
            raise SpecError(f"{part_text!r}: {item!r} is not key=value; write name:key=value,key=value")
        if key in values:
            raise SpecError(f"{part_text!r} gives {key} twice")
        values[key] = value
    return values


def _written(cls: type) -> dict[str, dataclasses.Field[Any]]:
    """The fields of a part that a spec may give."""
    return {field.name: field for field in dataclasses.fields(cls) if field.init}


def _build(part: Part, values: dict[str, str]) -> Any:
    fields = _written(part.cls)
    for key in values:
        if key not in fields:
            known = ", ".join(fields) or "none"
            raise SpecError(f"{part.name} has no key {key!r}{nearest(key, fields)} (its keys: {known})")
    missing = [
        name
        for name, field in fields.items()
        if name not in values
        and field.default is dataclasses.MISSING
        and field.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise SpecError(f"{part.name} needs {', '.join(missing)}: write {part.name}:{missing[0]}=...")
    return part.cls(**{key: read_value(part.name, fields[key], text) for key, text in values.items()})


def _describe(part: Part, values: dict[str, str], built: Any) -> str:
    """The part with every key that differs from its default, in the class's order."""
    shown = [
        f"{field.name}={getattr(built, field.name)}"
        for field in _written(part.cls).values()
        if getattr(built, field.name) != field.default
    ]
    return part.name + (":" + ",".join(shown) if shown else "")


def split_list(text: str) -> list[str]:
    """Split `a,b:k=1,l=2,c` at the commas between specs; `l=2` continues b's keys."""
    specs: list[str] = []
    for piece in (piece.strip() for piece in text.split(",")):
        if specs and ":" in specs[-1] and re.match(r"[A-Za-z_]\w*\s*=", piece):
            specs[-1] += "," + piece
        elif piece:
            specs.append(piece)
    return specs


def resolve(text: str) -> list[Strategy]:
    """The strategies of a list of specs, `all` standing for the curated list; duplicates are dropped."""
    specs: dict[str, None] = {}
    for spec in split_list(text):
        specs |= dict.fromkeys(ALL if spec == "all" else (normal(spec),))
    if not specs:
        raise SpecError("no strategy given; write all, or specs separated by commas")
    return [parse(spec) for spec in specs]
