"""How many of many entries score higher than each of a few, nearly without sorting.

The range of the few is divided into cells of equal width. The entries of cells that hold none of the few are only
counted, which costs a fraction of sorting them.
"""

import numpy as np

CELLS_OF_ONE = 16  # so that few entries fall into a cell that holds one of the few
MOST_CELLS = 1 << 22  # the counts stay near the processor
AT_ONCE = 1 << 16
WIDEST = 1e30  # of a range, so that no product leaves float32


def count_cells(entries: np.ndarray, few: np.ndarray) -> tuple[np.ndarray, np.ndarray | int]:
    """Returns the entries, the lowest first, that must be compared with the few, and how many others (P,) are higher.

    Of each of the few there are as many others as higher entries that are not returned; none of these is equal to it.

    Args:
        entries: finite float scores, or -inf, in any order.
        few: finite float scores (P,), P > 0, the lowest first.

    >>> near, num_higher = count_cells(np.arange(100.0), np.array([10.0, 90.0]))
    >>> near.tolist(), num_higher.tolist()
    ([10.0, 11.0, 12.0, 90.0, 91.0, 92.0], [84, 7])
    """
    num_cells, width = min(CELLS_OF_ONE * few.size, MOST_CELLS), float(few[-1]) - float(few[0])
    if num_cells < 4 * few.size or num_cells > entries.size or not 1 / WIDEST < width < WIDEST:
        return np.sort(entries[entries >= few[0]]), 0
    cells = _find_cells(entries, few[0], num_cells, width)
    cells_of_few = _find_cells(few, few[0], num_cells, width)
    is_near = np.zeros(num_cells + 3, bool)
    is_near[cells_of_few] = True
    near = np.sort(entries.compress(is_near.take(cells)))
    counts = np.bincount(cells, minlength=num_cells + 3)
    counts[is_near] = 0
    np.cumsum(counts, out=counts)
    return near, counts[-1] - counts[cells_of_few]


def _find_cells(scores: np.ndarray, lowest: np.floating, num_cells: int, width: float) -> np.ndarray:
    """Returns the cell of each score, 0 if it is below the lowest: never lower than that of a lower score."""
    cells, scale = np.empty(scores.size, np.intp), scores.dtype.type(num_cells / width)
    for start in range(0, scores.size, AT_ONCE):
        place = scores[start : start + AT_ONCE] - lowest
        place *= scale
        np.clip(place, -1, num_cells + 1, out=place)
        place += 1
        cells[start : start + AT_ONCE] = place
    return cells
