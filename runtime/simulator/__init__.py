"""The accelerator in software: every instruction's effect, and an estimate of its cycles."""

from .clock import EXECUTE, LOAD, STORE
from .cycles import CycleModel, Cycles
from .faults import SimulatorFault
from .machine import Machine, RunResult
from .occupancy import Occupancy, occupancy
from .operands import decode_operands
from .trace import Trace

__all__ = [
    "EXECUTE",
    "LOAD",
    "STORE",
    "CycleModel",
    "Cycles",
    "Machine",
    "Occupancy",
    "RunResult",
    "SimulatorFault",
    "Trace",
    "decode_operands",
    "occupancy",
]
