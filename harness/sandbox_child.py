"""The inside of the sandbox: a script that gives up every privilege, then judges one program by its tests.

It is started with `python -S -s -P sandbox_child.py FD` for every program, so it imports what loads fast and
no more. It becomes two processes. The judge reads the tests, runs them and sends the verdict through the
socket FD. The candidate runs in the other, which never holds that socket nor sees the tests: it is asked for
what its functions return (sandbox_remote.py). So whatever it patches, catches, writes or returns, only right
answers pass.
"""

from __future__ import annotations

import _ast
import marshal
import os
import sys
import types
import warnings

TYPE_CHECKING = False
if TYPE_CHECKING or __name__ != "__main__":
    from harness import sandbox_confine as confine
    from harness import sandbox_remote as remote
else:  # they stand beside this script, in the sandbox too
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    import sandbox_confine as confine
    import sandbox_remote as remote

    del sys.path[0]

REASON_CHARS = 300
SIGNALLED = 128  # a shell's status for a process that a signal ended, before the signal's number
NONCE_BYTES = 32
PASSED, FAILED = b"passed ", b"failed "
CANDIDATE, TESTS = "<candidate>", "<tests>"
IMPORTS = (_ast.Import, _ast.ImportFrom)


class Forged(Exception):
    """The program tried to change its tests."""


def split(candidate: str, tests: str) -> tuple[types.CodeType, types.CodeType, types.CodeType]:
    """The halves of `candidate + newline + tests`, compiled apart, and the second one's imports.

    Raises SyntaxError as the joined text does, Forged where the candidate reaches into the tests.
    """
    whole, wanted = parse(f"{candidate}\n{tests}"), [shape(node) for node in parse(tests).body]
    cut = len(whole.body) - len(wanted)
    if not wanted or cut < 0 or [shape(node) for node in whole.body[cut:]] != wanted:
        raise Forged("the candidate runs into the tests")
    imports: list[_ast.stmt] = [node for node in whole.body[cut:] if isinstance(node, IMPORTS)]
    head, middle, tail = (
        compile(_ast.Module(body, []), name, "exec", dont_inherit=True)
        for body, name in ((whole.body[:cut], CANDIDATE), (imports, TESTS), (whole.body[cut:], TESTS))
    )
    return head, middle, tail


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


def names_in(code: types.CodeType) -> set[str]:
    """The names that a program looks up, in its functions too."""
    inner = [names_in(constant) for constant in code.co_consts if isinstance(constant, types.CodeType)]
    return set(code.co_names).union(*inner)


def judge(candidate: str, tests: str, exports: list[str], peer: remote.Peer) -> None:
    """Has the candidate run by the other process, then runs the tests with the names that it defined.

    Raises whatever either raises. Names of builtins that the candidate rebinds reach the tests only if they
    are among `exports`, and of these none is looked up here by a name that the candidate gives.
    """
    head, imports, tail = split(candidate, tests)
    known = vars(sys.modules["builtins"])
    wanted = [name for name in names_in(tail) if name in exports or name not in known]
    codes = (marshal.dumps(head), marshal.dumps(imports))
    values, elsewhere = peer.ask("start", *codes, wanted, exports)
    names = {name: values[name] for name in wanted if name in values}
    for name in wanted:
        if name in elsewhere and name not in exports:
            names[name] = remote.named(*elsewhere[name])
    exec(tail, names)


def start(head: bytes, imports: bytes, wanted: list[str], exports: list[str]) -> tuple[dict, dict]:
    """Runs the candidate; what it defined of the wanted names, and where to import those that it imported.

    The imports of the tests follow, for in the joined text they would serve the candidate's functions too.
    """
    scope: dict = {}
    exec(marshal.loads(head), scope)
    found = {name: scope[name] for name in wanted if name in scope}
    exec(marshal.loads(imports), scope)
    elsewhere = {}
    for name, value in found.items():
        if isinstance(value, types.ModuleType):
            elsewhere[name] = (value.__name__, "")
        elif callable(value) and name not in exports:
            where = remote.origin(value)
            if where is not None:
                elsewhere[name] = where
    return {name: value for name, value in found.items() if name not in elsewhere}, elsewhere


def serve(request: dict, channel: int, peer: remote.Peer, other: int) -> int:
    """Judges the request and sends the verdict; the status to leave with."""
    try:
        judge(request["candidate"], request["tests"], request["exports"], peer)
    except remote.Gone:  # how it ended is the verdict
        return status_of(other)
    except BaseException as error:  # SystemExit and KeyboardInterrupt are failures like any other
        message = FAILED + reason(error).encode(errors="replace")
    else:
        message = PASSED + os.read(channel, NONCE_BYTES)[::-1].hex().encode()
    os.write(channel, message + b"\n")
    os.kill(other, 9)
    return 0


def status_of(child: int) -> int:
    """Waits for a child process; its status as a shell tells it."""
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return code if code >= 0 else SIGNALLED - code


def reason(error: BaseException) -> str:
    """One line that says why a program failed."""
    name = "" if isinstance(error, Forged) else type(error).__name__
    return ": ".join(part for part in (name, " ".join(str(error).split())) if part)[:REASON_CHARS]


def main() -> None:
    """Prepares the process, parts the candidate from its judge and lets both work."""
    length = int.from_bytes(remote.take(0, remote.PREFIX_BYTES), "little")
    settings, channel = marshal.loads(remote.take(0, length)), int(sys.argv[1])
    os.set_inheritable(channel, False)
    null = os.open(os.devnull, os.O_RDWR)
    if settings["plan"] is not None:
        confine.build_root(settings["plan"])
        inner = os.fork()
        if inner:
            # As the first process of its namespace this one outlives no child: its end is the end of all.
            os.dup2(null, 0)
            os._exit(status_of(inner))
    if settings["confined"]:
        confine.drop_privileges(settings["uid"])
        os.chdir(settings["scratch"])
    confine.limit(settings["cpu_s"], settings["memory_mb"], settings["file_mb"])
    asked, replied = os.pipe(), os.pipe()
    other = os.fork()
    if other == 0:
        confine.end_with_parent()
        os.dup2(null, 0)
        for descriptor in (channel, asked[1], replied[0]):
            os.close(descriptor)
        peer = remote.Peer(asked[0], replied[1], {**remote.OPERATIONS, "start": start})
    else:
        confine.hide()
        for descriptor in (asked[0], replied[1]):
            os.close(descriptor)
        peer = remote.Peer(replied[0], asked[1], {})
    confine.filter_calls(settings["filter_required"])
    for stream in (1, 2):
        os.dup2(null, stream)
    sys.path[:] = [p for p in sys.path if p] + settings["site"]
    sys.argv[:] = [""]
    warnings.simplefilter("ignore")
    sys.setrecursionlimit(1000)
    if other == 0:
        peer.serve()
        os._exit(0)
    request = b""
    while part := os.read(0, 1 << 20):
        request += part
    os.dup2(null, 0)
    os._exit(serve(marshal.loads(request), channel, peer, other))


if __name__ == "__main__":
    main()
