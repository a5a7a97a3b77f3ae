"""From a response to the program that is run: code fences, stop strings and the papers' clean-up of code."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterable, Sequence

OPEN = re.compile(r"```(?P<language>python|py|Python)[ \t]*\n")
BARE = re.compile(r"```(?P<language>)[ \t]*\n")
MAX_LINES = 100  # dParallel, Fast-dLLM and Dream look for valid code in the first hundred lines
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
ASSIGNMENTS = (ast.Assign, ast.AnnAssign, ast.AugAssign)


def cut(text: str, stops: Iterable[str]) -> str:
    """The text before the first stop string."""
    for stop in stops:
        if stop:
            text = text.split(stop, 1)[0]
    return text


def fenced(response: str) -> str | None:
    """What stands in the first code fence, to the response's end where it is not closed; None without one.

    A fence without a language that nothing closes may be the end of one that the prompt opened: it is where
    what comes before it is code.
    """
    match = OPEN.search(response) or BARE.search(response)
    if match is None:
        return None
    before, inside = response[: match.start()], response[match.end() :]
    if not match.group("language") and "```" not in inside and before.strip() and _is_code(before):
        return None
    return inside.split("```", 1)[0]


def _is_code(text: str) -> bool:
    return parses(text) is not None or parses(f"if True:\n{text}") is not None


def parses(code: str) -> ast.Module | None:
    """The parsed code, or None where it is not valid Python."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(code)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return None


def longest_valid(text: str) -> str:
    """The run of lines that is valid Python and has most lines that are not blank; the first of equals."""
    lines = text.splitlines()[:MAX_LINES]
    filled = [0]
    for line in lines:
        filled.append(filled[-1] + bool(line.strip()))
    spans = [(i, j) for i in range(len(lines)) for j in range(i + 1, len(lines) + 1)]
    for start, end in sorted(spans, key=lambda span: filled[span[0]] - filled[span[1]]):
        code = "\n".join(lines[start:end])
        if parses(code) is not None:
            return code
    return ""


def sanitize(text: str, needed: Iterable[str] | None = None) -> str:
    """The imports, definitions and assignments of the longest valid code; if given, only what `needed` uses.

    This is the clean-up that the papers' scripts apply before they run a HumanEval or MBPP answer. They keep
    what the entry point uses and drop the helper that HumanEval/50's tests call, so that it never passes.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\t", "    ").strip() + "\n"
    source = text if parses(text) else longest_valid(text)
    tree = parses(source) or ast.Module([], [])
    kept = [
        node
        for node in tree.body
        if isinstance(node, (ast.Import, ast.ImportFrom, *DEFINITIONS, *ASSIGNMENTS))
    ]
    if needed is not None:
        reached = _reachable(needed, kept)
        kept = [n for n in kept if isinstance(n, (ast.Import, ast.ImportFrom)) or _defines(n) & reached]
    return "\n".join(_text_of(node, source) for node in kept)


def _text_of(node: ast.stmt, source: str) -> str:
    """A statement written anew, or as it stands in `source` where it is nested too deeply for that."""
    try:
        return ast.unparse(node)
    except RecursionError:
        return ast.get_source_segment(source, node) or ""


def _defines(node: ast.stmt) -> set[str]:
    """The names a definition or an assignment binds."""
    if isinstance(node, DEFINITIONS):
        return {node.name}
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]  # type: ignore[attr-defined]
    return {name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)}


def _reachable(roots: Iterable[str], nodes: Sequence[ast.stmt]) -> set[str]:
    """The roots and every name that they use, directly or through what they use."""
    uses: dict[str, set[str]] = {}
    for node in nodes:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            continue
        names = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
        names |= {n.attr for n in ast.walk(node) if isinstance(n, ast.Attribute)}
        for name in _defines(node):
            uses.setdefault(name, set()).update(names)
    found, waiting = set(), list(roots)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting.extend(uses.get(name, ()))
    return found


def defined(code: str) -> set[str]:
    """The names that a program binds at its top level."""
    tree = parses(code) or ast.Module([], [])
    return {
        name
        for node in tree.body
        if isinstance(node, (*DEFINITIONS, *ASSIGNMENTS))
        for name in _defines(node)
    }


def completion(prompt: str, response: str, entry_point: str, tests: str, stops: Sequence[str]) -> str:
    """A HumanEval program from a response that is a whole function, in a fence or not, or a bare body.

    A bare body is judged as lm-eval judges it: prompt and response joined, the response cut at `stops`.
    """
    code = fenced(response)
    if code is None and re.search(rf"^(async )?def {re.escape(entry_point)}\b", response, re.MULTILINE):
        code = response
    if code is not None:
        tree = parses(tests) or ast.Module([], [])
        needed = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} | {entry_point}
        return sanitize(f"{prompt}\n{code}", needed)
    return prompt + cut(response.split("```", 1)[0], stops)


def function(response: str, clean: bool) -> str:
    """An MBPP program: what stands in the fence, cleaned up if asked, or the response between its marks."""
    code = fenced(response)
    if code is None:
        return response.split("```", 1)[0].removeprefix("[BEGIN]\n").split("[DONE]", 1)[0]
    return sanitize(code) if clean else code
