"""What runs artifacts: their format, sessions, the instruction set and its simulator."""

from .artifact import Artifact, Manifest, Port, from_bytes, load, module_members
from .session import NodeArg, RunOutcome, Runner, RunStats, Session
from .target import Target, load_target, target_names

__all__ = [
    "Artifact",
    "Manifest",
    "NodeArg",
    "Port",
    "RunOutcome",
    "RunStats",
    "Runner",
    "Session",
    "Target",
    "from_bytes",
    "load",
    "load_target",
    "module_members",
    "target_names",
]
