"""`parse(print(m)) == m` for every op there is, generated from the registry."""

import random
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from support import ir_test_ops
from support.ir_modules import module_of, modules
from support.ir_recipes import filled, recipes

import mcc.ops
from mcc.ir import (
    OPS,
    Index,
    Module,
    Op,
    OpError,
    Tensor,
    UserError,
    Weights,
    evaluate,
    load_module,
    parse,
    print_module,
    save_module,
    verify,
)

MODULES = (mcc.ops, ir_test_ops)  # they fill the registry
OWN = ("mcc.ir.", "mcc.ops.", "support.")
NAMES = sorted(name for name, op_class in OPS.items() if op_class.__module__.startswith(OWN))


def assert_round_trip(module: Module) -> None:
    """The text reads back to an equal module, and prints the same."""
    printed = print_module(module)
    again = parse(printed.text, printed.weights)
    assert again == module
    assert str(again) == printed.text
    verify(again)


@pytest.mark.parametrize("name", NAMES)
def test_every_op_is_generated_and_round_trips(name: str) -> None:
    for seed, recipe in enumerate(recipes(name)):
        module = module_of(recipe, random.Random(seed))
        verify(module)
        assert_round_trip(module)


@given(modules(NAMES))
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_modules_round_trip(module: Module) -> None:
    assert_round_trip(module)


@given(modules(NAMES))
@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])
def test_modules_survive_the_disk(module: Module) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.mir"
        save_module(module, path)
        assert load_module(path) == module


@pytest.mark.parametrize("name", NAMES)
def test_every_op_evaluates_to_its_type(name: str) -> None:
    """On special values too, without a warning: dtype and shape are what the rule says."""
    for seed, recipe in enumerate(recipes(name)):
        if recipe.symbolic or not all(isinstance(t, Tensor) for t in recipe.operand_types()):
            continue
        module = module_of(recipe, random.Random(seed))
        rng = random.Random(seed)
        feeds = {
            value.name: filled(value.tensor.dtype, value.tensor.dims, rng)
            for value in module.inputs
        }
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            try:
                outputs = evaluate(module, feeds)
            except UserError:
                assert name == "gather"  # an index out of range
                continue
        for output, value in zip(outputs.values(), module.outputs, strict=True):
            assert output.shape == value.tensor.shape
            assert output.dtype == value.tensor.dtype.numpy


def test_texts_share_weights() -> None:
    """Equal constants have one name in all texts, others that are called the same have two."""
    rows = [np.arange(start, start + 10, dtype=np.float32) for start in (0, 0, 1)]
    text = 'module @m() -> ("y") {\n  %y = constant(@w) : f32[10]\n  yield(%y)\n}\n'
    modules = [parse(text, {"w": row}) for row in rows]
    weights = Weights()
    texts = [print_module(module, weights).text for module in modules]
    assert texts == [text, text, text.replace("@w", "@w.1")]
    assert list(weights.arrays) == ["w", "w.1"]
    for row, shared in zip(rows, texts, strict=True):
        assert np.array_equal(evaluate(parse(shared, weights.arrays), {})["y"], row)


def test_an_op_without_valid_operands_is_reported() -> None:
    class Impossible(Op, name="test.impossible"):  # pyright: ignore[reportUnusedClass] -- it registers itself
        size: int

        def infer(self) -> Index:
            raise OpError("never", "size")

    try:
        with pytest.raises(AssertionError, match=r"'test\.impossible' in 50 tries.*never"):
            recipes("test.impossible", tries=50)
    finally:
        del OPS["test.impossible"]
