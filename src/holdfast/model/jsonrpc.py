"""JSON-RPC as far as routing needs it: a message passes through as the bytes it came in.

Only `id`, `method`, what names a request inside `params`, and whether there is a result or an error are decoded; all
else is checked to be JSON and skipped. Source: JSON-RPC 2.0; MCP 2025-11-25, "Base protocol".

Invariant: what a client sent is passed on only if every reader must read it as it was read here. Readers differ in
which of two members of one name they take, and in whether they take `ID` for `id`.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec

from .errors import Misused
from .json_bounds import check_bounds

RequestId: TypeAlias = int | str

ID_LENGTH_MAX: Final = 1000
ID_MAX: Final = 2**53 - 1  # JavaScript clients round larger numbers

_NEWLINE: Final = ord("\n")
_RETURN: Final = ord("\r")

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
INTERNAL_ERROR: Final = -32603
SESSION_NOT_FOUND: Final = -32001
INTERRUPTED: Final = -32050
GAP: Final = -32051
UNAVAILABLE: Final = -32052


WORDS_MAX: Final = 200
MEMBERS: Final = frozenset({"jsonrpc", "id", "method", "params", "result", "error"})
_HINTS: Final = {
    "$.jsonrpc": '; send "jsonrpc":"2.0"',
    "$.id": f"; ids are strings or integers within ±{ID_MAX}, since some clients round larger ones",
}


class Meta(msgspec.Struct, gc=False):
    """`params._meta`, as far as it routes."""

    progress_token: RequestId | None = msgspec.field(default=None, name="progressToken")
    protocol: Any = msgspec.field(default=None, name="io.modelcontextprotocol/protocolVersion")


class Params(msgspec.Struct, gc=False, rename="camel"):
    """`params`, as far as they route."""

    meta: Meta | None = msgspec.field(default=None, name="_meta")
    progress_token: RequestId | None = None
    request_id: RequestId | None = None


class Message(msgspec.Struct, gc=False, omit_defaults=True):
    """One JSON-RPC message: a request, a notification (no id) or an answer (no method)."""

    jsonrpc: Literal["2.0"]
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


class _Sent(Message, gc=False, omit_defaults=True):
    """What a client sent, with `params` still as they came."""

    id: Annotated[int, msgspec.Meta(ge=-ID_MAX, le=ID_MAX)] | str | None = None
    params: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET  # type: ignore[assignment]  # `parse_bounded` decodes them


class NotJson(Misused):
    """It is not JSON in UTF-8."""


_frames: Final = msgspec.json.Decoder(Message)
_sent: Final = msgspec.json.Decoder(_Sent)
_params: Final = msgspec.json.Decoder(Params | None)
_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw] | None)
_encode: Final = msgspec.json.Encoder().encode


def parse(body: bytes) -> Message:
    """Decode one message of a client, and check that its server will read the same.

    Raises:
        NotJson: It is not JSON in UTF-8; the sentence says where.
        Misused: It is not one JSON-RPC 2.0 message, can be read in two ways, nests too deep, or holds too long a
            number; the sentence says which.
    """
    check_bounds(body)
    return parse_bounded(body)


def parse_bounded(body: bytes) -> Message:
    """Do as `parse` does with a body that has passed `json_bounds`."""
    try:
        if not body.isascii():
            body.decode()  # skipped strings are not checked by the decoder
        sent = _sent.decode(body)
        if len(_encode(sent)) != len(body):  # else there is no room for anything that was not read
            _check_members(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise _refusal(error) from error
    message: Message = sent
    params = sent.params
    try:
        message.params = None if params is msgspec.UNSET else _params.decode(params)
    except msgspec.ValidationError as error:
        raise Misused(f"not one JSON-RPC 2.0 message: in its params: {error}") from error
    _check_length("id", message.id)
    if message.params is not None and message.params.meta is not None:
        _check_length("progressToken", message.params.meta.progress_token)
    if message.id is None and params is not msgspec.UNSET:
        _members_once(bytes(params))  # they may name a request: both sides must end the same one
    if message.method is None or message.result is not message.error:
        _check_kind(message)
    return message


def parse_frame(frame: bytes) -> Message:
    """Decode one message of a server. What is odd but clear is let through: its client would else wait for ever.

    Raises:
        NotJson: It is not JSON in UTF-8.
        Misused: It is not one JSON-RPC 2.0 message.
    """
    try:
        if not frame.isascii():
            frame.decode()
        message = _frames.decode(frame)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise _refusal(error) from error
    if message.method is None and message.result is msgspec.UNSET and message.error is msgspec.UNSET:
        raise Misused("neither a method nor a result nor an error")
    return message


def _check_members(body: bytes) -> None:
    """Check a message that is spelled in an unusual way: each member stands there once, under its plain name.

    Raises:
        Misused: One does not.
    """
    members = _members_once(body)
    for name in members.keys() - MEMBERS:
        if name.casefold() in MEMBERS:
            raise Misused(f"{name!r} is no member of a JSON-RPC message; write {name.casefold()!r}")
    if "method" in members and bytes(members.get("id", b"")) == b"null":
        raise Misused('"id" is null; send a string or an integer, or leave it out of a notification')


def _members_once(text: bytes) -> dict[str, msgspec.Raw]:
    """Return the members of an object, each of which stands there once."""
    compact = msgspec.json.format(text, indent=-1)
    members: dict[str, msgspec.Raw] = _members.decode(compact) or {}
    if members and len(_encode(members)) != len(compact):
        raise Misused("a name stands twice in one object, or is spelled with escapes; send each once, plainly")
    return members


def _check_length(name: str, kept: RequestId | None) -> None:
    if isinstance(kept, str) and len(kept) > ID_LENGTH_MAX:
        raise Misused(f"{name} of {len(kept)} characters; send {ID_LENGTH_MAX} at most, for it is kept")


def _check_kind(message: Message) -> None:
    has_result, has_error = message.result is not msgspec.UNSET, message.error is not msgspec.UNSET
    if message.method is None:
        if has_result == has_error:
            raise Misused("send a method, or a result, or an error: one of them makes a request, or an answer")
        if has_result and message.id is None:
            raise Misused('an answer needs the "id" of what it answers')
    elif has_result or has_error:
        raise Misused("a message with a method has no result and no error; send a request or an answer")


def _refusal(error: Exception) -> Misused:
    said = str(error)[:WORDS_MAX]
    if isinstance(error, msgspec.ValidationError):
        hints = (hint for path, hint in _HINTS.items() if f"`{path}" in str(error))
        return Misused(f"not one JSON-RPC 2.0 message: {said}{next(hints, '')}")
    if isinstance(error, RecursionError):
        return Misused("JSON nested too deep; send flatter arguments")
    return NotJson(f"not JSON in UTF-8: {said}")


def one_line(body: bytes) -> bytes:
    """Return `body` fit for stdio, where a newline ends a message.

    In valid JSON a line break can only stand between tokens, so a space means the same. The separators U+2028 and
    U+2029 can only stand in strings, where an escape does; the line reader of Node.js takes them for line breaks.
    """
    if _NEWLINE in body or _RETURN in body:  # numbers, since those are found much faster than bytes
        body = body.replace(b"\r", b" ").replace(b"\n", b" ")
    if not body.isascii():
        body = body.replace(b"\xe2\x80\xa8", b"\\u2028").replace(b"\xe2\x80\xa9", b"\\u2029")
    return body


def raw_member(body: bytes, *path: str) -> bytes:
    """Return the value at `path` as the bytes it came in, or `null` when it is not there."""
    for name in path:
        members = msgspec.json.decode(body, type=dict[str, msgspec.Raw] | None)
        body = bytes((members or {}).get(name, b"null"))
    return body


def with_id(frame: bytes, request_id: RequestId) -> bytes:
    """Return the message with another id; its other members stay as they are."""
    return _with_member(frame, "id", request_id)


def with_named_request(frame: bytes, request_id: RequestId) -> bytes:
    """Return a cancellation that names another request (`params.requestId`); all else stays as it is."""
    params = _with_member(raw_member(frame, "params"), "requestId", request_id)
    return _with_member(frame, "params", msgspec.Raw(params))


def _with_member(text: bytes, name: str, value: Any) -> bytes:
    members: dict[str, Any] = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    members[name] = value
    return msgspec.json.encode(members)


def request(request_id: RequestId, method: str, params: bytes) -> bytes:
    """Return a request of our own with `params` as given, already JSON."""
    return msgspec.json.encode({"jsonrpc": "2.0", "id": request_id, "method": method, "params": msgspec.Raw(params)})


def notification(method: str, params: dict[str, Any] | None = None) -> bytes:
    """Return a notification of our own."""
    return msgspec.json.encode({"jsonrpc": "2.0", "method": method} | ({"params": params} if params else {}))


def warning(data: dict[str, Any]) -> bytes:
    """Return a log message of our own for a client. Source: MCP 2025-11-25, "Logging"."""
    return notification("notifications/message", {"level": "warning", "logger": "holdfast", "data": data})


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
