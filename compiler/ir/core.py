"""Values, ops and regions: the IR in memory.

An op class declares its operands, attributes and regions by annotations, once:

    class Matmul(Op, name="matmul"):
        x: Value
        w: Value

        def infer(self) -> Tensor: ...
        def evaluate(self, x, w): ...

Constructor, text form, verifier, CSE key and documentation follow from that. Ops are frozen once
built; what is attached to a module changes only through `mcc.ir.Rewriter`.
"""

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar, Self, TypeVar, cast, dataclass_transform

from .errors import OpError
from .fields import MISSING, OPERANDS, Field, Kind, read_fields
from .links import attach, nodes_of, set_nodes
from .types import Quant, Space, Tensor, Type

if TYPE_CHECKING:
    from .module import Module

_OP_NAME = re.compile(r"[a-z_][a-z0-9_.\-]*")


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
        if not self.name:
            # The axes relate to the tensor of that name: a value with its own name has its own.
            self.name = other.name
            self.axes = self.axes if self.axes is not None else other.axes
        self.quant = self.quant or other.quant
        return self

    def __repr__(self) -> str:
        return f"%{self.name or '?'}: {self.type}"


@dataclass_transform(frozen_default=True)
class Op:
    """One operation; annotations of a subclass are its fields.

    `Value` is an operand, `Value | None` an optional one, `tuple[Value, ...]` any number of them,
    `Region` a region, and everything else an attribute.
    """

    if not TYPE_CHECKING:  # names of ours must not count as declared fields
        __annotations__ = {}

    op_name: ClassVar[str] = ""
    reads: ClassVar[tuple[Space, ...]] = ()
    writes: ClassVar[tuple[Space, ...]] = ()
    spec_fields: ClassVar[tuple[Field, ...]] = ()
    _operand_names: ClassVar[tuple[str, ...]] = ()
    _region_names: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(
        cls,
        name: str = "",
        reads: tuple[Space, ...] = (),
        writes: tuple[Space, ...] = (),
    ) -> None:
        super().__init_subclass__()
        cls.spec_fields = read_fields(cls, Value, Region)
        kinds = {field.name: field.kind for field in cls.spec_fields}
        cls._operand_names = tuple(name for name, kind in kinds.items() if kind in OPERANDS)
        cls._region_names = tuple(name for name, kind in kinds.items() if kind is Kind.REGION)
        for field in cls.spec_fields:
            if field.name in _RESERVED:
                raise TypeError(f"{cls.__name__}: {field.name!r} means something on every op")
        if name:
            if not _OP_NAME.fullmatch(name):
                raise TypeError(f"{name!r} cannot be an op's name in the text: lower case, please")
            if name in OPS:
                raise TypeError(f"two ops are called {name!r}")
            cls.op_name, cls.reads, cls.writes = name, reads, writes
            OPS[name] = cls

    def __init__(self, *arguments: object, **keywords: object) -> None:
        state = self.__dict__
        state.update(_origin=(), _nodes_seen=None, _erased=False, results=())
        state["region"] = state["previous"] = state["next"] = None
        _bind(self, arguments, keywords, state)
        for region in self.regions:
            region.parent = self
        try:
            types = self.infer()
        except OpError as error:
            raise _in_context(self, error) from None
        state["results"] = tuple(
            Value(type, self) for type in (types if isinstance(types, tuple) else (types,))
        )

    @property
    def nodes(self) -> tuple[str, ...]:
        """Names of the ONNX nodes that this op comes from."""
        return nodes_of(self)

    if TYPE_CHECKING:

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
        """The rule for result types, from operands and attributes; an `OpError` names the field."""
        raise NotImplementedError

    # Each op declares `evaluate(self, ...)`, its meaning on numpy arrays, with its own operands.

    @property
    def result(self) -> Value:
        """The only result."""
        (value,) = self.results
        return value

    @property
    def operands(self) -> tuple[Value, ...]:
        """All operands in declaration order, optional ones that are absent left out."""
        found: list[Value] = []
        held = self.__dict__
        for name in self._operand_names:
            value = held[name]
            if isinstance(value, tuple):
                found.extend(cast("tuple[Value, ...]", value))
            elif value is not None:
                found.append(value)
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
        return tuple([self.__dict__[name] for name in self._region_names])

    @property
    def pure(self) -> bool:
        """No effect on memory: may be removed when unused, and merged with an equal op."""
        return not self.reads and not self.writes and all(region.pure for region in self.regions)

    def named(self, name: str, nodes: Sequence[str] = ()) -> Self:
        """Give a fresh op's (first) result its name, and the op its ONNX nodes; returns itself."""
        if self.region is not None:
            raise RuntimeError("only a detached op can be named; use the rewriter")
        if self.results:
            self.results[0].name = name
        if nodes:
            set_nodes(self, tuple(nodes))
        return self

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"ops are frozen; change {self.op_name}.{name} through the rewriter")

    def __repr__(self) -> str:
        from .printer import format_op

        return format_op(self).text


_RESERVED = frozenset(dir(Op)) | {"results", "region", "next", "previous", "evaluate"}

_AnyOp = TypeVar("_AnyOp", bound=Op)

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
        """The ops in order; ops may be removed on the way, and added behind the one just seen."""
        op = self.first
        while op is not None:
            yield op
            op = op.next
            # An op that was removed meanwhile still knows what came next.
            while op is not None and op.region is not self:
                op = op.next

    @property
    def pure(self) -> bool:
        return all(op.pure for op in self)

    @property
    def yielded(self) -> tuple[Value, ...]:
        """The operands of the closing `yield`."""
        if self.last is None:
            raise OpError("the region is empty: it must end in a yield")
        return self.last.operands

    def append(self, op: _AnyOp) -> _AnyOp:
        """Attach a new op at the end: for building; later on, modules change by the rewriter."""
        attach(op, self, before=None)
        return op


def _bind(
    op: Op, arguments: Sequence[object], keywords: dict[str, object], state: dict[str, object]
) -> None:
    fields = op.spec_fields
    given = keywords
    if arguments:
        if len(arguments) > len(fields):
            raise OpError(f"{op.op_name} takes {len(fields)} fields, got {len(arguments)}")
        given = dict(zip((field.name for field in fields), arguments, strict=False)) | keywords
    used = 0
    for field in fields:
        value = given.get(field.name, MISSING)
        if value is MISSING:
            value = field.default
            if value is MISSING:
                reason = f"{field.name} is missing"
                raise OpError(f"{op.op_name} needs {field.name}", field.name, reason)
        else:
            used += 1
        held = field.convert(value)
        if held is MISSING:
            reason = f"{field.name} must be {field.wanted} ({field.kind.value}), got {value!r}"
            raise OpError(f"{op.op_name}: {reason}", field.name, reason)
        state[field.name] = held
    if used < len(given):
        known = [field.name for field in fields]
        unknown = sorted(given.keys() - set(known))[0]
        raise OpError(f"{op.op_name} has no field {unknown!r} (known: {', '.join(known)})")


def _in_context(op: Op, error: OpError) -> OpError:
    """The same error, showing the op with a caret."""
    from .printer import with_caret

    message = f"{op.op_name}: {error.reason}\n{with_caret(op, error.field)}"
    return OpError(message, error.field, error.reason)
