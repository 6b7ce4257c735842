"""Where an artifact's time goes: by layer, by unit and in time; by kernel on a CPU."""

from .kernels import KernelTime, LibraryProfile, profile_library
from .labels import node_label
from .layers import LayerProfile, Profile, profile_program
from .roofline import check_picture, roofline
from .timeline import trace_events

__all__ = [
    "KernelTime",
    "LayerProfile",
    "LibraryProfile",
    "Profile",
    "check_picture",
    "node_label",
    "profile_library",
    "profile_program",
    "roofline",
    "trace_events",
]
