"""Gaussian filter in few dimensions: the permutohedral lattice of Adams, Baek and Davis (2010).

Points of a d-dimensional feature space are lifted onto the hyperplane Σ x = 0 of d + 1
dimensions, which the lattice A*_d cuts into equal simplices. A filter splats values onto the d + 1
corners of the simplex around each point (barycentric weights), blurs them along the d + 1 lattice
directions and slices the result back at the points. Cost is linear in the number of points.

The lattice is found in NumPy; the three stages are sparse matrix products, which release Python's
lock, so that frames run side by side in threads.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float32, Int32, Int64
from scipy.sparse import csr_array


@dataclass(frozen=True, eq=False)
class Lattice:
    """Holds where N points of d dimensions lie among the M lattice points of their simplices.

    Attributes:
      corners: the lattice point of each corner of the simplex around each point, in [0, M).
      weights: barycentric weight of that corner, in [0, 1], one point's sum to 1.
      neighbours: the lattice points one step back and one step ahead in each of the d + 1
        directions; M where there is none.
    """

    corners: Int32[np.ndarray, "N d_plus_1"]
    weights: Float32[np.ndarray, "N d_plus_1"]
    neighbours: Int32[np.ndarray, "d_plus_1 2 M"]

    @property
    def size(self) -> int:
        """Returns M, the number of lattice points."""
        return self.neighbours.shape[2]

    @property
    def gain(self) -> float:
        """Returns 1 / (1 + 2^-d), the Gaussian's weight over that of a blur along d + 1 axes."""
        return 1 / (1 + 2.0 ** (1 - self.corners.shape[1]))

    @cached_property
    def blurs(self) -> list[csr_array]:
        """Builds one matrix [M, M] for each direction: v + ½ (v behind + v ahead)."""
        return [_blur_matrix(back, ahead) for back, ahead in self.neighbours]

    def slicing(self, scale: Float32[np.ndarray, " N"] | None = None) -> csr_array:
        """Returns the matrix [N, M] that reads values at the points, each times `scale`.

        Its transpose is the splat.
        """
        points, corners = self.corners.shape
        weights = self.weights if scale is None else self.weights * scale[:, None]
        starts = np.arange(0, points * corners + 1, corners, dtype=np.int32)
        parts = (weights.ravel(), self.corners.ravel(), starts)
        return csr_array(parts, shape=(points, self.size))

    def blur(self, values: Float32[np.ndarray, " M"]) -> Float32[np.ndarray, " M"]:
        """Blurs values on the lattice, without the factor `gain`."""
        for matrix in self.blurs:
            values = matrix @ values
        return values

    def filter(self, values: Float32[np.ndarray, " N"]) -> Float32[np.ndarray, " N"]:
        """Returns K v: close to Σ_j exp(-½ |f_i - f_j|²) v_j, each point itself included."""
        slicing = self.slicing()
        return slicing @ (self.blur(slicing.T @ values) * np.float32(self.gain))


def build_lattice(features: Float32[np.ndarray, "N d"]) -> Lattice:
    """Builds the lattice of points given in units of the Gaussian's standard deviation.

    Args:
      features: finite coordinates, one row per point, at least one point.

    Raises:
      ValueError: the points span more lattice cells than 64 bits can number.
    """
    points, dimensions = features.shape
    cells, rank, rest = _enclosing_simplex(_lift(features))
    ordered = np.empty((dimensions + 1, points), np.float32)
    np.put_along_axis(ordered, rank, rest, axis=0)
    # Column k belongs to the corner whose coordinates leave the remainder k over d + 1.
    weights = np.empty((points, dimensions + 1), np.float32)
    weights[:, 0] = 1 + ordered[dimensions] - ordered[0]
    for k in range(1, dimensions + 1):
        weights[:, k] = ordered[dimensions - k] - ordered[dimensions - k + 1]

    strides, class_stride = _strides(cells)
    keys = _corner_keys(cells, rank, strides, class_stride)
    found = [np.unique(row, return_inverse=True) for row in keys]
    tables = [table for table, _ in found]
    offsets = np.cumsum([0, *map(len, tables)])
    corners = np.empty((points, dimensions + 1), np.int32)
    for k, (_, inverse) in enumerate(found):
        np.add(inverse, offsets[k], out=corners[:, k], casting="same_kind")
    return Lattice(corners, weights, _neighbours(tables, offsets, strides, class_stride))


def _lift(features: Float32[np.ndarray, "N d"]) -> Float32[np.ndarray, "d_plus_1 N"]:
    """Lifts points onto the hyperplane Σ x = 0, scaled so that the blur has unit deviation."""
    points, dimensions = features.shape
    lifted = np.empty((dimensions + 1, points), np.float32)
    total = np.zeros(points, np.float32)
    for j in range(dimensions, 0, -1):
        scale = np.sqrt(2 / 3) * (dimensions + 1) / np.sqrt(j * (j + 1))
        column = features[:, j - 1] * np.float32(scale)
        lifted[j] = total - j * column
        total += column
    lifted[0] = total
    return lifted


def _enclosing_simplex(lifted):
    """Finds the simplex around each lifted point.

    Returns:
      cells: coordinates over d + 1 of the simplex's corner whose coordinates all divide by
        d + 1, int32 [d + 1, N].
      rank: descending order of the coordinates' distances from that corner, int64 [d + 1, N].
      rest: those distances over d + 1.
    """
    axes = len(lifted)
    scaled = lifted / np.float32(axes)
    nearest = np.rint(scaled)
    rest = scaled - nearest
    cells = nearest.astype(np.int32)
    rank = np.zeros(lifted.shape, np.int8)
    for i in range(axes):
        for j in range(i + 1, axes):
            behind = rest[i] < rest[j]
            rank[i] += behind
            rank[j] += ~behind
    # Rounding may leave the hyperplane; the coordinates that were rounded furthest go back.
    rank += cells.sum(axis=0).astype(np.int8)
    step = (rank < 0).view(np.int8) - (rank >= axes).view(np.int8)
    rank += axes * step
    cells += step
    rest -= step
    return cells, rank.astype(np.int64), rest


def _strides(cells: Int32[np.ndarray, "d_plus_1 N"]) -> tuple[list[int], int]:
    """Returns place values that number lattice points: one per coordinate and the remainder's.

    The last coordinate follows from the others. Each of them has room for the corners (which go
    one below `cells`) and one value more, so that a step off either end meets no lattice point.
    """
    strides, place = [], 1
    for row in cells[:-1]:
        strides.append(place)
        place *= int(row.max()) - int(row.min()) + 3
    # The factor 2 leaves room for the steps.
    if 2 * place * len(cells) >= 2**63:
        spans = [int(row.max()) - int(row.min()) + 1 for row in cells[:-1]]
        raise ValueError(
            f"the points span {' x '.join(map(str, spans))} lattice cells, which 64 bits cannot "
            "number; enlarge the standard deviation that divides the coordinates"
        )
    return [*strides, 0], place


def _corner_keys(cells, rank, strides, class_stride) -> Int64[np.ndarray, "d_plus_1 N"]:
    """Numbers each simplex's corners; corner k has the remainder k in all coordinates.

    Against corner 0, corner k has moved k steps ahead in all coordinates and d + 1 back in the
    k last ones by rank.
    """
    axes = len(cells)
    by_rank = np.empty(cells.shape, np.int64)
    np.put_along_axis(by_rank, rank, np.array(strides)[:, None], axis=0)
    keys = np.empty(cells.shape, np.int64)
    keys[0] = 0
    for row, stride in zip(cells[:-1], strides[:-1], strict=True):
        keys[0] += (row - row.min()).astype(np.int64) * stride
    for k in range(1, axes):
        keys[k] = keys[k - 1] + class_stride - by_rank[axes - k]
    return keys


def _neighbours(tables, offsets, strides, class_stride) -> Int32[np.ndarray, "d_plus_1 2 M"]:
    """Finds the lattice points one step behind and ahead in each direction.

    A step in direction j moves coordinate j by d and all others by -1: one remainder down, and
    coordinate j one cell on; from remainder 0 all the other cells go one back.
    """
    axes, size = len(tables), int(offsets[-1])
    neighbours = np.full((axes, 2, size), size, np.int32)
    for direction in range(axes):
        back, ahead = neighbours[direction]
        for k, keys in enumerate(tables):
            step = strides[direction] - class_stride
            if k == 0:
                step += axes * class_stride - sum(strides)
            below = (k - 1) % axes
            wanted = keys + step
            place = np.searchsorted(tables[below], wanted)
            place[place == len(tables[below])] = 0
            exists = np.flatnonzero(tables[below][place] == wanted)
            here, there = exists + offsets[k], place[exists] + offsets[below]
            ahead[here] = there
            back[there] = here
    return neighbours


def _blur_matrix(back: Int32[np.ndarray, " M"], ahead: Int32[np.ndarray, " M"]) -> csr_array:
    size = len(back)
    columns = np.stack([np.arange(size, dtype=np.int32), back, ahead], axis=1)
    present = columns < size
    starts = np.zeros(size + 1, np.int32)
    np.cumsum(present.sum(axis=1), out=starts[1:])
    weights = np.broadcast_to(np.float32([1, 0.5, 0.5]), columns.shape)[present]
    return csr_array((weights, columns[present], starts), shape=(size, size))
