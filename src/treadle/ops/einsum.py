"""Sums of products in index notation: the subscripts are read, an order chosen, matmul and movement do it."""

from __future__ import annotations

from collections.abc import Sequence

from treadle import dtypes
from treadle.errors import ArgumentError, DTypeError, ShapeError
from treadle.graph.dimension import Size, product
from treadle.graph.node import Node, make
from treadle.ops.contraction import MATMUL
from treadle.ops.elementwise import multiply
from treadle.ops.gather import diagonal
from treadle.ops.movement import permute_dims
from treadle.ops.record import Operand, cast, promoted, public, reshaped
from treadle.ops.reduction import sum

Label = str
"""One letter, or ``...k`` for the k-th dimension, counted from the last, that an ellipsis stands for."""

UNKNOWN_SIZE = 64
"""What a size that is known only when the graph runs counts as where orders are compared."""


@public
def einsum(subscripts: str, /, *arrays: Operand) -> Node:
    """Products of arrays summed over indices, in Einstein's notation, as ``numpy.einsum``.

    ``einsum("ij,jk->ik", a, b)`` is the matrix product. A letter names a dimension: within one array a
    repeated letter takes the diagonal, across arrays it pairs dimensions, and letters not after ``->`` are
    summed over. ``...`` stands for leading dimensions that broadcast. Without ``->`` the result has the
    letters that occur once, in alphabetical order.

    Args:
        subscripts: the letters of each array's dimensions, separated by commas, and those of the result.
        arrays: as many arrays of numeric dtype; they promote to one.

    Returns:
        Array with the dimensions named after ``->``.

    Raises:
        ArgumentError: the subscripts are malformed or do not fit the arrays.
        ShapeError: one letter names dimensions of different sizes.
        DTypeError: the promoted dtype is bool.
    """
    operands, dtype = promoted("einsum", arrays) if arrays else ([], dtypes.float32)
    if dtype.kind not in dtypes.KINDS["numeric"]:
        raise DTypeError(f"[einsum] the operands promote to {dtype}; expected a numeric dtype")
    nodes = [cast(value, dtype) for value in operands]
    inputs, output = _parse(subscripts, nodes)
    sizes = _sizes(subscripts, inputs, nodes)
    terms = [_simplified(node, labels, sizes) for node, labels in zip(nodes, inputs, strict=True)]
    while len(terms) > 1:
        i, j = _cheapest(terms, output, sizes)
        right, left = terms.pop(j), terms.pop(i)
        kept = {label for _, labels in terms for label in labels}.union(output)
        terms.append(_pair(_summed(*left, kept | set(right[1])), _summed(*right, kept | set(left[1])), kept))
    node, labels = _summed(*terms[0], set(output))
    return permute_dims(node, [labels.index(label) for label in output])


def _parse(subscripts: str, nodes: Sequence[Node]) -> tuple[list[list[Label]], list[Label]]:
    """The labels of each operand's dimensions, and of the result's."""
    text = subscripts.replace(" ", "")
    left, arrow, right = text.partition("->")
    parts = left.split(",")
    if len(parts) != len(nodes):
        raise ArgumentError(
            f"[einsum] subscripts={subscripts!r} names {len(parts)} arrays, but {len(nodes)} were given"
        )
    inputs = [
        _labels(subscripts, part, node.ndim, i)
        for i, (part, node) in enumerate(zip(parts, nodes, strict=True))
    ]
    used = [label for labels in inputs for label in labels]
    dots = sorted({label for label in used if len(label) > 1}, key=lambda label: -int(label[3:]))
    if not arrow:
        return inputs, dots + sorted(
            label for label in set(used) if len(label) == 1 and used.count(label) == 1
        )
    before, ellipsis, after = right.partition("...")
    output = [*before, *(dots if ellipsis else ()), *after]
    for label in output:
        if label not in used:
            raise ArgumentError(
                f"[einsum] subscripts={subscripts!r}: {label!r} of the result is in no array's subscripts"
            )
        if output.count(label) > 1:
            raise ArgumentError(f"[einsum] subscripts={subscripts!r}: {label!r} is twice in the result")
    if dots and not ellipsis:
        raise ArgumentError(
            f"[einsum] subscripts={subscripts!r}: put ... into the result too, or sum those dimensions first"
        )
    return inputs, output


def _labels(subscripts: str, part: str, ndim: int, position: int) -> list[Label]:
    before, ellipsis, after = part.partition("...")
    letters = before + after
    if not all(letter.isascii() and letter.isalpha() for letter in letters):
        raise ArgumentError(
            f"[einsum] subscripts={subscripts!r}: {part!r} has something other than letters and one ellipsis"
        )
    covered = ndim - len(letters)
    if covered < 0 or (covered and not ellipsis):
        raise ArgumentError(
            f"[einsum] subscripts={subscripts!r}: {part!r} names {len(letters)} dimensions, but "
            f"arrays[{position}] has {ndim}"
        )
    return [*before, *(f"...{k}" for k in reversed(range(covered))), *after]


def _sizes(subscripts: str, inputs: list[list[Label]], nodes: Sequence[Node]) -> dict[Label, Size]:
    """The size of each label; 1 broadcasts."""
    sizes: dict[Label, Size] = {}
    for i, (labels, node) in enumerate(zip(inputs, nodes, strict=True)):
        for label, size in zip(labels, node.shape, strict=True):
            known = sizes.setdefault(label, size)
            if known == 1 and size != 1:
                sizes[label] = size
            elif size not in (1, known):
                name = "a dimension of the ellipsis" if len(label) > 1 else repr(label)
                raise ShapeError(
                    f"[einsum] subscripts={subscripts!r}: {name} is {known} before and {size} in "
                    f"arrays[{i}], of shape {node.shape}"
                )
    return sizes


Term = tuple[Node, list[Label]]


def _simplified(node: Node, labels: list[Label], sizes: dict[Label, Size]) -> Term:
    """Without repeated labels, and without dimensions of size 1 whose label is larger elsewhere."""
    wide = [size != 1 or sizes[label] == 1 for label, size in zip(labels, node.shape, strict=True)]
    if not all(wide):
        node = reshaped(node, tuple(size for size, keep in zip(node.shape, wide, strict=True) if keep))
        labels = [label for label, keep in zip(labels, wide, strict=True) if keep]
    for label in sorted(set(labels)):
        while labels.count(label) > 1:
            first = labels.index(label)
            second = labels.index(label, first + 1)
            others = [i for i in range(node.ndim) if i not in (first, second)]
            node = diagonal(permute_dims(node, [*others, first, second]))
            labels = [labels[i] for i in others] + [label]
    return node, labels


def _cheapest(terms: list[Term], output: list[Label], sizes: dict[Label, Size]) -> tuple[int, int]:
    """The pair whose result outgrows its operands least; of such, the one of fewest products."""

    def count(labels: set[Label]) -> int:
        total = 1
        for label in labels:
            size = sizes[label]
            total *= size if isinstance(size, int) else UNKNOWN_SIZE
        return total

    def cost(i: int, j: int) -> tuple[int, int]:
        left, right = set(terms[i][1]), set(terms[j][1])
        rest = set(output).union(*(labels for k, (_, labels) in enumerate(terms) if k not in (i, j)))
        return count((left | right) & rest) - count(left) - count(right), count(left | right)

    pairs = [(i, j) for i in range(len(terms)) for j in range(i + 1, len(terms))]
    return min(pairs, key=lambda pair: cost(*pair))


def _summed(node: Node, labels: list[Label], kept: set[Label]) -> Term:
    """Summed over the labels that nothing else has."""
    axes = [i for i, label in enumerate(labels) if label not in kept]
    if not axes:
        return node, labels
    return sum(node, axis=axes, dtype=node.dtype), [label for label in labels if label in kept]


def _pair(left: Term, right: Term, kept: set[Label]) -> Term:
    """The product of two terms, summed over the labels that only they have."""
    (x, x_labels), (y, y_labels) = left, right
    shared = [label for label in x_labels if label in y_labels]
    batch = [label for label in shared if label in kept]
    summed = [label for label in shared if label not in kept]
    rows = [label for label in x_labels if label not in shared]
    columns = [label for label in y_labels if label not in shared]
    size = dict(zip(x_labels + y_labels, x.shape + y.shape, strict=True))

    def grouped(node: Node, labels: list[Label], *groups: list[Label]) -> Node:
        """The dimensions in the order batch, groups, each group as one dimension."""
        node = permute_dims(
            node, [labels.index(label) for label in batch + [label for group in groups for label in group]]
        )
        return reshaped(
            node, (*(size[label] for label in batch), *(product(size[label] for label in g) for g in groups))
        )

    labels = batch + rows + columns
    shape = tuple(size[label] for label in labels)
    if summed and (rows or columns):
        z = make(MATMUL, (grouped(x, x_labels, rows, summed), grouped(y, y_labels, summed, columns)))
        return reshaped(z, shape), labels
    if summed:
        return sum(
            multiply(grouped(x, x_labels, summed), grouped(y, y_labels, summed)), axis=-1, dtype=x.dtype
        ), labels
    return reshaped(
        multiply(grouped(x, x_labels, rows, []), grouped(y, y_labels, [], columns)), shape
    ), labels
