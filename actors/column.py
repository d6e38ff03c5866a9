"""A number of each of many things, in one piece of memory: for one of them a Python number, for all of them numpy."""

from __future__ import annotations

from array import array
from typing import Any

import numpy as np

__all__ = ["Array", "Column"]

Array = np.ndarray[Any, Any]


class Column:
    """One number of every row: `cells` for one row (plain Python numbers), `of` for many (numpy), the same memory.

    >>> column = Column("d", 3)
    >>> column.cells[1] = 0.5
    >>> column.of.tolist()
    [0.0, 0.5, 0.0]
    """

    __slots__ = ("cells", "of")

    def __init__(self, kind: str, rows: int) -> None:
        self.cells: array[Any] = array(kind, bytes(array(kind).itemsize * rows))
        self.of: Array = np.frombuffer(self.cells, dtype=np.dtype(kind))
