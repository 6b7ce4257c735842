"""Test vectors inside a program: inputs, expected outputs, and a hash of every step's result."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from mcc.backends import C_TYPES, string_literal
from mcc.ir import Array, DType, Module, Value, evaluate
from mcc.runtime import Target

from .literals import array_literal
from .source import Source, resource

Feeds = Mapping[str, Array]

TOLERANCE = 1e-5
"""Relative, for float outputs behind ops whose definition rounds differently from the kernel."""


def self_test(source: Source, reference: Module, feeds: Sequence[Feeds]) -> dict[str, str]:
    """`main.c` and `vectors.h`.

    Args:
        source: The program.
        reference: The lowered module, whose evaluation is what a program must equal.
        feeds: The inputs of each vector; at least one.
    """
    console = resource(f"board/{source.target.board.console}.c")
    main = resource("board/selftest.c").replace("CONSOLE", console)
    return {"main.c": main, "vectors.h": _vectors(source, reference, feeds)}


def _vectors(source: Source, reference: Module, feeds: Sequence[Feeds]) -> str:
    hashes: dict[int, int] = {}
    observe = _observer(source, hashes)
    expected: list[Mapping[str, Array]] = []
    for number, feed in enumerate(feeds):
        expected.append(evaluate(reference, feed, observe if number == 0 else None))
    module = source.module
    parts = [
        f"#define MODEL_NAME {string_literal(source.name)}",
        f"#define MODEL_TARGET {string_literal(source.target.name)}",
        f"#define VECTORS {len(feeds)}",
        _start(source.target),
    ]
    for value, name in zip(module.inputs, source.inputs, strict=True):
        arrays = np.stack([np.asarray(feed[value.name]) for feed in feeds])
        parts.append(array_literal(f"static const {_type(value)} in_{name}", _stored(arrays)))
    named = list(zip(module.outputs, module.output_names, source.outputs, strict=True))
    for value, output, name in named:
        arrays = np.stack([found[output] for found in expected])
        parts.append(array_literal(f"static const {_type(value)} want_{name}", _stored(arrays)))
        parts.append(f"static {_type(value)} out_{name}[{max(1, value.tensor.size)}];")
    steps = range(len(source.steps))
    known = np.array([step in hashes for step in steps], np.uint8)
    parts.append(array_literal("static const uint8_t step_known", known))
    words = np.array([hashes.get(step, 0) for step in steps], np.uint32)
    parts.append(array_literal("static const uint32_t step_hash", words))
    parts.append(_run(source, named))
    return "\n".join(parts)


def _start(target: Target) -> str:
    """What wakes the accelerator: on RoCC a flush of its TLB, as its own software does."""
    if target.machine.attachment == "mmio":
        return "#define ACCEL_START() ((void)0)"
    flush = '__asm__ volatile(".insn r 0x7b, 3, 7, x0, x0, x0" : : : "memory")'
    return f"#define ACCEL_START() {flush}"


def _run(source: Source, named: Sequence[tuple[Value, str, str]]) -> str:
    arguments = [
        f"in_{name} + vector * {value.tensor.size}"
        for value, name in zip(source.module.inputs, source.inputs, strict=True)
    ]
    arguments += [f"out_{name}" for _, _, name in named]
    compare: list[str] = []
    classes: list[str] = []
    for value, _, name in named:
        size = value.tensor.size
        compare.append(f"  for (uint32_t i = 0; i < {size}; i++)")
        wanted = f"want_{name}[vector * {size} + i]"
        test = f"out_{name}[i] != {wanted}"
        if value.tensor.dtype is DType.F32:
            test = f"differs(out_{name}[i], {wanted})"
        compare.append(f"    different += {test};")
        if size > 1 and value is named[0][0]:
            classes += [
                "  uint32_t best = 0;",
                f"  for (uint32_t i = 1; i < {size}; i++)",
                f"    if (out_{name}[i] > out_{name}[best]) best = i;",
                '  put(", class "), put_number(best);',
            ]
    tolerance = "0.0f" if source.exact else f"{TOLERANCE!r}f"
    return "\n".join(
        (
            "static void run_vector(uint32_t vector, model_observer observer) {",
            f"  model_run_observed({', '.join(arguments)}, observer);",
            "}",
            "",
            f"/* Relative tolerance {tolerance}: 0 where every host op is exact. */",
            "__attribute__((unused)) static uint32_t differs(float got, float want) {",
            "  if (got == want || (got != got && want != want)) return 0;",
            "  float gap = got < want ? want - got : got - want, size = want < 0 ? -want : want;",
            f"  return !(gap <= {tolerance} * (size > 1e-3f ? size : 1e-3f));",
            "}",
            "",
            "static uint32_t compare_vector(uint32_t vector) {",
            "  uint32_t different = 0;",
            *compare,
            "  return different;",
            "}",
            "",
            "static void put_classes(uint32_t vector) {",
            "  (void)vector;",
            *classes,
            "}",
            "",
        )
    )


def _observer(source: Source, hashes: dict[int, int]) -> Callable[[Value, Array], None]:
    """Hashes integer results that the reference also has, in the layout that the program uses."""
    axes: dict[str, tuple[int, tuple[int, ...] | None]] = {}
    for number, step in enumerate(source.steps):
        if step.layer is not None:
            record = source.linked.program.tensors[step.layer.tensor]
            axes[step.name] = number, record.axes
        elif step.value is not None and step.value.tensor.dtype.is_integer and step.value.name:
            axes[step.name] = number, step.value.axes

    def observe(value: Value, array: Array) -> None:
        if value.name not in axes or not value.tensor.dtype.is_integer:
            return
        number, order = axes[value.name]
        turned = array if order is None else array.transpose(order)
        content = np.ascontiguousarray(turned).tobytes()
        if len(content) == source.steps[number].nbytes:
            hashes[number] = fnv1a(content)

    return observe


def fnv1a(content: bytes) -> int:
    """The 32-bit Fowler-Noll-Vo hash, variant 1a."""
    found = 2166136261
    for byte in content:
        found = (found ^ byte) * 16777619 & 0xFFFFFFFF
    return found


def _type(value: Value) -> str:
    return C_TYPES[value.tensor.dtype]


def _stored(array: Array) -> Array:
    return array.astype(np.uint8) if array.dtype == np.bool_ else array
