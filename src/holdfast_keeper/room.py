"""What a keeper gives to the frames that its workers wrote and no server has acknowledged."""

from __future__ import annotations


class Room:
    """Bounds on the backlogs, on each (`own_`) and on all together, and what is taken of those that are shared.

    Memory is that of frames which wait to be sent; `sent_bytes_max` is for those sent and not acknowledged.
    """

    def __init__(
        self,
        *,
        memory_bytes_max: int = 32 * 2**20,
        own_memory_bytes_max: int = 256 * 2**10,
        disk_bytes_max: int = 2**30,
        own_disk_bytes_max: int = 16 * 2**20,
        sent_bytes_max: int = 32 * 2**20,
    ) -> None:
        self.memory_bytes = self.disk_bytes = 0
        self.sent_bytes_max = sent_bytes_max
        self._memory_bytes_max = memory_bytes_max
        self._own_memory_bytes_max = own_memory_bytes_max
        self._disk_bytes_max = disk_bytes_max
        self._own_disk_bytes_max = own_disk_bytes_max

    def in_memory(self, own_bytes: int, size: int) -> bool:
        """Say whether a backlog that takes `own_bytes` of memory may take `size` more."""
        all_fit = self.memory_bytes + size <= self._memory_bytes_max
        return all_fit and own_bytes + size <= self._own_memory_bytes_max

    def on_disk(self, own_bytes: int, size: int) -> bool:
        """Say whether a backlog that takes `own_bytes` on disk may take `size` more."""
        all_fit = self.disk_bytes + size <= self._disk_bytes_max
        return all_fit and own_bytes + size <= self._own_disk_bytes_max
