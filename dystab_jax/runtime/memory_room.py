"""Bounds the memory that several holders of arrays take together."""

import math
import os
import threading


class Room:
    """Counts bytes that are left; threads may share it."""

    def __init__(self, bytes_left: float = math.inf):
        """Starts with so many bytes; without any bound by default."""
        self._left = bytes_left
        self._counting = threading.Lock()

    @classmethod
    def of(cls, gigabytes: float) -> "Room":
        """Makes what ``data.most_memory_gb`` stands for; 0 for half of the machine's memory.

        Raises:
          ValueError: it is negative.
        """
        if gigabytes < 0:
            raise ValueError(f"data.most_memory_gb is {gigabytes}; expected 0 or more")
        machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        return cls(round(gigabytes * 1e9) if gigabytes else machine // 2)

    @property
    def left(self) -> float:
        """Returns the bytes that are left."""
        return self._left

    def take(self, size: int) -> bool:
        """Takes so many bytes; returns False, and takes none, where fewer are left."""
        with self._counting:
            fits = size <= self._left
            if fits:
                self._left -= size
            return fits

    def give_back(self, size: int) -> None:
        """Returns bytes that were taken."""
        with self._counting:
            self._left += size
