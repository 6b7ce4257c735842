"""The calls that the host part may make: importing this registers them all."""

from . import host_edges, host_floats, host_movement, host_products, host_recurrent
from .host import EXACT, HostCode

__all__ = [
    "EXACT",
    "HostCode",
    "host_edges",
    "host_floats",
    "host_movement",
    "host_products",
    "host_recurrent",
]
