"""The one door through which a module changes, and the driver that applies rules."""

import inspect
import types
import typing
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field

from .builtin import Constant
from .core import Op, Value
from .errors import OpError
from .links import Origin, attach, detach, merged, origin, set_nodes, swap_operand
from .module import Module
from .types import Quant


@dataclass(frozen=True, slots=True)
class Because:
    """Why a rule declined: what `mcc --explain PASS` prints."""

    reason: str


RuleResult = Value | tuple[Value, ...] | Because | None
Rule = Callable[..., RuleResult]
"""`rule(op: SomeOp)`: values in the op's place, why not (`Because`), or not my op (None)."""


class Rewriter:
    """Inserts, replaces and removes ops while keeping uses, names and ONNX provenance right."""

    def __init__(self, module: Module) -> None:
        self.module = module

    def insert_before(
        self, anchor: Op, values: Iterable[Value], nodes: Sequence[str] = ()
    ) -> list[Op]:
        """Attach the detached ops that define `values`, and those they need, before `anchor`.

        Ops without ONNX nodes of their own get `nodes`.
        """
        return self._insert(anchor, values, tuple(nodes))

    def insert_effect(self, anchor: Op, op: Op) -> None:
        """Attach a detached op that is there for what it does, not for a value, before `anchor`."""
        if anchor.region is None:
            raise RuntimeError(f"not attached to a module (was it replaced?): {anchor}")
        attach(op, anchor.region, anchor)

    def _insert(self, anchor: Op, values: Iterable[Value], nodes: Origin) -> list[Op]:
        region = anchor.region
        if region is None:
            raise RuntimeError(f"not attached to a module (was it replaced?): {anchor}")
        fresh = _detached(values)
        for op in fresh:
            if nodes and not origin(op) and not isinstance(op, Constant):
                set_nodes(op, nodes)
            attach(op, region, anchor)
        return fresh

    def replace_value(self, old: Value, new: Value, keep: Collection[Op] = ()) -> None:
        """Let every reader of `old`, except those in `keep`, read `new`.

        `new` takes over name and notes where it has none. Where `new` is computed from `old`, the
        ops on that way must be kept.
        """
        if old is new:
            return
        if new.op in old.uses and new.op not in keep:
            raise RuntimeError(f"{new.op} reads the value that it shall replace: it must be kept")
        for op in list(old.uses):
            if op not in keep:
                swap_operand(op, old, new)
        new.like(old)

    def replace(self, op: Op, values: Value | tuple[Value, ...]) -> list[Op]:
        """Put `values` in the place of an op's results, and remove what thereby dies.

        New ops, and the op behind the first value, inherit the ONNX nodes. Returns the new ops.
        """
        return self.swap(op, values)[0]

    def swap(self, op: Op, values: Value | tuple[Value, ...]) -> tuple[list[Op], list[Op]]:
        """`replace`, returning the new ops and the dead."""
        given = values if isinstance(values, tuple) else (values,)
        if len(given) != len(op.results):
            raise RuntimeError(
                f"{op.op_name} has {len(op.results)} results, {len(given)} were given: {op}"
            )
        for old, new in zip(op.results, given, strict=True):
            if old.type != new.type:
                raise RuntimeError(f"a {old.type} cannot become a {new.type}: {op}")
        fresh = self._insert(op, given, origin(op))
        for reader in fresh:
            if any(value.owner is op for value in reader.operands):
                raise RuntimeError(f"{reader} reads what it shall replace: {op}")
        for old, new in zip(op.results, given, strict=True):
            self.replace_value(old, new)
        dead = self.erase_dead([op])
        heir = given[0].op if given else None
        if heir is not None and not isinstance(heir, Constant):
            inherited = [origin(gone) for gone in reversed(dead)]
            own = origin(heir)
            set_nodes(heir, merged([*inherited, own] if heir in fresh else [own, *inherited]))
        return fresh, dead

    def replace_operand(self, op: Op, old: Value, new: Value) -> None:
        """Let one op read `new` wherever it reads `old`; the verifier re-checks its types."""
        swap_operand(op, old, new)

    def retype_argument(self, argument: Value, conversion: Op, quant: Quant) -> None:
        """Fold the only reader of a module's input into it: the input takes its result's type."""
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
        """Remove those candidates that are pure and unused, and what dies with them, in order."""
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


Progress = Callable[[str, int, int], None]
"""`progress(what, done, total)`; a total of 0 is unknown."""


def no_progress(what: str, done: int, total: int) -> None:
    """Nobody watches."""


@dataclass
class RewriteReport:
    """What rules did: how often each fired, and why the others declined."""

    fired: Counter[str] = field(default_factory=Counter[str])
    declined: list[tuple[str, Op, str]] = field(default_factory=list[tuple[str, Op, str]])
    """Rule name, op, reason: each rule's last word on the ops that are left."""
    progress: Progress = no_progress
    """Who watches the pass."""


def apply_rules(module: Module, rules: Sequence[Rule]) -> RewriteReport:
    """Apply rules until none fires.

    Every op is visited once, and again when something around it changed: its operands, its readers,
    or that it is now the only reader of a value.

    Raises:
        RuntimeError: When the rules do not come to rest.
    """
    wanted = {rule: _accepted(rule) for rule in rules}
    by_class: dict[type[Op], list[Rule]] = {}
    rewriter = Rewriter(module)
    fired: Counter[str] = Counter()
    declined: dict[tuple[Rule, Op], str] = {}
    worklist = deque(module.ops())
    queued = set(worklist)
    budget = 64 * len(worklist) + 1024
    while worklist:
        op = worklist.popleft()
        queued.discard(op)
        if op.region is None:
            continue
        if type(op) not in by_class:
            by_class[type(op)] = [rule for rule in rules if isinstance(op, wanted[rule])]
        for rule in by_class[type(op)]:
            declined.pop((rule, op), None)
            try:
                outcome = rule(op)
                if outcome is None:
                    continue
                if isinstance(outcome, Because):
                    declined[rule, op] = outcome.reason
                    continue
                readers = [reader for value in op.results for reader in value.uses]
                fresh, dead = rewriter.swap(op, outcome)
            except (OpError, RuntimeError) as error:
                error.add_note(f"in rule {_name(rule)}, applied to {op}")
                raise
            fired[_name(rule)] += 1
            budget -= 1
            if budget < 0:
                raise RuntimeError(f"rules do not come to rest; the last was {_name(rule)} on {op}")
            for touched in (*fresh, *_bereft(op, *dead), *readers):
                if touched not in queued and touched.region is not None:
                    queued.add(touched)
                    worklist.append(touched)
            break
    left = [(_name(rule), op, why) for (rule, op), why in declined.items() if op.region is not None]
    return RewriteReport(fired, left)


def _name(rule: Rule) -> str:
    return getattr(rule, "__name__", str(rule))


def _bereft(*dead: Op) -> Iterable[Op]:
    """Ops that lost a reader, and those that are now the only one left."""
    for gone in dead:
        for value in gone.operands:
            if value.op is not None:
                yield value.op
            if len(value.uses) == 1:
                yield from value.uses


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
    union = isinstance(annotation, types.UnionType)
    options: tuple[object, ...] = typing.get_args(annotation) if union else (annotation,)
    classes = tuple(item for item in options if isinstance(item, type) and issubclass(item, Op))
    if not classes or len(classes) != len(options):
        raise TypeError(f"rule {rule} must annotate its first parameter with op classes")
    return classes
