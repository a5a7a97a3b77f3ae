"""Programs that share an interpreter with nobody and try to pass for all that: by what they return or patch.

Their tests are those of hostile_programs.py and, for what needs more than equality, TESTS here.
"""

from tests.harness.hostile_programs import WRONG

TESTS = "import math\nassert f(2) == 4\nassert abs(f(3) - 9) < 1e-6\nassert math.fabs(f(3) - 9) < 1e-6"

FORGERIES = {
    "an object equal to everything": """
from unittest.mock import ANY
def f(x):
    return ANY
""",
    "a mock": """
from unittest.mock import MagicMock
m = MagicMock()
m.__eq__.return_value = True
m.__sub__.return_value = 0
def f(x):
    return m
""",
    "a type as operator": """
class A(int):
    __eq__ = bool
    __sub__ = __rsub__ = lambda self, other: 0
def f(x):
    return A(0)
""",
    "a class made elsewhere": """
g = {}
exec('class A(int):\\n    def __eq__(s, o): return True\\n    def __sub__(s, o): return 0', g)
def f(x):
    return g['A']()
""",
    "partial methods": """
import functools
class A(int):
    __eq__ = functools.partialmethod(lambda s, o: True)
    __sub__ = functools.partialmethod(lambda s, o: 0)
def f(x):
    return A()
""",
    "a class that hides its operators": """
class M(type):
    def __getattribute__(cls, name):
        return None if name.startswith('__') else type.__getattribute__(cls, name)
class A(int, metaclass=M):
    def __eq__(self, other): return True
    def __sub__(self, other): return 0
def f(x):
    return A()
""",
    "a class for a function": """
class f(int):
    def __new__(cls, x): return int.__new__(cls, 0)
    def __eq__(self, other): return True
    def __sub__(self, other): return 0
""",
    "a list that compares": """
class A(list):
    def __eq__(self, other): return True
def f(x):
    return [A()]
""",
    "patched modules": """
import math, sys
math.fabs = lambda x: 0
sys.modules['math'] = type('M', (), {'fabs': staticmethod(lambda x: 0)})
def f(x):
    return 4
""",
    "patched in the function": """
import sys
def f(x):
    frame = sys._getframe()
    while frame:
        for names in (frame.f_builtins, frame.f_globals):
            names['abs'] = lambda x: 0
        frame = frame.f_back
    import math
    math.fabs = lambda x: 0
    return 4
""",
    "patched through the garbage collector": """
import gc
def f(x):
    for o in gc.get_objects():
        if isinstance(o, dict) and 'abs' in o:
            o['abs'] = lambda x: 0
        if isinstance(o, dict) and 'fabs' in o:
            o['fabs'] = lambda x: 0
    return 4
""",
    "expected values read from memory": """
import gc, sys
def constants():
    for o in gc.get_objects():
        for code in (o, getattr(o, '__code__', None)):
            if hasattr(code, 'co_consts') and 'tests' in code.co_filename:
                yield from code.co_consts
    frame = sys._getframe()
    while frame:
        yield from frame.f_code.co_consts if 'tests' in frame.f_code.co_filename else ()
        frame = frame.f_back
def f(x):
    return 4 if x == 2 and 9 in constants() else 9 if 9 in constants() else 0
""",
    "the verdict written by the caller's own means": """
import os, sys
frame = sys._getframe()
while frame:
    found = frame.f_locals
    if 'channel' in found:
        os.write(found['channel'], b'passed ' + os.read(found['channel'], 32)[::-1].hex().encode() + b'\\n')
        os._exit(0)
    frame = frame.f_back
for fd in range(3, 256):
    try:
        os.set_blocking(fd, False)
        os.write(fd, b'passed ' + os.read(fd, 32)[::-1].hex().encode() + b'\\n')
    except OSError:
        pass
"""
    + WRONG,
    "the answer to a question not asked": """
import __main__, os
peer = next(v for v in __import__('gc').get_objects() if type(v).__name__ == 'Peer')
for _ in range(9):
    peer.put(peer.pack(('value', True, [])))
"""
    + WRONG,
    "the limits of its judge": """
import os, resource
resource.prlimit(os.getppid(), resource.RLIMIT_AS, (1, 1))
def f(x):
    return x * x
""",
    "the descriptors of its judge": """
import ctypes, os
c = ctypes.CDLL(None, use_errno=True)
judge = c.syscall(434, os.getppid(), 0)
assert any(c.syscall(438, judge, fd, 0) >= 0 for fd in range(256))
def f(x):
    return x * x
""",
    "an abstract socket": """
import socket
socket.socket(socket.AF_UNIX).bind('\\0here')
def f(x):
    return x * x
""",
    "a netlink socket": """
import socket
socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
def f(x):
    return x * x
""",
    "a traced parent": """
import ctypes, os
assert ctypes.CDLL(None).ptrace(16, os.getppid(), 0, 0) == 0
def f(x):
    return x * x
""",
    "a link out of the scratch folder": """
import os
os.symlink('/etc/passwd', 'link')
open('link').read()
def f(x):
    return x * x
""",
    "a device": """
import os, stat
os.mknod('disk', 0o600 | stat.S_IFBLK, os.makedev(8, 0))
def f(x):
    return x * x
""",
}
