"""Jitted caches of the cycle model: the one before DRAM, and the host's two before that."""

import numpy as np
import numpy.typing as npt

from .clock import RANDOM, Clock
from .jit import kernel


@kernel
def random_bits(words: npt.NDArray[np.int64]) -> int:
    """Marsaglia's 32-bit xorshift."""
    bits = words[RANDOM]
    bits ^= (bits << 13) & 0xFFFFFFFF
    bits ^= bits >> 17
    bits ^= (bits << 5) & 0xFFFFFFFF
    words[RANDOM] = bits
    return int(bits >> 8)


@kernel
def holds(tags: npt.NDArray[np.int64], line: int) -> bool:
    place = line % tags.shape[0]
    found = False
    for way in range(tags.shape[1]):
        found |= tags[place, way] == line
    return found


@kernel
def drop(tags: npt.NDArray[np.int64], line: int) -> None:
    place = line % tags.shape[0]
    for way in range(tags.shape[1]):
        if tags[place, way] == line:
            tags[place, way] = -1


@kernel
def misses(k: Clock, start: int, size: int, line_bytes: int) -> int:
    """How many lines of these bytes the cache lacks.

    They are brought in, each in place of a random one, which the host's caches lose too.
    """
    if k.cache.size == 0:
        return (start + size - 1) // line_bytes - start // line_bytes + 1
    missing = 0
    for line in range(start // line_bytes, (start + size - 1) // line_bytes + 1):
        if not holds(k.cache, line):
            missing += 1
            place = line % k.cache.shape[0]
            way = random_bits(k.words) % k.cache.shape[1]
            if k.host_code.size:
                drop(k.host_code, int(k.cache[place, way]))
                drop(k.host_data, int(k.cache[place, way]))
            k.cache[place, way] = line
    return missing


@kernel
def host_stall(
    k: Clock, tags: npt.NDArray[np.int64], address: int, line_bytes: int, hit: int, miss: int
) -> int:
    """Cycles that the host waits for a line: none, `hit` if the next cache has it, else `miss`."""
    line = address // line_bytes
    if holds(tags, line):
        return 0
    stall = miss if misses(k, address, 1, line_bytes) else hit
    tags[line % tags.shape[0], random_bits(k.words) % tags.shape[1]] = line
    return stall
