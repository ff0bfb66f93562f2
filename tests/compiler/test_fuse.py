"""What the fusion pass joins: the number of calls for the patterns that matter, and values against the
references.
"""

from __future__ import annotations

import numpy as np
import pytest
from graphs import check, detached, faults, labels, leaf, library, normal

from treadle import autodiff, dtypes
from treadle.compiler.fuse import fuse
from treadle.compiler.pipeline import expand
from treadle.compiler.program import LibraryCall, LoopCall
from treadle.compiler.simplify import simplify
from treadle.graph.node import make, new
from treadle.ops import contraction, creation, gather, movement, reduction
from treadle.ops import elementwise as ew
from treadle.ops.random import RANDOM_BITS, key_node
from treadle.ops.record import OPS, Type, broadcast

MATMUL, CONCAT = contraction.matmul, movement.concat


def normalized(x, axis=-1):
    mean = reduction.mean(x, axis=axis, keepdims=True)
    variance = reduction.var(x, axis=axis, keepdims=True)
    return ew.divide(ew.subtract(x, mean), ew.sqrt(ew.add(variance, 1e-5)))


def one_hot(label, count):
    wide = movement.expand_dims(label, 1)
    return ew.astype(ew.equal(wide, creation.iota(count, dtypes.int64)), dtypes.float32)


def kernels(fused):
    return [call.kernel for call in fused.calls if isinstance(call, LoopCall)]


# -- rows: reductions and what is computed from them


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("function", [reduction.softmax, reduction.log_softmax, normalized])
def test_normalizations_are_one_kernel(function, axis):
    fused = check([function(leaf(0, 5, 6, 7), axis=axis)], [normal(5, 6, 7)])
    assert len(fused.calls) == 1
    assert kernels(fused)[0].rows == 2


def test_softmax_has_three_stages_and_a_readable_label():
    fused = check([reduction.softmax(leaf(0, 6, 8))], [normal(6, 8)])
    (kernel,) = kernels(fused)
    assert [len(stage.folds) for stage in kernel.stages] == [1, 1, 0]
    assert kernel.label == "max_subtract_exp_sum_multiply[6, 8]"
    assert kernel.in_place == ((1, 0),)


def test_layer_norm_with_scale_and_shift_is_one_kernel():
    y = ew.add(ew.multiply(normalized(leaf(0, 6, 8)), leaf(1, 8)), leaf(2, 8))
    assert len(check([y], [normal(6, 8), normal(8), normal(8)]).calls) == 1


def test_layer_norm_and_its_gradients_are_one_kernel_by_rows_and_one_by_columns():
    x, scale, shift, g = leaf(0, 6, 8), leaf(1, 8), leaf(2, 8), leaf(3, 6, 8)
    y = ew.add(ew.multiply(normalized(x), scale), shift)
    outputs = [y, *autodiff.gradients([y], [x, scale, shift], [g])]
    fused = check(outputs, [normal(6, 8), normal(8), normal(8), normal(6, 8, seed=1)], simplified=True)
    assert len(fused.calls) == 2


def test_softmax_gradient_is_one_kernel():
    x, g = leaf(0, 6, 8), leaf(1, 6, 8)
    (dx,) = autodiff.gradients([reduction.softmax(x)], [x], [g])
    assert len(check([dx], [normal(6, 8), normal(6, 8, seed=1)], simplified=True).calls) == 1


def test_cross_entropy_and_its_gradient_are_one_kernel_and_the_mean():
    x, label = leaf(0, 6, 8), leaf(1, 6, dtype=dtypes.int64)
    rows = reduction.sum(ew.multiply(one_hot(label, 8), reduction.log_softmax(x)), axis=1)
    loss = ew.negative(reduction.mean(rows))
    outputs = [loss, *autodiff.gradients([loss], [x])]
    fused = check(outputs, [normal(6, 8), np.arange(6) % 8], simplified=True)
    assert len(fused.calls) == 2


def test_batch_norm_is_one_kernel_over_channels():
    x, scale = leaf(0, 4, 3, 5, 5), leaf(1, 1, 3, 1, 1)
    y = ew.relu(ew.multiply(normalized(x, (0, 2, 3)), scale))
    fused = check([y], [normal(4, 3, 5, 5), normal(1, 3, 1, 1)])
    assert len(fused.calls) == 1 and kernels(fused)[0].sizes == (3, 4, 5, 5)


def test_mean_squared_error_folds_then_divides_once():
    loss = reduction.mean(ew.square(ew.subtract(leaf(0, 6, 8), leaf(1, 6, 8))))
    fused = check([loss], [normal(6, 8), normal(6, 8, seed=1)])
    (kernel,) = kernels(fused)
    assert [stage.per for stage in kernel.stages] == ["element", "row"] and kernel.rows == 0


@pytest.mark.parametrize("name", ["sum", "prod", "max", "min", "argmax", "argmin"])
@pytest.mark.parametrize("axis", [None, 0, 1, 2])
def test_single_reductions(name, axis):
    fused = check([getattr(reduction, name)(leaf(0, 3, 4, 5), axis=axis)], [normal(3, 4, 5)], rtol=1e-3)
    assert len(fused.calls) == 1


@pytest.mark.parametrize("name", ["any", "all"])
def test_tests_of_booleans(name):
    x = ew.greater(leaf(0, 4, 5), 1.0)
    check([getattr(reduction, name)(x, axis=1)], [normal(4, 5)])


def test_argmax_of_a_permuted_array_counts_along_the_reduced_dimension():
    x = movement.permute_dims(leaf(0, 3, 4, 5), (2, 0, 1))
    check([reduction.argmax(x, axis=2), reduction.argmin(x)], [normal(3, 4, 5)])


def test_a_reduction_of_a_reduction_is_two_kernels():
    x = reduction.max(ew.exp(leaf(0, 6, 8)), axis=1)
    assert len(check([reduction.sum(x)], [normal(6, 8)]).calls) == 2


def test_sums_over_the_same_rows_join():
    x, y = leaf(0, 6, 8), leaf(1, 6, 8)
    outputs = [reduction.sum(x, axis=0), reduction.sum(ew.multiply(x, y), axis=0)]
    assert len(check(outputs, [normal(6, 8), normal(6, 8, seed=1)]).calls) == 1


# -- elementwise


def test_momentum_is_one_kernel_in_place():
    parameter, velocity, g = (leaf(i, 4, 5) for i in range(3))
    faster = ew.add(ew.multiply(velocity, 0.9), g)
    outputs = [faster, ew.subtract(parameter, ew.multiply(faster, 0.1))]
    fused = check(outputs, [normal(4, 5, seed=i) for i in range(3)])
    (call,) = fused.calls
    assert isinstance(call, LoopCall)
    pairs = {(call.buffers[w], call.buffers[r]) for w, r in call.kernel.in_place}
    leaves = {info.index: b for b, info in enumerate(fused.buffers) if info.source == "input"}
    assert {(fused.outputs[0], leaves[1]), (fused.outputs[1], leaves[0])} <= pairs


def test_adam_is_one_kernel():
    p, m, v, g = (leaf(i, 4, 5) for i in range(4))
    step = leaf(4)
    first = ew.add(ew.multiply(m, 0.9), ew.multiply(g, 0.1))
    second = ew.add(ew.multiply(v, 0.99), ew.multiply(ew.square(g), 0.01))
    first_hat = ew.divide(first, ew.subtract(1.0, ew.pow(0.9, step)))
    second_hat = ew.divide(second, ew.subtract(1.0, ew.pow(0.99, step)))
    change = ew.divide(ew.multiply(first_hat, 0.1), ew.add(ew.sqrt(second_hat), 1e-8))
    arrays = [normal(4, 5, seed=i) for i in range(4)]
    arrays[2] = np.abs(arrays[2])
    arrays.append(np.float32(3.0).reshape(()))
    assert len(check([ew.subtract(p, change), first, second], arrays).calls) == 1


def test_independent_outputs_over_shared_inputs_join():
    x, y = leaf(0, 4, 5), leaf(1, 4, 5)
    outputs = [ew.exp(ew.add(x, y)), ew.sin(x), ew.negative(x)]
    assert len(check(outputs, [normal(4, 5), normal(4, 5, seed=1)]).calls) == 1


def test_outputs_that_wait_for_each_other_do_not_join_into_a_circle():
    x = leaf(0, 6, 8)
    first = ew.exp(x)
    ordered_rows = make(OPS["sort"], (first,), (1, False))
    outputs = [ew.add(x, ordered_rows), first]
    fused = check(outputs, [normal(6, 8)])
    assert labels(fused) == ["exp[6, 8]", "sort", "add[6, 8]"]


def test_costly_values_of_several_kernels_are_stored_and_cheap_ones_are_not():
    x = leaf(0, 6, 8)
    for value, stored in ((ew.tanh(x), True), (ew.negative(x), False)):
        fused = check([reduction.sum(value, axis=axis) for axis in (0, 1)], [normal(6, 8)])
        assert len(fused.calls) == 2
        assert (value in [info.node for info in fused.buffers]) == stored


def test_a_costly_value_is_not_computed_for_every_repetition():
    bias = ew.tanh(leaf(1, 64))
    fused = check([ew.add(leaf(0, 32, 64), bias)], [normal(32, 64), normal(64)])
    assert [kernel.sizes for kernel in kernels(fused)] == [(64,), (32, 64)]


def test_identities_cost_nothing():
    x = ew.stop_gradient(ew.positive(leaf(0, 3)))
    fused = check([x, movement.reshape(ew.exp(x), (3, 1))], [normal(3)])
    assert len(fused.calls) == 1 and fused.buffers[fused.outputs[0]].source == "input"


def test_long_chains_are_divided():
    x = leaf(0, 3)
    y = x
    for i in range(500):
        y = ew.add(ew.multiply(y, x), x) if i % 2 else ew.maximum(y, x)
    fused = check([y], [normal(3)], rtol=1e-2)
    assert len(fused.calls) > 1


# -- movement

MOVES = {
    "transposed": lambda x: movement.permute_dims(x, (1, 0)),
    "reshaped": lambda x: movement.reshape(x, (4, 12)),
    "split and transposed": lambda x: movement.permute_dims(movement.reshape(x, (6, 4, 2)), (2, 0, 1)),
    "transposed and merged": lambda x: movement.reshape(movement.permute_dims(x, (1, 0)), (16, 3)),
    "sliced": lambda x: movement.take_slice(x, (1, 2), (6, 7), (2, 3)),
    "flipped": lambda x: movement.flip(x, axis=0),
    "padded": lambda x: movement.pad(x, ((1, 2), (0, 3)), constant_values=2.5),
    "rolled": lambda x: movement.roll(x, 3, axis=1),
    "tiled": lambda x: movement.tile(x, (2, 3)),
    "repeated": lambda x: movement.repeat(x, 3, axis=1),
    "reflected": lambda x: movement.pad(x, ((2, 1), (0, 0)), mode="reflect"),
    "concatenated": lambda x: CONCAT([x, ew.exp(x), movement.take_slice(x, (0, 0), (2, 8), (1, 1))], axis=0),
    "stacked": lambda x: movement.stack([x, ew.negative(x), ew.square(x)], axis=1),
    "spread": lambda x: make(OPS["pad"], (x, leaf(1)), (((1, 0, 2), (0, 2, 1)),)),
    "spread evenly": lambda x: make(OPS["pad"], (x, leaf(1)), (((0, 1, 1), (0, 0, 0)),)),
    "spread and cut": lambda x: make(OPS["pad"], (x, leaf(1)), (((-4, -2, 2), (1, 0, 0)),)),
    "cut": lambda x: make(OPS["pad"], (x, leaf(1)), (((-2, -1, 0), (3, -4, 0)),)),
    "flattened": lambda x: movement.reshape(movement.flip(x, axis=1), (48,)),
}


def test_parts_are_stored_with_what_is_made_of_the_same():
    """An LSTM's cotangents: of the gates side by side, and of the memory."""
    x, y = leaf(0, 6, 8), leaf(1, 6, 8)
    shared = ew.tanh(ew.add(x, y))
    parts = [movement.reshape(ew.multiply(shared, z), (6, 1, 8)) for z in (x, y)]
    fused = check([CONCAT(parts, axis=1), ew.multiply(shared, x)], [normal(6, 8), normal(6, 8)])
    assert len(fused.calls) == 1


@pytest.mark.parametrize("name", MOVES)
def test_moves_alone(name):
    check([MOVES[name](leaf(0, 6, 8))], [normal(6, 8), np.float32(7).reshape(())])


@pytest.mark.parametrize("name", MOVES)
def test_moves_between_elementwise_ops_and_reductions(name):
    y = ew.exp(MOVES[name](ew.tanh(leaf(0, 6, 8))))
    arrays = [normal(6, 8), np.float32(0.5).reshape(())]
    check([y, reduction.sum(y, axis=0)], arrays, rtol=1e-3)
    check([reduction.sum(y)], arrays, rtol=1e-3)


@pytest.mark.parametrize(
    "name", ["transposed", "sliced", "flipped", "padded", "tiled", "split and transposed"]
)
def test_moves_are_index_maps(name):
    y = ew.add(ew.exp(MOVES[name](leaf(0, 6, 8))), 1.0)
    assert len(check([y], [normal(6, 8)]).calls) == 1


def test_a_padding_of_zeros_needs_no_choice():
    fused = check([movement.pad(leaf(0, 3, 4), 1)], [normal(3, 4)])
    assert [i.op for i in kernels(fused)[0].stages[0].body if i.op != "constant"] == ["load"]


def test_slices_of_slices_of_paddings():
    x = movement.pad(movement.pad(leaf(0, 5, 5), 2), ((0, 1), (1, 0)))
    check([movement.take_slice(x, (1, 1), (9, 9), (1, 2)), reduction.max(x, axis=0)], [normal(5, 5)])


def test_a_stencil_reads_its_neighbours_in_one_kernel():
    x = leaf(0, 20)

    def part(start):
        return movement.take_slice(x, (start,), (start + 18,), (1,))

    y = ew.subtract(ew.add(part(0), part(2)), ew.multiply(part(1), 2.0))
    assert len(check([y], [normal(20)]).calls) == 1


def test_a_gradient_of_a_strided_slice_is_spread_zeros():
    x = leaf(0, 9, 8)
    y = movement.take_slice(ew.exp(x), (0, 1), (9, 8), (2, 3))
    check(autodiff.gradients([reduction.sum(ew.square(y))], [x]), [normal(9, 8)], simplified=True, rtol=1e-3)


# -- library ops


def test_a_transposed_operand_is_a_view():
    x, y = leaf(0, 6, 8), leaf(1, 6, 5)
    fused = check([MATMUL(movement.permute_dims(x, (1, 0)), y)], [normal(6, 8), normal(6, 5)])
    (call,) = fused.calls
    assert isinstance(call, LibraryCall) and call.inputs[0].strides == (1, 8)


def test_a_computed_operand_is_stored_as_it_is_computed_and_seen_transposed():
    x, y = ew.exp(leaf(0, 6, 8)), leaf(1, 6, 5)
    fused = check([MATMUL(movement.permute_dims(x, (1, 0)), y)], [normal(6, 8), normal(6, 5)])
    assert labels(fused) == ["exp[6, 8]", "matmul"]


@pytest.mark.parametrize("lead", [(), (3,), (2, 3)])
def test_bias_and_relu_are_an_epilogue(lead):
    x, w, bias = leaf(0, *lead, 4, 8), leaf(1, 8, 5), leaf(2, 5)
    y = ew.relu(ew.add(MATMUL(x, w), bias))
    fused = check([y], [normal(*lead, 4, 8), normal(8, 5), normal(5)], simplified=True)
    assert labels(fused) == ["matmul+"]


def test_a_residual_is_an_epilogue():
    x, w = leaf(0, 4, 8), leaf(1, 8, 8)
    h = ew.exp(x)
    y = ew.add(MATMUL(h, w), h)
    assert labels(check([y], [normal(4, 8), normal(8, 8)])) == ["exp[4, 8]", "matmul+"]


def test_what_is_read_elsewhere_too_is_the_epilogues_result():
    x, w, bias = leaf(0, 4, 8), leaf(1, 8, 8), leaf(2, 8)
    z = ew.add(MATMUL(x, w), bias)
    outputs = [make(OPS["sort"], (ew.tanh(z),), (1, False)), reduction.sum(z, axis=0)]
    fused = check(outputs, [normal(4, 8), normal(8, 8), normal(8)], rtol=1e-3)
    assert labels(fused)[0] == "matmul+" and len(fused.calls[0].outputs) == 2 and len(fused.calls) == 3


@pytest.mark.parametrize(
    ("axes", "strides"), [((1, 0, 2), (5, 10, 1)), ((0, 2, 1), (20, 1, 4)), ((2, 1, 0), (1, 2, 8))]
)
def test_a_product_stores_in_another_order(axes, strides):
    """Where neighbours in memory are along one of its last two dimensions; only else it is copied."""
    x, w, r = leaf(0, 2, 4, 8), leaf(1, 2, 8, 5), leaf(2, 2, 4, 5)
    arrays = [normal(2, 4, 8), normal(2, 8, 5), normal(2, 4, 5)]
    for y in (MATMUL(x, w), ew.add(MATMUL(x, w), ew.exp(r))):
        turned = movement.permute_dims(y, axes)
        fused = check([movement.reshape(turned, (turned.shape[0], -1))], arrays)
        product = next(call for call in fused.calls if isinstance(call, LibraryCall))
        if axes == (2, 1, 0):
            assert not product.strides and fused.calls[-1] is not product
        else:
            assert product.strides == strides and fused.calls[-1] is product


def test_a_softmax_of_a_product_is_no_epilogue():
    y = reduction.softmax(ew.multiply(MATMUL(leaf(0, 4, 8), leaf(1, 8, 6)), 0.5))
    assert len(check([y], [normal(4, 8), normal(8, 6)]).calls) == 2


def test_a_parameter_is_updated_by_the_product_that_gives_its_gradient():
    x, g, w = leaf(0, 6, 8), leaf(1, 6, 5), leaf(2, 8, 5)
    product = MATMUL(movement.permute_dims(x, (1, 0)), g)
    fused = check([ew.subtract(w, ew.multiply(product, 0.1))], [normal(6, 8), normal(6, 5), normal(8, 5)])
    assert labels(fused) == ["matmul+"]


def test_a_parameter_and_its_momentum_are_updated_by_the_product_that_gives_the_gradient():
    x, g, w, v, s = leaf(0, 6, 8), leaf(1, 6, 5), leaf(2, 8, 5), leaf(3, 8, 5), leaf(4, 8, 5)
    gradient = MATMUL(movement.permute_dims(x, (1, 0)), g)
    moved = ew.add(ew.multiply(v, 0.9), gradient)
    squares = ew.add(ew.multiply(s, 0.99), ew.square(gradient))
    stepped = ew.subtract(w, ew.divide(ew.multiply(moved, 0.1), ew.sqrt(ew.add(squares, 10.0))))
    fused = check([stepped, moved, squares], [normal(6, 8), normal(6, 5), *[normal(8, 5)] * 3])
    assert labels(fused) == ["matmul+"] and len(fused.calls[0].outputs) == 3


def test_a_filter_is_updated_by_a_kernel_that_may_run_in_place():
    """A convolution cannot store over what its epilogue reads."""
    x, k, w = leaf(0, 1, 2, 6, 6), leaf(1, 3, 2, 3, 3), leaf(2, 1, 3, 4, 4)
    y = make(OPS["conv"], (x, k), ((1, 1), ((0, 0), (0, 0)), (1, 1), 1))
    fused = check(
        [ew.subtract(w, ew.multiply(y, 0.1))], [normal(1, 2, 6, 6), normal(3, 2, 3, 3), normal(1, 3, 4, 4)]
    )
    assert labels(fused) == ["conv", "multiply_subtract[1, 3, 4, 4]"]


def test_an_epilogue_does_not_change_the_dtype():
    y = ew.astype(MATMUL(leaf(0, 4, 8), leaf(1, 8, 6)), dtypes.float64)
    assert labels(check([y], [normal(4, 8), normal(8, 6)])) == ["matmul", "astype[4, 6]"]


def test_results_of_integer_products_are_stored_first():
    x = leaf(0, 4, 4, dtype=dtypes.int32)
    array = np.arange(16, dtype=np.int32).reshape(4, 4)
    assert labels(check([ew.add(MATMUL(x, x), x)], [array]))[0] == "matmul"


def test_attention():
    size, heads = 12, 3
    x = leaf(0, 2, 4, size)
    weights = [leaf(1 + i, size, size) for i in range(4)]

    def split(t):
        return movement.permute_dims(movement.reshape(t, (2, 4, heads, size // heads)), (0, 2, 1, 3))

    h = normalized(x)
    q, k, v = (split(MATMUL(h, w)) for w in weights[:3])
    scores = ew.multiply(MATMUL(q, movement.matrix_transpose(k)), 0.5)
    mixed = movement.permute_dims(MATMUL(reduction.softmax(scores), v), (0, 2, 1, 3))
    y = ew.add(x, MATMUL(movement.reshape(mixed, (2, 4, size)), weights[3]))
    arrays = [normal(2, 4, size), *[normal(size, size, seed=i) * 0.3 for i in range(4)]]
    fused = check([y], arrays, simplified=True)
    assert len(kernels(fused)) == 2 and len(fused.calls) == 8
    loss = reduction.sum(ew.square(y))
    outputs = [loss, *autodiff.gradients([loss], [x, *weights])]
    check(outputs, arrays, simplified=True, rtol=1e-2, atol=1e-3)


def test_a_training_step_of_two_layers():
    x, label = leaf(0, 16, 10), leaf(1, 16, dtype=dtypes.int64)
    weights = [leaf(2, 10, 20), leaf(3, 20), leaf(4, 20, 5), leaf(5, 5)]
    h = ew.relu(ew.add(MATMUL(x, weights[0]), weights[1]))
    z = ew.add(MATMUL(h, weights[2]), weights[3])
    rows = reduction.sum(ew.multiply(one_hot(label, 5), reduction.log_softmax(z)), axis=1)
    loss = ew.negative(reduction.mean(rows))
    outputs = [loss]
    for w, g in zip(weights, autodiff.gradients([loss], weights), strict=True):
        outputs.append(ew.subtract(w, ew.multiply(g, 0.1)))
    arrays = [normal(16, 10), np.arange(16) % 5, *[normal(*w.shape) for w in weights]]
    fused = check(outputs, arrays, simplified=True, rtol=1e-3)
    # Five products, two of which update their weights; softmax and its gradient, the mean; the two biases.
    assert len(fused.calls) == 9


def test_the_backward_pass_normalizes_again_instead_of_keeping_what_was_normalized():
    """Both means of a batch-norm are below a broadcast, and cost those who subtract them a load."""
    x, weights = leaf(0, 64, 10), [leaf(1, 10, 24), leaf(2, 24, 5)]
    h = MATMUL(x, weights[0])
    mean = movement.expand_dims(reduction.mean(h, axis=0), 0)
    scale = ew.divide(leaf(3, 24), ew.sqrt(ew.add(reduction.var(h, axis=0), 1e-5)))
    y = ew.add(ew.multiply(ew.subtract(h, mean), movement.expand_dims(scale, 0)), leaf(4, 1, 24))
    loss = reduction.sum(ew.square(MATMUL(ew.relu(y), weights[1])))
    outputs = [loss, *autodiff.gradients([loss], weights)]
    arrays = [normal(64, 10), normal(10, 24), normal(24, 5), normal(24), normal(1, 24)]
    fused = check(outputs, arrays, simplified=True, rtol=1e-2, atol=1e-3)
    kept = [info.node.op.name for info in fused.buffers if info.type.shape == (64, 24)]
    # The products of both directions, and what is multiplied by the next weights.
    assert sorted(kept) == ["add", "matmul", "matmul", "relu"]


# -- indices and random numbers


def test_take_with_indices_computed_in_the_kernel():
    x, i = leaf(0, 6, 8), leaf(1, 3, dtype=dtypes.int64)
    y = ew.exp(gather.take(x, ew.add(i, i), axis=0))
    fused = check([y], [normal(6, 8), np.array([0, 2, 1])])
    assert len(fused.calls) == 1


def test_a_table_is_read_as_it_lies():
    x, i = leaf(0, 6, 8), leaf(1, 3, dtype=dtypes.int64)
    y = gather.take(movement.permute_dims(x, (1, 0)), i, axis=0)
    assert len(check([y], [normal(6, 8), np.array([0, 7, 1])]).calls) == 1


def test_a_computed_table_is_stored_before_it_is_read():
    x, i = ew.exp(leaf(0, 6, 8)), leaf(1, 6, 8, dtype=dtypes.int64)
    y = ew.add(make(OPS["gather"], (x, i, i), ((0, 1),)), x)
    fused = check([y, x], [normal(6, 8), np.arange(48).reshape(6, 8) % 6])
    assert len(fused.calls) == 2


def test_an_index_out_of_range_is_reported():
    y = make(OPS["gather"], (leaf(0, 6, 8), leaf(1, 3, dtype=dtypes.int64)), ((0,),))
    fused = fuse([y], library)
    assert faults(fused, [normal(6, 8), np.array([0, 5, 1])]) == [0]
    assert faults(fused, [normal(6, 8), np.array([0, 6, 1])]) == [1]
    assert fused.faults == [y]


def test_a_number_of_no_class_is_reported():
    labels = leaf(0, 3, dtype=dtypes.int64)
    y = gather.one_hot(labels, 4, outside="error")
    fused = fuse([y], library)
    for given, expected in (([0, 3, 1], [0]), ([0, 4, 1], [1]), ([0, -1, 1], [1])):
        assert faults(fused, [np.array(given)]) == expected
    assert [node.op.name for node in fused.faults] == ["class_number"]


def test_random_bits_count_in_row_major_order_wherever_they_are_read():
    bits = make(RANDOM_BITS, (key_node(3, 5),), ((6, 8), 0))
    other = make(RANDOM_BITS, (key_node(3, 5),), ((6, 8), 1))
    turned = ew.bitwise_xor(
        movement.permute_dims(bits, (1, 0)), movement.flip(movement.matrix_transpose(other))
    )
    outputs, arrays = detached([turned, ew.bitwise_right_shift(bits, other)], [])
    fused = check(outputs, arrays)
    assert len(fused.calls) == 2


def test_a_dropout_mask_is_drawn_once_for_both_directions():
    x, g = leaf(0, 6, 8), leaf(1, 6, 8)
    bits = make(RANDOM_BITS, (key_node(3, 5),), ((6, 8), 0))
    kept = ew.less(bits, broadcast(leaf(2, dtype=dtypes.uint32), (6, 8)))
    y = ew.where(kept, ew.multiply(make(OPS["sort"], (x,), (1, False)), 2.0), 0.0)
    z = make(OPS["sort"], (y,), (1, False))
    (back,) = [ew.where(kept, ew.multiply(g, z), 0.0)]
    fused = check([back], [normal(6, 8), normal(6, 8, seed=1), np.array(1 << 31, np.uint32)])
    drawn = [i for kernel in kernels(fused) for s in kernel.stages for i in s.body if i.op == "random"]
    assert len(drawn) == 1


# -- edges


def test_empty_arrays():
    x, y = leaf(0, 0, 4), leaf(1, 3, 4)
    outputs = [
        ew.exp(x), reduction.sum(x, axis=0), reduction.sum(x, axis=1), CONCAT([x, y, x]),
        movement.pad(x, 1, constant_values=2), reduction.all(ew.equal(x, x)), movement.reshape(x, (4, 0)),
        MATMUL(movement.permute_dims(x, (1, 0)), x), MATMUL(x, movement.permute_dims(x, (1, 0))),
        ew.add(movement.pad(x, 1), 1.0),
    ]  # fmt: skip
    check(outputs, [normal(0, 4), normal(3, 4)])


def test_what_only_empty_values_are_made_of_is_not_computed():
    x = leaf(0, 3, 4)
    product = MATMUL(ew.exp(x), movement.permute_dims(x, (1, 0)))
    fused = check([movement.take_slice(product, (1, 0), (1, 3), (1, 1))], [normal(3, 4)])
    assert not fused.calls


def test_numbers():
    x = leaf(0)
    outputs = [ew.exp(x), reduction.sum(broadcast(x, (3,))), movement.reshape(x, (1, 1)), ew.add(x, 1.0)]
    check(outputs, [np.float32(2).reshape(())])


def test_constants_and_counts_as_outputs():
    outputs = [
        OPS_CONSTANT(3.0, dtypes.float32), broadcast(OPS_CONSTANT(True, dtypes.bool), (2, 2)),
        creation.iota(5, dtypes.int64), creation.iota(5, dtypes.float32), creation.iota(3, dtypes.uint8),
    ]  # fmt: skip
    check(outputs)


def OPS_CONSTANT(value, dtype):
    return new(OPS["constant"], (), (value, dtype), Type((), dtype))


def test_outputs_that_are_inputs_and_each_other():
    x = leaf(0, 3, 4)
    y = ew.exp(x)
    outputs = [x, y, y, movement.reshape(y, (12,)), movement.reshape(x, (12,))]
    fused = check(outputs, [normal(3, 4)])
    assert fused.outputs[1] == fused.outputs[2] and fused.buffers[fused.outputs[0]].source == "input"


def test_complex_values_are_the_librarys():
    x = leaf(0, 3, 4, dtype=dtypes.complex64)
    y = ew.multiply(movement.permute_dims(x, (1, 0)), 2)
    fused = check([y], [normal(3, 4) + 1j * normal(3, 4, seed=1)], simplified=True)
    assert not kernels(fused)


@pytest.mark.parametrize("dtype", [d for d in dtypes.ALL if d.kind in ("int", "uint", "float")])
def test_every_dtype(dtype):
    x = leaf(0, 4, 5, dtype=dtype)
    array = (np.arange(20).reshape(4, 5) % 7 + 1).astype(dtype.numpy)
    outputs = [
        ew.add(ew.multiply(x, 2), x), reduction.max(x, axis=0), ew.relu(x), ew.greater(x, 3),
        ew.astype(x, dtypes.float64), movement.pad(x, 1), reduction.argmin(x, axis=1),
    ]  # fmt: skip
    check(outputs, [array], rtol=1e-2)


def test_an_op_without_any_kernel_is_refused():
    with pytest.raises(NotImplementedError, match="sort"):
        fuse([make(OPS["sort"], (leaf(0, 4),), (0, False))], lambda node: False)


def test_gelu_and_its_slope_come_out_of_the_product():
    """What the gradient needs is one value, computed where the product is; the product itself is not kept."""
    x, w, g = leaf(0, 4, 8), leaf(1, 8, 6), leaf(2, 4, 6)
    h = ew.add(MATMUL(x, w), 0.5)
    y = ew.gelu(h, approximate=True)
    (dx,) = autodiff.gradients([y], [x], [g])
    fused = check(simplify(expand([y, dx])), [normal(4, 8), normal(8, 6), normal(4, 6)])
    first, *others = fused.calls
    assert isinstance(first, LibraryCall) and len(first.outputs) == 2
    assert [(type(call), len(call.writes)) for call in others] == [(LoopCall, 1), (LibraryCall, 1)]


def test_numbers_in_common_join_nothing():
    """Two values that share a number alone are two kernels."""
    a, b = leaf(0, 64, 8), leaf(1, 64, 8)
    half = ew.like(0.5, a)
    first = ew.multiply(ew.exp(a), half)
    second = ew.multiply(ew.exp(b), half)
    fused = check([first, second], [normal(64, 8), normal(64, 8)])
    assert len(kernels(fused)) == 2
