"""Scale and zero point of every activation that becomes integers.

Those that must agree share one.
"""

import math
from collections.abc import Iterator

from mcc.ir import Op, Value, constant_of
from mcc.ops import Add, Conv, Gather, Matmul

from .encoding import Encoding, encode_range
from .ranges import Range, Ranges
from .roles import Role, Roles
from .scheme import Scheme


class Encodings:
    """The encoding of every activation that some integer op reads or makes.

    Ops that move integers read and make the same numbers, so their operands and results form a
    group with one scale, whose range is what all of them need.
    """

    def __init__(self, roles: Roles, ranges: Ranges, scheme: Scheme) -> None:
        self._parents: dict[Value, Value] = {}
        self._roles = roles
        self._scheme = scheme
        self._ranges = ranges
        self._raised: dict[Value, float] = {}
        self._table: dict[Value, Encoding] = {}
        for op, role in roles.of.items():
            for value in (*self._read(op, role), *self._made(op, role)):
                self._parents.setdefault(value, value)
            if role is Role.MOVE:
                for value in self._read(op, role):
                    self._join(value, op.result)
        self._members: dict[Value, list[Value]] = {}
        for value in self._parents:
            self._members.setdefault(self.group(value), []).append(value)
        self._balanced = {
            self.group(value)
            for op, role in roles.of.items()
            if role is Role.PRODUCT and isinstance(op, Conv | Matmul) and constant_of(op.w) is None
            for value in (op.x, op.w)
        }

    def _read(self, op: Op, role: Role) -> Iterator[Value]:
        if role is Role.TABLE:
            yield self._roles.roots[op.result]
        elif isinstance(op, Conv | Matmul):
            yield op.x
            if constant_of(op.w) is None:
                yield op.w
        elif isinstance(op, Gather):
            yield op.x
        elif role is not Role.INSIDE:
            yield from op.operands

    def _made(self, op: Op, role: Role) -> Iterator[Value]:
        if role is not Role.INSIDE:
            yield op.result

    def group(self, value: Value) -> Value:
        """The representative of the values that share a scale with `value`."""
        root = value
        while self._parents[root] is not root:
            root = self._parents[root]
        while self._parents[value] is not root:
            self._parents[value], value = root, self._parents[value]
        return root

    def _join(self, a: Value, b: Value) -> None:
        self._parents[self.group(a)] = self.group(b)

    def __contains__(self, value: Value) -> bool:
        return value in self._parents

    def __getitem__(self, value: Value) -> Encoding:
        group = self.group(value)
        if group not in self._table:
            self._table[group] = self._choose(group)
        return self._table[group]

    def raise_scale(self, value: Value, scale: float) -> bool:
        """Make the scale of a value's group at least `scale`.

        False where a bound of the group forbids that.
        """
        group = self.group(value)
        if scale > self._cap(group):
            return False
        self._raised[group] = max(scale, self._raised.get(group, 0.0))
        self._table.pop(group, None)
        return True

    def _choose(self, group: Value) -> Encoding:
        parts = [self._range(value) for value in self._members[group]]
        lo, hi = min(part.lo for part in parts), max(part.hi for part in parts)
        lo, hi = min(lo, 0.0), max(hi, 0.0)
        symmetric = self._scheme.activations == "symmetric" or group in self._balanced
        raised = self._raised.get(group, 0.0)
        width = max(-lo, hi) / 127 if symmetric else (hi - lo) / 255
        if 0 < width < raised:
            lo, hi = lo * raised / width, hi * raised / width
        return encode_range(
            lo,
            hi,
            symmetric=symmetric,
            power_of_two=self._scheme.portable,
            cap=self._cap(group),
        )

    def _range(self, value: Value) -> Range:
        array = constant_of(value)
        if array is not None:
            return Range(float(array.min(initial=0.0)), float(array.max(initial=0.0)))
        return self._ranges[value.name]

    def _cap(self, group: Value) -> float:
        """Where the target cannot clamp, 127 must already be the bound that relu6 asks for.

        No scale makes 127 a bound of zero or less, and below a bound without a relu there may be
        more than fits: the host computes such an op.
        """
        if self._scheme.clamps:
            return math.inf
        makers = [value.op for value in self._members[group]]
        sums = [op for op in makers if isinstance(op, Add | Conv | Matmul)]
        bounds = [op.hi for op in sums if op.hi > 0 and op.lo >= 0]
        return min(bounds, default=math.inf) / 126.5
