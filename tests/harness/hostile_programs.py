"""Programs that try to harm the machine, to stay, or to pass without solving anything."""

import secrets

TESTS = "assert f(2) == 4\nassert f(3) == 9"
GOOD = "def f(x):\n    return x * x\n"
WRONG = "def f(x):\n    return 0\n"
MARK = f"9{secrets.randbelow(10**8):08d}"  # seconds that nothing else on this machine would sleep

# HOME, FOLDER, WITNESS and REPOSITORY stand for paths of this machine, MARK for the number above.
HOSTILE = {
    "fork bomb": """
import os
while True:
    os.fork()
""",
    "fork bomb that swallows errors": """
import os
while True:
    try:
        os.fork()
    except OSError:
        pass
""",
    "infinite loop": """
while True:
    pass
""",
    "sleep": """
import time
time.sleep(1000)
""",
    "loop deaf to signals": """
import signal
for n in range(1, 65):
    try:
        signal.signal(n, signal.SIG_IGN)
    except (OSError, ValueError):
        pass
while True:
    pass
""",
    "memory bomb": "x = bytearray(10**11)",
    "memory bomb in pieces": """
x = []
while True:
    x.append(bytearray(10**7))
""",
    "memory bomb that goes on": """
x = []
while True:
    try:
        x.append(bytearray(10**7))
    except MemoryError:
        pass
""",
    "memory that belongs to no address space": """
import os
held = [os.memfd_create(str(n)) for n in range(40)]
for file in held:
    os.write(file, bytes(10**6))
"""
    + GOOD,
    "shared memory that outlives its use": """
import ctypes
c = ctypes.CDLL(None)
held = [c.shmget(0, 2**24, 0o1600) for n in range(4)]
for each in held:
    if each < 0:
        raise MemoryError
    c.shmctl(each, 0, None)
"""
    + GOOD,
    "gigabytes of output": """
while True:
    print('x' * 10**6)
""",
    "output to every descriptor": """
import os
for fd in range(256):
    try:
        os.write(fd, b'x' * 10**5)
    except OSError:
        pass
"""
    + WRONG,
    "huge file": """
out = open('big', 'wb')
while True:
    out.write(b'x' * 10**6)
""",
    "many files": """
for n in range(10**6):
    open(str(n), 'wb').write(b'x' * 10**5)
""",
    "write to the system": "open('/usr/written', 'w').write('x')",
    "write to the device folder": "open('/dev/written', 'w').write('x')",
    "write to the home": """
import os
open('HOME/written', 'w').write('x')
""",
    "delete a file": """
import os
os.remove('WITNESS')
""",
    "delete everything": """
import os, shutil
for name in ('FOLDER', '/usr/lib/python3', '/etc', 'HOME'):
    shutil.rmtree(name, ignore_errors=True)
"""
    + WRONG,
    "open a connection": """
import socket
socket.create_connection(('1.1.1.1', 53), timeout=2)
""",
    "listen": """
import socket
s = socket.socket()
s.bind(('127.0.0.1', 8000))
s.listen()
f = 0
""",
    "read /etc/shadow": """
open('/etc/shadow').read()
"""
    + GOOD,
    "read the home": """
import os
assert os.listdir('HOME') and open('HOME/.bashrc').read()
"""
    + GOOD,
    "see the repository": """
import os
assert os.path.exists('REPOSITORY/pyproject.toml')
"""
    + GOOD,
    "kill the parent": """
import os, signal, time
os.kill(os.getppid(), signal.SIGKILL)
os.kill(1, signal.SIGKILL)
"""
    + WRONG,
    "kill everything": """
import os, signal
os.kill(-1, signal.SIGKILL)
"""
    + WRONG,
    "sys.exit": """
import sys
sys.exit(0)
""",
    "os._exit": """
import os
os._exit(0)
""",
    "exit": "exit()",
    "sys.exit in the function": """
def f(x):
    raise SystemExit(0)
""",
    "os._exit in the function": """
import os
def f(x):
    os._exit(0)
""",
    "exec of another program": """
import os
os.execv('/bin/true', ['true'])
""",
    "crash": """
import ctypes
ctypes.string_at(0)
""",
    "deep recursion": """
def f(x):
    return f(x)
""",
    "catching everything": """
def f(x):
    try:
        return 1 // 0
    except BaseException:
        return None
""",
    "raising everything": """
def f(x):
    raise BaseException('fine')
""",
    "an exception that cannot be shown": """
class E(Exception):
    def __str__(self):
        raise SystemExit(0)
raise E
""",
    "excepthook": """
import sys
sys.excepthook = lambda *a: sys.exit(0)
"""
    + WRONG,
    "exit handler": """
import atexit, os
atexit.register(lambda: os._exit(0))
"""
    + WRONG,
    "patched builtins": """
import builtins
builtins.AssertionError = type('A', (Exception,), {})
builtins.abs = lambda x: 0
builtins.all = lambda x: True
builtins.exec = builtins.compile = lambda *a, **k: None
builtins.BaseException = ValueError
"""
    + WRONG,
    "patched calls": """
import hashlib, json, os, sys
os.write = lambda *a: 0
os._exit = sys.exit = lambda *a: None
json.dumps = lambda *a: '{"digest": ""}'
hashlib.sha256 = None
"""
    + WRONG,
    "own equality": """
class A:
    def __eq__(self, other):
        return True
def f(x):
    return A()
""",
    "own equality of a number": """
class A(int):
    def __eq__(self, other):
        return True
def f(x):
    return A()
""",
    "own difference": """
import functools
class A(float):
    def __sub__(self, other):
        return 0.0
    def __eq__(self, other):
        return True
@functools.cache
def f(x):
    return A()
""",
    "trace function": """
import sys
def trace(frame, event, arg):
    if event == 'line':
        frame.f_lineno = 2
    return trace
sys.settrace(trace)
"""
    + WRONG,
    "open string": WRONG + '"""',
    "fake success": """
print('passed')
print('{"passed": true}')
"""
    + WRONG,
    "fake success on every descriptor": """
import os
for fd in range(256):
    try:
        os.write(fd, b'{"passed": true, "digest": 1}\\n')
    except OSError:
        pass
"""
    + WRONG,
    "echo of what every descriptor holds": """
import os
os.set_blocking(0, False)
for fd in range(3, 256):
    try:
        said = os.read(fd, 64)
        for to in range(3, 256):
            try:
                os.write(to, said + b'\\n')
            except OSError:
                pass
    except OSError:
        pass
"""
    + WRONG,
    "threads left behind": """
import threading, time
def spin():
    while True:
        time.sleep(0.01)
for _ in range(5):
    threading.Thread(target=spin).start()
"""
    + WRONG,
    "daemon left behind": """
import os
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execv('/bin/sleep', ['sleep', 'MARK'])
    os._exit(0)
"""
    + WRONG,
    "process left behind": """
import subprocess
subprocess.Popen(['sleep', 'MARK'])
"""
    + WRONG,
    "more CPU time": """
import resource
resource.setrlimit(resource.RLIMIT_CPU, (99, 99))
"""
    + GOOD,
    "root": """
import os
os.setuid(0)
open('/usr/written', 'w')
""",
    "mount": """
import ctypes
assert ctypes.CDLL(None).mount(b't', b'/usr', b'tmpfs', 0, None) == 0
"""
    + GOOD,
    "no code": "",
    "no Python": "def f(x) return x",
    "null bytes": "x = '\0'",
}
