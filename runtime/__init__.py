"""What runs artifacts: their format, sessions, the instruction set and its simulator."""

from .accelerator import Accelerator
from .aligned import aligned_zeros
from .artifact import WEIGHTS, Artifact, Manifest, Port, from_bytes, load
from .frame import Frame
from .outcome import LayerStats, Observer, RunOutcome, RunStats
from .processor import permit_tiles, processor_flags
from .program import HostRecord, Launch, LayerRecord, Program, ProgramRunner, TensorRecord
from .session import NodeArg, Runner, Session
from .target import Target, load_target, target_names

__all__ = [
    "WEIGHTS",
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
    "permit_tiles",
    "processor_flags",
    "target_names",
]
