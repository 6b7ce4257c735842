"""Minimal filtering F(m, 3): m results of a filter of three taps with m + 2 multiplications.

Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (2016): in one dimension
y = AT [(G g) * (BT x)], in two y = AT [(G g GT) * (BT x B)] A. Polynomials are multiplied by their
values at `points` and at infinity (Toom and Cook).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mcc.ir import Array

from ..tir import Expr, Writer

TAPS = 3


@dataclass(frozen=True)
class Filtering:
    """F(m, 3) at the points 0, +-roots and infinity."""

    results: int
    """m."""
    roots: tuple[float, ...]

    @property
    def size(self) -> int:
        """Elements of x that m results need, and multiplications."""
        return self.results + TAPS - 1

    @property
    def points(self) -> list[float]:
        """All but infinity; a root and its negative are neighbours."""
        return [0.0, *(sign * root for root in self.roots for sign in (1.0, -1.0))]

    @cached_property
    def filter_matrix(self) -> Array:
        """G [size, 3]: the filter's values, divided by what makes the rows of BT monic."""
        rows = [
            np.array([point**power for power in range(TAPS)])
            / math.prod(point - other for other in self.points if other != point)
            for point in self.points
        ]
        return np.array([*rows, [0.0] * (TAPS - 1) + [1.0]])

    def transformed_filters(self, filters: Array) -> Array:
        """G g GT of filters [..., 3, 3], as float64 [..., size, size]."""
        g = self.filter_matrix
        return g @ filters.astype(np.float64) @ g.T

    def transform(self, writer: Writer, x: Sequence[Expr]) -> list[Expr]:
        """BT x: a row is the monic polynomial that vanishes at every point but one.

        That of a root p is (x^2 + p x) q(x^2), that of -p (x^2 - p x) q(x^2): they share q.
        """
        last = self.size - 1
        found: list[Expr] = [_even(writer, self.roots, x[:last:2])]
        for root in self.roots:
            others = [other for other in self.roots if other != root]
            even, odd = (_even(writer, others, x[start:last:2]) for start in (2, 1))
            found += [writer.bind(even + odd * root), writer.bind(even - odd * root)]
        return [*found, _even(writer, self.roots, x[1::2])]

    def results_of(self, writer: Writer, products: Sequence[Expr]) -> list[Expr]:
        """AT m: result i is the sum of each point's product times the point to the power of i."""
        zero, *middle, infinity = products
        pairs = list(zip(middle[::2], middle[1::2], strict=True))
        sums = [writer.bind(plus + minus) for plus, minus in pairs]
        differences = [writer.bind(plus - minus) for plus, minus in pairs]
        found: list[Expr] = []
        for power in range(self.results):
            terms = differences if power % 2 else sums
            total = zero if power == 0 else None
            if power == self.results - 1:
                total = infinity
            for root, term in zip(self.roots, terms, strict=True):
                scaled = term if root**power == 1.0 else term * root**power
                total = scaled if total is None else total + scaled
            assert total is not None
            found.append(writer.bind(total))
        return found


def _even(writer: Writer, roots: Sequence[float], x: Sequence[Expr]) -> Expr:
    """The polynomial that is the product of all (t^2 - root^2), its even powers applied to x."""
    squares = np.atleast_1d(np.poly([root * root for root in roots]))[::-1]  # lowest power first
    *lower, total = x  # the polynomial is monic
    for factor, value in zip(squares[:-1], lower, strict=True):
        total = total + (value if factor == 1.0 else value * float(factor))
    return writer.bind(total)


TWO = Filtering(2, (1.0,))
FOUR = Filtering(4, (math.sqrt(0.5), math.sqrt(2.0)))
"""With these roots four times as accurate as with the usual 1 and 2 (2e-6 of the largest result),
and the squares, which are most of the factors, are exact."""
