"""4-bit integers in memory: two a byte, the first of them in its lower half."""

import numpy as np
import numpy.typing as npt

SMALLEST_NIBBLE, LARGEST_NIBBLE = -8, 7


def pack_nibbles(values: npt.NDArray[np.int8]) -> npt.NDArray[np.uint8]:
    """Values of -8 to 7 as bytes, shape [..., n] to [..., n / 2].

    Raises:
        ValueError: for an odd n, or a value that does not fit.
    """
    if values.shape[-1] % 2:
        raise ValueError(f"a row of {values.shape[-1]} values does not fill its last byte")
    if values.size and not SMALLEST_NIBBLE <= values.min() <= values.max() <= LARGEST_NIBBLE:
        raise ValueError(f"values must be {SMALLEST_NIBBLE} to {LARGEST_NIBBLE}")
    halves = values.view(np.uint8) & np.uint8(15)
    return halves[..., ::2] | halves[..., 1::2] << np.uint8(4)


def unpack_nibbles(packed: npt.NDArray[np.uint8]) -> npt.NDArray[np.int8]:
    """The inverse of `pack_nibbles`, for any bytes."""
    signed = packed.view(np.int8)
    halves = np.stack([(signed << 4) >> 4, signed >> 4], -1)
    return halves.reshape(*packed.shape[:-1], 2 * packed.shape[-1])
