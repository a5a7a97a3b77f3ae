"""The inside of the sandbox: a script that gives up every privilege, then runs one program and its tests.

It is started with `python -S -s -P sandbox_child.py FD` for every program, so it imports what loads fast and
no more. The request comes on standard input. The verdict leaves through the socket FD: a nonce that waits
there, read and sent back to front only once the last line of the tests has returned. A program that leaves
early, prints a success of its own or writes what it finds to every descriptor has not sent that. One written
against this very file could: it shares an interpreter with its judge.
"""

from __future__ import annotations

import _ast
import builtins
import marshal
import os
import sys
import types
import warnings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

FIRST_FD, LAST_FD = 100, 200  # the verdict's descriptor is moved to a random one of these
REASON_CHARS = 300
SIGNALLED = 128  # a shell's status for a process that a signal ended, before the signal's number
NONCE_BYTES = 32
PASSED, FAILED = b"passed ", b"failed "
CANDIDATE, TESTS = "<candidate>", "<tests>"


OPERATORS = (
    *(
        "__eq__",
        "__ne__",
        "__lt__",
        "__le__",
        "__gt__",
        "__ge__",
        "__sub__",
        "__rsub__",
        "__abs__",
        "__bool__",
    ),
    *("__contains__", "__iter__", "__len__", "__getitem__", "__float__", "__round__", "__hash__"),
)


class Forged(Exception):
    """The program tried to pass without doing what the tests ask."""


def split(candidate: str, tests: str) -> tuple[types.CodeType, types.CodeType]:
    """The two halves of `candidate + newline + tests`, compiled apart, as Python reads the joined text.

    Raises SyntaxError as the joined text does, Forged where the candidate reaches into the tests.
    """
    whole, wanted = parse(f"{candidate}\n{tests}"), [shape(node) for node in parse(tests).body]
    cut = len(whole.body) - len(wanted)
    if not wanted or cut < 0 or [shape(node) for node in whole.body[cut:]] != wanted:
        raise Forged("the candidate runs into the tests")
    head = compile(_ast.Module(whole.body[:cut], []), CANDIDATE, "exec", dont_inherit=True)
    tail = compile(_ast.Module(whole.body[cut:], []), TESTS, "exec", dont_inherit=True)
    return head, tail


def parse(text: str) -> _ast.Module:
    """ast.parse, without the module ast, which takes longer to import than most programs to run."""
    tree = compile(text, CANDIDATE, "exec", _ast.PyCF_ONLY_AST, dont_inherit=True)
    assert isinstance(tree, _ast.Module)
    return tree


def shape(node: object) -> object:
    """A syntax tree as tuples, without its places in the text."""
    if isinstance(node, list):
        return [shape(item) for item in node]
    if not isinstance(node, _ast.AST):
        return type(node), repr(node)
    return type(node), [shape(getattr(node, name, None)) for name in node._fields]


def guarded(function: Callable[..., object], scope: dict) -> types.FunctionType:
    """The function, refusing to return objects whose operators the candidate wrote itself."""
    kinds, exact, get, operators = (list, tuple, set, frozenset), type, builtins.getattr, OPERATORS

    def inspect(value: object, depth: int) -> None:
        kind = exact(value)
        for name in operators:
            if get(get(kind, name, None), "__globals__", None) is scope:
                raise Forged(f"it returned an object with its own {name}")
        if depth and kind in kinds:
            for item in value:  # type: ignore[attr-defined]
                inspect(item, depth - 1)
        elif depth and kind is dict:
            for item in value.values():  # type: ignore[attr-defined]
                inspect(item, depth - 1)

    def call(*args: object, **kwargs: object) -> object:
        result = function(*args, **kwargs)
        inspect(result, 3)
        return result

    name = getattr(function, "__name__", "f")
    return types.FunctionType(call.__code__, call.__globals__, name, None, call.__closure__)


def judge(candidate: str, tests: str, exports: list[str]) -> None:
    """Runs the candidate, then the tests with the candidate's names but untouched builtins.

    Raises whatever either raises. Names of builtins that the candidate rebinds reach the tests only if they
    are among `exports`.
    """
    head, tail = split(candidate, tests)
    untouched, execute, unhook = dict(vars(builtins)), exec, (sys.settrace, sys.setprofile)
    wrap = guarded
    scope: dict = {}
    execute(head, scope)
    for hook in unhook:
        hook(None)
    names = {k: v for k, v in scope.items() if k in exports or k not in untouched}
    for name in exports:
        if callable(names.get(name)) and not isinstance(names[name], type):
            names[name] = wrap(names[name], scope)
    names["__builtins__"] = untouched
    execute(tail, names)


def serve(request: dict, channel: int) -> None:
    """Judges the request and leaves; never returns."""
    send, receive, leave, describe = os.write, os.read, os._exit, reason
    try:
        judge(request["candidate"], request["tests"], request["exports"])
    except BaseException as error:  # SystemExit and KeyboardInterrupt are failures like any other
        message = FAILED + describe(error).encode(errors="replace")
    else:
        message = PASSED + receive(channel, NONCE_BYTES)[::-1].hex().encode()
    send(channel, message + b"\n")
    leave(0)


def reason(error: BaseException) -> str:
    """One line that says why a program failed."""
    try:
        text = " ".join(str(error).split())
    except BaseException:  # the candidate's own exception class may do anything
        text = ""
    name = "" if isinstance(error, Forged) else type(error).__name__
    return ": ".join(part for part in (name, text) if part)[:REASON_CHARS]


def main() -> None:
    """Prepares the process, then runs the request."""
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    import sandbox_confine as confine  # stands beside this script, in the sandbox too

    del sys.path[0]
    request = marshal.loads(sys.stdin.buffer.read())
    descriptor = int(sys.argv[1])
    channel = FIRST_FD + int.from_bytes(os.urandom(4), sys.byteorder) % (LAST_FD - FIRST_FD)
    os.dup2(descriptor, channel, inheritable=False)
    os.close(descriptor)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    if request["plan"] is not None:
        confine.build_root(request["plan"])
        inner = os.fork()
        if inner:
            # As the first process of its namespace this one outlives no child: its end is the end of all.
            code = os.waitstatus_to_exitcode(os.waitpid(inner, 0)[1])
            os._exit(code if code >= 0 else SIGNALLED - code)
    if request["confined"]:
        confine.drop_privileges(request["uid"])
        os.chdir(request["scratch"])
    confine.limit(request["cpu_s"], request["memory_mb"], request["file_mb"])
    confine.filter_calls(request["filter_required"])
    for stream in (1, 2):
        os.dup2(null, stream)
    os.close(null)
    sys.path[:] = [p for p in sys.path if p] + request["site"]
    sys.argv[:] = [""]
    warnings.simplefilter("ignore")
    sys.setrecursionlimit(1000)
    serve(request, channel)


if __name__ == "__main__":
    main()
