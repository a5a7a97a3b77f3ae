"""A conversation of two processes over each other's objects, one of which does not trust the other.

Plain values cross as copies: what arrives is an exact list, int or str and compares as Python's own do.
Everything else stays where it is and crosses as a handle, whose operations are asked of the process that
holds it. No handle is ever asked to compare itself with something: that would show what is expected.
"""

from __future__ import annotations

import _pickle
import builtins
import io
import operator
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

PROTOCOL = 5
PREFIX_BYTES = 8
LONGEST = 1 << 27  # bytes of one message
PLAIN = frozenset({type(None), bool, int, float, str, bytes, bytearray, tuple, list, dict, set, frozenset})
# Subclasses cross as their base, for that is how they compare.
BASES: tuple[tuple[type, Callable], ...] = (
    (int, lambda x: int.__add__(x, 0)),
    (float, lambda x: float.__add__(x, 0.0)),
    (str, lambda x: str.__getitem__(x, slice(None))),
    (bytes, lambda x: bytes.__getitem__(x, slice(None))),
    *((kind, lambda x, kind=kind: kind(kind.__iter__(x))) for kind in (tuple, list, set, frozenset)),
    (dict, lambda x: dict(dict.items(x))),
)
# Classes of the library that cross as the arguments that make an equal object.
LIBRARY: dict[tuple[str, str], Callable] = {
    ("builtins", "complex"): lambda x: (x.real, x.imag),
    ("builtins", "range"): lambda x: (x.start, x.stop, x.step),
    ("collections", "Counter"): lambda x: (dict(x),),
    ("collections", "OrderedDict"): lambda x: (list(x.items()),),
    ("collections", "deque"): lambda x: (list(x), x.maxlen),
    ("decimal", "Decimal"): lambda x: (str(x),),
    ("fractions", "Fraction"): lambda x: (x.numerator, x.denominator),
    **{("datetime", n): lambda x: x.__reduce__()[1] for n in ("date", "datetime", "time", "timedelta")},
}
MUTABLE = (list, dict, set, bytearray)
OPERATIONS: dict[str, Callable] = {
    "getattr": getattr,
    "setattr": setattr,
    "iter": iter,
    "next": next,
    "len": len,
    "getitem": operator.getitem,
    "setitem": operator.setitem,
    "str": str,
    "repr": repr,
    "bool": bool,
    "int": int,
    "float": float,
}


class Gone(BaseException):
    """The other process has ended; no test is to catch that."""


def asked(operation: str) -> Any:
    """A method that has an operation done where the object is."""

    def method(self: Remote, *operands: Any) -> Any:
        return self._peer.ask(operation, self, *operands)

    return method


class Remote:
    """A handle of an object that the other process holds."""

    __slots__ = ("_number", "_peer")

    def __init__(self, peer: Peer, number: int) -> None:
        object.__setattr__(self, "_peer", peer)
        object.__setattr__(self, "_number", number)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._peer.ask("call", self, args, kwargs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self._peer.ask("getattr", self, name)

    __setattr__, __getitem__, __setitem__ = asked("setattr"), asked("getitem"), asked("setitem")
    __iter__, __next__, __len__, __bool__ = asked("iter"), asked("next"), asked("len"), asked("bool")
    __str__, __repr__, __int__, __float__ = asked("str"), asked("repr"), asked("int"), asked("float")


class Writer(_pickle.Pickler):
    """Copies plain values; refers to everything else as its peer says."""

    def __init__(self, out: io.BytesIO, peer: Peer) -> None:
        super().__init__(out, PROTOCOL)
        self.peer = peer

    def persistent_id(self, value: Any) -> tuple | None:
        """How a value crosses: None as it is, else a reference for `Reader`."""
        return None if type(value) in PLAIN else self.peer.refer(value)


class Reader(_pickle.Unpickler):
    """Reads nothing but plain values and references: no name of a class or function is looked up."""

    def __init__(self, data: io.BytesIO, peer: Peer) -> None:
        super().__init__(data)
        self.peer = peer

    def find_class(self, module: str, name: str) -> Any:
        """Raises ValueError: a message names no objects."""
        raise ValueError(f"a message named {module}.{name}")

    def persistent_load(self, reference: tuple) -> Any:
        """The value that a reference of `Writer` stands for."""
        return self.peer.resolve(*reference)


class Peer:
    """One end of the conversation, reading from one descriptor and writing to another.

    The other end may do the `operations` with the objects it has handles of. Without any it may only call
    functions that were handed to it, and is not trusted to name things.
    """

    def __init__(self, receiving: int, sending: int, operations: dict[str, Callable]) -> None:
        self.receiving, self.sending = receiving, sending
        self.operations, self.trusting = operations, bool(operations)
        self.lent: list[Any] = []
        self.places: dict[int, int] = {}
        self.borrowed: dict[int, Remote] = {}

    def ask(self, name: str, *operands: Any) -> Any:
        """Has the other end do an operation. Raises what that raised, and Gone where the other has ended."""
        self.put(self.pack(("ask", name, operands)))
        while True:
            kind, *content = self.read()
            if kind == "ask":
                self.answer(*content)
            elif kind == "raise":
                raise_like(*content)
            else:
                result, changed = content
                if name == "call":
                    write_back(operands[1], changed)
                return result

    def serve(self) -> None:
        """Answers until the other end is gone."""
        while True:
            try:
                _, *content = self.read()
            except Gone:
                return
            self.answer(*content)

    def answer(self, name: str, operands: tuple) -> None:
        """Does one operation and replies with its result or its exception."""
        try:
            if name == "call":
                function, args, kwargs = operands
                if not self.trusting and not any(function is lent for lent in self.lent):
                    raise TypeError("not a function of the tests")
                result = function(*args, **kwargs)
                message: tuple = ("value", result, [a if type(a) in MUTABLE else None for a in args])
            else:
                message = ("value", self.operations[name](*operands), ())
            data = self.pack(message)
        except BaseException as error:
            data = self.pack(("raise", *described(error)))
        self.put(data)

    def refer(self, value: Any) -> tuple:
        """A reference to a value that is not plain."""
        kind = type(value)
        if kind is Remote and value._peer is self:
            return "yours", value._number
        name = (kind.__module__, kind.__name__)
        if name in LIBRARY and getattr(sys.modules.get(name[0]), name[1], None) is kind:
            return "new", *name, LIBRARY[name](value)
        if isinstance(value, type) or callable(value):
            where = origin(value)
            if where is not None and not self.trusting:
                return "named", *where
        for base, convert in BASES:
            if issubclass(kind, base):
                return "as", convert(value)
        if name[0] == "numpy" and getattr(value, "shape", None) == ():
            return "as", value.item()
        if id(value) not in self.places:
            self.places[id(value)] = len(self.lent)
            self.lent.append(value)
        return "mine", self.places[id(value)]

    def resolve(self, kind: str, *content: Any) -> Any:
        """The value of a reference."""
        if kind == "as":
            return content[0]
        if kind == "mine":
            number = int(content[0])
            return self.borrowed.setdefault(number, Remote(self, number))
        if kind == "yours":
            return self.lent[content[0]]
        if kind == "new" and content[:2] in LIBRARY:
            return named(*content[:2])(*content[2])
        if kind == "named" and self.trusting:
            return named(*content)
        raise ValueError(f"a reference of kind {kind}")

    def pack(self, message: tuple) -> bytes:
        """A message as bytes."""
        out = io.BytesIO()
        Writer(out, self).dump(message)
        return out.getvalue()

    def put(self, data: bytes) -> None:
        """Sends the bytes of a message. Raises Gone."""
        rest = memoryview(len(data).to_bytes(PREFIX_BYTES, "little") + data)
        try:
            while rest:
                rest = rest[os.write(self.sending, rest) :]
        except BrokenPipeError:
            raise Gone from None

    def read(self) -> tuple:
        """The next message. Raises Gone, and ValueError for one that is too long."""
        length = int.from_bytes(take(self.receiving, PREFIX_BYTES), "little")
        if length > LONGEST:
            raise ValueError("a message of many megabytes")
        return Reader(io.BytesIO(take(self.receiving, length)), self).load()


def take(descriptor: int, count: int) -> bytes:
    """Exactly `count` bytes. Raises Gone where they end before."""
    parts = []
    while count:
        part = os.read(descriptor, min(count, 1 << 20))
        if not part:
            raise Gone
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def named(module: str, path: str) -> Any:
    """The object of that name, its module imported. Raises ImportError or AttributeError."""
    __import__(module)
    value: Any = sys.modules[module]
    for name in path.split(".") if path else ():
        value = getattr(value, name, None)
    return value


def origin(value: Any) -> tuple[str, str] | None:
    """The module and the path in it under which a class or function is found; None for one that is not."""
    module, path = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    if not (isinstance(module, str) and isinstance(path, str) and module in sys.modules):
        return None
    return (module, path) if named(module, path) is value else None


def write_back(args: Any, changed: Any) -> None:
    """Does to the containers among the arguments what a call did to their copies."""
    for mine, theirs in zip(args, changed, strict=False):
        if type(mine) is not type(theirs) or type(mine) not in MUTABLE or mine == theirs:
            continue
        if type(mine) in (list, bytearray):
            mine[:] = theirs
        else:
            mine.clear()
            mine.update(theirs)


def described(error: BaseException) -> tuple[str, str]:
    """The first class of Python's own among an exception's, and what it says."""
    kind = next(k for k in type(error).__mro__ if k.__module__ == "builtins")
    try:
        text = str.__getitem__(str(error), slice(1000))
    except BaseException:  # the candidate's own exception class may do anything
        text = ""
    return kind.__name__, text


def raise_like(name: str, text: str) -> None:
    """Raises Python's own exception of that name."""
    kind: Any = getattr(builtins, name, None)
    told = isinstance(kind, type) and issubclass(kind, BaseException)
    if told and not issubclass(kind, (UnicodeError, BaseExceptionGroup)):  # which take more than a text
        raise kind(text)
    raise ValueError(text)
