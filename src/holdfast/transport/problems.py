"""What goes wrong, as an HTTP answer: one small table.

A body is a JSON-RPC error, so that a client that looks past the status learns why.
"""

from __future__ import annotations

from typing import Final

from ..model import Conflict, Corrupt, HoldfastError, Misused, Moved, NotFound, Refused, Unauthenticated, Unavailable
from ..model.jsonrpc import (
    INTERNAL_ERROR,
    INVALID_REQUEST,
    PARSE_ERROR,
    SESSION_NOT_FOUND,
    UNAVAILABLE,
    NotJson,
    RequestId,
    error_answer,
)

Headers = list[tuple[bytes, bytes]]

NOT_FOUND: Final = "this session does not exist (any more): initialize a new one"


class Problem(HoldfastError):
    """An HTTP request that ends with a status of its own."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: int = INVALID_REQUEST,
        data: object = None,
        headers: Headers | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.data = data
        self.headers = headers or []


_TABLE: Final[dict[type[HoldfastError], tuple[int, int]]] = {
    Unauthenticated: (401, INVALID_REQUEST),
    NotFound: (404, SESSION_NOT_FOUND),
    Conflict: (409, INVALID_REQUEST),
    Refused: (503, UNAVAILABLE),
    Moved: (503, UNAVAILABLE),
    Unavailable: (503, UNAVAILABLE),
    Corrupt: (500, INTERNAL_ERROR),
    NotJson: (400, PARSE_ERROR),
    Misused: (400, INVALID_REQUEST),
}


def as_answer(error: HoldfastError, request_id: RequestId | None) -> tuple[int, Headers, bytes]:
    """Return status, headers and body for an error.

    Every `NotFound` has the same words: nobody learns whether a session exists that is not theirs.
    """
    if isinstance(error, Problem):
        return error.status, error.headers, error_answer(request_id, error.code, str(error), error.data)
    status, code = next(row for kind, row in _TABLE.items() if isinstance(error, kind))
    words = NOT_FOUND if isinstance(error, NotFound) else str(error)
    headers: Headers = []
    if isinstance(error, Unauthenticated):
        headers.append((b"www-authenticate", error.challenge.encode()))
    if status == 503:
        wait_s = error.wait_s if isinstance(error, Refused) else 1.0
        headers.append((b"retry-after", b"%d" % max(1, round(wait_s))))
    return status, headers, error_answer(request_id, code, words)
