"""The accelerator in software: every instruction's effect, and an estimate of its cycles."""

from .faults import SimulatorFault
from .machine import Machine, RunResult

__all__ = ["Machine", "RunResult", "SimulatorFault"]
