"""Each invariant of graphs and programs, broken once."""

from __future__ import annotations

from dataclasses import replace

import pytest
from graphs import leaf, library

from treadle import dtypes
from treadle.compiler.fuse import fuse
from treadle.compiler.kernel import Access, Affine, Guard, Instruction, Operand, Store
from treadle.compiler.program import Fused, LibraryCall, LoopCall, View
from treadle.compiler.verify import verify, verify_fused
from treadle.errors import VerifyError
from treadle.graph.dimension import Dimension
from treadle.graph.node import Op, Type, make, new
from treadle.ops import contraction, movement, reduction
from treadle.ops import elementwise as ew
from treadle.ops.record import OPS


def refuse(graph, words):
    with pytest.raises(VerifyError, match=f"after a pass: .*{words}"):
        verify(graph, "a pass")


# -- graphs


def test_a_sound_graph_passes():
    verify([reduction.softmax(leaf(0, 3, 4))], "a pass")


def test_a_circle():
    x = ew.exp(leaf(0, 3))
    y = ew.negative(x)
    x.inputs = (y,)
    refuse([y], "needs itself")


def test_an_op_nobody_registered():
    op = Op("exp", OPS["exp"].infer, None)
    refuse([new(op, (leaf(0, 3),), (), Type((3,), dtypes.float32))], "not registered")


def test_a_missing_attribute():
    refuse([new(OPS["sum"], (leaf(0, 3),), (), Type((), dtypes.float32))], "lacks an attribute")


def test_an_attribute_that_cannot_be_compared():
    refuse([new(OPS["sum"], (leaf(0, 3),), ([0],), Type((), dtypes.float32))], "cannot be compared")


def test_a_leaf_of_a_users_graph():
    refuse([new(OPS["scalar"], (), (), Type((), dtypes.float32))], "no leaf of a program")


def test_a_type_that_is_not_inferred():
    refuse([new(OPS["sum"], (leaf(0, 3, 4),), ((0,),), Type((3,), dtypes.float32))], "is inferred as")


def test_a_size_that_is_not_known():
    refuse([leaf(0, Dimension(["batch"]))], "not known")  # type: ignore[arg-type]


def test_the_error_names_the_users_line():
    x = new(OPS["sum"], (leaf(0, 3, 4),), ((0,),), Type((3,), dtypes.float32))
    with pytest.raises(VerifyError, match=r"test_verify\.py"):
        verify([x], "a pass")


# -- programs


@pytest.fixture
def program():
    """A kernel of exp, a product of it with its transpose and a bias, a softmax, and a padding."""
    x = ew.exp(leaf(0, 3, 4))
    product = ew.add(contraction.matmul(x, movement.permute_dims(x, (1, 0))), leaf(1, 3))
    softmax = reduction.softmax(leaf(2, 3, 4))
    return fuse([ew.tanh(product), softmax, movement.pad(leaf(1, 3), 1)], library)


def refuse_program(program, words):
    with pytest.raises(VerifyError, match=f"after a pass: .*{words}"):
        verify_fused(program, "a pass")


def change_kernel(program: Fused, number: int, **changes):
    """Replace fields of the kernel of the program's loop call `number`."""
    loops = [call for call in program.calls if isinstance(call, LoopCall)]
    loops[number].kernel = replace(loops[number].kernel, **changes)


def change_stage(program: Fused, number: int, stage: int, **changes):
    loops = [call for call in program.calls if isinstance(call, LoopCall)]
    stages = list(loops[number].kernel.stages)
    stages[stage] = replace(stages[stage], **changes)
    change_kernel(program, number, stages=tuple(stages))


def first_loop(program: Fused, word: str) -> int:
    loops = [call for call in program.calls if isinstance(call, LoopCall)]
    return next(i for i, call in enumerate(loops) if word in call.kernel.label)


def stage_of(program, number, stage):
    return [call for call in program.calls if isinstance(call, LoopCall)][number].kernel.stages[stage]


def product_of(program) -> LibraryCall:
    return next(call for call in program.calls if isinstance(call, LibraryCall))


def test_a_sound_program_passes(program):
    verify_fused(program, "a pass")
    assert product_of(program).epilogue


def test_reading_before_writing(program):
    program.calls.reverse()
    refuse_program(program, "is not written when")


def test_a_call_left_out(program):
    program.calls = [
        call for call in program.calls if not (isinstance(call, LoopCall) and "max" in call.kernel.label)
    ]
    refuse_program(program, "not written when the program ends")


def test_writing_twice(program):
    program.calls.append(program.calls[-1])
    refuse_program(program, "is written before")


def test_an_element_written_twice(program):
    number = first_loop(program, "exp[")
    (store,) = stage_of(program, number, 0).stores
    same = Affine(0, (0, 1))
    change_stage(program, number, 0, stores=(replace(store, access=Access(store.access.operand, same)),))
    change_kernel(program, number, in_place=())
    refuse_program(program, "twice")


def test_writing_an_input(program):
    number = first_loop(program, "exp[")
    call = [call for call in program.calls if isinstance(call, LoopCall)][number]
    call.buffers = (call.buffers[0], call.buffers[0])
    refuse_program(program, "writes the input buffer")


def test_a_load_outside_its_operand(program):
    number = first_loop(program, "exp[")
    body = list(stage_of(program, number, 0).body)
    body[0] = replace(body[0], attribute=Access(0, Affine(1, (4, 1))))
    change_stage(program, number, 0, body=tuple(body))
    refuse_program(program, "touches elements 1 to 12 of 12")


def test_a_guard_that_does_not_hold_a_load_inside(program):
    number = first_loop(program, "pad")
    body = list(stage_of(program, number, 0).body)
    place = next(i for i, instruction in enumerate(body) if instruction.op == "load")
    access = body[place].attribute
    body[place] = replace(body[place], attribute=replace(access, guards=(Guard(access.index, 4),)))
    change_stage(program, number, 0, body=tuple(body))
    refuse_program(program, "touches")


def test_a_store_outside_its_operand(program):
    number = first_loop(program, "exp[")
    (store,) = stage_of(program, number, 0).stores
    change_stage(program, number, 0, stores=(Store(Access(store.access.operand, Affine(-1, (4, 1))), 1),))
    refuse_program(program, "touches")


def test_a_store_to_what_is_only_read(program):
    number = first_loop(program, "exp[")
    change_stage(program, number, 0, stores=(Store(Access(0, Affine(0, (4, 1))), 1),))
    refuse_program(program, "only read")


def test_a_load_from_what_is_written(program):
    number = first_loop(program, "exp[")
    body = list(stage_of(program, number, 0).body)
    body[0] = replace(body[0], attribute=Access(1, Affine(0, (4, 1))))
    change_stage(program, number, 0, body=tuple(body))
    refuse_program(program, "loads from an operand it writes")


def test_a_load_as_another_dtype(program):
    number = first_loop(program, "exp[")
    body = list(stage_of(program, number, 0).body)
    body[0] = replace(body[0], dtype="float64")
    change_stage(program, number, 0, body=tuple(body))
    refuse_program(program, "as float64")


def test_a_value_used_before_it_is_there(program):
    number = first_loop(program, "exp[")
    change_stage(program, number, 0, body=tuple(reversed(stage_of(program, number, 0).body)))
    refuse_program(program, "before it is there")


def test_a_result_of_a_fold_that_has_not_run(program):
    number = first_loop(program, "max")
    body = (*stage_of(program, number, 0).body, Instruction("result", (), "float32", (1, 0)))
    change_stage(program, number, 0, body=body)
    refuse_program(program, "has not run")


def test_a_fold_of_nothing(program):
    number = first_loop(program, "max")
    (fold,) = stage_of(program, number, 0).folds
    change_stage(program, number, 0, folds=(replace(fold, value=9),))
    refuse_program(program, "a fold")


def test_a_store_of_nothing(program):
    number = first_loop(program, "exp[")
    (store,) = stage_of(program, number, 0).stores
    change_stage(program, number, 0, stores=(replace(store, value=9),))
    refuse_program(program, "a store")


def test_folding_once_per_row(program):
    number = first_loop(program, "max")
    change_stage(program, number, 0, per="row")
    refuse_program(program, "folds in a stage per row")


def test_an_operand_that_is_not_its_buffer(program):
    number = first_loop(program, "exp[")
    change_kernel(program, number, operands=(Operand("float32", 12), Operand("float32", 13, True)))
    refuse_program(program, "is not its buffer")


def test_a_pair_in_place_that_is_read_later(program):
    number = first_loop(program, "exp[")
    body = (
        *stage_of(program, number, 0).body,
        Instruction("load", (), "float32", Access(0, Affine(0, (0, 0)))),
    )
    change_stage(program, number, 0, body=body)
    refuse_program(program, "in-place")


def test_a_view_outside_its_buffer(program):
    call = product_of(program)
    view = call.inputs[0]
    call.inputs = (View(view.buffer, view.shape, 1, view.strides), call.inputs[1])
    refuse_program(program, "elements 1 to 12 of a buffer of 12")


def test_a_library_call_into_another_size(program):
    product_of(program).outputs = (0,)
    refuse_program(program, "another size")


def test_a_library_call_without_an_operand(program):
    call = product_of(program)
    call.inputs = call.inputs[:1]
    refuse_program(program, "lacks an operand")


def test_an_epilogue_of_another_dtype(program):
    call = product_of(program)
    call.epilogue, call.stores = (*call.epilogue, Instruction("cast", (1,), "float64")), (len(call.epilogue),)
    refuse_program(program, "another dtype")


def test_an_epilogue_that_reads_outside(program):
    call = product_of(program)
    call.epilogue = (*call.epilogue, Instruction("load", (), "float32", Access(0, Affine(1, (0, 1)))))
    refuse_program(program, "touches")


def test_an_output_that_is_no_output(program):
    program.outputs[0] = next(i for i, info in enumerate(program.buffers) if info.source == "temporary")
    refuse_program(program, "lies in a temporary buffer")


def test_a_buffer_filled_before_parts_of_it_are_put_in_may_be_written_once_more():
    spread = make(OPS["pad"], (leaf(0, 4), leaf(1)), (((0, 0, 1),),))
    program = fuse([spread], library)
    assert len(program.calls) == 2
    verify_fused(program, "a pass")
    program.calls.append(program.calls[-1])
    refuse_program(program, "is written before")


def test_an_operand_that_is_not_there(program):
    number = first_loop(program, "exp[")
    body = list(stage_of(program, number, 0).body)
    body[0] = replace(body[0], attribute=Access(7, Affine(0, (4, 1))))
    change_stage(program, number, 0, body=tuple(body))
    refuse_program(program, "no operand 7")
