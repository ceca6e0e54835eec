"""Where to look next: the nearest cell that a run has not visited, compiled, and its plain reference."""

# mypy: allow-untyped-defs
# Numba infers the types inside kernels.

import numba
import numpy as np
from numpy.typing import NDArray


def nearest_unvisited_reference(
    visited: NDArray[np.bool_],
    preference: NDArray[np.float32],
    size: int,
    runs: NDArray[np.int64],
    stages: NDArray[np.int64],
    cells: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Cell (K,) nearest to each of `cells` (K,), in Manhattan distance, that its run has not visited yet.

    Args:
        visited: (B, num_targets, cells), a map for each run and target sought.
        preference: (B, cells), differing by less than 1: the smallest wins among equally near cells.
        size: cells along each side of the room.
        runs, stages, cells: (K,) which map is asked, and where the run stands, x·size + y.

    Where a run has visited every cell, the answer is the cell where it stands.
    """
    grid = np.stack(np.divmod(np.arange(size**2), size), axis=-1)  # (cells, 2)
    distances = np.abs(grid[cells, None] - grid).sum(-1).astype(np.float32)  # (K, cells)
    return (distances + preference[runs] + 1e3 * visited[runs, stages]).argmin(-1)


@numba.njit(cache=True)
def nearest_unvisited(visited, preference, size, runs, stages, cells):
    """`nearest_unvisited_reference`, looking at rings of growing distance until one has an unvisited cell."""
    found = cells.copy()  # (K,)
    for k in range(len(cells)):
        run = runs[k]
        seen, liked = visited[run, stages[k]], preference[run]
        x, y = cells[k] // size, cells[k] % size
        best = np.float32(np.inf)
        for distance in range(2 * size - 1):
            for column in range(max(x - distance, 0), min(x + distance, size - 1) + 1):
                rest = distance - abs(column - x)
                # the cell below, then the one above, so that the lower index wins a tie
                for row in range(y - rest, y + rest + 1, max(2 * rest, 1)):
                    if 0 <= row < size and not seen[column * size + row]:
                        # summed in float32 as in the reference, which rounds the preference
                        cost = np.float32(distance) + liked[column * size + row]
                        if cost < best:
                            best = cost
                            found[k] = column * size + row
            if best < np.inf:
                break
    return found


def lanes(size: int) -> NDArray[np.int64]:
    """All cells x·size + y of a room, (size²,), lane after lane: y rises where x is even, else it falls."""
    cells = np.arange(size**2).reshape(size, size)  # (x, y)
    cells[1::2] = cells[1::2, ::-1]
    return cells.reshape(-1)


def first_unvisited_reference(
    visited: NDArray[np.bool_],
    orders: NDArray[np.int64],
    chosen: NDArray[np.int64],
    runs: NDArray[np.int64],
    stages: NDArray[np.int64],
    cells: NDArray[np.int64],
) -> NDArray[np.int64]:
    """The cells (K,) that their runs have not visited yet and that come first in an order.

    Args:
        visited: (B, num_targets, cells), a map for each run and target sought.
        orders: (O, cells), each all cells of the room in the order in which they are to be visited.
        chosen: (K,) which of the orders.
        runs, stages, cells: (K,) which map is asked, and where the run stands.

    Where a run has visited every cell, the answer is the cell where it stands.
    """
    order = orders[chosen]  # (K, cells)
    free = np.take_along_axis(~visited[runs, stages], order, axis=-1)  # (K, cells), in that order
    first = np.take_along_axis(order, free.argmax(-1)[:, None], axis=-1)[:, 0]  # (K,)
    return np.where(free.any(-1), first, cells)


@numba.njit(cache=True)
def first_unvisited(visited, orders, chosen, runs, stages, cells):
    """`first_unvisited_reference`, looking no further than the first."""
    found = cells.copy()  # (K,)
    for k in range(len(cells)):
        seen = visited[runs[k], stages[k]]
        for cell in orders[chosen[k]]:
            if not seen[cell]:
                found[k] = cell
                break
    return found
