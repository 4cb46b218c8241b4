"""What one worker has said and no server has acknowledged yet."""

from __future__ import annotations

import os
from collections import deque

from .room import Room
from .spill import Spill, file_bytes_of

FRAME_COST = 160  # what it takes to keep a frame in memory, besides its bytes


class Backlog:
    """Numbers a worker's frames and keeps each until it is acknowledged; those that wait are spilled over a bound.

    Numbers begin anywhere and grow by one, so that no two workers of a session ever share one.

    Invariant: by number, the frames are those sent, then those that wait in memory, on disk, and behind it in memory:
    the last are there only since the disk refused them, and nothing more is read from the worker then (`full`).
    """

    __slots__ = (
        "_behind",
        "_frames",
        "_next",
        "_path",
        "_room",
        "_sent_bytes",
        "_spill",
        "_unsent",
        "_wait_bytes",
        "lost",
    )

    def __init__(self, room: Room, path: str) -> None:
        self._room = room
        self._path = path
        self._next = (int.from_bytes(os.urandom(8)) >> 2) or 1
        # None when empty, for most of thousands are.
        self._frames: dict[int, bytes] | None = None
        self._unsent: deque[int] | None = None
        self._behind: deque[int] | None = None
        self._spill: Spill | None = None
        self._sent_bytes = self._wait_bytes = 0
        self.lost = 0

    # --- from the worker

    def add(self, frames: list[bytes]) -> int:
        """Number `frames` and keep them as sent, which the caller does at once; return the number of the first.

        Only while `caught_up`: they would overtake what waits.
        """
        kept = self._frames
        if kept is None:
            kept = self._frames = {}
        first = number = self._next
        size = 0
        for frame in frames:
            kept[number] = frame
            number += 1
            size += len(frame) + FRAME_COST
        self._next = number
        self._sent_bytes += size
        return first

    def keep(self, frames: list[bytes]) -> None:
        """Number `frames` and keep them to be sent: in memory, over its bounds on disk, and in memory if that refuses.

        What the disk refused before is offered to it again first.
        """
        for frame in frames:
            number, size = self._next, len(frame) + FRAME_COST
            in_order = self._spill is None and self._behind is None
            if in_order and self._room.in_memory(self._wait_bytes, size):
                self._unsent = _appended(self._unsent, number)
            else:
                self._behind = _appended(self._behind, number)
            self._next += 1
            self._hold(number, frame)
        self._spill_behind()

    def _hold(self, number: int, frame: bytes) -> None:
        if self._frames is None:
            self._frames = {}
        self._frames[number] = frame
        self._count_waiting(len(frame) + FRAME_COST)

    def _count_waiting(self, size: int) -> None:
        self._wait_bytes += size
        self._room.memory_bytes += size

    def _spill_behind(self) -> None:
        if self._behind is None or self._frames is None:
            return
        frames = [self._frames[number] for number in self._behind]
        spill = self._spill or Spill(self._path, self._behind[0])
        size = file_bytes_of(frames)
        if self._room.on_disk(spill.file_bytes, size) and spill.append(frames):
            self._spill = spill
            self._room.disk_bytes += size
            self._count_waiting(-sum(map(len, frames)) - FRAME_COST * len(frames))
            for number in self._behind:
                del self._frames[number]
            self._behind = None
            self._frames = self._frames or None

    # --- to the server

    def unsent(self, bytes_max: int) -> list[tuple[int, bytes]]:
        """Return the next frames, of `bytes_max` together or one, with their numbers; they count as sent from now on.

        Nothing comes back when all were sent, nor while too much of what was sent is not done: ask again when some is.
        What cannot be read back from the disk is lost: it is counted in `lost` and its numbers are passed over, so
        that the server sees the gap.
        """
        taken: list[tuple[int, bytes]] = []
        size = cost = 0
        # Without a bound here, servers that take everything and crash would have the whole spill come to memory.
        while size < bytes_max and self._sent_bytes + cost <= self._room.sent_bytes_max:
            if not self._unsent and not self._refill(bytes_max):
                break
            assert self._unsent is not None
            assert self._frames is not None
            frame = self._frames.get(self._unsent[0])
            if frame is None:  # done before it was sent again
                self._unsent.popleft()
                continue
            if taken and size + len(frame) > bytes_max:
                break
            taken.append((self._unsent.popleft(), frame))
            size += len(frame)
            cost += len(frame) + FRAME_COST
        self._unsent = self._unsent or None
        self._count_waiting(-cost)
        self._sent_bytes += cost
        return taken

    def _refill(self, bytes_max: int) -> bool:
        """Have the frames that come next wait in memory; return whether there are any."""
        if (spill := self._spill) is not None:
            first, count, file_bytes = spill.first, spill.count, spill.file_bytes
            frames = spill.take(bytes_max)
            self.lost += count - spill.count - len(frames)
            if not spill.count:
                self._spill = None
                self._room.disk_bytes -= file_bytes
            for number, frame in enumerate(frames, first):
                self._unsent = _appended(self._unsent, number)
                self._hold(number, frame)
            if frames:
                return True
        self._unsent, self._behind = self._behind, None
        return self._unsent is not None

    def done(self, number: int) -> None:
        """Forget one; a number that is not known is passed over."""
        frames = self._frames
        if frames is None or (frame := frames.pop(number, None)) is None:
            return
        if self._wait_bytes:
            self._done_among_waiting(number, frame)
        else:
            self._sent_bytes -= len(frame) + FRAME_COST
        if not frames:
            self._frames = None

    def _done_among_waiting(self, number: int, frame: bytes) -> None:
        assert self._frames is not None
        if self._behind is not None and number >= self._behind[0]:
            self._frames[number] = frame  # nobody was ever told of it
        elif self._unsent is not None and number >= self._unsent[0]:
            self._count_waiting(-len(frame) - FRAME_COST)
            while self._unsent and self._unsent[0] not in self._frames:
                self._unsent.popleft()
            self._unsent = self._unsent or None
        else:
            self._sent_bytes -= len(frame) + FRAME_COST

    def rewind(self) -> None:
        """Let everything kept be sent again: whoever it was sent to is gone."""
        if self._frames is None:
            return
        end = self._next if self._behind is None else self._behind[0]
        self._unsent = deque(sorted(number for number in self._frames if number < end)) or None
        self._count_waiting(self._sent_bytes)
        self._sent_bytes = 0

    def close(self) -> None:
        """Drop everything, the file too."""
        if self._spill is not None:
            self._room.disk_bytes -= self._spill.file_bytes
            self._spill.remove()
        self._count_waiting(-self._wait_bytes)
        self._sent_bytes = 0
        self._frames = self._unsent = self._behind = self._spill = None

    # --- how it stands

    @property
    def caught_up(self) -> bool:
        """Whether nothing waits to be sent."""
        return self._unsent is None and self._spill is None and self._behind is None

    @property
    def full(self) -> bool:
        """Whether nothing more should be read from the worker for now."""
        return self._behind is not None or self._sent_bytes > self._room.sent_bytes_max

    @property
    def first(self) -> int:
        """The lowest number kept; 0 when there is none."""
        spilled = [] if self._spill is None else [self._spill.first]
        return min([*(self._frames or ()), *spilled], default=0)

    @property
    def last(self) -> int:
        """The highest number kept; 0 when there is none."""
        spilled = [] if self._spill is None else [self._spill.first + self._spill.count - 1]
        return max([*(self._frames or ()), *spilled], default=0)

    @property
    def count(self) -> int:
        """How many frames are kept."""
        return len(self._frames or ()) + (0 if self._spill is None else self._spill.count)

    @property
    def size_bytes(self) -> int:
        """How much memory the frames take that are kept in it."""
        return self._sent_bytes + self._wait_bytes

    @property
    def spilled_bytes(self) -> int:
        """How much of the file on disk was not read back yet."""
        return 0 if self._spill is None else self._spill.unread_bytes


def _appended(numbers: deque[int] | None, number: int) -> deque[int]:
    if numbers is None:
        return deque((number,))
    numbers.append(number)
    return numbers
