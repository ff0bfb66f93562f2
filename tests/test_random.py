"""The state of random numbers in both styles. What is drawn is tested with the ops."""

from __future__ import annotations

import threading

import pytest

import treadle as td


def test_keys_are_drawn_in_program_order_not_in_order_of_demand():
    td.random.seed(1)
    a, b = td.random.uniform((3,)), td.random.normal((3,))
    first = b.tolist(), a.tolist()
    td.random.seed(1)
    a, b = td.random.uniform((3,)), td.random.normal((3,))
    assert (a.tolist(), b.tolist()) == (first[1], first[0])


def test_a_value_does_not_change_when_it_is_looked_at_twice():
    x = td.random.uniform((3,))
    y = x + 0
    assert x.tolist() == y.tolist() == x.tolist()
    big = td.random.uniform((300, 300))
    total, mean = big.sum(), big.mean()
    assert float(total) / big.size == pytest.approx(float(mean), rel=1e-5)


def test_state_is_taken_and_set():
    td.random.seed(7)
    td.random.uniform(())
    state = td.random.get_state()
    after = [td.random.uniform((2,)).tolist() for _ in range(2)]
    td.random.set_state(state)
    assert [td.random.uniform((2,)).tolist() for _ in range(2)] == after
    td.random.seed(8)
    assert td.random.uniform((2,)).tolist() != after[0]


def test_explicit_keys_leave_the_generator_alone():
    td.random.seed(2)
    expected = td.random.uniform((2,)).tolist()
    td.random.seed(2)
    one, two = td.random.split(td.random.key(5))
    drawn = td.random.uniform((2,), key=one).tolist()
    assert drawn == td.random.uniform((2,), key=one).tolist() != td.random.uniform((2,), key=two).tolist()
    assert td.random.uniform((2,)).tolist() == expected


def test_a_gradient_sees_the_numbers_of_its_forward_pass():
    td.random.seed(3)
    w = td.Variable(td.ones((50,)))
    mask = td.random.bernoulli(0.5, (50,)).astype(td.float32)
    y = (w * mask).sum()
    assert td.gradients(y, w).tolist() == mask.tolist()


def test_every_iteration_of_define_by_run_draws_anew():
    td.random.seed(4)
    w = td.Variable(td.zeros((4,)))
    seen = set()
    for _ in range(4):
        w.assign(w * 0 + td.random.uniform((4,)))
        seen.add(tuple(w.tolist()))
    assert len(seen) == 4


def test_drawing_again_is_no_new_program():
    w = td.Variable(td.zeros((4,)))

    def step():
        w.assign(w + td.random.uniform((4,)))
        w.numpy()

    step(), step()
    before = len(td.cache_info()["misses"]), td.cache_info()["hits"]
    for _ in range(3):
        step()
    assert td.cache_info()["hits"] >= before[1] + 3


def test_two_runs_of_a_program_with_two_draws_never_repeat_each_other():
    @td.compile
    def two():
        return td.random.uniform((2,)), td.random.uniform((2,))

    seen = [tuple(x.tolist()) for _ in range(10) for x in two()]
    assert len(set(seen)) == 20


def test_every_thread_has_a_generator_of_its_own():
    td.random.seed(9)
    before = td.random.get_state()

    def work():
        td.random.seed(100)
        td.random.uniform((3,)).numpy()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert td.random.get_state() == before


def test_seeds_are_64_bits():
    with pytest.raises(ValueError, match="not between 0 and 2"):
        td.random.seed(-1)
    td.random.seed(2**64 - 1)
    assert len(td.random.uniform((2,)).tolist()) == 2


def test_threads_without_a_seed_draw_different_numbers():
    drawn = []

    def draw():
        drawn.append(td.random.uniform((4,)).tolist())

    for _ in range(2):
        thread = threading.Thread(target=draw)
        thread.start()
        thread.join()
    assert drawn[0] != drawn[1]
