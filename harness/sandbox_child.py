"""The inside of the sandbox: a script that gives up every privilege, then runs one program and its tests.

It uses the standard library alone and is started with `python -S -s -P sandbox_child.py FD`. The request
comes as JSON on standard input. The verdict leaves through the socket FD: a digest of a nonce that waits
there, which is read and sent only once the last line of the tests has returned. A program that leaves early,
prints a success of its own or writes to every descriptor it finds has not produced that digest.
"""

from __future__ import annotations

import ast
import builtins
import ctypes
import hashlib
import json
import os
import resource
import sys
import types
import warnings

MEGABYTE = 1 << 20
FIRST_FD, LAST_FD = 100, 200  # the verdict's descriptor is moved to a random one of these
PROCESSES = 32
REASON_CHARS = 300
LABEL = b"the last line of the tests has returned"
CANDIDATE, TESTS = "<candidate>", "<tests>"

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT, MS_BIND = 1, 2, 4, 8, 32, 4096
MS_REC, MS_PRIVATE, MNT_DETACH = 16384, 1 << 18, 2
PR_SET_NO_NEW_PRIVS, PR_CAPBSET_DROP, LAST_CAPABILITY = 38, 24, 63
CAPABILITY_VERSION = 0x20080522
PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
CLONE_THREAD = 0x00010000
SIGNALLED = 128  # a shell's status for a process that a signal ended, before the signal's number
ACT_ALLOW, ACT_ERRNO, EPERM, ENOSYS, COMPARE_MASKED_EQUAL = 0x7FFF0000, 0x00050000, 1, 38, 7
DENIED = (
    *("fork", "vfork", "execve", "execveat", "socket", "ptrace", "process_vm_readv", "process_vm_writev"),
    *(
        "mount",
        "umount2",
        "pivot_root",
        "chroot",
        "unshare",
        "setns",
        "bpf",
        "perf_event_open",
        "userfaultfd",
    ),
    *(
        "keyctl",
        "add_key",
        "request_key",
        "io_uring_setup",
        "open_by_handle_at",
        "init_module",
        "finit_module",
    ),
    *("kexec_load", "reboot", "swapon", "swapoff"),
)


class Forged(Exception):
    """The program tried to pass without doing what the tests ask."""


def libc() -> ctypes.CDLL:
    """The C library, with errno kept."""
    return ctypes.CDLL(None, use_errno=True)


def checked(result: int, what: str) -> None:
    """Raises OSError for a system call that failed."""
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")


def mount(source: str, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    """mount(2)."""
    values = [None if v is None else v.encode() for v in (source, target, kind, data)]
    checked(libc().mount(values[0], values[1], values[2], flags, values[3]), f"mount {target}")


def build_root(plan: dict) -> None:
    """Replaces the file system by an empty one with the plan's read-only paths and a scratch folder."""
    root = plan["root"]
    mount("none", "/", None, MS_REC | MS_PRIVATE)
    mount("tmpfs", root, "tmpfs", MS_NOSUID | MS_NODEV, "size=1m,mode=755")
    for link, target in plan["links"].items():
        os.symlink(target, root + link)
    for path in plan["read_only"] + plan["devices"]:
        target = root + path
        if os.path.isdir(path):
            os.makedirs(target, exist_ok=True)
        else:
            os.makedirs(os.path.dirname(target), exist_ok=True)
            os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o644))
        mount(path, target, None, MS_BIND)
        # Flags that the original mount is locked to have to be said again, or the kernel refuses.
        locked = os.statvfs(target).f_flag & (MS_NOSUID | MS_NODEV | MS_NOEXEC)
        if path in plan["read_only"]:
            mount("none", target, None, MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | locked)
    os.mkdir(root + plan["scratch"])
    mount(
        "tmpfs",
        root + plan["scratch"],
        "tmpfs",
        MS_NOSUID | MS_NODEV,
        f"size={plan['scratch_mb']}m,mode=1777",
    )
    mount("none", root, None, MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV)
    os.chdir(root)
    checked(libc().syscall(PIVOT_ROOT[os.uname().machine], b".", b"."), "pivot_root")
    checked(libc().umount2(b".", MNT_DETACH), "umount")
    os.chdir("/")


def drop_privileges(uid: int | None) -> None:
    """Leaves root for `uid` where one is given, and gives up every capability for good."""
    if uid is not None:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    c = libc()
    for capability in range(LAST_CAPABILITY + 1):
        c.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION, 0)
    checked(c.capset(header, (ctypes.c_uint32 * 6)()), "capset")
    checked(c.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl")


def limit(cpu_s: int, memory_mb: int, file_mb: int) -> None:
    """Bounds what this process and all it starts may use."""
    for kind, value in (
        (resource.RLIMIT_CPU, cpu_s),
        (resource.RLIMIT_AS, memory_mb * MEGABYTE),
        (resource.RLIMIT_FSIZE, file_mb * MEGABYTE),
        (resource.RLIMIT_NPROC, PROCESSES),
        (resource.RLIMIT_NOFILE, LAST_FD + 1),
        (resource.RLIMIT_CORE, 0),
    ):
        ceiling = resource.getrlimit(kind)[1]
        value = value if ceiling == resource.RLIM_INFINITY else min(value, ceiling)
        resource.setrlimit(kind, (value, value))


class Argument(ctypes.Structure):
    """libseccomp's comparison of one argument of a system call."""

    _fields_ = [
        ("arg", ctypes.c_uint),
        ("op", ctypes.c_int),
        ("a", ctypes.c_uint64),
        ("b", ctypes.c_uint64),
    ]


def filter_calls(required: bool) -> None:
    """Forbids new processes, sockets and the calls that change the system, where libseccomp is installed.

    Raises OSError where it is `required` and not installed.
    """
    try:
        lib = ctypes.CDLL("libseccomp.so.2")
    except OSError:
        if required:
            raise
        return
    lib.seccomp_init.restype = ctypes.c_void_p
    lib.seccomp_rule_add_array.argtypes = [
        ctypes.c_void_p,
        ctypes.c_uint32,
        ctypes.c_int,
        ctypes.c_uint,
        ctypes.POINTER(Argument),
    ]
    context = lib.seccomp_init(ACT_ALLOW)

    def deny(name: str, code: int, *arguments: Argument) -> None:
        number = lib.seccomp_syscall_resolve_name(name.encode())
        array = (Argument * len(arguments))(*arguments) if arguments else None
        lib.seccomp_rule_add_array(context, ACT_ERRNO | code, number, len(arguments), array)

    for name in DENIED:
        deny(name, EPERM)
    deny("clone3", ENOSYS)  # the C library then starts its threads with clone
    deny("clone", EPERM, Argument(0, COMPARE_MASKED_EQUAL, CLONE_THREAD, 0))
    lib.seccomp_load(ctypes.c_void_p(context))


def split(candidate: str, tests: str) -> tuple[types.CodeType, types.CodeType]:
    """The two halves of `candidate + newline + tests`, compiled apart, as Python reads the joined text.

    Raises SyntaxError as the joined text does, Forged where the candidate reaches into the tests.
    """
    whole = ast.parse(f"{candidate}\n{tests}")
    wanted = [ast.dump(node) for node in ast.parse(tests).body]
    cut = len(whole.body) - len(wanted)
    if not wanted or cut < 0 or [ast.dump(node) for node in whole.body[cut:]] != wanted:
        raise Forged("the candidate runs into the tests")
    head = compile(ast.Module(whole.body[:cut], []), CANDIDATE, "exec", dont_inherit=True)
    tail = compile(ast.Module(whole.body[cut:], []), TESTS, "exec", dont_inherit=True)
    return head, tail


def guarded(function: types.FunctionType, scope: dict) -> types.FunctionType:
    """The function, refusing to return objects whose comparison the candidate wrote itself."""
    kinds, exact, get = (list, tuple, set, frozenset), type, builtins.getattr

    def inspect(value: object, depth: int) -> None:
        kind = exact(value)
        for name in ("__eq__", "__ne__"):
            if get(get(kind, name), "__globals__", None) is scope:
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

    return types.FunctionType(call.__code__, call.__globals__, function.__name__, None, call.__closure__)


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
        if type(names.get(name)) is types.FunctionType:
            names[name] = wrap(names[name], scope)
    names["__builtins__"] = untouched
    execute(tail, names)


def serve(request: dict, channel: int) -> None:
    """Judges the request and leaves; never returns."""
    send, receive, leave, sha256, encode = os.write, os.read, os._exit, hashlib.sha256, json.dumps
    describe = reason
    try:
        judge(request["candidate"], request["tests"], request["exports"])
    except BaseException as error:  # SystemExit and KeyboardInterrupt are failures like any other
        message = {"failed": describe(error)}
    else:
        message = {"digest": sha256(receive(channel, 64) + LABEL).hexdigest()}
    send(channel, encode(message).encode() + b"\n")
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
    request = json.loads(sys.stdin.buffer.read())
    descriptor = int(sys.argv[1])
    channel = FIRST_FD + int.from_bytes(os.urandom(4), sys.byteorder) % (LAST_FD - FIRST_FD)
    os.dup2(descriptor, channel, inheritable=False)
    os.close(descriptor)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    if request["plan"] is not None:
        build_root(request["plan"])
        inner = os.fork()
        if inner:
            # As the first process of its namespace this one outlives no child: its end is the end of all.
            code = os.waitstatus_to_exitcode(os.waitpid(inner, 0)[1])
            os._exit(code if code >= 0 else SIGNALLED - code)
    if request["confined"]:
        drop_privileges(request["uid"])
        os.chdir(request["scratch"])
    limit(request["cpu_s"], request["memory_mb"], request["file_mb"])
    filter_calls(request["filter_required"])
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
