"""Values, ops, regions and modules: the whole IR in memory.

An op class declares its operands, attributes and regions by annotations, once:

    class Matmul(Op, name="matmul"):
        x: Value
        w: Value

        def infer(self) -> Tensor: ...
        def evaluate(self, x, w): ...

Constructor, text form, verifier, CSE key and documentation follow from that. Ops are frozen once built;
what is attached to a module changes only through `mcc.ir.Rewriter`.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, dataclass_transform

from .errors import OpError
from .fields import MISSING, Field, Kind, read_fields
from .types import Array, Quant, Space, Tensor, Type

if TYPE_CHECKING:
    pass


class Value:
    """The result of an op, or an argument of a region."""

    __slots__ = ("axes", "name", "owner", "quant", "type", "uses")

    def __init__(
        self,
        type: Type,
        owner: "Op | Region | None" = None,
        name: str = "",
        axes: tuple[int, ...] | None = None,
        quant: Quant | None = None,
    ) -> None:
        self.type = type
        self.owner = owner
        self.name = name
        """The ONNX tensor that this value is, or empty."""
        self.axes = axes
        """With a layout other than the ONNX tensor's: axis i here is axis `axes[i]` there."""
        self.quant = quant
        """For an integer value: what it stands for."""
        self.uses: dict[Op, int] = {}
        """Attached ops that read this value, with how many operands."""

    @property
    def tensor(self) -> Tensor:
        """The type, where it must be a tensor."""
        if not isinstance(self.type, Tensor):
            raise OpError(f"a tensor is needed here, this is {self.type}")
        return self.type

    @property
    def op(self) -> "Op | None":
        """The defining op; None for an argument of a region."""
        return self.owner if isinstance(self.owner, Op) else None

    def like(self, other: "Value") -> "Value":
        """Take over the name and notes of `other`, where this value has none; returns itself."""
        self.name = self.name or other.name
        self.axes = self.axes if self.axes is not None else other.axes
        self.quant = self.quant or other.quant
        return self

    def __repr__(self) -> str:
        return f"%{self.name or '?'}: {self.type}"


@dataclass_transform(frozen_default=True)
class Op:
    """One operation. Subclasses annotate fields: `Value` is an operand, `Region` a region, else an attribute."""

    if not TYPE_CHECKING:  # names of ours must not count as declared fields
        __annotations__ = {}

    op_name: ClassVar[str] = ""
    reads: ClassVar[tuple[Space, ...]] = ()
    writes: ClassVar[tuple[Space, ...]] = ()
    spec_fields: ClassVar[tuple[Field, ...]] = ()

    def __init_subclass__(
        cls,
        name: str = "",
        reads: tuple[Space, ...] = (),
        writes: tuple[Space, ...] = (),
    ) -> None:
        super().__init_subclass__()
        cls.spec_fields = read_fields(cls, Value, Region)
        if name:
            if name in OPS:
                raise TypeError(f"two ops are called {name!r}")
            cls.op_name, cls.reads, cls.writes = name, reads, writes
            OPS[name] = cls

    def __init__(self, *arguments: object, **keywords: object) -> None:
        state = self.__dict__
        _bind(self, arguments, keywords, state)
        state["nodes"] = ()
        state["region"] = state["previous"] = state["next"] = None
        for region in self.regions:
            region.__dict__["parent"] = self
        state["results"] = ()
        try:
            types = self.infer()
        except OpError as error:
            raise _in_context(self, error) from None
        state["results"] = tuple(
            Value(type, self) for type in (types if isinstance(types, tuple) else (types,))
        )

    if TYPE_CHECKING:

        @property
        def nodes(self) -> tuple[str, ...]:
            """Names of the ONNX nodes that this op comes from."""
            ...

        @property
        def results(self) -> tuple[Value, ...]:
            """The values that this op defines."""
            ...

        @property
        def region(self) -> "Region | None":
            """The region that holds this op; None while it is detached."""
            ...

        @property
        def next(self) -> "Op | None":
            """The op after this one in its region."""
            ...

        @property
        def previous(self) -> "Op | None":
            """The op before this one in its region."""
            ...

    def infer(self) -> Type | tuple[Type, ...]:
        """The shape rule: result types from operands and attributes; raises `OpError` naming the field."""
        raise NotImplementedError

    # `evaluate(self, *operands)`, the meaning on numpy arrays, is declared by each op with its own operands.

    @property
    def result(self) -> Value:
        """The only result."""
        (value,) = self.results
        return value

    @property
    def operands(self) -> tuple[Value, ...]:
        """All operands in declaration order, optional ones that are absent left out."""
        found: list[Value] = []
        for field in self.spec_fields:
            if field.kind in (Kind.OPERAND, Kind.OPTIONAL):
                value = self.__dict__[field.name]
                if value is not None:
                    found.append(value)
            elif field.kind is Kind.VARIADIC:
                found.extend(self.__dict__[field.name])
        return tuple(found)

    @property
    def attributes(self) -> dict[str, object]:
        return {
            field.name: self.__dict__[field.name]
            for field in self.spec_fields
            if field.kind is Kind.ATTRIBUTE
        }

    @property
    def regions(self) -> "tuple[Region, ...]":
        return tuple(
            self.__dict__[field.name] for field in self.spec_fields if field.kind is Kind.REGION
        )

    @property
    def pure(self) -> bool:
        """No effect on memory: may be removed when unused, and merged with an equal op."""
        return not self.reads and not self.writes and all(region.pure for region in self.regions)

    def named(self, name: str, nodes: Sequence[str] = ()) -> "Op":
        """Give a fresh op's (first) result its name, and the op its ONNX nodes; returns itself."""
        if self.region is not None:
            raise RuntimeError("only a detached op can be named; use the rewriter")
        if self.results:
            self.results[0].name = name
        self.__dict__["nodes"] = tuple(nodes) or self.nodes
        return self

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"ops are frozen; change {self.op_name}.{name} through the rewriter")

    def __repr__(self) -> str:
        from .printer import format_op

        return format_op(self).text


OPS: dict[str, type[Op]] = {}
"""Every op class by its name in the text."""


class Region:
    """Arguments and a sequence of ops, the last of them a `yield`."""

    def __init__(self, types: Sequence[Type] = (), names: Sequence[str] = ()) -> None:
        padded = [*names, *[""] * (len(types) - len(names))]
        self.args = tuple(Value(type, self, name) for type, name in zip(types, padded, strict=True))
        self.parent: Op | Module | None = None
        self.first: Op | None = None
        self.last: Op | None = None

    def __iter__(self) -> Iterator[Op]:
        """The ops in order; the op just seen may be removed, and ops may be added behind it."""
        op = self.first
        while op is not None:
            following = op.next
            yield op
            op = following if op.region is not self else op.next

    @property
    def pure(self) -> bool:
        return all(op.pure for op in self)

    @property
    def yielded(self) -> tuple[Value, ...]:
        """The operands of the closing `yield`."""
        if self.last is None:
            raise OpError("the region is empty: it must end in a yield")
        return self.last.operands

    def append(self, op: Op) -> Op:
        """Attach a new op at the end (for building; a finished module changes through the rewriter)."""
        attach(op, self, before=None)
        return op


class Module:
    """A whole program: named inputs and outputs around one region."""

    def __init__(self, name: str, body: Region, output_names: Sequence[str]) -> None:
        self.name = name
        self.body = body
        self.output_names = tuple(output_names)
        self.meta: dict[str, str] = {}
        """Facts that travel with the module, such as the producer and the opset."""
        body.parent = self

    @property
    def inputs(self) -> tuple[Value, ...]:
        return self.body.args

    @property
    def outputs(self) -> tuple[Value, ...]:
        return self.body.yielded

    def ops(self) -> Iterator[Op]:
        """Every op in order, those of nested regions after the op that holds them."""
        pending = [iter(self.body)]
        while pending:
            op = next(pending[-1], None)
            if op is None:
                pending.pop()
                continue
            yield op
            pending.extend(iter(region) for region in reversed(op.regions))

    def values(self) -> Iterator[Value]:
        """Inputs, then every op's results in order."""
        yield from self.body.args
        for op in self.ops():
            yield from op.results

    def __eq__(self, other: object) -> bool:
        """Same text and the same constant bytes."""
        from .printer import print_module

        if not isinstance(other, Module):
            return NotImplemented
        mine, theirs = print_module(self), print_module(other)
        return mine.text == theirs.text and same_arrays(mine.weights, theirs.weights)

    __hash__ = None  # type: ignore[assignment]  # mutable through the rewriter

    def __str__(self) -> str:
        from .printer import print_module

        return print_module(self).text


def same_arrays(left: "Mapping[str, Array]", right: "Mapping[str, Array]") -> bool:
    """Whether two tables hold the same names, dtypes, shapes and bytes."""
    return left.keys() == right.keys() and all(
        left[name].dtype == right[name].dtype
        and left[name].shape == right[name].shape
        and left[name].tobytes() == right[name].tobytes()
        for name in left
    )


def attach(op: Op, region: Region, before: Op | None) -> None:
    """Link a detached op into a region and count its uses. Only builders and the rewriter call this."""
    if op.region is not None:
        raise RuntimeError(f"{op.op_name} is attached already")
    after = before.previous if before is not None else region.last
    op.__dict__.update(region=region, previous=after, next=before)
    if after is not None:
        after.__dict__["next"] = op
    else:
        region.first = op
    if before is not None:
        before.__dict__["previous"] = op
    else:
        region.last = op
    for value in op.operands:
        value.uses[op] = value.uses.get(op, 0) + 1


def detach(op: Op) -> None:
    """Unlink an op and forget its uses. Only the rewriter calls this."""
    region = op.region
    if region is None:
        raise RuntimeError(f"{op.op_name} is not attached")
    if op.previous is not None:
        op.previous.__dict__["next"] = op.next
    else:
        region.first = op.next
    if op.next is not None:
        op.next.__dict__["previous"] = op.previous
    else:
        region.last = op.previous
    # `next` stays, so that an iterator standing on the op finds its way on.
    op.__dict__.update(region=None, previous=None)
    for value in op.operands:
        value.uses.pop(op, None)


def swap_operand(op: Op, old: Value, new: Value) -> None:
    """Replace every operand `old` of an attached op. Only the rewriter calls this."""
    for field in op.spec_fields:
        current = op.__dict__.get(field.name)
        if current is old:
            op.__dict__[field.name] = new
        elif field.kind is Kind.VARIADIC:
            op.__dict__[field.name] = tuple(new if value is old else value for value in current)
    new.uses[op] = new.uses.get(op, 0) + old.uses.pop(op, 0)


def set_nodes(op: Op, nodes: Sequence[str]) -> None:
    """Set an op's ONNX provenance. Only builders and the rewriter call this."""
    op.__dict__["nodes"] = tuple(dict.fromkeys(nodes))


def _bind(
    op: Op, arguments: Sequence[object], keywords: dict[str, object], state: dict[str, object]
) -> None:
    fields = op.spec_fields
    if len(arguments) > len(fields):
        raise OpError(f"{op.op_name} takes {len(fields)} fields, got {len(arguments)}")
    given = dict(zip((field.name for field in fields), arguments, strict=False)) | keywords
    if unknown := keywords.keys() - {field.name for field in fields}:
        known = ", ".join(field.name for field in fields)
        raise OpError(f"{op.op_name} has no field {sorted(unknown)[0]!r} (known: {known})")
    for field in fields:
        value = given.get(field.name, field.default)
        if value is MISSING:
            raise OpError(f"{op.op_name} needs {field.name}", field.name)
        _check_kind(op, field, value)
        state[field.name] = value


def _check_kind(op: Op, field: Field, value: object) -> None:
    match field.kind:
        case Kind.OPERAND:
            right = isinstance(value, Value)
        case Kind.OPTIONAL:
            right = value is None or isinstance(value, Value)
        case Kind.VARIADIC:
            right = isinstance(value, tuple) and all(isinstance(item, Value) for item in value)
        case Kind.REGION:
            right = isinstance(value, Region)
        case Kind.ATTRIBUTE:
            right = field.accepts(value)
    if not right:
        wanted = getattr(field.annotation, "__name__", str(field.annotation))
        raise OpError(
            f"{op.op_name}: {field.name} must be {wanted} ({field.kind.value}), got {value!r}",
            field.name,
        )


def _in_context(op: Op, error: OpError) -> OpError:
    from .printer import with_caret

    return OpError(f"{op.op_name}: {error.message}\n{with_caret(op, error.field)}", error.field)
