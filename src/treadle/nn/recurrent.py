"""Recurrent layers: a cell for one step, and layers that scan it along sequences.

What a layer computes of its inputs alone is one product over all steps, outside the loop. Parameters have
PyTorch's names (``weight_ih_l0``, ``bias_hh_l1_reverse``); weights are ``[inputs, gates * width]``, which is
PyTorch's transposed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import treadle as td
from treadle.dtypes import promote
from treadle.errors import ArgumentError, DTypeError, ShapeError
from treadle.nn import initial
from treadle.nn.dropout import Dropout
from treadle.nn.inputs import check_counts
from treadle.nn.module import Module, Parameter

State = tuple[td.Array, ...]
"""Of one layer in one direction: arrays [batch, width], the first of which is its output."""


def _tanh_step(x: td.Array, hidden: td.Array, state: State, width: int) -> State:
    return (td.tanh(x + hidden),)


def _relu_step(x: td.Array, hidden: td.Array, state: State, width: int) -> State:
    return (td.relu(x + hidden),)


def _lstm_step(x: td.Array, hidden: td.Array, state: State, width: int) -> State:
    i, f, g, o = _gates(x + hidden, 4, width)
    c = td.sigmoid(f) * state[1] + td.sigmoid(i) * td.tanh(g)
    return td.sigmoid(o) * td.tanh(c), c


def _gru_step(x: td.Array, hidden: td.Array, state: State, width: int) -> State:
    (r, z, n), (hr, hz, hn) = _gates(x, 3, width), _gates(hidden, 3, width)
    z = td.sigmoid(z + hz)
    return ((1 - z) * td.tanh(n + td.sigmoid(r + hr) * hn) + z * state[0],)


def _gates(x: td.Array, count: int, width: int) -> list[td.Array]:
    """The parts of the last dimension, one a gate."""
    apart = td.reshape(x, (*x.shape[:-1], count, width))
    return [apart[..., k, :] for k in range(count)]


class _Kind:
    """What a recurrent net is but for its sizes: how many gates, how many arrays of state, and its step, of
    what comes from the inputs, what comes from the state, and the state.
    """

    def __init__(self, gates: int, states: int, step: Callable[..., State]):
        self.gates, self.states, self.step = gates, states, step


TANH, RELU = _Kind(1, 1, _tanh_step), _Kind(1, 1, _relu_step)
LSTM_KIND, GRU_KIND = _Kind(4, 2, _lstm_step), _Kind(3, 1, _gru_step)
ACTIVATIONS = {"tanh": TANH, "relu": RELU}


def _recurrent_kind(activation: str) -> _Kind:
    if activation not in ACTIVATIONS:
        raise ArgumentError(f"[RNN] activation={activation!r}; it is one of {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[activation]


def _by_gate(gates: int, rule: initial.Rule) -> initial.Rule:
    """A rule for each gate's matrix on its own, side by side."""

    def side_by_side(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        rows, columns = shape
        return np.concatenate([rule(generator, (rows, columns // gates)) for _ in range(gates)], axis=1)

    return side_by_side


def _parameters(kind: _Kind, inputs: int, width: int, bias: bool, dtype: Any) -> dict[str, Parameter]:
    """Weights and biases of one layer in one direction. The gate that keeps an LSTM's memory begins open
    (Jozefowicz et al. 2015).
    """
    size = kind.gates * width
    found = {
        "weight_ih": Parameter((inputs, size), _by_gate(kind.gates, initial.xavier_uniform), dtype),
        "weight_hh": Parameter((width, size), _by_gate(kind.gates, initial.orthogonal()), dtype),
    }
    if bias:
        first = np.zeros(size)
        if kind is LSTM_KIND:
            first[width : 2 * width] = 1
        found |= {"bias_ih": Parameter((size,), first, dtype), "bias_hh": Parameter((size,), 0.0, dtype)}
    return found


class _Cell(Module):
    """One step of a recurrent net."""

    def __init__(self, kind: _Kind, inputs: int, width: int, bias: bool, dtype: Any):
        self._kind = kind
        self.inputs, self.width = inputs, width
        made = _parameters(kind, inputs, width, bias, dtype)
        self.weight_ih, self.weight_hh = made["weight_ih"], made["weight_hh"]
        self.bias_ih, self.bias_hh = made.get("bias_ih"), made.get("bias_hh")

    def forward(self, x: td.Array, state: Any = None) -> Any:
        name = type(self).__name__
        x = td.asarray(x)
        if x.ndim != 2 or x.shape[1] != self.inputs:
            raise ShapeError(f"[{name}] x has shape {x.shape}; expected [batch, {self.inputs}]")
        wanted = (x.shape[0], self.width)
        dtype = promote(x.dtype, self.weight_ih.dtype)
        before = _given_state(name, state, self._kind.states, wanted, dtype)
        hidden = before[0] @ self.weight_hh
        x = x @ self.weight_ih
        if self.bias_ih is not None and self.bias_hh is not None:
            x, hidden = x + self.bias_ih, hidden + self.bias_hh
        after: Any = self._kind.step(x, hidden, before, self.width)
        return after if len(after) > 1 else after[0]

    def _summary(self) -> str:
        return f"{type(self).__name__}({self.inputs} -> {self.width})"


class RNNCell(_Cell):
    """One step of a plain recurrent net: ``h = activation(x @ weight_ih + h @ weight_hh + biases)``.

    Args:
        inputs: size of x's last dimension.
        width: size of the state.
        activation: "tanh" or "relu".
        bias: whether there are biases.
        dtype: of the parameters.

    Called with x ``[batch, inputs]`` and the state ``[batch, width]`` (zeros if None), it gives the next
    state.

    Raises:
        ShapeError: x or the state has another shape.

    >>> import treadle as td
    >>> td.nn.RNNCell(3, 5)(td.ones((2, 3))).shape
    (2, 5)
    """

    def __init__(
        self, inputs: int, width: int, *, activation: str = "tanh", bias: bool = True, dtype: Any = td.float32
    ):
        super().__init__(_recurrent_kind(activation), inputs, width, bias, dtype)


class LSTMCell(_Cell):
    """One step of a long short-term memory (Hochreiter and Schmidhuber 1997, with the forget gate of Gers et
    al. 2000): its gates are input, forget, cell and output, in this order in the weights.

    Args:
        inputs, width, bias, dtype: as of `RNNCell`.

    Called with x ``[batch, inputs]`` and the state (h, c), each ``[batch, width]`` (zeros if None), it gives
    the next (h, c).

    Raises:
        ShapeError: x or the state has another shape.

    >>> import treadle as td
    >>> h, c = td.nn.LSTMCell(3, 5)(td.ones((2, 3)))
    >>> h.shape, c.shape
    ((2, 5), (2, 5))
    """

    def __init__(self, inputs: int, width: int, *, bias: bool = True, dtype: Any = td.float32):
        super().__init__(LSTM_KIND, inputs, width, bias, dtype)


class GRUCell(_Cell):
    """One step of gated recurrent units (Cho et al. 2014, arXiv:1406.1078, the reset gate after the product):
    its gates are reset, update and new, in this order in the weights.

    Args:
        inputs, width, bias, dtype: as of `RNNCell`.

    Called with x ``[batch, inputs]`` and the state ``[batch, width]`` (zeros if None), it gives the next
    state.

    Raises:
        ShapeError: x or the state has another shape.

    >>> import treadle as td
    >>> td.nn.GRUCell(3, 5)(td.ones((2, 3))).shape
    (2, 5)
    """

    def __init__(self, inputs: int, width: int, *, bias: bool = True, dtype: Any = td.float32):
        super().__init__(GRU_KIND, inputs, width, bias, dtype)


class _Recurrent(Module):
    """A stack of layers of one kind, in one direction or both."""

    def __init__(
        self,
        kind: _Kind,
        inputs: int,
        width: int,
        layers: int,
        bidirectional: bool,
        dropout: float,
        bias: bool,
        time_first: bool,
        dtype: Any,
    ):
        check_counts(type(self).__name__, inputs=inputs, width=width, layers=layers)
        if layers < 1 or inputs < 1 or width < 1:
            raise ArgumentError(
                f"[{type(self).__name__}] inputs={inputs}, width={width}, layers={layers}: all are positive"
            )
        self._kind = kind
        self.inputs, self.width, self.layers = inputs, width, layers
        self.bidirectional, self.bias, self.time_first = bidirectional, bias, time_first
        self.dropout = Dropout(dropout)
        for layer in range(layers):
            size = inputs if layer == 0 else width * self.directions
            for suffix in self._suffixes(layer):
                made = _parameters(kind, size, width, bias, dtype)
                vars(self).update({f"{name}_{suffix}": value for name, value in made.items()})

    @property
    def directions(self) -> int:
        """1, or 2 of a bidirectional net."""
        return 2 if self.bidirectional else 1

    def _suffixes(self, layer: int) -> list[str]:
        return [f"l{layer}", f"l{layer}_reverse"][: self.directions]

    def forward(self, x: td.Array, state: Any = None, *, lengths: Any = None) -> tuple[td.Array, Any]:
        name = type(self).__name__
        x = td.asarray(x)
        if x.ndim != 3 or x.shape[2] != self.inputs:
            axes = "steps, batch" if self.time_first else "batch, steps"
            raise ShapeError(f"[{name}] x has shape {x.shape}; expected [{axes}, {self.inputs}]")
        if not self.time_first:
            x = td.permute_dims(x, (1, 0, 2))
        steps, batch, _ = x.shape
        wanted = (self.layers * self.directions, batch, self.width)
        dtype = promote(x.dtype, vars(self)["weight_ih_l0"].dtype)
        before = _given_state(name, state, self._kind.states, wanted, dtype)
        inside = None if lengths is None else _inside(name, lengths, steps, batch)
        after: list[State] = []
        for layer in range(self.layers):
            outputs = []
            for direction, suffix in enumerate(self._suffixes(layer)):
                own = tuple([part[len(after)] for part in before])
                last, ys = self._along(x, own, suffix, inside, reverse=direction == 1)
                after.append(last)
                outputs.append(ys)
            x = outputs[0] if len(outputs) == 1 else td.concat(outputs, axis=2)
            if layer + 1 < self.layers:
                x = self.dropout(x)
        states: Any = tuple([td.stack(parts) for parts in zip(*after, strict=True)])
        return (
            x if self.time_first else td.permute_dims(x, (1, 0, 2)),
            states if len(states) > 1 else states[0],
        )

    def _along(
        self, x: td.Array, state: State, suffix: str, inside: td.Array | None, reverse: bool
    ) -> tuple[State, td.Array]:
        """One layer in one direction along x [steps, batch, inputs]: its last state and all its outputs."""
        steps, batch, inputs = x.shape
        weight_ih, weight_hh = vars(self)[f"weight_ih_{suffix}"], vars(self)[f"weight_hh_{suffix}"]
        x = td.reshape(x, (steps * batch, inputs)) @ weight_ih
        bias_hh = None
        if self.bias:
            bias_ih, bias_hh = vars(self)[f"bias_ih_{suffix}"], vars(self)[f"bias_hh_{suffix}"]
            x = x + bias_ih
        x = td.reshape(x, (steps, batch, self._kind.gates * self.width))

        def step(before: State, at: Any) -> tuple[State, td.Array]:
            now, there = at
            hidden = before[0] @ weight_hh
            hidden = hidden if bias_hh is None else hidden + bias_hh
            after = self._kind.step(now, hidden, before, self.width)
            # The state stays as wide as it is where products are computed in 16 bits.
            after = tuple([td.astype(new, old.dtype) for new, old in zip(after, before, strict=True)])
            if there is None:
                return after, after[0]
            # Beyond its end a sequence stays in its last state, before its beginning in its first.
            kept = tuple([td.where(there, new, old) for new, old in zip(after, before, strict=True)])
            return kept, td.where(there, after[0], 0)

        return td.scan(step, state, (x, inside), reverse=reverse)

    def _summary(self) -> str:
        kinds = f", {self.layers} layers" * (self.layers > 1) + ", both directions" * self.bidirectional
        return f"{type(self).__name__}({self.inputs} -> {self.width}{kinds})"


def _given_state(name: str, state: Any, count: int, shape: tuple[Any, ...], dtype: Any) -> State:
    """The state that a user gave, or zeros, at least as wide as `dtype`."""
    if state is None:
        return tuple([td.zeros(shape, dtype=dtype)] * count)
    parts = tuple(state) if isinstance(state, (tuple, list)) else (state,)
    if len(parts) != count:
        expected = "a pair (h, c)" if count == 2 else "one array"
        raise ArgumentError(f"[{name}] the state is {len(parts)} arrays; expected {expected}")
    parts = tuple([td.asarray(part) for part in parts])
    for part in parts:
        if part.shape != shape:
            raise ShapeError(f"[{name}] the state has shape {part.shape}; expected {shape}")
    return tuple([td.astype(part, promote(part.dtype, dtype)) for part in parts])


def _inside(name: str, lengths: Any, steps: Any, batch: Any) -> td.Array:
    """Which steps are of each sequence: [steps, batch, 1]."""
    given = None if isinstance(lengths, td.Array) else np.asarray(lengths)
    lengths = td.asarray(lengths)
    if lengths.dtype.kind not in ("int", "uint"):
        raise DTypeError(f"[{name}] lengths are {lengths.dtype}; expected integers")
    if lengths.shape != (batch,):
        raise ShapeError(f"[{name}] lengths have shape {lengths.shape}; expected ({batch},), one a sequence")
    if given is not None and isinstance(steps, int) and given.size:
        low, high = int(given.min()), int(given.max())
        if low < 0 or high > steps:
            raise ArgumentError(f"[{name}] lengths are {low} to {high}; x has {steps} steps")
    numbers = td.reshape(td.arange(steps, dtype=td.int64), (steps, 1, 1))
    return numbers < td.reshape(td.astype(lengths, td.int64), (1, batch, 1))


_LAYER = """
    Args:
        inputs: size of x's last dimension.
        width: size of the state.
        layers: how many, each fed with the outputs of the one before.
        bidirectional: whether each layer also goes from the end to the beginning; its outputs are beside the
            others, ``[..., 2 * width]``.
        dropout: what share of the outputs of each layer but the last is dropped in training.{more}
        bias: whether there are biases.
        time_first: whether x is ``[steps, batch, inputs]``.
        dtype: of the parameters.

    Called with x ``[batch, steps, inputs]`` it gives the last layer's outputs ``[batch, steps, width]`` and
    the last state, {state}. A second argument is the first state (zeros if None); ``lengths=`` are integers
    ``[batch]`` where sequences end early: outputs beyond are 0, the last state is that of a sequence's own
    last step, and the other direction begins there.

    Raises:
        ShapeError: x, the state or lengths have other shapes.
        DTypeError: lengths are no integers.
        ArgumentError: the state is not of as many arrays, or lengths given as numbers are beyond x.
"""
ONE = "``[layers * directions, batch, width]``"
TWO = "a pair (h, c), each ``[layers * directions, batch, width]``"


class RNN(_Recurrent):
    __doc__ = (
        "Plain recurrent layers: `RNNCell` along sequences (Elman 1990).\n"
        + _LAYER.format(state=ONE, more='\n        activation: "tanh" or "relu".')
        + """
    >>> import treadle as td
    >>> y, h = td.nn.RNN(3, 5, layers=2)(td.ones((2, 7, 3)))
    >>> y.shape, h.shape
    ((2, 7, 5), (2, 2, 5))
    """
    )

    def __init__(
        self,
        inputs: int,
        width: int,
        *,
        layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.0,
        activation: str = "tanh",
        bias: bool = True,
        time_first: bool = False,
        dtype: Any = td.float32,
    ):
        kind = _recurrent_kind(activation)
        super().__init__(kind, inputs, width, layers, bidirectional, dropout, bias, time_first, dtype)


class LSTM(_Recurrent):
    __doc__ = (
        "Layers of long short-term memory: `LSTMCell` along sequences (Hochreiter and Schmidhuber 1997).\n"
        + _LAYER.format(state=TWO, more="")
        + """
    >>> import treadle as td
    >>> y, (h, c) = td.nn.LSTM(3, 5, bidirectional=True)(td.ones((2, 7, 3)), lengths=[7, 4])
    >>> y.shape, h.shape, c.shape
    ((2, 7, 10), (2, 2, 5), (2, 2, 5))
    """
    )

    def __init__(
        self,
        inputs: int,
        width: int,
        *,
        layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.0,
        bias: bool = True,
        time_first: bool = False,
        dtype: Any = td.float32,
    ):
        super().__init__(LSTM_KIND, inputs, width, layers, bidirectional, dropout, bias, time_first, dtype)


class GRU(_Recurrent):
    __doc__ = (
        "Layers of gated recurrent units: `GRUCell` along sequences (Cho et al. 2014, arXiv:1406.1078).\n"
        + _LAYER.format(state=ONE, more="")
        + """
    >>> import treadle as td
    >>> y, h = td.nn.GRU(3, 5)(td.ones((2, 7, 3)))
    >>> y.shape, h.shape
    ((2, 7, 5), (1, 2, 5))
    """
    )

    def __init__(
        self,
        inputs: int,
        width: int,
        *,
        layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.0,
        bias: bool = True,
        time_first: bool = False,
        dtype: Any = td.float32,
    ):
        super().__init__(GRU_KIND, inputs, width, layers, bidirectional, dropout, bias, time_first, dtype)
