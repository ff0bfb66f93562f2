"""An interpreter of pickles that makes plain values and nothing else.

Pickle is a small stack machine whose programs can call any function by name. This one knows the instructions
that build numbers, texts, tuples, lists and dicts; names stand for what the caller's table says, and calls
are made to that table's functions alone. Anything else ends the reading, with its offset. Instructions: the
table in Python's ``pickletools``. Knows nothing of tensors.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from treadle.errors import FormatError

Rebuild = Callable[..., Any]
"""What a name stands for; it is called with the arguments that the pickle gives."""


class Damage(Exception):
    """A value that a rebuilding function refuses; the interpreter adds where."""


class Name:
    """A global that a pickle names: what it stands for here."""

    __slots__ = ("rebuild", "text")

    def __init__(self, text: str, rebuild: Rebuild):
        self.text = text
        self.rebuild = rebuild


class Mark:
    """Where a run of values on the stack begins."""


MARK = Mark()
LINE, NUMBER = "a line", "a number"

# By the instruction's byte: its argument. A format of `struct`, or the format of the length of a text or of
# bytes that follow.
FIXED = {
    b"\x80": "<B", b"K": "<B", b"M": "<H", b"J": "<i", b"G": ">d", b"q": "<B", b"r": "<I", b"h": "<B",
    b"j": "<I", b"\x95": "<Q",
}  # fmt: skip
COUNTED = {
    b"X": "<I", b"\x8c": "<B", b"\x8d": "<Q", b"U": "<B", b"T": "<i", b"C": "<B", b"B": "<I", b"\x8e": "<Q",
    b"\x8a": "<B",
}  # fmt: skip
TEXTS, STRINGS, RAW = b"X\x8c\x8d", b"UT", b"CB\x8e"
CONSTANTS = {b"N": None, b"\x88": True, b"\x89": False}
EMPTY: dict[bytes, Callable[[], Any]] = {b"}": dict, b"]": list, b")": tuple}
TUPLES = {b"\x85": 1, b"\x86": 2, b"\x87": 3}
KEYS = (str, int)
"""What a dict's keys may be: hashing a deep tuple would overflow the machine's stack."""


class Unpickler:
    """Reads pickles that follow one another in bytes.

    Args:
        data: the bytes.
        where: what messages call them.
        names: what globals stand for, by ``module.name``.
        persistent: what makes a value of a persistent id.
        begin: where the first pickle begins in data.
    """

    def __init__(
        self,
        data: bytes | memoryview,
        where: str,
        names: Mapping[str, Rebuild],
        persistent: Rebuild | None = None,
        begin: int = 0,
    ):
        self.data = memoryview(data)
        self.where = where
        self.names = names
        self.persistent = persistent
        self.place = self.at = begin
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def fail(self, what: str) -> NoReturn:
        raise FormatError(f"{self.where}, byte {self.at}: {what}")

    def load(self) -> Any:
        """The value of the next pickle. Raises FormatError."""
        self.stack, self.memo = [], {}
        while True:
            self.at = self.place
            code = bytes(self._take(1))
            if code == b".":
                return self._only()
            try:
                self._step(code)
            except Damage as damage:
                self.fail(str(damage))

    def _step(self, code: bytes) -> None:
        stack = self.stack
        if code in FIXED:
            self._fixed(code, self._number(FIXED[code]))
        elif code in COUNTED:
            stack.append(self._counted(code))
        elif code in CONSTANTS:
            stack.append(CONSTANTS[code])
        elif code in EMPTY:
            stack.append(EMPTY[code]())
        elif code in TUPLES:
            stack.append(tuple(self._pop(TUPLES[code])))
        elif code in STEPS:
            STEPS[code](self)
        else:
            name = chr(code[0]) if 32 < code[0] < 127 else f"0x{code[0]:02x}"
            self.fail(f"the instruction {name} is none that weights need: damaged, or no file of weights")

    # -- reading

    def _take(self, count: int) -> memoryview:
        if count < 0 or self.place + count > len(self.data):
            self.fail(f"it ends after {len(self.data)} bytes, in the middle of a pickle: it is cut off")
        self.place += count
        return self.data[self.place - count : self.place]

    def _number(self, format: str) -> Any:
        return struct.unpack(format, self._take(struct.calcsize(format)))[0]

    def _line(self) -> str:
        for end in range(self.place, min(len(self.data), self.place + 1000)):
            if self.data[end] == 10:
                text = self._text(self._take(end - self.place))
                self.place += 1
                return text
        self.fail("a name does not end")

    def _text(self, raw: memoryview) -> str:
        try:
            return bytes(raw).decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            self.fail("a text is no UTF-8")

    def _counted(self, code: bytes) -> Any:
        raw = self._take(self._number(COUNTED[code]))
        if code in TEXTS:
            return self._text(raw)
        if code in STRINGS:  # as Python 2 wrote them
            return bytes(raw).decode("latin-1")
        return bytes(raw) if code in RAW else int.from_bytes(raw, "little", signed=True)

    def _fixed(self, code: bytes, number: Any) -> None:
        if code == b"\x80":
            if number > 5:
                self.fail(f"pickle protocol {number} is not known: damaged, or no file of weights")
        elif code in b"qr":
            self.memo[number] = self._top()
        elif code in b"hj":
            if number not in self.memo:
                self.fail(f"value {number} is used before it is there")
            self.stack.append(self.memo[number])
        elif code != b"\x95":
            self.stack.append(number)

    # -- the stack

    def _top(self) -> Any:
        if not self.stack or self.stack[-1] is MARK:
            self.fail("a value is missing")
        return self.stack[-1]

    def _pop(self, count: int) -> list[Any]:
        if len(self.stack) < count or any(value is MARK for value in self.stack[-count:]):
            self.fail("a value is missing")
        taken = self.stack[-count:]
        del self.stack[-count:]
        return taken

    def _only(self) -> Any:
        if len(self.stack) != 1 or self.stack[0] is MARK:
            self.fail(f"a pickle ends with {len(self.stack)} values; it is damaged")
        return self.stack[0]

    def _since_mark(self) -> list[Any]:
        for i in range(len(self.stack) - 1, -1, -1):
            if self.stack[i] is MARK:
                taken = self.stack[i + 1 :]
                del self.stack[i:]
                return taken
        self.fail("a mark is missing")

    # -- instructions without an argument

    def mark(self) -> None:
        self.stack.append(MARK)

    def pop(self) -> None:
        self._pop(1)

    def tuple(self) -> None:
        self.stack.append(tuple(self._since_mark()))

    def append(self) -> None:
        self._extend(self._pop(1))

    def appends(self) -> None:
        self._extend(self._since_mark())

    def _extend(self, items: list[Any]) -> None:
        target = self._top()
        if type(target) is not list:
            self.fail(f"something is appended to a {type(target).__name__}")
        target.extend(items)

    def setitem(self) -> None:
        self._set(self._pop(2))

    def setitems(self) -> None:
        self._set(self._since_mark())

    def _set(self, items: list[Any]) -> None:
        target = self._top()
        if type(target) is not dict or len(items) % 2:
            self.fail(f"items are set in a {type(target).__name__}, or one has no value")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if type(key) not in KEYS:
                self.fail(f"a key is a {type(key).__name__}; expected a text or an integer")
            target[key] = value

    def memoize(self) -> None:
        self.memo[len(self.memo)] = self._top()

    def name(self) -> None:
        module = self._line()
        self._named(f"{module}.{self._line()}")

    def stacked_name(self) -> None:
        module, name = self._pop(2)
        if type(module) is not str or type(name) is not str:
            self.fail("a name is no text")
        self._named(f"{module}.{name}")

    def _named(self, text: str) -> None:
        if text not in self.names:
            self.fail(
                f"it asks for {text[:200]}, which is code, and is not run: save the weights alone, as a "
                "dict of tensors by name (torch.save(net.state_dict(), ...)), or as safetensors"
            )
        self.stack.append(Name(text, self.names[text]))

    def reduce(self) -> None:
        name, arguments = self._pop(2)
        if type(name) is not Name or type(arguments) is not tuple:
            self.fail("something is called that is no function")
        try:
            self.stack.append(name.rebuild(*arguments))
        except TypeError:
            self.fail(f"{name.text} does not take the {len(arguments)} arguments given")

    def build(self) -> None:
        """An OrderedDict's attributes; PyTorch keeps its modules' versions there, which nothing needs."""
        self._pop(1)
        if type(self._top()) is not dict:
            self.fail(f"attributes are given to a {type(self._top()).__name__}")

    def persistent_id(self) -> None:
        (given,) = self._pop(1)
        if self.persistent is None:
            self.fail("a persistent id, where none is expected")
        self.stack.append(self.persistent(given))


STEPS: dict[bytes, Callable[[Unpickler], None]] = {
    b"(": Unpickler.mark,
    b"0": Unpickler.pop,
    b"t": Unpickler.tuple,
    b"a": Unpickler.append,
    b"e": Unpickler.appends,
    b"s": Unpickler.setitem,
    b"u": Unpickler.setitems,
    b"\x94": Unpickler.memoize,
    b"c": Unpickler.name,
    b"\x93": Unpickler.stacked_name,
    b"R": Unpickler.reduce,
    b"b": Unpickler.build,
    b"Q": Unpickler.persistent_id,
}
