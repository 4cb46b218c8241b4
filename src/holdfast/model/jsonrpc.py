"""JSON-RPC as far as routing needs it: a message passes through as the bytes it came in.

Only `id`, `method`, what names a request inside `params`, and whether there is a result or an error are decoded; all
else is checked to be JSON and skipped. Source: JSON-RPC 2.0; MCP 2025-11-25, "Base protocol".
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import msgspec

from .errors import Misused

RequestId: TypeAlias = int | str

ID_MAX: Final = 2**53 - 1  # JavaScript clients round larger numbers

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
INTERNAL_ERROR: Final = -32603
SESSION_NOT_FOUND: Final = -32001
INTERRUPTED: Final = -32050
GAP: Final = -32051
UNAVAILABLE: Final = -32052


class Meta(msgspec.Struct, gc=False):
    """`params._meta`, as far as it routes."""

    progress_token: RequestId | None = msgspec.field(default=None, name="progressToken")


class Params(msgspec.Struct, gc=False, rename="camel"):
    """`params`, as far as they route."""

    meta: Meta | None = msgspec.field(default=None, name="_meta")
    progress_token: RequestId | None = None
    request_id: RequestId | None = None


class Message(msgspec.Struct, gc=False):
    """One JSON-RPC message: a request, a notification (no id) or an answer (no method)."""

    jsonrpc: str
    id: RequestId | None = None
    method: str | None = None
    params: Params | None = None
    result: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    error: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET

    @property
    def is_request(self) -> bool:
        """Whether it wants an answer."""
        return self.method is not None and self.id is not None

    @property
    def is_answer(self) -> bool:
        """Whether it answers a request."""
        return self.method is None


_decoder: Final = msgspec.json.Decoder(Message)


def parse(body: bytes) -> Message:
    """Decode one message.

    Raises:
        Misused: It is not JSON in UTF-8, or not one JSON-RPC 2.0 message; the sentence says what is wrong.
    """
    try:
        if not body.isascii():
            body.decode()  # skipped strings are not checked by the decoder
        message = _decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Misused(f"not one JSON-RPC 2.0 message: {error}") from error
    if message.jsonrpc != "2.0":
        raise Misused('"jsonrpc" must be "2.0"')
    if message.method is None and message.result is msgspec.UNSET and message.error is msgspec.UNSET:
        raise Misused("neither a method nor a result nor an error: send a request, a notification or an answer")
    if isinstance(message.id, int) and abs(message.id) > ID_MAX:
        raise Misused(f"ids are strings or integers within ±{ID_MAX}; larger ones are rounded by some clients")
    return message


def one_line(body: bytes) -> bytes:
    """Return `body` fit for stdio, where a newline ends a message.

    In valid JSON a line break can only stand between tokens, so a space means the same.
    """
    if b"\n" in body or b"\r" in body:
        return body.replace(b"\r", b" ").replace(b"\n", b" ")
    return body


def raw_member(body: bytes, *path: str) -> bytes:
    """Return the value at `path` as the bytes it came in, or `null` when it is not there."""
    for name in path:
        members = msgspec.json.decode(body, type=dict[str, msgspec.Raw] | None)
        body = bytes((members or {}).get(name, b"null"))
    return body


def with_id(frame: bytes, request_id: RequestId) -> bytes:
    """Return the message with another id; its other members stay as they are."""
    members: dict[str, Any] = msgspec.json.decode(frame, type=dict[str, msgspec.Raw])
    members["id"] = request_id
    return msgspec.json.encode(members)


def request(request_id: RequestId, method: str, params: bytes) -> bytes:
    """Return a request of our own with `params` as given, already JSON."""
    return msgspec.json.encode({"jsonrpc": "2.0", "id": request_id, "method": method, "params": msgspec.Raw(params)})


def notification(method: str, params: dict[str, Any] | None = None) -> bytes:
    """Return a notification of our own."""
    return msgspec.json.encode({"jsonrpc": "2.0", "method": method} | ({"params": params} if params else {}))


def error_answer(request_id: RequestId | None, code: int, message: str, data: object = None) -> bytes:
    """Return an error response; its id is null when the request's is not known."""
    error: dict[str, object] = {"code": code, "message": message}
    if data is not None:
        error["data"] = data
    return msgspec.json.encode({"jsonrpc": "2.0", "id": request_id, "error": error})


def id_json(request_id: RequestId) -> bytes:
    """Return the id as JSON, in which 1 and "1" differ."""
    return msgspec.json.encode(request_id)


def id_from_json(raw: bytes) -> RequestId:
    """Return the id that `id_json` wrote."""
    return msgspec.json.decode(raw, type=RequestId)  # type: ignore[no-any-return]  # a union is no type to mypy
