"""What a command takes from its environment although it is no option of `holdfast serve`."""

from __future__ import annotations

import os

from .options import OPTIONS
from .settings import KEYS


def colour_is_unwanted() -> bool:
    """Return whether the person at the terminal asked for text without colour.

    Source: no-color.org; an empty value does not count.
    """
    return bool(os.environ.get("NO_COLOR"))


def environment_without_options() -> dict[str, str]:
    """Return this process's environment without the variables that set options of `holdfast serve`."""
    options = {option.variable for option in OPTIONS} | {KEYS}
    return {name: value for name, value in os.environ.items() if name not in options}
