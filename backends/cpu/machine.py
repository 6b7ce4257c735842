"""What a CPU offers to kernels, and which processor flags its code needs."""

from dataclasses import dataclass
from typing import Any

from mcc.ir import UserError, known_names
from mcc.runtime import Target, processor_flags

# LLVM's feature name -> the flag that Linux shows in /proc/cpuinfo, for what LLVM emits unasked.
_X86_FLAGS = {
    "sse3": "pni",
    "ssse3": "ssse3",
    "sse4.1": "sse4_1",
    "sse4.2": "sse4_2",
    "popcnt": "popcnt",
    "avx": "avx",
    "avx2": "avx2",
    "fma": "fma",
    "f16c": "f16c",
    "bmi": "bmi1",
    "bmi2": "bmi2",
    "movbe": "movbe",
    "adx": "adx",
    "lzcnt": "abm",
    "gfni": "gfni",
    "avx512f": "avx512f",
    "avx512bw": "avx512bw",
    "avx512cd": "avx512cd",
    "avx512dq": "avx512dq",
    "avx512vl": "avx512vl",
    "avx512ifma": "avx512ifma",
    "avx512vbmi": "avx512vbmi",
    "avx512vbmi2": "avx512_vbmi2",
    "avx512vnni": "avx512_vnni",
    "avx512bitalg": "avx512_bitalg",
    "avx512vpopcntdq": "avx512_vpopcntdq",
    "avx512bf16": "avx512_bf16",
    "avx512fp16": "avx512_fp16",
    "avxvnni": "avx_vnni",
    "avxvnniint8": "avx_vnni_int8",
}
# What only our own kernels use: in an artifact's list where they do.
AMX_FLAGS = {"amx-tile": "amx_tile", "amx-int8": "amx_int8", "amx-bf16": "amx_bf16"}
# LLVM names the letters of RISC-V as Linux does.
_RISCV_FLAGS = {letter: letter for letter in "mafdcv"}
_ARM_FLAGS = {"neon": "asimd", "dotprod": "asimddp", "fullfp16": "asimdhp", "i8mm": "i8mm"}


@dataclass(frozen=True)
class Machine:
    """The processor that kernels are written for."""

    triple: str
    native: bool
    """Whether it is of this machine's kind, so that the system's own compiler serves it."""
    cpu: str
    features: tuple[str, ...]
    """Options to LLVM beyond the processor's name, such as `+avx2`."""
    vector_bytes: int
    registers: int
    """Vector registers."""
    vnni_lanes: int
    """Lanes for each of which one instruction adds four products of 8-bit integers (VNNI), or 0."""
    pair_lanes: int
    """Lanes for each of which one instruction adds two products of 16-bit integers, or 0."""
    arm_dots: bool
    """Whether NEON adds four products of signed bytes for each lane (`sdot`)."""
    arm_mixed_dots: bool
    """The same for unsigned by signed bytes (`usdot`)."""
    widening_lanes: int
    """Lanes of a pair of registers to which one instruction adds products of 16-bit integers
    (RISC-V), or 0."""
    permutes_bytes: bool
    """Whether one instruction looks 64 bytes up in a table of 128 (AVX-512 VBMI)."""
    estimates: bool
    """Whether single instructions take floats apart, scale them by powers of 2 and estimate their
    reciprocals (AVX-512 DQ)."""
    amx_int8: bool
    """Whether there are tile registers that multiply matrices of 8-bit integers."""
    amx_bf16: bool
    """The same for bfloat16."""
    flags: tuple[str, ...]
    """What /proc/cpuinfo must show where the code is to run, beside what kernels add (AMX)."""

    @property
    def instruction_set(self) -> str:
        """What kernels are tuned for: machines that agree in it share a database."""
        products = "-vnni" if self.vnni_lanes else "-dotprod" if self.arm_dots else ""
        return f"{self.triple.split('-')[0]}-{8 * self.vector_bytes}{products}"

    def lanes(self, dtype: str) -> int:
        """Elements of one vector register."""
        digits = "".join(letter for letter in dtype if letter.isdigit())
        return self.vector_bytes * 8 // int(digits)


def machine_of(target: Target) -> Machine:
    """The processor that a target names, by default this one.

    Raises:
        UserError: For a processor that LLVM does not know.
    """
    from tvm import target as tvm_target

    codegen: Any = tvm_target.codegen
    triple = target.host.triple or str(codegen.llvm_get_system_triple())
    cpu = target.host.cpu or ("" if target.host.triple else str(codegen.llvm_get_system_cpu()))
    features = target.host.features
    if cpu:
        names = {
            str(name)
            for name in codegen.llvm_get_cpu_archlist(_llvm({"kind": "llvm", "mtriple": triple}))
        }
        if cpu not in names:
            raise UserError(
                f"LLVM knows no processor {cpu!r} for {triple}", remedy=known_names(names)
            )
    x86 = triple.startswith(("x86_64", "i686"))
    arm = triple.startswith("aarch64")
    table = _flags_of(triple)
    if not target.host.triple and not target.host.cpu and x86:
        features = (*_corrections(_features(triple, cpu, ())), *features)
    found = _features(triple, cpu, features)
    wide = "avx512f" in found and "avx512vl" in found and "avx512bw" in found
    tiles = wide and "amx-tile" in found
    return Machine(
        triple=triple,
        native=_kind(triple) == _kind(str(codegen.llvm_get_system_triple())),
        cpu=cpu,
        features=features,
        vector_bytes=64 if wide else 32 if "avx2" in found else 16,
        registers=32 if wide or not x86 else 16,
        vnni_lanes=16 if wide and "avx512vnni" in found else 8 if "avxvnni" in found else 0,
        pair_lanes=(16 if wide else 8 if "avx2" in found else 4) if x86 else 0,
        arm_dots=arm and "dotprod" in found,
        arm_mixed_dots=arm and "i8mm" in found,
        widening_lanes=8 if triple.startswith("riscv64") and "v" in found else 0,
        permutes_bytes=wide and "avx512vbmi" in found,
        estimates=wide and "avx512dq" in found,
        amx_int8=tiles and "amx-int8" in found,
        amx_bf16=tiles and "amx-bf16" in found,
        flags=tuple(sorted(table[name] for name in found if name in table)),
    )


def _kind(triple: str) -> tuple[str, ...]:
    """Architecture, system and C library; not the vendor, which means nothing."""
    architecture, *_, system, library = triple.split("-")
    return architecture, system, library


def _flags_of(triple: str) -> dict[str, str]:
    """LLVM's features that kernels depend on, and the flags that Linux shows for them."""
    match triple.split("-")[0]:
        case "x86_64" | "i686":
            return _X86_FLAGS
        case "aarch64":
            return _ARM_FLAGS
        case "riscv64":
            return _RISCV_FLAGS
        case _:
            return {}


def _features(triple: str, cpu: str, options: tuple[str, ...]) -> set[str]:
    """LLVM's features of a processor, after options such as `-avx2` in their order."""
    from tvm import target as tvm_target

    codegen: Any = tvm_target.codegen
    record = _llvm(llvm_record(triple, cpu, options))
    found = {str(name) for name in codegen.llvm_get_cpu_features(record)}
    for option in options:
        (found.add if option.startswith("+") else found.discard)(option[1:])
    return found


def _corrections(believed: set[str]) -> list[str]:
    """Options that turn the features LLVM believes this processor to have into those it has.

    LLVM goes by the model number, which a hypervisor may make up; Linux says what there is.
    """
    real = processor_flags()
    options: list[str] = []
    for name, flag in (_X86_FLAGS | AMX_FLAGS).items():
        if (flag in real) != (name in believed):
            options.append(("+" if flag in real else "-") + name)
    return options


def llvm_record(triple: str, cpu: str, features: tuple[str, ...]) -> dict[str, object]:
    """TVM's description of a target for its LLVM code generator."""
    record: dict[str, object] = {"kind": "llvm", "mtriple": triple}
    if cpu:
        record["mcpu"] = cpu
    if features:
        record["mattr"] = list(features)
    if triple.startswith("riscv64") and "+d" in features:
        record["mabi"] = "lp64d"
    return record


def _llvm(record: dict[str, object]) -> object:
    from tvm.target import Target as TvmTarget

    return TvmTarget(record)
