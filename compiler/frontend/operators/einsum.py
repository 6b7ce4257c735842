"""Einsum: products of matrices, two operands at a time."""
# ruff: noqa: N802, N803  (names are ONNX's)

import math
from collections import Counter
from dataclasses import dataclass

import mcc.ops as ops
from mcc.ir import Value

from ..registry import UnsupportedError, operator
from .movement import reshaped


@dataclass(frozen=True)
class _Term:
    """A tensor and the labels of its axes, each once."""

    value: Value
    labels: tuple[str, ...]

    def sizes(self) -> dict[str, int]:
        return dict(zip(self.labels, self.value.tensor.dims, strict=True))

    def ordered(self, labels: tuple[str, ...]) -> "_Term":
        perm = tuple(self.labels.index(label) for label in labels)
        if perm == tuple(range(len(perm))):
            return self
        return _Term(ops.Transpose(self.value, perm).result, labels)

    def without(self, gone: set[str]) -> "_Term":
        """Summed over the axes of some labels."""
        axes = tuple(i for i, label in enumerate(self.labels) if label in gone)
        if not axes:
            return self
        left = tuple(label for label in self.labels if label not in gone)
        return _Term(ops.ReduceSum(self.value, axes, keepdims=False).result, left)


@operator(since=12)
def Einsum(*Inputs: Value, equation: str) -> Value:
    left, arrow, right = equation.replace(" ", "").partition("->")
    texts = left.split(",")
    if len(texts) != len(Inputs):
        raise UnsupportedError(
            f"its equation {equation!r} has {len(texts)} terms for {len(Inputs)} inputs"
        )
    labels = [_labels(text, value) for text, value in zip(texts, Inputs, strict=True)]
    wide = max((sum(label.isdecimal() for label in some) for some in labels), default=0)
    implied = tuple(str(i) for i in reversed(range(wide)))
    if arrow:
        before, dots, after = right.partition("...")
        wanted = (*before, *(implied if dots else ()), *after)
    else:
        count = Counter(label for some in labels for label in some)
        wanted = (*implied, *sorted(x for x in count if count[x] == 1 and not x.isdecimal()))
    terms = [_diagonal(value, some) for value, some in zip(Inputs, labels, strict=True)]
    sizes: dict[str, int] = {}
    for term in terms:
        for label, size in term.sizes().items():
            if sizes.setdefault(label, size) != size:
                raise UnsupportedError(f"its label {label!r} stands for sizes of {size} and others")

    found = terms[0]
    for number, term in enumerate(terms[1:], 2):
        later = {label for other in terms[number:] for label in other.labels}
        found = _product(found, term, {*wanted, *later})
    return found.without(set(found.labels) - set(wanted)).ordered(wanted).value


def _labels(text: str, value: Value) -> tuple[str, ...]:
    """One label an axis; those of an ellipsis are numbers, counted from its last axis."""
    before, dots, after = text.partition("...")
    hidden = value.tensor.rank - len(before) - len(after)
    if hidden < 0 or (hidden and not dots):
        raise UnsupportedError(f"its term {text!r} does not fit a rank of {value.tensor.rank}")
    return (*before, *(str(i) for i in reversed(range(hidden))), *after)


def _diagonal(value: Value, labels: tuple[str, ...]) -> _Term:
    """The elements at which the axes of a repeated label have the same coordinate."""
    for label, count in Counter(labels).items():
        if count == 1:
            continue
        axes = [i for i, other in enumerate(labels) if other == label]
        rest = [i for i in range(len(labels)) if i not in axes]
        value = ops.Transpose(value, (*rest, *axes)).result
        dims = value.tensor.dims[: len(rest)]
        size = value.tensor.dims[-1]
        total = size**count
        step = sum(size**i for i in range(count))
        value = reshaped(value, (*dims, total))
        starts, steps = (0,) * (len(rest) + 1), (*(1 for _ in rest), step)
        value = ops.Slice(value, starts, (*dims, total), steps).result
        labels = (*(labels[i] for i in rest), label)
    return _Term(value, labels)


def _product(a: _Term, b: _Term, needed: set[str]) -> _Term:
    """Both multiplied, and summed over what only they have and nobody needs."""
    a = a.without(set(a.labels) - set(b.labels) - needed)
    b = b.without(set(b.labels) - set(a.labels) - needed)
    shared = [label for label in a.labels if label in b.labels]
    batch = tuple(label for label in shared if label in needed)
    inner = tuple(label for label in shared if label not in needed)
    rows = tuple(label for label in a.labels if label not in shared)
    columns = tuple(label for label in b.labels if label not in shared)
    sizes = {**a.sizes(), **b.sizes()}

    def shape(*groups: tuple[str, ...]) -> tuple[int, ...]:
        return tuple(math.prod(sizes[label] for label in group) for group in groups)

    left = reshaped(a.ordered((*batch, *rows, *inner)).value, shape(batch, rows, inner))
    right = reshaped(b.ordered((*batch, *inner, *columns)).value, shape(batch, inner, columns))
    labels = (*batch, *rows, *columns)
    found = ops.Matmul(left, right).result
    return _Term(reshaped(found, tuple(sizes[label] for label in labels)), labels)
