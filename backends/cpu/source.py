"""What calls the kernels, in C: the steps of a program in order, and a header for users.

Every name begins with the model's own, so that several models fit into one program.
"""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files

from mcc.backends import ALIGNMENT, C_TYPES, c_identifiers, comment_text, string_literal
from mcc.ir import DType, Module, Value

from .codegen import Kernel
from .machine import Machine
from .plan import Call
from .program import Program, constant_offsets, nbytes
from .storage import Slot

_MOST_TASKS = 0xFFFF
_PORT_TYPES = {**C_TYPES, DType.BF16: "uint16_t"}
"""Of what goes in and out; C has no bfloat16 of its own, so its bits stand for it."""
_TILES = """
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <unistd.h>

/* Linux lets a process use tile registers (AMX) when it has asked for them. */
static int may_use_tiles(void) {
    static int asked;
    if (!asked)
        asked = syscall(SYS_arch_prctl, 0x1023, 18) == 0;
    return asked;
}
"""


def pool_source() -> str:
    """The C file of the threads that an artifact's library runs on."""
    return (files("mcc.backends.cpu") / "c" / "pool.c").read_text(encoding="utf-8")


@dataclass(frozen=True)
class Source:
    """A program's header and source file."""

    program: Program
    kernels: Sequence[Kernel]
    """One for each call of the plan."""
    module: Module
    machine: Machine
    name: str
    """What every symbol begins with: a C identifier."""
    title: str
    """What the model is called."""

    @cached_property
    def failures(self) -> dict[int, int]:
        """The numbers of calls that may fail, each with the status that says so, from 1 on."""
        failing = [n for n, kernel in enumerate(self.kernels) if kernel.function.may_fail]
        return {number: status for status, number in enumerate(failing, start=1)}

    @property
    def messages(self) -> list[str]:
        """What each status means, from 1 on."""
        return [self.program.plan.calls[number].failure for number in self.failures]

    @cached_property
    def weights(self) -> dict[Slot, int]:
        """Every constant, and where it begins in the block of all of them."""
        return constant_offsets(self.program)

    @cached_property
    def _ports(self) -> list[tuple[str, Value, bool]]:
        """Parameter, value and whether it is an input, of every port."""
        taken = {"workspace"}
        inputs = c_identifiers([value.name for value in self.module.inputs], taken)
        outputs = c_identifiers(self.module.output_names, taken)
        return [
            *((name, v, True) for name, v in zip(inputs, self.module.inputs, strict=True)),
            *((name, v, False) for name, v in zip(outputs, self.module.outputs, strict=True)),
        ]

    @property
    def flags(self) -> list[str]:
        """What /proc/cpuinfo must show where the code is to run."""
        return sorted({*self.machine.flags, *self.program.plan.flags})

    @property
    def _uses_tiles(self) -> bool:
        return "amx_tile" in self.program.plan.flags

    @cached_property
    def _inputs(self) -> dict[Slot, int]:
        return {slot: number for number, slot in enumerate(self.program.plan.inputs)}

    def _parameters(self) -> str:
        return ", ".join(
            f"{'const ' if is_input else ''}{_PORT_TYPES[value.tensor.dtype]} *{name}"
            for name, value, is_input in self._ports
        )

    def header(self) -> str:
        name, upper = self.name, self.name.upper()
        sizes = [
            f"#define {upper}_{port.upper()}_SIZE {value.tensor.size}"
            for port, value, _ in self._ports
        ]
        ports = [
            f" *   {port}: {_PORT_TYPES[value.tensor.dtype]} "
            f"{'x'.join(map(str, value.tensor.dims)) or 'scalar'}{_scale(value)}"
            for port, value, _ in self._ports
        ]
        newline = "\n"
        processor = self.machine.cpu or "any"
        needs = f"The processor must have: {' '.join(self.flags) or 'nothing special'}."
        needed = textwrap.wrap(needs, 98, initial_indent=" * ", subsequent_indent=" *   ")
        return f"""\
/* {comment_text(self.title)}, compiled by mcc for {self.machine.triple}, processor {processor}.
 *
{newline.join(ports)}
 *
 * Memory, in bytes: workspace {self.program.workspace} (no order of these kernels takes less than
 * {self.program.lower_bound}), weights {sum(map(nbytes, self.weights))}. Nothing is allocated.
 *
{newline.join(needed)}
 *
 * Arrays need the alignment of their elements and must not overlap; {ALIGNMENT}-byte alignment is
 * fastest. Calls return 0, or a number that {name}_message explains.
 */
#ifndef {upper}_H
#define {upper}_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {{
#endif

{newline.join(sizes)}
#define {upper}_WORKSPACE_BYTES {max(ALIGNMENT, self.program.workspace)}
#define {upper}_WORKSPACE_ALIGNMENT {ALIGNMENT}

/* One inference, in a workspace of the library's own: one call at a time. Left out where
 * {upper}_NO_STATIC_WORKSPACE is defined. */
int {name}_run({self._parameters()});

/* The same in the caller's workspace; calls in different ones may run at the same time. */
int {name}_run_in({self._parameters()}, void *workspace);

/* Threads to share the work with: `launch` calls body(frame, task, tasks) for every task from 0 to
 * tasks - 1, in any order and on any threads, and returns when all are done. */
struct {name}_team {{
    int32_t most_tasks; /* that a kernel is divided into: a few times the number of threads */
    void (*launch)(void *context, void (*body)(void *frame, int32_t task, int32_t tasks),
                   void *frame, int32_t tasks);
    void *context;
}};

/* The same with arrays of pointers, in the order above; `team` may be NULL. */
int {name}_call(const void *const inputs[], void *const outputs[], void *workspace,
{" " * len(f"int {name}_call(")}const struct {name}_team *team);

const char *{name}_message(int number);

#ifdef __cplusplus
}}
#endif

#endif
"""

    def source(self) -> str:
        name, upper = self.name, self.name.upper()
        functions = {
            kernel.symbol: kernel for kernel in (self.kernels[n] for n in self.program.steps)
        }
        calls, replaced = self.program.plan.calls, self.program.replaced
        steps = [_Step(calls[n], self.kernels[n], replaced.get(n)) for n in self.program.steps]
        table = [
            f"    {{step_{i}, {min(step.kernel.function.most_tasks, _MOST_TASKS)}, "
            f"{self.failures.get(number, 0)}}},"
            for i, (number, step) in enumerate(zip(self.program.steps, steps, strict=True))
        ]
        messages = [
            f"    {string_literal(text)},"
            for text in (
                "no error",
                *self.messages,
                f"the workspace is not aligned to {ALIGNMENT} bytes",
                "the system does not let this process use tile registers (AMX)",
            )
        ]
        tiles = _TILES if self._uses_tiles else ""
        permission = (
            [f"    if (!may_use_tiles())\n        return {len(messages) - 1};"] if tiles else []
        )
        newline = "\n"
        inputs = ", ".join(port for port, _, is_input in self._ports if is_input)
        outputs = ", ".join(port for port, _, is_input in self._ports if not is_input)
        arguments = ", ".join(port for port, _, _ in self._ports)
        return f"""\
/* {comment_text(self.title)}: calls the kernels in order. Compiled by mcc. */{tiles}
#include "{self.name}.h"

#include <stddef.h>
#include <string.h>

struct frame {{
    const void *const *inputs;
    void *const *outputs;
    unsigned char *workspace;
    int32_t failed;
}};

extern const unsigned char {name}_weights[];

{newline.join(_declaration(kernel) for kernel in functions.values())}

#define WEIGHTS(offset) ({name}_weights + (offset))
#define WORKSPACE(offset) (f->workspace + (offset))

{newline.join(self._step(number, step) for number, step in enumerate(steps))}
static const struct {{
    void (*body)(void *frame, int32_t task, int32_t tasks);
    int32_t most_tasks;
    int32_t failure;
}} steps[] = {{
{newline.join(table)}
    {{NULL, 0, 0}},
}};

static const char *const messages[] = {{
{newline.join(messages)}
}};

const char *{name}_message(int number) {{
    int count = sizeof messages / sizeof *messages;
    return number >= 0 && number < count ? messages[number] : "";
}}

int {name}_call(const void *const inputs[], void *const outputs[], void *workspace,
{" " * len(f"int {name}_call(")}const struct {name}_team *team) {{
    struct frame frame = {{inputs, outputs, workspace, 0}}, *f = &frame;
    if ((uintptr_t)workspace % {upper}_WORKSPACE_ALIGNMENT)
        return {len(messages) - 2};
{newline.join(permission)}
    for (size_t i = 0; steps[i].body; i++) {{
        int32_t tasks = team ? team->most_tasks : 1;
        if (tasks > steps[i].most_tasks)
            tasks = steps[i].most_tasks;
        if (tasks > 1)
            team->launch(team->context, steps[i].body, f, tasks);
        else
            steps[i].body(f, 0, 1);
        if (steps[i].failure && f->failed)
            return steps[i].failure;
    }}
{newline.join(f"    {line}" for line in self._copies())}
    return 0;
}}

int {name}_run_in({self._parameters()}, void *workspace) {{
    const void *const inputs[] = {{{inputs or "NULL"}}};
    void *const outputs[] = {{{outputs}}};
    return {name}_call(inputs, outputs, workspace, NULL);
}}

#ifndef {upper}_NO_STATIC_WORKSPACE
static unsigned char workspace_bytes[{upper}_WORKSPACE_BYTES]
    __attribute__((aligned({upper}_WORKSPACE_ALIGNMENT)));

int {name}_run({self._parameters()}) {{
    return {name}_run_in({arguments}, workspace_bytes);
}}
#endif
"""

    def _step(self, number: int, step: "_Step") -> str:
        call = step.call
        places = [self._place(s) for i, s in enumerate(call.inputs) if i != step.replaced]
        failed = ", &f->failed" if step.kernel.function.may_fail else ""
        arguments = ", ".join([*places, self._place(call.output)])
        return (
            f"static void step_{number}(void *frame, int32_t task, int32_t tasks) {{\n"
            "    struct frame *f = frame;\n"
            f"    {step.kernel.symbol}({arguments}, task, tasks{failed});\n"
            "}\n"
        )

    def _place(self, slot: Slot) -> str:
        """A C expression for where a slot begins."""
        if slot in self.weights:
            return f"WEIGHTS({self.weights[slot]})"
        if slot in self.program.written:
            return f"f->outputs[{self.program.written[slot]}]"
        if slot in self.program.offsets:
            return f"WORKSPACE({self.program.offsets[slot]})"
        return f"f->inputs[{self._inputs[slot]}]"

    def _copies(self) -> list[str]:
        return [
            f"memcpy(f->outputs[{number}], {self._place(slot)}, {size});"
            for number, slot in self.program.copied
            if (size := self.module.outputs[number].tensor.nbytes)
        ]


@dataclass(frozen=True)
class _Step:
    call: Call
    kernel: Kernel
    replaced: int | None


def _declaration(kernel: Kernel) -> str:
    pointers = ["const void *"] * kernel.function.reads + ["void *", "int32_t", "int32_t"]
    failed = ["int32_t *"] if kernel.function.may_fail else []
    return f"extern void {kernel.symbol}({', '.join([*pointers, *failed])});"


def _scale(value: Value) -> str:
    quant = value.quant
    if quant is None or quant.axis is not None:
        return ""
    return f": real = {quant.scale[0]!r} * (value - {quant.zero[0]})"
