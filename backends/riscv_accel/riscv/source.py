"""A linked program as one C header and one C source file: `model_run`, freestanding."""

from collections.abc import Iterable
from functools import cached_property
from importlib.resources import files

from mcc.backends import C_TYPES, c_identifiers, comment_text, string_literal
from mcc.ir import Array, Constant, Module, Op, UserError, Value, Yield, constant_of
from mcc.runtime import Launch, Target

from ..linking import Linked
from . import queued
from .calls import EXACT, HostCode
from .literals import array_literal, bytes_literal
from .on_chip import MACRO, preamble
from .sequence import Sequence, Step, copied
from .values import Places, place_values

KERNELS = (
    "edges",
    "linear",
    "pool",
    "movement",
    "math",
    "elementwise",
    "reduce",
    "resample",
    "recurrent",
)
"""The files of the C library, in an order in which each finds what it needs."""

_RESOURCES = files("mcc.backends.riscv_accel.riscv")


def resource(path: str) -> str:
    """A C or assembler file that ships with this package."""
    return (_RESOURCES / path).read_text(encoding="utf-8")


class Source:
    """The C form of one linked program.

    Args:
        linked: The program, its kernels and the module that launches it.
        target: The machine.
        name: The model's name, for comments.
    """

    def __init__(self, linked: Linked, target: Target, name: str) -> None:
        self.linked = linked
        self.target = target
        self.name = name
        self.module: Module = linked.module
        self.inputs = c_identifiers([value.name for value in self.module.inputs], set())
        self.outputs = c_identifiers(self.module.output_names, set(self.inputs))
        for value in (*self.module.inputs, *self.module.outputs):
            if value.tensor.dtype not in C_TYPES:
                raise UserError(f"{value.name}: {value.tensor} cannot be passed in C")
        constants = self._host_constants()
        self.places: Places = place_values(
            self.module,
            dict(zip(self.module.inputs, self.inputs, strict=True)),
            self.outputs,
            {value: name for name, value in constants.items()},
            linked.constant_bytes,
        )
        self._constants = constants
        self._read: set[str] = set()
        self.host = HostCode(self._place, shifts=not target.host.fpu)
        self.steps = Sequence(linked, target, self.places, self.host, self._place).steps()

    def _place(self, value: Value) -> str:
        place = self.places[value]
        self._read.add(place)
        return place

    @property
    def exact(self) -> bool:
        """Whether every op of the host gives the bits of its definition."""
        return all(
            isinstance(op, EXACT) or op.results[0].tensor.dtype.is_integer
            for op in self.module.body
            if not isinstance(op, Launch | Constant | Yield)
        )

    @cached_property
    def weights(self) -> bytes:
        """The constants of the accelerator, from DRAM address 0."""
        return self.linked.program.image[: self.linked.constant_bytes].tobytes()

    @property
    def arena_bytes(self) -> int:
        return self.linked.queue_start - self.linked.constant_bytes

    @property
    def host_constant_bytes(self) -> int:
        return sum(v.tensor.nbytes for name, v in self._constants.items() if name in self._read)

    def signature(self, name: str) -> str:
        """The parameters of `model_run`."""
        parameters = [
            f"const {C_TYPES[value.tensor.dtype]} *{parameter}"
            for value, parameter in zip(self.module.inputs, self.inputs, strict=True)
        ]
        parameters += [
            f"{C_TYPES[value.tensor.dtype]} *{parameter}"
            for value, parameter in zip(self.module.outputs, self.outputs, strict=True)
        ]
        return f"void {name}({', '.join(parameters)}"

    def header(self) -> str:
        """The header: entry points, sizes, memory figures."""
        ports: list[str] = []
        named = (
            *zip(self.inputs, self.module.inputs, strict=True),
            *zip(self.outputs, self.module.outputs, strict=True),
        )
        for parameter, value in named:
            shape = "x".join(map(str, value.tensor.dims)) or "scalar"
            quant = value.quant
            note = ""
            if quant is not None and quant.axis is None:
                note = f": real = {quant.scale[0]!r} * (value - {quant.zero[0]})"
            ports.append(f" *   {parameter}: {C_TYPES[value.tensor.dtype]} {shape}{note}")
        sizes = [
            f"#define MODEL_{parameter.upper()}_SIZE {value.tensor.size}"
            for parameter, value in named
        ]
        newline = "\n"
        bounds = (self.linked.activations.lower_bound, self.places.host_lower_bound)
        return f"""/* {comment_text(self.name)} for {self.target.name}, compiled by mcc.
 *
{newline.join(ports)}
 *
 * Memory, in bytes:
 *   weights of the accelerator  {len(self.weights)} (constant)
 *   weights of the host         {self.host_constant_bytes} (constant)
 *   queue of the accelerator    {self.linked.queue.nbytes} (constant)
 *   arena of the accelerator    {self.arena_bytes} (lower bound {bounds[0]})
 *   buffers of the host         {self.places.host_bytes} (lower bound {bounds[1]})
 *
 * Freestanding: no C library, no heap, not reentrant. Single hart, addresses as the accelerator
 * sees them. Two models in one program: compile one with -Dmodel_run=other_run, and so on.
 */
#ifndef MCC_MODEL_H
#define MCC_MODEL_H

#include <stdint.h>

{newline.join(sizes)}
#define MODEL_STEPS {len(self.steps)}

/* One inference. */
{self.signature("model_run")});

/* The same; after every step, when its result is in memory, `observer` is called. */
typedef void (*model_observer)(uint32_t step, const char *name, const void *data, uint32_t bytes);
{self.signature("model_run_observed")}, model_observer observer);

#endif
"""

    def source(self, *, weights: bool = True) -> str:
        """The source file. Without `weights`, they are an external symbol `model_weights`."""
        parts = [
            f"/* {comment_text(self.name)} for {self.target.name}, compiled by mcc. */\n"
            '#include "model.h"\n',
            resource("kernels/base.h"),
            *(resource(f"kernels/{name}.c") for name in KERNELS if name in self.used_files),
            resource(f"board/{self.target.machine.attachment}.h"),
            self._memory(weights),
            *self._on_chip(),
            *self.host.data,
            self._run(),
        ]
        return "\n".join(parts)

    @property
    def used_files(self) -> set[str]:
        return self.host.files | {"movement"}

    def _on_chip(self) -> list[str]:
        sizes = [step.nbytes for step in self.steps if step.shown]
        if not sizes:
            return []
        return [preamble(resource("board/on_chip.h"), max(sizes), self.target.machine.dim)]

    def _memory(self, weights: bool) -> str:
        length = max(8, len(self.weights))
        if weights:
            text = bytes_literal("static const uint64_t model_weights", self.weights)
        else:
            text = "extern const uint64_t model_weights[];"
        constants = [
            array_literal(f"static const {C_TYPES[value.tensor.dtype]} {name}", _array_of(value))
            for name, value in self._constants.items()
            if name in self._read
        ]
        return "\n".join(
            (
                f"/* Weights, biases and tables of the accelerator: {length} bytes. */",
                text,
                "",
                "/* Activations of the accelerator. */",
                f"static uint8_t model_arena[{max(64, self.arena_bytes)}] "
                "__attribute__((aligned(64)));",
                "/* What lies between the host's ops. */",
                f"static uint8_t model_host[{max(64, self.places.host_bytes)}] "
                "__attribute__((aligned(64), unused));",
                "",
                "#define WEIGHTS(offset) ((uint64_t)(uintptr_t)model_weights + (offset))",
                "#define ARENA(offset) ((uint64_t)(uintptr_t)model_arena + (offset))",
                "#define ARENA_BYTES(offset) (model_arena + (offset))",
                "#define HOST_BYTES(offset) (model_host + (offset))",
                "",
                *self._queue(),
                *constants,
            )
        )

    def _queue(self) -> list[str]:
        linked = self.linked
        return queued.section(linked.queue, linked.constant_bytes) if len(linked.queue) else []

    def _host_constants(self) -> dict[str, Value]:
        """The constants that host ops read as arrays, by their C names."""
        found: dict[str, Value] = {}
        for op in self.module.body:
            if isinstance(op, Constant) and op.result.tensor.dtype in C_TYPES:
                found[f"c{len(found)}"] = op.result
        return found

    def _run(self) -> str:
        observed = self.signature("model_run_observed") + ", model_observer observer) {"
        names = [*self.inputs, *self.outputs]
        lines = [observed]
        parameters = ", ".join(names)
        for number, step in enumerate(self.steps):
            if step.whole:
                lines.append(f"  if (!observer) {{ launch{number}({parameters}); }}")
            alone = "if (observer) " if step.queued else ""
            lines.append(f"  {alone}step{number}({parameters});")
            named = f"{number}, {string_literal(step.name)}"
            fence = "ACCEL_FENCE(); " if step.layer is not None else ""
            call = f"observer({named}, {step.data or 0}, {step.nbytes if step.data else 0});"
            if step.shown:
                lines += [
                    f"#ifdef {MACRO}",
                    "  if (observer) {",
                    f"    {fence.strip()}",
                    *(f"    {line}" for line in step.shown),
                    f"    observer({named}, model_shown, {step.nbytes});",
                    "  }",
                    "#else",
                    f"  if (observer) {{ {fence}{call} }}",
                    "#endif",
                ]
            else:
                lines.append(f"  if (observer) {{ {fence}{call} }}")
        for value, parameter in self.places.leaving.items():
            lines.append(f"  {copied(value.tensor.nbytes, self._place(value), parameter)}")
        lines.append("}")
        lines += [
            "",
            self.signature("model_run") + ") {",
            f"  model_run_observed({parameters}, 0);",
            "}",
            "",
        ]
        # Most steps use few of the parameters; the compiler puts them in line.
        inside = self.signature("").removeprefix("void (")
        unused = inside.replace(",", " __attribute__((unused)),") + " __attribute__((unused))"
        define = f"#define STEP_PARAMETERS {unused}"
        return "\n".join(
            (
                define,
                "",
                *(
                    text
                    for number, step in enumerate(self.steps)
                    for text in _step_functions(number, step)
                ),
                *lines,
            )
        )


def _step_functions(number: int, step: Step) -> list[str]:
    if step.layer is None:
        assert step.value is not None
        assert step.value.op is not None
        op: Op = step.value.op
        what = f"{op.op_name} on the host: {step.name}"
        nodes = op.nodes
    else:
        what = f"{step.layer.macs} MACs: {step.name}"
        nodes = step.layer.nodes
    origin = f" from {', '.join(nodes)}" if nodes else ""
    functions = [_function(f"step{number}", what + origin, step.lines)]
    if step.whole:
        what = "All layers up to the next op of the host"
        functions.insert(0, _function(f"launch{number}", what, step.whole))
    return functions


def _function(name: str, what: str, lines: Iterable[str]) -> str:
    body = "\n".join(line if line.startswith(" ") else f"  {line}" for line in lines)
    return f"/* {comment_text(what)} */\nstatic void {name}(STEP_PARAMETERS) {{\n{body}\n}}\n"


def _array_of(value: Value) -> Array:
    array = constant_of(value)
    assert array is not None
    return array
