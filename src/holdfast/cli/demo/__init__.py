"""`holdfast demo`: a client works, its server is killed and started again, and the same session goes on.

Everything is real: `holdfast serve`, the official client, `kill -9`. What the show claims is what it has seen:
`rules.py` holds the claims, `show.py` the story.
"""

from .show import demo

__all__ = ["demo"]
