"""Where things stand: nothing overlaps, groups hold what is theirs, edges go down and from side to side."""

from __future__ import annotations

import itertools
import random

import pytest

from treadle.view.layers import Net, arrange
from treadle.view.layout import lay_out
from treadle.view.picture import picture
from treadle.view.svg import layout_of

GROUPS = [(), ("a",), ("a", "b"), ("a", "c"), ("d",)]


def random_layout(seed: int, count: int = 40):
    """Boxes in random groups, which may read each other in circles, and random edges from earlier
    to later.
    """
    rng = random.Random(seed)
    sizes = [(rng.uniform(20, 120), rng.choice([20.0, 38.0])) for _ in range(count)]
    groups = [rng.choice(GROUPS) for _ in range(count)]
    edges = [(rng.randrange(v), v) for v in range(1, count) for _ in range(rng.randrange(3))]
    edges = list(dict.fromkeys(edges))
    return groups, edges, lay_out(sizes, groups, edges, {("a",): 90.0})


def overlap(a, b):
    return (
        a.x < b.x + b.width - 1e-6
        and b.x < a.x + a.width - 1e-6
        and a.y < b.y + b.height - 1e-6
        and b.y < a.y + a.height - 1e-6
    )


def holds(outer, inner):
    return (
        outer.x <= inner.x + 1e-6
        and outer.y <= inner.y + 1e-6
        and outer.x + outer.width >= inner.x + inner.width - 1e-6
        and outer.y + outer.height >= inner.y + inner.height - 1e-6
    )


@pytest.mark.parametrize("seed", range(12))
def test_nothing_overlaps_and_groups_hold_their_boxes(seed):
    groups, _, layout = random_layout(seed)
    for a, b in itertools.combinations(layout.boxes, 2):
        assert not overlap(a, b)
    for group, place in layout.groups.items():
        for i, box in enumerate(layout.boxes):
            inside = groups[i][: len(group)] == group
            assert holds(place, box) if inside else not overlap(place, box)
    for box in layout.boxes:
        assert box.x >= 0 and box.y >= 0
        assert box.x + box.width <= layout.width and box.y + box.height <= layout.height


@pytest.mark.parametrize("seed", range(4))
def test_edges_join_the_sides_of_their_boxes(seed):
    _, edges, layout = random_layout(seed)
    assert set(layout.routes) == set(edges)
    for (u, v), points in layout.routes.items():
        a, b = layout.boxes[u], layout.boxes[v]
        assert points[0] == pytest.approx((a.x + a.width / 2, a.y + a.height))
        assert points[-1] == pytest.approx((b.x + b.width / 2, b.y))


def test_edges_of_the_two_layer_net_go_down_and_around_boxes(net):
    drawn = picture([net.loss.node, *[update.node for update in net.updates]])
    layout = layout_of(drawn)
    for (u, v), points in layout.routes.items():
        assert all(y <= next_y + 1e-6 for (_, y), (_, next_y) in itertools.pairwise(points))
        for (x, y), (next_x, next_y) in itertools.pairwise(points):
            if x == next_x:
                for i, box in enumerate(layout.boxes):
                    crossed = box.x < x < box.x + box.width and y < box.y + box.height / 2 < next_y
                    assert i in (u, v) or not crossed


def test_layers_follow_the_longest_path_and_sources_stand_by_their_readers():
    nets = {
        0: Net(0, 0.0, {1: 0.0}),
        1: Net(1, 0.0, {2: 0.0}),
        2: Net(2, 0.0, {3: 0.0}),
        4: Net(4, 0.0, {3: 0.0}),
    }
    level = arrange([10.0] * 5, nets, [], [], 5.0)
    assert level.layer_of == [0, 1, 2, 3, 2]


def test_nets_that_cross_are_untangled():
    nets = {0: Net(0, 0.0, {3: 0.0}), 1: Net(1, 0.0, {2: 0.0})}
    level = arrange([10.0] * 4, nets, [], [], 5.0)
    assert (level.x[0] < level.x[1]) == (level.x[3] < level.x[2])


def test_a_long_chain_with_skips_is_laid_out():
    """As the gradients of a deep net: forward values are read far below. The longest nets share a lane."""
    count = 1000
    edges = [(i, i + 1) for i in range(2 * count - 1)] + [(i, 2 * count - 1 - i) for i in range(count - 1)]
    layout = lay_out([(40.0, 20.0)] * (2 * count), [()] * (2 * count), edges, {})
    tops = [box.y for box in layout.boxes]
    assert tops == sorted(tops)
    assert len(layout.routes) == len(set(edges))
    inside = max(box.x + box.width for box in layout.boxes)
    lane = {points[1][0] for points in layout.routes.values() if points[1][0] > inside and len(points) == 4}
    assert len(lane) == 1
