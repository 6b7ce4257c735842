"""The program of an accelerator's host core: C to embed, assembly, an ELF that tests itself."""

from collections.abc import Mapping

from mcc.backends import Emission, Emitter
from mcc.ir import UserError

VECTORS = 3
"""Test vectors inside an ELF."""


def _c(emission: Emission) -> Mapping[str, bytes]:
    from .programs import c_files, source_of

    source = source_of(emission.module, emission.target, emission.name)
    files = c_files(source, emission.stem)
    return {suffix: files[emission.stem + suffix].encode() for suffix in (".c", ".h")}


def _assembly(emission: Emission) -> Mapping[str, bytes]:
    from .programs import assembly, source_of

    source = source_of(emission.module, emission.target, emission.name)
    return {".s": assembly(source).encode()}


def _elf(emission: Emission) -> Mapping[str, bytes]:
    from .programs import elf, source_of

    if emission.reference is None:
        raise UserError(
            "--emit elf needs the lowered module for its test vectors",
            remedy="start with --from lowered or an earlier stage; --emit c needs no vectors",
        )
    source = source_of(emission.module, emission.target, emission.name)
    return {".elf": elf(source, emission.reference, emission.samples(VECTORS))}


EMITTERS = (
    Emitter("c", "", _c, ".c"),
    Emitter("asm", "", _assembly, ".s"),
    Emitter("elf", "", _elf, ".elf"),
)
"""In the order in which each builds on the one before."""

__all__ = ["EMITTERS"]
