"""What the demo prints: a line for each thing that happens, then what was claimed and whether it held."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ...model import Clock
from .rules import Claim

BOLD: Final = "1"
RED: Final = "1;31"
GREEN: Final = "32"
DIM: Final = "2"


class Timeline:
    """Writes lines with the seconds since its beginning, coloured if `colour`."""

    def __init__(self, write: Callable[[str], None], clock: Clock, *, colour: bool) -> None:
        self._write = write
        self._clock = clock
        self._colour = colour
        self._began_at = clock.now()

    def title(self, text: str) -> None:
        """Write a heading."""
        self._write(self._paint(BOLD, text))
        self._write("")

    def say(self, what: str, text: str, *, style: str = BOLD) -> None:
        """Write one thing that happened: a word for it and a sentence."""
        at = self._paint(DIM, f"{self.now_s():6.2f} s")
        self._write(f"{at}  {self._paint(style, f'{what:<9}')} {text}")

    def judge(self, claims: list[Claim]) -> None:
        """Write the claims and what each was seen by."""
        self._write("")
        for claim in claims:
            mark = self._paint(GREEN, "true ") if claim.holds else self._paint(RED, "FALSE")
            self._write(f"  {mark}  {claim.sentence}")
            self._write(f"         {self._paint(DIM, claim.evidence)}")
        false = sum(not claim.holds for claim in claims)
        self._write("")
        self._write(f"{len(claims) - false} of {len(claims)} claims were seen to be true.")

    def now_s(self) -> float:
        """Return the seconds since the beginning."""
        return self._clock.now() - self._began_at

    def _paint(self, style: str, text: str) -> str:
        return f"\033[{style}m{text}\033[0m" if self._colour else text
