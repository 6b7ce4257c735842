"""The three RISC-V forms of a program: C to embed, assembly, and an ELF that tests itself."""

from collections.abc import Mapping, Sequence

from mcc.ir import Array, Module, UserError
from mcc.runtime import Target
from mcc.runtime.soc import NOTE_OWNER, NOTE_TARGET, Elf

from ..linking import link
from .on_chip import MACRO
from .selftest import self_test
from .source import Source, resource
from .toolchain import build_assembly, build_elf


def source_of(module: Module, target: Target, name: str) -> Source:
    """The C form of a module of the last stage."""
    return Source(link(module, target), target, name)


def c_files(source: Source, stem: str) -> dict[str, str]:
    """`STEM.h` and `STEM.c`."""
    return {
        f"{stem}.h": source.header(),
        f"{stem}.c": source.source().replace('"model.h"', f'"{stem}.h"', 1),
    }


def assembly(source: Source) -> str:
    """The model's functions and data as one assembler file."""
    files = {"model.h": source.header(), "model.c": source.source(weights=False)}
    text = build_assembly(source.target, _with_board(source, files), "model.c")
    return text + weights_section(source.weights)


def elf(source: Source, reference: Module, feeds: Sequence[Mapping[str, Array]]) -> bytes:
    """A bare-metal program around the model that runs test vectors and says PASS or FAIL.

    Args:
        source: The program in C.
        reference: The lowered module; its evaluation gives the expected values.
        feeds: The inputs of the vectors.

    Raises:
        UserError: Where there is no compiler, or the program is larger than the board's memory.
    """
    board = source.target.board
    script = resource("board/link.ld").replace("RAM_BASE", hex(board.ram_base))
    files: dict[str, str | bytes] = {
        "start.S": resource("board/start.S"),
        "model.h": source.header(),
        "model.c": f"#define {MACRO}\n" + source.source(weights=False),
        "weights.bin": source.weights,
        "weights.S": _INCLUDED,
        "note.S": _note(source.target.name),
        "link.ld": script,
        **self_test(source, reference, feeds),
    }
    content = build_elf(source.target, _with_board(source, files))
    _refuse_too_large(source, content)
    return content


def _refuse_too_large(source: Source, content: bytes) -> None:
    board = source.target.board
    end = max(segment.address + segment.size for segment in Elf.read(content).segments)
    needed = end - board.ram_base
    if needed > board.ram_bytes:
        raise UserError(
            f"the program needs {needed} bytes of memory, the board of {source.target.name} has "
            f"{board.ram_bytes}: {len(source.weights)} for the accelerator's weights, "
            f"{source.linked.queue.nbytes} for its queue, {source.arena_bytes} for its "
            f"activations, {source.host_constant_bytes} and {source.places.host_bytes} for the "
            "host's, the rest for code and test vectors",
            where=source.name,
            remedy="raise ram_bytes under [board] in the target file, or use a smaller input shape",
        )


def weights_section(weights: bytes) -> str:
    """The weights as data of the assembler: 64-bit words."""
    padded = weights + bytes(-len(weights) % 8)
    words = [int.from_bytes(padded[i : i + 8], "little") for i in range(0, len(padded), 8)]
    lines = [
        "\t.quad\t" + ", ".join(f"{word:#x}" for word in words[i : i + 6])
        for i in range(0, len(words), 6)
    ]
    return _SECTION + "\n".join(lines) + "\n"


_SECTION = """
\t.section\t.weights, "a", @progbits
\t.p2align\t6
\t.globl\tmodel_weights
model_weights:
"""

_INCLUDED = _SECTION + '\t.incbin\t"weights.bin"\n'


def _note(target: str) -> str:
    """An ELF note that tells `mcc run --elf` which machine the program is for."""
    text = target.encode()
    return (
        '\t.section\t.note.mcc, "", @note\n\t.p2align\t2\n'
        f"\t.long\t{len(NOTE_OWNER) + 1}, {len(text)}, {NOTE_TARGET}\n"
        f'\t.asciz\t"{NOTE_OWNER}"\n\t.p2align\t2\n'
        f"\t.byte\t{', '.join(map(str, text))}\n\t.p2align\t2\n"
    )


def _with_board(source: Source, files: Mapping[str, str | bytes]) -> dict[str, str | bytes]:
    """The files with the board's addresses defined in every C file."""
    board = source.target.board
    defines = (
        f"#define MCC_UART_BASE {board.uart_base:#x}u\n"
        f"#define MCC_EXIT_BASE {board.exit_base:#x}u\n"
        f"#define MCC_ACCELERATOR_BASE {board.accelerator_base:#x}u\n"
    )
    return {
        name: defines + content if name.endswith(".c") and isinstance(content, str) else content
        for name, content in files.items()
    }
