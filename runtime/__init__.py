"""What runs artifacts: their format, sessions, the instruction set and its simulator."""

from .aligned import aligned_zeros
from .artifact import Artifact, Manifest, Port, from_bytes, load, module_members
from .frame import Frame
from .outcome import LayerStats, Observer, RunOutcome, RunStats
from .processor import permit_tiles, processor_flags
from .program import HostRecord, Launch, LayerRecord, Program, ProgramRunner, TensorRecord
from .session import NodeArg, Runner, Session
from .target import Accelerator, Target, load_target, target_names

__all__ = [
    "Accelerator",
    "Artifact",
    "Frame",
    "HostRecord",
    "Launch",
    "LayerRecord",
    "LayerStats",
    "Manifest",
    "NodeArg",
    "Observer",
    "Port",
    "Program",
    "ProgramRunner",
    "RunOutcome",
    "RunStats",
    "Runner",
    "Session",
    "Target",
    "TensorRecord",
    "aligned_zeros",
    "from_bytes",
    "load",
    "load_target",
    "module_members",
    "permit_tiles",
    "processor_flags",
    "target_names",
]
