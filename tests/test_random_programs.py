"""Random define-by-run programs against a model of the rules in NumPy.

What an array stands for is settled when it is made: whatever is assigned, donated, grouped or fails later, it
comes to that value, or says that the assignment it reads did not happen.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import treadle as td
from treadle import config
from treadle.errors import IndexingError, StateError
from treadle.state import pending

COUNT = 3
SIZE = 5
OUTSIDE = np.full(SIZE, 99)


@dataclass
class Version:
    """A value that a variable has, had, or is to get."""

    value: np.ndarray
    reads: frozenset[int] = frozenset()
    """The numbers of versions that were pending when it was made, its own not counted."""
    broken: bool = False
    """It cannot be computed: an index lies outside."""


@dataclass
class Held:
    """An array that the program keeps, and what the model knows of it."""

    array: td.Array
    model: Version

    @property
    def computed(self) -> bool:
        """Whether its value is there: a program also keeps what it computes on the way to what is demanded,
        so this is looked up. Demanding it then runs nothing.
        """
        return self.array.node.buffer is not None


@dataclass
class World:
    """Variables and arrays, each beside its model."""

    variables: list[td.Variable]
    committed: list[np.ndarray]
    pending: dict[int, tuple[int, Version]] = field(default_factory=dict)
    dead: set[int] = field(default_factory=set)
    held: list[Held] = field(default_factory=list)
    views: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)
    numbers: itertools.count = field(default_factory=itertools.count)

    # -- the rules

    def seen(self, i: int) -> Version:
        """What reading a variable stands for now."""
        if i in self.pending:
            number, version = self.pending[i]
            return Version(version.value, version.reads | {number}, version.broken)
        return Version(self.committed[i])

    def fails(self, version: Version) -> bool:
        return version.broken or not self.dead.isdisjoint(version.reads)

    def runs(self, *targets: Held) -> bool:
        """Whether a program of the targets and of all that is pending succeeds, and what comes of it."""
        wanted = [held for held in targets if not held.computed]
        if targets and not wanted:
            return True
        failed = any(self.fails(version) for _, version in self.pending.values())
        if failed or any(self.fails(held.model) for held in wanted):
            self.dead.update(number for number, _ in self.pending.values())
            self.pending.clear()
            return False
        for i, (_, version) in self.pending.items():
            self.committed[i] = version.value
        self.pending.clear()
        return True

    # -- programs: the same done to arrays and to models

    def demand(self, *targets: Held) -> None:
        if self.runs(*targets):
            td.evaluate(*[held.array for held in targets])
            for held in targets:
                check(held.array, held.model.value)
        else:
            with pytest.raises((IndexingError, StateError)):
                td.evaluate(*[held.array for held in targets])

    def assign(self, i: int, held: Held) -> None:
        """Assigning a variable that has something pending first runs that."""
        if i in self.pending and not self.runs():
            with pytest.raises((IndexingError, StateError)):
                self.variables[i].assign(held.array)
            return
        self.variables[i].assign(held.array)
        self.pending[i] = (next(self.numbers), held.model)

    def assign_group(self, assigned: dict[int, Held]) -> None:
        def group() -> None:
            with td.assignments():
                for i, held in assigned.items():
                    self.variables[i].assign(held.array)
                    check_seen = self.seen(i)
                    assert check_seen is not held.model

        if not self.pending.keys().isdisjoint(assigned) and not self.runs():
            with pytest.raises((IndexingError, StateError)):
                group()
            return
        group()
        for i, held in assigned.items():
            self.pending[i] = (next(self.numbers), held.model)

    def hold(self, array: td.Array, value: np.ndarray, *made_of: Version, broken: bool = False) -> Held:
        reads = frozenset().union(*[version.reads for version in made_of])
        broken = broken or any(version.broken for version in made_of)
        self.held.append(Held(array, Version(value, reads, broken)))
        return self.held[-1]

    def pick(self, number: int) -> Held:
        return self.held[-1 - number % min(len(self.held), 6)]

    def check_all(self) -> None:
        """Whatever happened, every array, variable and view is what it stood for when it was made."""
        for array, expected in self.views:
            np.testing.assert_allclose(array, expected, rtol=1e-5)
        for held in self.held:
            self.demand(held)
        for i, variable in enumerate(self.variables):
            self.runs()
            check(variable, self.committed[i])


def check(array: td.Array, expected: np.ndarray) -> None:
    np.testing.assert_allclose(array.numpy(), expected, rtol=1e-5, atol=1e-6)


def known(held: Held) -> Version:
    """A computed array reads nothing any more."""
    return Version(held.model.value) if held.computed else held.model


def step(world: World, kind: int, a: int, b: int) -> None:
    i, j = a % COUNT, b % COUNT
    if kind == 0:
        world.hold(world.variables[i] * 1, world.seen(i).value, world.seen(i))
    elif kind == 1:
        x, y = world.pick(a), world.pick(b)
        mixed = (known(x).value + known(y).value) * np.float32(0.5)
        world.hold((x.array + y.array) * 0.5, mixed, known(x), known(y))
    elif kind == 2:
        world.assign(i, world.pick(b))
    elif kind == 3:
        # The plain update: w takes its own memory again where nobody else holds it.
        value = world.seen(i).value * np.float32(0.5) + 1
        held = Held(world.variables[i] * 0.5 + 1.0, Version(value, world.seen(i).reads, world.seen(i).broken))
        world.assign(i, held)
    elif kind == 4:
        world.demand(world.pick(a))
    elif kind == 5:
        world.assign_group({i: world.pick(a), j: world.pick(b)} if i != j else {i: world.pick(b)})
    elif kind == 6:
        # A swap, out of the values from before.
        k = (i + 1) % COUNT
        x = Held(world.variables[i] + 0, world.seen(i))
        y = Held(world.variables[k] + 0, world.seen(k))
        world.assign_group({i: y, k: x})
    elif kind == 7:
        x = world.pick(a)
        world.hold(td.take(x.array, td.asarray(OUTSIDE)), known(x).value, known(x), broken=True)
    elif kind == 8:
        if world.runs():
            td.evaluate()
        else:
            with pytest.raises((IndexingError, StateError)):
                td.evaluate()
    elif kind == 9:
        x = world.pick(a)
        if x.computed:
            world.views.append((x.array.numpy(), x.model.value))
    elif kind == 10:
        with pytest.raises(ZeroDivisionError), td.assignments():
            world.variables[i].assign(world.pick(b).array)
            raise ZeroDivisionError
    elif kind == 11:
        # Two products: more than one kernel, and memory between them.
        x, y = world.pick(a), world.pick(b)
        value = np.tanh(known(x).value) * known(y).value.mean() + known(y).value.max()
        array = td.tanh(x.array) * td.mean(y.array) + td.max(y.array)
        world.hold(array, value, known(x), known(y))
    elif kind == 12:
        world.held.pop(a % len(world.held)) if len(world.held) > 2 else None
    else:
        world.demand(world.pick(a), world.pick(b))


PROGRAMS = st.lists(
    st.tuples(st.integers(0, 13), st.integers(0, 63), st.integers(0, 63)), min_size=3, max_size=30
)


def run(program: list[tuple[int, int, int]]) -> None:
    assert not pending.versions
    generator = np.random.default_rng(0)
    values = [generator.normal(size=SIZE).astype(np.float32) for _ in range(COUNT)]
    world = World([td.Variable(value) for value in values], [value.copy() for value in values])
    for i in (0, 1):
        world.hold(world.variables[i] * 1, values[i].copy())
    try:
        for kind, a, b in program:
            step(world, kind, a, b)
        world.check_all()
    finally:
        pending.versions.clear()


@settings(max_examples=120)
@given(PROGRAMS)
def test_define_by_run_keeps_its_rules(program: list[tuple[int, int, int]]):
    with td.debug():
        run(program)


@settings(max_examples=60)
@given(PROGRAMS)
def test_compiled_programs_keep_the_rules(program: list[tuple[int, int, int]]):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(config, "SMALL_NODES", 0)
        run(program)
