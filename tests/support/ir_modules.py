"""Modules at random, from the recipes of any registered op."""

import random
from collections.abc import Sequence

from hypothesis import strategies as st

from mcc.ir import Constant, Data, Module, Op, Region, Tensor, Type, Value, Yield

from .ir_recipes import ODD_NAMES, Recipe, filled, quant, recipes


def module_of(recipe: Recipe, rng: random.Random) -> Module:
    """A module around one op of a recipe."""
    return _module([recipe], rng)


@st.composite
def modules(draw: st.DrawFn, names: Sequence[str], largest: int = 6) -> Module:
    """Modules of up to `largest` ops of the given names, with odd names and every note."""
    picked = draw(st.lists(st.sampled_from(list(names)), min_size=1, max_size=largest))
    rng = random.Random(draw(st.integers(0, 2**32)))
    chosen = [rng.choice(recipes(name)) for name in picked]
    text = st.text(max_size=8)
    return _module(chosen, rng, draw(st.lists(text, max_size=8)), draw(st.dictionaries(text, text)))


def _module(
    chosen: Sequence[Recipe],
    rng: random.Random,
    words: Sequence[str] = (),
    meta: dict[str, str] | None = None,
) -> Module:
    names = (*ODD_NAMES, *words)
    inputs: list[Value] = []
    scope: list[Value] = []
    ops: list[Op] = []
    taken: set[str] = set()
    region = Region()

    def source(wanted: Type) -> Value:
        """A value of the type: one that is there, a new constant, or a new input."""
        there = [value for value in scope if value.type == wanted]
        if there and rng.random() < 0.6:
            return rng.choice(there)
        sizes = isinstance(wanted, Tensor) and all(isinstance(dim, int) for dim in wanted.shape)
        if isinstance(wanted, Tensor) and sizes and rng.random() < 0.3:
            data = Data(filled(wanted.dtype, wanted.dims, rng), rng.choice(names))
            op = Constant(data, wanted.dtype if rng.random() < 0.1 else None)
            if op.result.type == wanted:
                _decorate(op, names, rng)
                ops.append(region.append(op))
                scope.append(op.result)
                return op.result
        name = next(f"in {i}" for i in range(100_000) if f"in {i}" not in taken)
        for candidate in rng.sample(names, len(names)):
            if candidate and candidate not in taken:
                name = candidate
                break
        taken.add(name)
        value = Value(wanted, region, name)
        _note(value, rng)
        inputs.append(value)
        scope.append(value)
        return value

    for recipe in chosen:
        if recipe.op_class is Yield:
            continue  # every module ends in one
        op = recipe.build(iter([source(type) for type in recipe.operand_types()]))
        _decorate(op, names, rng)
        region.append(op)
        scope.extend(op.results)
    kept = rng.sample(scope, rng.randrange(len(scope) + 1))
    region.append(Yield(tuple(kept)))
    region.args = tuple(inputs)
    outputs = [f"{rng.choice(names)}{i}" for i in range(len(kept))]
    module = Module(rng.choice(names), region, outputs)
    module.meta.update(meta or {})
    return module


def _decorate(op: Op, names: Sequence[str], rng: random.Random) -> None:
    """Names for the results, notes, ONNX nodes."""
    nodes = [rng.choice(names) for _ in range(rng.randrange(3))]
    if op.results:
        op.named(rng.choice(names), nodes)
    for value in op.results:
        _note(value, rng)


def _note(value: Value, rng: random.Random) -> None:
    if not isinstance(value.type, Tensor):
        return
    if rng.random() < 0.3:
        value.quant = quant(rng)
    if rng.random() < 0.3:
        axes = list(range(value.type.rank))
        rng.shuffle(axes)
        value.axes = tuple(axes)
