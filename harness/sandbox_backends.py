"""The ways to confine a program: bubblewrap, Linux namespaces through util-linux, or not at all."""

from __future__ import annotations

import functools
import os
import shutil
import site
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SCRIPTS = [str(Path(__file__).with_name(f"sandbox_{name}.py")) for name in ("child", "confine", "remote")]
CHILD = SCRIPTS[0]
SCRATCH = "/scratch"
SCRATCH_MB = 16
DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom")
SYSTEM = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
PYTHON_FLAGS = ["-S", "-s", "-P"]


@functools.cache
def interpreter() -> str:
    """This interpreter, outside of any virtual environment."""
    return os.path.realpath(sys.executable)


@functools.cache
def packages() -> list[str]:
    """The folders of installed packages, which programs may import from."""
    return [path for path in site.getsitepackages() if os.path.isdir(path)]


@functools.cache
def read_only() -> list[str]:
    """The paths a program may read: the system's programs and libraries, Python and its packages."""
    paths = ["/usr", sys.base_prefix, sys.base_exec_prefix, *packages(), "/etc/ld.so.cache"]
    paths += [path for path in SYSTEM if not os.path.islink(path)]
    kept: list[str] = []
    for path in sorted(map(os.path.realpath, filter(os.path.exists, paths)), key=len):
        if not any(path == k or path.startswith(k + "/") for k in kept):
            kept.append(path)
    return kept


@functools.cache
def parents() -> list[str]:
    """The folders on the way to the readable paths and devices, outer ones first."""
    paths = [*read_only(), *DEVICES]
    return sorted({str(folder) for path in paths for folder in Path(path).parents} - {"/"})


@functools.cache
def links() -> dict[str, str]:
    """The system folders that are links into /usr, as most distributions have them."""
    return {path: os.readlink(path) for path in SYSTEM if os.path.islink(path)}


@dataclass(frozen=True)
class Backend:
    """One way to start the child; `user_namespace` without privileges, else as a user of its own."""

    name: str
    user_namespace: bool = True

    def present(self) -> bool:
        """Whether the parts it needs are there; whether they work, a trial run has to show."""
        program = {"bubblewrap": "bwrap", "namespaces": "unshare"}.get(self.name)
        allowed = self.user_namespace or os.geteuid() == 0
        return allowed and program is not None and shutil.which(program) is not None

    def command(self, descriptor: int) -> list[str]:
        """The command line that starts the child with the verdict's descriptor."""
        if self.name == "bubblewrap":
            return [
                *self._bubblewrap(),
                interpreter(),
                *PYTHON_FLAGS,
                f"/{Path(CHILD).name}",
                str(descriptor),
            ]
        child = [interpreter(), *PYTHON_FLAGS, CHILD, str(descriptor)]
        if self.name == "namespaces":
            user = ["--user", "--map-root-user"] if self.user_namespace else []
            spaces = ["--mount", "--pid", "--net", "--ipc", "--uts"]
            return ["unshare", *user, *spaces, "--fork", "--kill-child", "--", *child]
        return child

    def _bubblewrap(self) -> list[str]:
        spaces = ["--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]
        if self.user_namespace:
            spaces.append("--unshare-user")
        else:  # the child leaves root for a user of its own, for which it keeps two capabilities until then
            spaces += ["--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
            spaces += ["--cap-add", "CAP_SETPCAP"]
        # Folders that bubblewrap makes on the way to a path would be closed to the child's own user.
        binds = [part for path in parents() for part in ("--perms", "0755", "--dir", path)]
        binds += [part for path in read_only() for part in ("--ro-bind", path, path)]
        binds += [part for path, target in links().items() for part in ("--symlink", target, path)]
        binds += [part for path in DEVICES for part in ("--dev-bind", path, path)]
        scratch = ["--perms", "1777", "--size", str(SCRATCH_MB << 20), "--tmpfs", SCRATCH]
        binds += [part for path in SCRIPTS for part in ("--ro-bind", path, f"/{Path(path).name}")]
        tail = ["--remount-ro", "/", "--chdir", "/", "--die-with-parent", "--new-session"]
        return ["bwrap", *spaces, *binds, *scratch, *tail, "--"]

    def environment(self, folder: str) -> dict[str, str]:
        """The few variables a program sees."""
        home = folder if self.name == "unconfined" else SCRATCH
        return {
            "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            "HOME": home,
            "TMPDIR": home,
            "LANG": "C.UTF-8",
            "PYTHONHASHSEED": "0",
            "PYTHONDONTWRITEBYTECODE": "1",
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
        }

    def request(self, folder: str, uid: int) -> dict[str, Any]:
        """What the child has to do by itself; `folder` is an empty one of the host's."""
        plan = None
        if self.name == "namespaces":
            plan = {
                "root": folder,
                "read_only": read_only(),
                "links": links(),
                "devices": list(DEVICES),
                "scratch": SCRATCH,
                "scratch_mb": SCRATCH_MB,
            }
        return {
            "plan": plan,
            "confined": self.name != "unconfined",
            "uid": None if self.user_namespace else uid,
            # The kernel exempts the superuser from the limit on processes, inside a user namespace too.
            "filter_required": self.name != "unconfined" and self.user_namespace and os.geteuid() == 0,
            "scratch": SCRATCH,
            "site": packages(),
        }


UNCONFINED = Backend("unconfined")
BACKENDS = (
    Backend("bubblewrap", user_namespace=False),
    Backend("bubblewrap"),
    Backend("namespaces", user_namespace=False),
    Backend("namespaces"),
)
