"""Configuration: one table of options, read from flags, the environment and a TOML file, in this order of weight."""

from .load import load
from .options import OPTIONS, Option
from .settings import ServeSettings

__all__ = ["OPTIONS", "Option", "ServeSettings", "load"]
