"""`holdfast token NAME`: a new token for whoever NAME is, and the line that lets it in."""

from __future__ import annotations

import secrets
import sys

from ..identity.rules import token_line
from ..model import HoldfastError

BYTES = 32
PREFIX = "hf_"
"""So that whoever finds one, person or scanner, knows what it is."""


def token(name: str) -> int:
    """Print the line for a token file to stdout, then the token itself to stderr, where it is the last line.

    So `holdfast token NAME >> FILE` shows the token once and keeps only its digest; what cannot be written to the file
    is not shown.

    Raises:
        Misused: The name cannot stand in a token file.
    """
    made = PREFIX + secrets.token_urlsafe(BYTES)
    line = token_line(name, made)
    try:
        print(line, flush=True)
    except OSError as error:
        raise HoldfastError(f"the line could not be written, so there is no token: {error.strerror}") from error
    print(f"The token of {name}, which nothing can show again:\n{made}", file=sys.stderr)
    return 0
