"""LLVM IR as text: a builder for straight-line code and counted loops in SSA form.

Text is written directly because building llvmlite's IR objects costs as long as compiling them, and in SSA
form because the kernels skip LLVM's IR passes: what is written here is what the code generator sees. Knows
nothing of kernels or graphs.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple


class Value(NamedTuple):
    """An operand: its LLVM type and how it is spelled (``%7``, ``42``, ``0x3FF0000000000000``)."""

    type: str
    name: str


Index = int | Value
"""An i64 quantity: a Python integer is folded into the text, a `Value` is computed at run time."""

FLOAT_WIDTHS = {"half": 16, "bfloat": 16, "float": 32, "double": 64}


def vector(scalar_type: str, lanes: int) -> str:
    """The LLVM type of `lanes` scalars: ``vector("float", 16) == "<16 x float>"``; one lane is the scalar
    itself.
    """
    return scalar_type if lanes == 1 else f"<{lanes} x {scalar_type}>"


def lanes_of(type: str) -> int:
    """How many lanes a type has; 1 for a scalar."""
    return int(type[1 : type.index(" x ")]) if type[0] == "<" else 1


def scalar_of(type: str) -> str:
    """The type of one lane."""
    return type[type.index(" x ") + 3 : -1] if type[0] == "<" else type


def float_literal(type: str, value: float) -> str:
    """A floating constant exactly as LLVM wants it: the bits of the double, or of the 16-bit type.

    The value is rounded to the type first; beyond its range it is infinite.
    """
    if type == "half":
        return f"0xH{struct.unpack('<H', _packed('<e', value))[0]:04X}"
    if type == "bfloat":
        bits = struct.unpack("<I", _packed("<f", value))[0]
        return f"0xR{(bits + 0x7FFF + (bits >> 16 & 1)) >> 16:04X}" if value == value else "0xR7FC0"
    if type == "float" and value == value:
        value = struct.unpack("<f", _packed("<f", value))[0]
    return f"0x{struct.unpack('<Q', struct.pack('<d', value))[0]:016X}"


def _packed(format: str, value: float) -> bytes:
    """`struct.pack` of a float, where what is too large becomes infinite."""
    try:
        return struct.pack(format, value)
    except OverflowError:
        return struct.pack(format, math.copysign(math.inf, value))


def mangle(type: str) -> str:
    """The suffix of an overloaded intrinsic's name: ``v16f32`` for ``<16 x float>``."""
    scalar = scalar_of(type)
    name = {"half": "f16", "bfloat": "bf16", "float": "f32", "double": "f64", "ptr": "p0"}.get(scalar, scalar)
    return name if type[0] != "<" else f"v{lanes_of(type)}{name}"


class Module:
    """One compilation unit: function texts, declarations of what they call, and constant tables."""

    def __init__(self, attributes: str = "nounwind", fma: bool = True, scalef: bool = False):
        self.attributes = attributes
        self.fma = fma
        """Whether the target multiplies and adds in one instruction; where it does not, ``llvm.fma`` is a
        slow call.
        """
        self.scalef = scalef
        """Whether the target has AVX-512's VSCALEF."""
        self.declarations: dict[str, str] = {}
        self.globals: list[str] = []
        self.functions: list[Function] = []

    def function(
        self,
        name: str,
        parameters: Sequence[str],
        result: str = "void",
        internal: bool = False,
        noalias: bool = False,
        attributes: str = "",
    ) -> Function:
        """Start a function whose parameters have the given types; it is written until `Module.text` is
        called.
        """
        function = Function(self, name, parameters, result, internal, noalias, attributes)
        self.functions.append(function)
        return function

    def declare(self, name: str, result: str, parameters: Sequence[str]) -> None:
        """Declare an external function or intrinsic once."""
        self.declarations.setdefault(name, f"declare {result} @{name}({', '.join(parameters)})")

    def table(self, type: str, values: Sequence[int | float]) -> Value:
        """A constant array in read-only memory, 64-byte aligned, written once; returns a pointer to it."""
        spelled = [f"{type} {float_literal(type, v) if type in FLOAT_WIDTHS else v}" for v in values]
        contents = (
            f"= internal unnamed_addr constant [{len(values)} x {type}] [{', '.join(spelled)}], align 64"
        )
        for written in self.globals:
            name, _, rest = written.partition(" ")
            if rest == contents:
                return Value("ptr", name)
        name = f"@table{len(self.globals)}"
        self.globals.append(f"{name} {contents}")
        return Value("ptr", name)

    def text(self) -> str:
        """The whole module, without triple or data layout: those belong to whoever compiles it."""
        parts = [
            *self.globals,
            *self.declarations.values(),
            *(function.text() for function in self.functions),
        ]
        return "\n".join(parts) + f"\nattributes #0 = {{ {self.attributes} }}\n"


class Function:
    """Writes one function. Methods append an instruction and return its `Value`; integers fold where both
    sides are known.
    """

    def __init__(
        self,
        module: Module,
        name: str,
        parameters: Sequence[str],
        result: str,
        internal: bool,
        noalias: bool,
        attributes: str,
    ):
        self.module = module
        self.name = name
        self.arguments = [Value(type, f"%a{i}") for i, type in enumerate(parameters)]
        spelled = [
            f"{a.type} {'noalias ' if noalias and a.type == 'ptr' else ''}{a.name}" for a in self.arguments
        ]
        linkage = "internal " if internal else ""
        self.head = f"define {linkage}{result} @{name}({', '.join(spelled)}) {attributes} #0 {{"
        self.lines: list[str] = []
        self.block = "entry"
        self._count = 0
        self._labels = 0

    def text(self) -> str:
        return "\n".join([self.head, "entry:", *self.lines, "}"])

    # -- writing

    def emit(self, line: str) -> None:
        """Append an instruction without a result."""
        self.lines.append("  " + line)

    def assign(self, type: str, expression: str) -> Value:
        """Append ``%n = expression`` and return ``%n`` with the given type."""
        name = f"%v{self._count}"
        self._count += 1
        self.lines.append(f"  {name} = {expression}")
        return Value(type, name)

    def label(self, hint: str = "b") -> str:
        """A fresh block name; open it with `start`."""
        self._labels += 1
        return f"{hint}{self._labels}"

    def start(self, label: str) -> None:
        """Begin a block. The block before must have been ended by a branch or a return."""
        self.lines.append(f"{label}:")
        self.block = label

    def branch(self, target: str, condition: Value | None = None, otherwise: str = "") -> None:
        if condition is None:
            self.emit(f"br label %{target}")
        else:
            self.emit(f"br i1 {condition.name}, label %{target}, label %{otherwise}")

    def phi(self, type: str, *incoming: tuple[Value, str]) -> Value:
        """Merge values by the block control came from."""
        pairs = ", ".join(f"[ {value.name}, %{block} ]" for value, block in incoming)
        return self.assign(type, f"phi {type} {pairs}")

    def ret(self, value: Value | None = None) -> None:
        self.emit("ret void" if value is None else f"ret {value.type} {value.name}")

    # -- constants

    def constant(self, type: str, value: int | float) -> Value:
        """A constant of any scalar or vector type (every lane the same)."""
        scalar = scalar_of(type)
        if scalar in FLOAT_WIDTHS:
            spelled = float_literal(scalar, float(value))
        elif scalar == "i1":
            spelled = "true" if value else "false"
        else:
            spelled = str(int(value))
        if type[0] == "<":
            return Value(type, f"splat ({scalar} {spelled})")
        return Value(type, spelled)

    def constants(self, type: str, values: Sequence[int | float]) -> Value:
        """A constant vector, lane by lane."""
        scalar = scalar_of(type)
        return Value(type, "<" + ", ".join(f"{scalar} {self.constant(scalar, v).name}" for v in values) + ">")

    def i64(self, index: Index) -> Value:
        """An index as an operand."""
        return Value("i64", str(index)) if isinstance(index, int) else index

    # -- arithmetic

    def op(self, opcode: str, left: Value, right: Value) -> Value:
        """A two-operand instruction: ``op("fadd", x, y)``, ``op("shl", i, k)``."""
        return self.assign(left.type, f"{opcode} {left.type} {left.name}, {right.name}")

    def fneg(self, value: Value) -> Value:
        return self.assign(value.type, f"fneg {value.type} {value.name}")

    def compare(self, predicate: str, left: Value, right: Value) -> Value:
        """``compare("fcmp olt", x, y)`` or ``compare("icmp slt", i, j)``: an i1, or a vector of them."""
        return self.assign(
            vector("i1", lanes_of(left.type)), f"{predicate} {left.type} {left.name}, {right.name}"
        )

    def select(self, condition: Value, true: Value, false: Value) -> Value:
        return self.assign(
            true.type,
            f"select {condition.type} {condition.name}, {true.type} {true.name}, {false.type} {false.name}",
        )

    def cast(self, opcode: str, value: Value, type: str) -> Value:
        """``cast("sitofp", i, "float")``; nothing is written if the type is already that.

        Between 16-bit floats and wider ones only where the instruction set converts them: LLVM calls a
        function that nobody has otherwise.
        """
        return (
            value
            if value.type == type
            else self.assign(type, f"{opcode} {value.type} {value.name} to {type}")
        )

    def call(self, result: str, name: str, *arguments: Value) -> Value:
        """Call a function by symbol, declaring it."""
        types = [argument.type for argument in arguments]
        if not any(function.name == name for function in self.module.functions):
            self.module.declare(name, result, types)
        spelled = ", ".join(f"{a.type} {a.name}" for a in arguments)
        if result == "void":
            self.emit(f"call void @{name}({spelled})")
            return Value("void", "")
        return self.assign(result, f"call {result} @{name}({spelled})")

    def intrinsic(self, name: str, *arguments: Value, result: str | None = None) -> Value:
        """Call ``llvm.NAME`` overloaded on its first argument's type: ``intrinsic("fabs", x)``."""
        type = arguments[0].type
        return self.call(type if result is None else result, f"llvm.{name}.{mangle(type)}", *arguments)

    def fma(self, a: Value, b: Value, c: Value) -> Value:
        """a * b + c with one rounding."""
        return self.intrinsic("fma", a, b, c)

    # -- indices: Python integers fold

    def add(self, a: Index, b: Index) -> Index:
        if isinstance(a, int) and isinstance(b, int):
            return a + b
        if isinstance(a, int) and a == 0:
            return b
        if isinstance(b, int) and b == 0:
            return a
        return self.op("add", self.i64(a), self.i64(b))

    def sub(self, a: Index, b: Index) -> Index:
        if isinstance(a, int) and isinstance(b, int):
            return a - b
        if isinstance(b, int) and b == 0:
            return a
        return self.op("sub", self.i64(a), self.i64(b))

    def mul(self, a: Index, b: Index) -> Index:
        if isinstance(a, int) and isinstance(b, int):
            return a * b
        if a == 0 or b == 0:
            return 0
        if isinstance(a, int) and a == 1:
            return b
        if isinstance(b, int) and b == 1:
            return a
        return self.op("mul", self.i64(a), self.i64(b))

    def divmod(self, a: Index, b: int) -> tuple[Index, Index]:
        """Quotient and remainder of a non-negative index by a positive integer."""
        if isinstance(a, int):
            return a // b, a % b
        if b == 1:
            return a, 0
        quotient = self.op("udiv", a, self.i64(b))
        return quotient, self.sub(a, self.mul(quotient, b))

    def min(self, a: Index, b: Index) -> Index:
        """The smaller of two signed indices."""
        if isinstance(a, int) and isinstance(b, int):
            return min(a, b)
        return self.intrinsic("smin", self.i64(a), self.i64(b))

    def max(self, a: Index, b: Index) -> Index:
        """The larger of two signed indices."""
        if isinstance(a, int) and isinstance(b, int):
            return max(a, b)
        return self.intrinsic("smax", self.i64(a), self.i64(b))

    # -- memory

    def at(self, pointer: Value, nbytes: Index) -> Value:
        """pointer + nbytes."""
        if isinstance(nbytes, int) and nbytes == 0:
            return pointer
        return self.assign("ptr", f"getelementptr i8, ptr {pointer.name}, i64 {self.i64(nbytes).name}")

    def load(self, type: str, pointer: Value, align: int = 1) -> Value:
        return self.assign(type, f"load {type}, ptr {pointer.name}, align {align}")

    def store(self, value: Value, pointer: Value, align: int = 1) -> None:
        self.emit(f"store {value.type} {value.name}, ptr {pointer.name}, align {align}")

    def mask(self, lanes: int, active: int) -> Value:
        """A constant mask whose first `active` lanes are set."""
        return self.constants(vector("i1", lanes), [int(lane < active) for lane in range(lanes)])

    def tail_mask(self, lanes: int, active: Index) -> Value:
        """A mask whose first `active` lanes are set, `active` known only at run time."""
        if isinstance(active, int):
            return self.mask(lanes, active)
        wide = vector("i64", lanes)
        return self.compare("icmp slt", self.constants(wide, range(lanes)), self.splat(active, lanes))

    def masked_load(self, type: str, pointer: Value, mask: Value, align: int = 1) -> Value:
        """Lanes whose mask is clear are zero and their memory is not touched."""
        zero = Value(type, "zeroinitializer")
        arguments = [pointer, Value("i32", str(align)), mask, zero]
        return self.call(type, f"llvm.masked.load.{mangle(type)}.p0", *arguments)

    def masked_store(self, value: Value, pointer: Value, mask: Value, align: int = 1) -> None:
        if mask.name[0] == "<" and mask.name.count("true") == 1:
            # LLVM 22 makes this a scalar store on x86, and of an 8- or 16-bit element one of 32 bits.
            lane = mask.name.split(", ").index(next(m for m in mask.name.split(", ") if "true" in m))
            scalar = scalar_of(value.type)
            nbytes = FLOAT_WIDTHS.get(scalar) or int(scalar[1:])
            self.store(self.extract(value, lane), self.at(pointer, lane * nbytes // 8))
            return
        arguments = [value, pointer, Value("i32", str(align)), mask]
        self.call("void", f"llvm.masked.store.{mangle(value.type)}.p0", *arguments)

    def prefetch(self, pointer: Value, write: bool = False, locality: int = 3) -> None:
        flags = [Value("i32", str(int(write))), Value("i32", str(locality)), Value("i32", "1")]
        self.call("void", "llvm.prefetch.p0", pointer, *flags)

    # -- vectors

    def splat(self, scalar: Value, lanes: int) -> Value:
        """Every lane the same scalar."""
        if lanes == 1:
            return scalar
        type = vector(scalar.type, lanes)
        one = self.assign(type, f"insertelement {type} poison, {scalar.type} {scalar.name}, i32 0")
        zeros = Value(vector("i32", lanes), "zeroinitializer")
        return self.assign(type, f"shufflevector {type} {one.name}, {type} poison, {zeros.type} {zeros.name}")

    def broadcast(self, type: str, pointer: Value, lanes: int) -> Value:
        """Load one scalar of the given type into every lane."""
        return self.splat(self.load(type, pointer), lanes)

    def shuffle(self, left: Value, right: Value, lanes: Sequence[int]) -> Value:
        """Pick lanes out of the concatenation of two vectors."""
        picks = self.constants(vector("i32", len(lanes)), lanes)
        type = vector(scalar_of(left.type), len(lanes))
        return self.assign(
            type,
            f"shufflevector {left.type} {left.name}, {right.type} {right.name}, {picks.type} {picks.name}",
        )

    def extract(self, value: Value, lane: int) -> Value:
        return self.assign(scalar_of(value.type), f"extractelement {value.type} {value.name}, i32 {lane}")

    def fold_lanes(self, value: Value, combine: Callable[[Value, Value], Value]) -> Value:
        """Combine the lanes of a vector to one scalar as a binary tree, always in the same order."""
        lanes = lanes_of(value.type)
        while lanes > 2:
            half = lanes // 2
            low = self.shuffle(value, value, range(half))
            high = self.shuffle(value, value, range(half, lanes))
            value, lanes = combine(low, high), half
        return combine(self.extract(value, 0), self.extract(value, 1)) if lanes == 2 else value

    # -- control

    def loop(
        self,
        start: Index,
        stop: Index,
        body: Callable[..., Sequence[Value] | None],
        carried: Sequence[Value] = (),
        step: int = 1,
    ) -> list[Value]:
        """``for i in range(start, stop, step)``; `body(i, *carried)` returns the next carried values, the
        last are returned.

        A loop of known length 0 or 1 is not written as a loop. One of unknown length may run zero times.
        """
        carried = list(carried)
        if isinstance(start, int) and isinstance(stop, int):
            trips = len(range(start, stop, step))
            if trips == 0:
                return carried
            if trips == 1:
                return list(body(start, *carried) or ())
        before, head, done = self.block, self.label("loop"), self.label("done")
        first, last = self.i64(start), self.i64(stop)
        if isinstance(start, int) and isinstance(stop, int):
            self.branch(head)
        else:
            self.branch(head, self.compare("icmp slt", first, last), done)
        self.start(head)
        # The phis need the values of the loop's end, which are not known yet: their lines are filled in
        # afterwards.
        place = len(self.lines)
        names = [self.assign("i64", ""), *(self.assign(value.type, "") for value in carried)]
        after = list(body(*names) or ())
        if [v.type for v in after] != [v.type for v in carried]:
            raise AssertionError(
                f"loop carries {[v.type for v in carried]} but its body returns {[v.type for v in after]}"
            )
        following = self.op("add nuw nsw", names[0], Value("i64", str(step)))
        end = self.block
        for row, (name, initial, final) in enumerate(
            zip(names, [first, *carried], [following, *after], strict=True)
        ):
            self.lines[place + row] = (
                f"  {name.name} = phi {name.type} [ {initial.name}, %{before} ], [ {final.name}, %{end} ]"
            )
        self.branch(head, self.compare("icmp slt", following, last), done)
        self.start(done)
        if isinstance(start, int) and isinstance(stop, int):
            return after
        return [self.phi(v.type, (v, before), (w, end)) for v, w in zip(carried, after, strict=True)]

    def do_while(
        self, body: Callable[..., tuple[Value, Sequence[Value]]], carried: Sequence[Value] = ()
    ) -> list[Value]:
        """Run `body(*carried)` at least once; it returns whether to go on (i1) and the next carried values.

        The last carried values are returned.
        """
        before, head, done = self.block, self.label("again"), self.label("done")
        self.branch(head)
        self.start(head)
        place = len(self.lines)
        names = [self.assign(value.type, "") for value in carried]
        again, after = body(*names)
        end = self.block
        for row, (name, initial, final) in enumerate(zip(names, carried, after, strict=True)):
            self.lines[place + row] = (
                f"  {name.name} = phi {name.type} [ {initial.name}, %{before} ], [ {final.name}, %{end} ]"
            )
        self.branch(head, again, done)
        self.start(done)
        return list(after)

    @contextmanager
    def when(self, condition: Value) -> Iterator[None]:
        """Run what is written inside only if the condition holds."""
        inside, after = self.label("then"), self.label("end")
        self.branch(inside, condition, after)
        self.start(inside)
        yield
        self.branch(after)
        self.start(after)
