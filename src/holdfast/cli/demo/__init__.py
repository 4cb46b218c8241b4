"""`holdfast demo [upgrade]`: a client works while its server is killed, started again, or replaced, and goes on.

Everything is real: `holdfast serve`, the official client, `kill -9`. What a story claims is what it has seen: `show.py`
is the story of `demo`, `rules.py` its claims; `upgrade.py` and `upgrade_rules.py` are those of `demo upgrade`.
"""

from .show import demo
from .upgrade import demo_upgrade

__all__ = ["demo", "demo_upgrade"]
