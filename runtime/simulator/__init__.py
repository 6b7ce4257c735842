"""The accelerator in software: every instruction's effect, and an estimate of its cycles."""

from .cycles import CycleModel, Cycles
from .faults import SimulatorFault
from .machine import Machine, RunResult

__all__ = ["CycleModel", "Cycles", "Machine", "RunResult", "SimulatorFault"]
