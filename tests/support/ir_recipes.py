"""Finds valid operands and attributes for any op class, by its annotations and shape rule alone.

A recipe is searched: fields are drawn at random by their annotations, the op is built, and the
field that its rule complains about is drawn again. So an op added to the registry is covered
by the tests of the IR without a line about it; one that cannot be found fails them.
"""

import enum
import math
import random
import types
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np

from mcc.ir import (
    OPS,
    Array,
    Buffer,
    Data,
    DType,
    Field,
    Index,
    Kind,
    Op,
    OpError,
    Quant,
    Region,
    Space,
    Symbol,
    Tensor,
    Type,
    Value,
    Yield,
)

SYMBOLS = (Symbol("N"), Symbol("batch size"), Symbol('a"b], c'))
ODD_NAMES = (
    *("x", "12", "", "a b", 'quo"te', "naïve/π:0"),
    *("%0", "back\\slash", "line\nbreak", "0x1f", "@", "名"),
)


@dataclass(frozen=True)
class Recipe:
    """What an op class accepts: a type for every operand, a value for every attribute."""

    op_class: type[Op]
    fields: dict[str, object]
    """Operands as their types, regions as the types of their arguments, attributes as they are."""

    def operand_types(self) -> Iterator[Type]:
        for field in self.op_class.spec_fields:
            held = self.fields.get(field.name)
            if held is None:
                continue
            if field.kind is Kind.VARIADIC:
                yield from typing.cast(tuple[Type, ...], held)
            elif field.kind in (Kind.OPERAND, Kind.OPTIONAL):
                yield typing.cast(Type, held)

    @property
    def symbolic(self) -> bool:
        return any("?" in str(type) for type in self.operand_types())

    def build(self, operands: Iterator[Value]) -> Op:
        """The op on values of the operand types, in order."""
        keywords: dict[str, object] = {}
        for field in self.op_class.spec_fields:
            held = self.fields[field.name]
            match field.kind:
                case Kind.VARIADIC:
                    count = len(typing.cast(tuple[Type, ...], held))
                    keywords[field.name] = tuple(next(operands) for _ in range(count))
                case Kind.OPERAND | Kind.OPTIONAL:
                    keywords[field.name] = None if held is None else next(operands)
                case Kind.REGION:
                    region = Region(typing.cast(tuple[Type, ...], held))
                    region.append(Yield(region.args))
                    keywords[field.name] = region
                case Kind.ATTRIBUTE:
                    keywords[field.name] = held
        construct: typing.Any = self.op_class
        op: Op = construct(**keywords)
        return op


@cache
def recipes(name: str, count: int = 16, tries: int = 20_000) -> tuple[Recipe, ...]:
    """Valid recipes for an op; an `AssertionError` says what to do where none is found."""
    rng = random.Random(name)
    found: list[Recipe] = []
    complaint: OpError | None = None
    recipe = _draw(OPS[name], rng)
    patience = 0
    for _ in range(tries):
        try:
            recipe.build(iter([Value(type) for type in recipe.operand_types()]))
        except OpError as error:
            complaint = error
            patience += 1
            if patience > 60 or error.field is None or rng.random() < 0.05:
                recipe, patience = _draw(OPS[name], rng), 0
            else:
                again = error.field if rng.random() < 0.7 else rng.choice([*recipe.fields])
                recipe = _redrawn(recipe, again, rng)
            continue
        found.append(recipe)
        if len(found) == count:
            break
        recipe, patience = _draw(OPS[name], rng), 0
    assert found, (
        f"no operands and attributes were found for the op {name!r} in {tries} tries, the last "
        f"complaint: {complaint}\nLet its rule name the field at fault in every OpError, or teach "
        f"tests/support/ir_recipes.py to draw what it needs."
    )
    return tuple(found)


def _draw(op_class: type[Op], rng: random.Random) -> Recipe:
    recipe = Recipe(op_class, {})
    common = _dtype(rng)
    for field in op_class.spec_fields:
        recipe.fields[field.name] = _field(field, recipe, common, rng)
    if op_class.op_name in _GATES:
        recipe.fields.update(_recurrent_types(_GATES[op_class.op_name], common, rng))
    return recipe


_GATES = {"lstm": 4, "gru": 3, "rnn": 1}
"""Ops whose operands agree in so many ways that chance does not find them."""


def _recurrent_types(gates: int, common: DType, rng: random.Random) -> dict[str, object]:
    dtype = common if common.is_float else DType.F32
    steps, batch, hidden = (rng.randrange(4) for _ in range(3))
    state = Tensor(dtype, (batch, hidden))
    found: dict[str, object] = {
        "x": Tensor(dtype, (steps, batch, gates * hidden)),
        "r": Tensor(dtype, (hidden, gates * hidden)),
        "h": state,
        "lengths": rng.choice([None, Tensor(DType.I32, (batch,))]),
        "clip": rng.choice([0.5, math.inf]),
    }
    if gates == 4:
        peepholes = rng.choice([None, Tensor(dtype, (3 * hidden,))])
        found |= {"c": state, "p": peepholes}
    if gates == 3:
        found["b"] = rng.choice([None, Tensor(dtype, (hidden,))])
    return found


def _redrawn(recipe: Recipe, name: str, rng: random.Random) -> Recipe:
    dtypes = [type.dtype for type in recipe.operand_types() if isinstance(type, Tensor)]
    common = rng.choice(dtypes) if dtypes and rng.random() < 0.8 else _dtype(rng)
    fields = {field.name: field for field in recipe.op_class.spec_fields}
    rest = Recipe(recipe.op_class, dict(recipe.fields))
    rest.fields[name] = _field(fields[name], recipe, common, rng)
    return rest


def _field(field: Field, recipe: Recipe, common: DType, rng: random.Random) -> object:
    match field.kind:
        case Kind.OPERAND:
            return operand_type(common, rng)
        case Kind.OPTIONAL:
            return None if rng.random() < 0.5 else operand_type(common, rng)
        case Kind.VARIADIC:
            first = operand_type(common, rng)
            same = rng.random() < 0.7
            count = rng.randrange(5)
            return tuple(first if same else operand_type(common, rng) for _ in range(count))
        case Kind.REGION:
            carried = tuple(recipe.operand_types())
            return (Index(), *carried) if rng.random() < 0.2 else carried
        case Kind.ATTRIBUTE:
            if not field.required and rng.random() < 0.4:
                return field.default
            return attribute(field.annotation, rng)


def operand_type(common: DType, rng: random.Random) -> Type:
    """Mostly tensors of one dtype whose dimensions are all 4, so that they fit each other."""
    if rng.random() < 0.06:
        buffer = Buffer(rng.choice(list(Space)), common, (4, 4))
        return Index() if rng.random() < 0.5 else buffer
    if rng.random() < 0.05:
        return Tensor(common, (256,))
    dims: list[int | Symbol] = [4] * rng.choice([0, 1, 1, 2, 3, 4])
    for i in range(len(dims)):
        chance = rng.random()
        if chance < 0.12:
            dims[i] = rng.choice([0, 1, 1, 2, 5])
        elif chance < 0.15:
            dims[i] = rng.choice(SYMBOLS)
    return Tensor(common if rng.random() < 0.8 else _dtype(rng), tuple(dims))


def _dtype(rng: random.Random) -> DType:
    usual = (DType.F32, DType.F32, DType.I8, DType.I32, DType.I64, DType.I1)
    return rng.choice(usual if rng.random() < 0.7 else tuple(DType))


def attribute(annotation: object, rng: random.Random) -> object:
    """A value for an attribute of a type; raises `AssertionError` for one that it cannot make."""
    arguments: tuple[object, ...] = typing.get_args(annotation)
    origin = typing.get_origin(annotation)
    if origin is typing.Literal:
        return rng.choice(arguments)
    if origin in (types.UnionType, typing.Union):
        return attribute(rng.choice(arguments), rng)
    if origin is tuple:
        if arguments[-1] is not Ellipsis:
            return tuple(attribute(argument, rng) for argument in arguments)
        if arguments[0] is int:
            return _integers(rng)
        return tuple(attribute(arguments[0], rng) for _ in range(rng.randrange(4)))
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return rng.choice(list(annotation))
    makers: dict[object, Callable[[], object]] = {
        types.NoneType: lambda: None,
        bool: lambda: rng.random() < 0.5,
        int: lambda: rng.choice([0, 1, 1, 2, 3, 4, -1, -128, 127, 2**40]),
        float: lambda: rng.choice([0.0, -0.0, 0.5, -3.0, 1e-30, math.inf, -math.inf, math.nan]),
        str: lambda: rng.choice(ODD_NAMES),
        Data: lambda: Data(array(rng), rng.choice(ODD_NAMES)),
        Symbol: lambda: rng.choice(SYMBOLS),
        Quant: lambda: quant(rng),
        Tensor: lambda: Tensor(DType.I4, (2, Symbol("N"))),
        Buffer: lambda: Buffer(rng.choice(list(Space)), DType.I8, (4,)),
        Index: Index,
    }
    assert annotation in makers, (
        f"tests/support/ir_recipes.py cannot draw an attribute of type {annotation}: "
        f"add it to `attribute`"
    )
    return makers[annotation]()


def _integers(rng: random.Random) -> tuple[int, ...]:
    """What tuples of integers stand for: shapes, permutations, strides, pads, axes."""
    length = rng.choice([0, 1, 1, 2, 2, 2, 3, 4, 4, 6, 8])
    match rng.randrange(4):
        case 0:
            return (rng.choice([0, 1, 2, 3, 4]),) * length
        case 1:
            return tuple(rng.sample(range(length), length))
        case 2:
            return tuple(range(length))
        case _:
            return tuple(rng.randrange(5) for _ in range(length))


def quant(rng: random.Random) -> Quant:
    """A note per tensor or per axis."""
    if rng.random() < 0.5:
        return Quant((rng.choice([0.1, 1e-30, 2.0]),), (rng.randrange(-128, 128),))
    return Quant((0.5, 1 / 3), (0, -3), 1)


def array(rng: random.Random) -> Array:
    """An array for a constant: any dtype, also empty, 0-d, and with NaN, infinities and -0.0."""
    dtype = _dtype(rng)
    shape = rng.choice([(), (1,), (3,), (0,), (2, 3), (0, 4), (1, 1), (40,)])
    return filled(dtype, shape, rng)


def filled(dtype: DType, shape: tuple[int, ...], rng: random.Random) -> Array:
    """Random contents of a dtype."""
    size = math.prod(shape)
    if dtype is DType.STRING:
        strings = np.empty(size, object)
        strings[:] = [rng.choice(ODD_NAMES) for _ in range(size)]
        return strings.reshape(shape)
    if dtype.is_float:
        special = [0.0, -0.0, 1.5, 0.1, -7.25, 3e5, 1e-9, math.nan, math.inf, -math.inf]
        values = np.array([rng.choice(special) for _ in range(size)], np.float64)
    elif dtype.is_integer:
        low, high = dtype.limits
        pool = [low, high, 0, 1, 2, 3, max(low, -1)]
        drawn = [rng.choice(pool) for _ in range(size)]
        wide = np.uint64 if dtype is DType.U64 else np.int64
        return np.array(drawn, wide).astype(dtype.numpy).reshape(shape)
    else:
        signs = [-1, 1] if dtype is DType.B1 else [0, 1]
        values = np.array([rng.choice(signs) for _ in range(size)], np.float64)
    with np.errstate(all="ignore"):
        return values.astype(dtype.numpy).reshape(shape)
