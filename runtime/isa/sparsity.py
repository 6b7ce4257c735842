"""How 2:4 weights lie in memory (extension `sparse_2_4`).

Of four weights that follow each other along the depth, in one column, at most two are not zero.
A tile of them, `2 * dim` deep, takes `dim` rows of kept weights and `dim / 4` rows of indices.
Rows 2g and 2g + 1 hold, for each column, the weights kept of depths 4g to 4g + 3. Which of the four
a weight is, in two bits, stands behind: `dim / 4` bytes for a row of weights, four rows in one, a
byte for four columns from its lowest bits up.
"""

import numpy as np
import numpy.typing as npt

GROUP = 4
KEPT = 2
"""Of each group."""


def is_sparse(weights: npt.NDArray[np.int8]) -> npt.NDArray[np.bool_]:
    """Which tiles [..., depth, columns] keep at most two of four; the depth is a multiple of 4."""
    *outer, depth, columns = weights.shape
    grouped = weights.reshape(*outer, depth // GROUP, GROUP, columns)
    return np.asarray((np.count_nonzero(grouped, axis=-2) <= KEPT).all((-1, -2)))


def pack_sparse(weights: npt.NDArray[np.int8]) -> npt.NDArray[np.int8]:
    """Tiles [n, 2 * dim, dim] that are 2:4 as rows of memory, [n, dim + dim / 4, dim]."""
    count, depth, dim = weights.shape
    grouped = weights.reshape(count, depth // GROUP, GROUP, dim)
    # Those that are not zero first, in order.
    places = np.argsort(grouped == 0, axis=2, kind="stable")[:, :, :KEPT]
    kept = np.take_along_axis(grouped, places, 2).reshape(count, dim, dim)
    quarters = places.reshape(count, dim, dim // GROUP, GROUP).astype(np.uint8)
    packed = (quarters << (2 * np.arange(GROUP, dtype=np.uint8))).sum(-1, dtype=np.uint8)
    indices = packed.reshape(count, dim // GROUP, dim).view(np.int8)
    return np.concatenate([kept, indices], 1)


def unpack_sparse(rows: npt.NDArray[np.int8], kept: int) -> npt.NDArray[np.int32]:
    """The weights, [2 * dim, dim], that `kept` rows of weights and those of indices stand for.

    Two weights that name the same place count both, as they would in the array.
    """
    dim = rows.shape[1]
    indices = rows[kept : kept + kept // GROUP].view(np.uint8).reshape(kept, dim // GROUP, 1)
    places = (indices >> (2 * np.arange(GROUP, dtype=np.uint8)) & 3).reshape(kept, dim)
    weights = np.zeros((KEPT * dim, dim), np.int32)
    for row in range(kept):
        depths = row // KEPT * GROUP + places[row]
        weights[depths, np.arange(dim)] += rows[row]
    return weights
