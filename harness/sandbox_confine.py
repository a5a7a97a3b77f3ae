"""Giving up privileges for good: an empty file system, no capabilities, limits and forbidden calls."""

from __future__ import annotations

import ctypes
import os
import resource

MEGABYTE = 1 << 20
FILES = 256
PROCESSES = 32
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT, MS_BIND = 1, 2, 4, 8, 32, 4096
MS_REC, MS_PRIVATE, MNT_DETACH = 16384, 1 << 18, 2
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, SIGKILL = 1, 4, 9
PR_SET_NO_NEW_PRIVS, PR_CAPBSET_DROP, LAST_CAPABILITY = 38, 24, 63
CAPABILITY_VERSION = 0x20080522
PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
CLONE_THREAD = 0x00010000
ACT_ALLOW, ACT_ERRNO, EPERM, ENOSYS = 0x7FFF0000, 0x00050000, 1, 38
COMPARE_DIFFERENT, COMPARE_MASKED_EQUAL = 1, 7
DENIED = (
    *("fork", "vfork", "execve", "execveat", "socket", "ptrace", "process_vm_readv", "process_vm_writev"),
    *("pidfd_getfd", "kcmp"),
    *("memfd_create", "memfd_secret", "shmget", "msgget", "semget"),  # memory that RLIMIT_AS does not count
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


def end_with_parent() -> None:
    """Has this process killed when the one that started it ends."""
    checked(libc().prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0), "prctl")


def hide() -> None:
    """Keeps this process's memory and descriptors from others of the same user."""
    checked(libc().prctl(PR_SET_DUMPABLE, 0, 0, 0, 0), "prctl")


def limit(cpu_s: int, memory_mb: int, file_mb: int) -> None:
    """Bounds what this process and all it starts may use."""
    for kind, value in (
        (resource.RLIMIT_CPU, cpu_s),
        (resource.RLIMIT_AS, memory_mb * MEGABYTE),
        (resource.RLIMIT_FSIZE, file_mb * MEGABYTE),
        (resource.RLIMIT_NPROC, PROCESSES),
        (resource.RLIMIT_NOFILE, FILES),
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
    deny("prlimit64", EPERM, Argument(0, COMPARE_DIFFERENT, 0, 0))  # the limits of another process
    deny("clone3", ENOSYS)  # the C library then starts its threads with clone
    deny("clone", EPERM, Argument(0, COMPARE_MASKED_EQUAL, CLONE_THREAD, 0))
    lib.seccomp_load(ctypes.c_void_p(context))
