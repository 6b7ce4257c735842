"""A residual connection enters the accumulator of the op that it is added to."""

from mcc.ir import Because, Module, Op, RewriteReport, Rule, Value, apply_rules, constant_of
from mcc.ops import Add, Conv, Matmul

from .base import Pass
from .linear_form import is_clamped
from .matching import readers_text, rebuild, single_use


class FuseResidual(Pass, name="fuse-residual"):
    """conv(x, w, b) + r -> conv(x, w, b, r), likewise matmul.

    Where both operands could take the other, the one defined later does: its operands are then no
    older than they were, and the earlier one's result is what waits.
    """

    def run(self, module: Module, report: RewriteReport) -> Module:
        # A fused op stands where its add stood, so the order of the others stays as it was.
        position: dict[Op, int] = {op: index for index, op in enumerate(module.ops())}
        outcome = apply_rules(module, (_rule(position),))
        report.fired.update(outcome.fired)
        report.declined.extend(outcome.declined)
        return module


def _rule(position: dict[Op, int]) -> Rule:
    def fuse(op: Add) -> Value | Because | None:
        """conv(x, w, b) + r -> conv(x, w, b, r)."""
        sides = [(a, b) for a, b in ((op.a, op.b), (op.b, op.a)) if isinstance(a.op, Conv | Matmul)]
        reasons: list[str] = []
        open_sides: list[tuple[Conv | Matmul, Value]] = []
        for value, other in sides:
            producer = value.op
            assert isinstance(producer, Conv | Matmul)
            reason = _why_not(producer, other, op)
            if reason is None:
                open_sides.append((producer, other))
            else:
                reasons.append(reason)
        if not open_sides:
            return Because(reasons[0]) if reasons else None
        producer, residual = max(open_sides, key=lambda side: position.get(side[0], 0))
        fused = rebuild(producer, r=residual, lo=op.lo, hi=op.hi)
        position[fused] = position.get(op, 0)
        return fused.result

    return fuse


def _why_not(producer: Conv | Matmul, other: Value, op: Add) -> str | None:
    if constant_of(other) is not None:
        return "the other operand is a constant"
    if not single_use(producer.result):
        return f"the {producer.op_name} has {readers_text(producer.result)}"
    if is_clamped(producer):
        return f"the {producer.op_name} clamps its result first"
    if producer.r is not None:
        return f"the {producer.op_name} has a residual already"
    if not other.type == producer.result.type == op.result.type:
        return f"the other operand, {other.type}, is broadcast"
    return None
