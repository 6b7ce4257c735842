"""The one door through which a module changes, and the driver that applies rules to a fixed point."""

import inspect
import types
import typing
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from .builtin import Constant
from .core import Op, Value
from .links import attach, detach, set_nodes, swap_operand
from .module import Module
from .types import Quant


@dataclass(frozen=True, slots=True)
class Because:
    """Why a rule declined: what `mcc --explain PASS` prints."""

    reason: str


RuleResult = Value | tuple[Value, ...] | Because | None
Rule = Callable[..., RuleResult]
"""`rule(op: SomeOp) -> Value | tuple of Values | Because | None`: the replacement, the reason, or not my op."""


class Rewriter:
    """Inserts, replaces and removes ops while keeping uses, names and ONNX provenance right."""

    def __init__(self, module: Module) -> None:
        self.module = module

    def insert_before(
        self, anchor: Op, values: Iterable[Value], nodes: Sequence[str] = ()
    ) -> list[Op]:
        """Attach the detached ops that define `values`, and those they need, before `anchor`."""
        fresh = _detached(values)
        region = anchor.region
        if region is None:
            raise RuntimeError("the anchor is not attached")
        for op in fresh:
            if nodes and not op.nodes and not isinstance(op, Constant):
                set_nodes(op, nodes)
            attach(op, region, anchor)
        return fresh

    def replace_value(self, old: Value, new: Value) -> None:
        """Let every reader of `old` read `new`; `new` takes over name and notes where it has none."""
        if old is new:
            return
        for op in list(old.uses):
            swap_operand(op, old, new)
        new.like(old)

    def replace(self, op: Op, values: Value | tuple[Value, ...]) -> list[Op]:
        """Put `values` in the place of an op's results, and remove what thereby dies; returns the new ops."""
        given = values if isinstance(values, tuple) else (values,)
        if len(given) != len(op.results):
            raise RuntimeError(
                f"{op.op_name} has {len(op.results)} results, {len(given)} were given"
            )
        for old, new in zip(op.results, given, strict=True):
            if old.type != new.type:
                raise RuntimeError(f"a {old.type} of {op.op_name} cannot become a {new.type}")
        fresh = self.insert_before(op, given, op.nodes)
        for old, new in zip(op.results, given, strict=True):
            self.replace_value(old, new)
        dead = self.erase_dead([op])
        heir = given[0].op if given else None
        if heir is not None and not isinstance(heir, Constant):
            inherited = [node for gone in reversed(dead) for node in gone.nodes]
            set_nodes(
                heir, [*heir.nodes, *inherited] if heir not in fresh else [*inherited, *heir.nodes]
            )
        return fresh

    def replace_operand(self, op: Op, old: Value, new: Value) -> None:
        """Let one op read `new` wherever it reads `old`; the verifier re-checks its types."""
        swap_operand(op, old, new)

    def retype_argument(self, argument: Value, conversion: Op, quant: Quant) -> None:
        """Fold the only reader of a module's input into it: the input takes over its result's type."""
        if list(argument.uses) != [conversion]:
            raise RuntimeError(f"{argument} has other readers than {conversion.op_name}")
        self.replace_value(conversion.result, argument)
        detach(conversion)
        argument.type, argument.quant = conversion.result.type, quant

    def erase(self, op: Op) -> None:
        """Remove an op whose results nobody reads."""
        if any(value.uses for value in op.results):
            raise RuntimeError(f"{op.op_name} is still in use: {op}")
        detach(op)

    def erase_dead(self, candidates: Iterable[Op]) -> list[Op]:
        """Remove the candidates that are pure and unused, and what dies with them; returns them in that order."""
        pending = list(candidates)
        gone: list[Op] = []
        while pending:
            op = pending.pop()
            if op.region is None or not op.pure or any(value.uses for value in op.results):
                continue
            if not op.results:
                continue
            detach(op)
            gone.append(op)
            pending.extend(value.op for value in op.operands if value.op is not None)
        return gone


@dataclass
class RewriteReport:
    """What rules did: how often each fired, and why the others declined."""

    fired: Counter[str] = field(default_factory=Counter[str])
    declined: list[tuple[str, Op, str]] = field(default_factory=list[tuple[str, Op, str]])
    """Rule name, op, reason."""


def apply_rules(module: Module, rules: Sequence[Rule]) -> RewriteReport:
    """Apply rules until none fires. Every op is visited once, and again when something around it changed."""
    table = {rule: _accepted(rule) for rule in rules}
    by_class: dict[type[Op], list[Rule]] = {}
    rewriter = Rewriter(module)
    report = RewriteReport()
    worklist = deque(module.ops())
    queued = set(worklist)
    budget = 64 * len(worklist) + 1024
    while worklist:
        op = worklist.popleft()
        queued.discard(op)
        if op.region is None:
            continue
        if type(op) not in by_class:
            by_class[type(op)] = [rule for rule, wanted in table.items() if isinstance(op, wanted)]
        for rule in by_class[type(op)]:
            outcome = rule(op)
            if outcome is None:
                continue
            name = getattr(rule, "__name__", str(rule))
            if isinstance(outcome, Because):
                report.declined.append((name, op, outcome.reason))
                continue
            report.fired[name] += 1
            budget -= 1
            if budget < 0:
                raise RuntimeError(f"rules do not come to rest; the last one was {name} on {op}")
            feeders = [value.op for value in op.operands if value.op is not None]
            readers = [reader for value in op.results for reader in value.uses]
            fresh = rewriter.replace(op, outcome)
            for touched in (*fresh, *feeders, *readers):
                if touched not in queued and touched.region is not None:
                    queued.add(touched)
                    worklist.append(touched)
            break
    return report


def _detached(values: Iterable[Value]) -> list[Op]:
    """The detached ops behind `values`, operands first."""
    order: list[Op] = []
    state: dict[Op, bool] = {}
    stack = [value.op for value in values if value.op is not None]
    stack.reverse()
    while stack:
        op = stack[-1]
        if op.region is not None or state.get(op):
            stack.pop()
            continue
        if op not in state:
            state[op] = False
            stack.extend(
                v.op for v in reversed(op.operands) if v.op is not None and v.op not in state
            )
        else:
            state[op] = True
            order.append(op)
            stack.pop()
    return order


def _accepted(rule: Rule) -> tuple[type[Op], ...]:
    """The op classes in a rule's first annotation."""
    parameters = list(inspect.signature(rule).parameters.values())
    annotation: object = parameters[0].annotation if parameters else None
    if isinstance(annotation, str):
        annotation = typing.get_type_hints(rule)[parameters[0].name]
    options = (
        typing.get_args(annotation) if isinstance(annotation, types.UnionType) else (annotation,)
    )
    classes = tuple(item for item in options if isinstance(item, type) and issubclass(item, Op))
    if not classes or len(classes) != len(options):
        raise TypeError(f"rule {rule} must annotate its first parameter with op classes")
    return classes
