"""The expression that a kernel computes on its result before it stores it."""

from collections.abc import Callable
from dataclasses import dataclass

from mcc.ir import Value

from .registry import Strides
from .storage import Slot
from .tir import Buffer, Expr, Index, Writer


@dataclass(frozen=True)
class Anchor:
    """What the kernel itself has computed at this point."""


@dataclass(frozen=True)
class Leaf:
    """Operand number `number` of the tail, at this point or (`whole`) the entire buffer."""

    number: int
    whole: bool = False


@dataclass(frozen=True)
class Apply:
    """A function of other nodes: `meaning(writer, *arguments)`."""

    meaning: Callable[..., Expr]
    arguments: "tuple[Node, ...]"


Node = Anchor | Leaf | Apply


@dataclass(frozen=True)
class Operand:
    """An array that the tail reads, with its stride along each axis of the result."""

    slot: Slot
    strides: Strides


@dataclass
class Tail:
    """Everything from an anchor's raw result to the value that is stored."""

    value: Value
    root: Node
    operands: list[Operand]
    scalar: bool = False
    fused: tuple[Value, ...] = ()
    """The values that are never stored because of this tail."""

    @property
    def shape(self) -> tuple[int, ...]:
        return self.value.tensor.dims

    def add_operand(self, slot: Slot, strides: Strides) -> Leaf:
        """Another array for the tail to read."""
        self.operands.append(Operand(slot, strides))
        return Leaf(len(self.operands) - 1)

    def graft(self, grow: Callable[[Node], Node]) -> None:
        """Put an expression between the kernel's own result and what was fused behind it."""
        self.root = _replace_anchor(self.root, grow(Anchor()))


def apply(meaning: Callable[..., Expr], *arguments: Node) -> Apply:
    return Apply(meaning, arguments)


def _replace_anchor(root: Node, new: Node) -> Node:
    """The expression on another anchor; what stands in it twice does so afterwards."""
    done: dict[int, Node] = {}

    def replaced(node: Node) -> Node:
        if id(node) not in done:
            done[id(node)] = made(node)
        return done[id(node)]

    def made(node: Node) -> Node:
        match node:
            case Anchor():
                return new
            case Leaf():
                return node
            case Apply(meaning, arguments):
                return Apply(meaning, tuple(replaced(item) for item in arguments))

    return replaced(root)


def steps(root: Node) -> int:
    """What is read and computed for one element: each takes about as long as to move it."""
    seen: dict[int, Node] = {}
    pending = [root]
    while pending:
        node = pending.pop()
        if id(node) not in seen:
            seen[id(node)] = node
            pending.extend(node.arguments if isinstance(node, Apply) else ())
    return len(seen)


@dataclass(frozen=True)
class Point:
    """Where an expression is computed: each operand's place and stride, and the lanes."""

    places: tuple[Index, ...]
    strides: tuple[int, ...]
    lanes: int


def compute(
    root: Node, writer: Writer, buffers: tuple[Buffer, ...], point: Point, anchor: Expr | None
) -> Expr:
    """Write the expression at one point; what stands in it twice is computed once."""
    held: dict[int, Expr] = {}

    def bound(node: Node) -> Expr:
        if id(node) not in held:
            held[id(node)] = writer.bind(made(node))
        return held[id(node)]

    def made(node: Node) -> Expr:
        match node:
            case Anchor():
                assert anchor is not None
                return anchor
            case Leaf(number):
                place = point.places[number]
                return buffers[number].load(place, point.lanes, point.strides[number])
            case Apply(meaning, arguments):
                inner = tuple(
                    buffers[item.number] if isinstance(item, Leaf) and item.whole else bound(item)
                    for item in arguments
                )
                return meaning(writer, *inner)

    return made(root)
