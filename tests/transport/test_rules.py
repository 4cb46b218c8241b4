"""What the edge decides, without a server."""

import pytest

from holdfast.model import Misused
from holdfast.stores.contract import Entry, Kind
from holdfast.transport.rules import lost_before, route, use_must_be_told, wants
from holdfast.transport.sse import event, parse_event_id, session_tag


@pytest.mark.parametrize(
    ("accept", "media_type", "allowed"),
    [
        ("", "text/event-stream", True),
        ("*/*", "application/json", True),
        ("text/*", "text/event-stream", True),
        ("application/json, text/event-stream", "text/event-stream", True),
        ("Application/JSON;q=0.9", "application/json", True),
        ("application/json", "text/event-stream", False),
        ("text/html", "application/json", False),
    ],
)
def test_an_accept_header_allows_what_it_names(accept: str, media_type: str, allowed: bool) -> None:
    assert wants(accept, media_type) is allowed


@pytest.mark.parametrize(
    ("method", "token", "in_flight", "standalone_open", "target"),
    [
        ("notifications/progress", "p", ["a", "b"], True, "a"),
        ("notifications/progress", "unknown", ["a"], True, "a"),
        ("notifications/tools/list_changed", None, ["a"], False, "standalone"),
        ("notifications/resources/updated", None, ["a"], True, "standalone"),
        ("notifications/message", None, ["a"], True, "a"),
        ("notifications/message", None, ["a", "b"], True, "standalone"),
        ("notifications/message", None, ["a", "b"], False, "b"),
        ("sampling/createMessage", None, [], False, "standalone"),
    ],
)
def test_what_a_server_says_goes_to_one_stream(
    method: str, token: str | None, in_flight: list[str], standalone_open: bool, target: str
) -> None:
    """R-MCP-1: each message goes to one stream only."""
    assert route(method, token, {"p": "a"}, in_flight, standalone_open) == target


@pytest.mark.parametrize(
    ("term", "seq", "seen", "lost"),
    [
        (1, 5, (1, 4), 0),
        (1, 9, (1, 4), 4),
        (2, 5, (1, 4), 0),
        (2, 3, (1, 4), None),
    ],
)
def test_a_gap_in_a_stream_is_seen(term: int, seq: int, seen: tuple[int, int], lost: int | None) -> None:
    assert lost_before(Entry("0", term, seq, Kind.MESSAGE, 0.0), seen) == lost


def test_an_event_id_names_its_place_in_the_journal() -> None:
    tag = session_tag("some session")
    line = event(tag, Entry("7-3", 8, 12, Kind.MESSAGE, 0.0, b'{"a":1}'))
    event_id, data = line.decode().splitlines()[:2]
    assert parse_event_id(event_id.removeprefix("id: "), tag) == ("7-3", 8, 12)
    assert data == 'data: {"a":1}'


@pytest.mark.parametrize("text", ["", "1", "x.0.1.1", "0.1.1", "deadbeef.0.1.1", "deadbeef.0.1.-1", "é"])
def test_an_event_id_of_another_session_is_refused(text: str) -> None:
    """R-MCP-5."""
    with pytest.raises(Misused):
        parse_event_id(text, session_tag("mine"))


@pytest.mark.parametrize(
    ("used_at", "told_at", "timeout", "now", "told"),
    [
        (100.0, 100.0, 3600.0, 5000.0, False),
        (126.0, 100.0, 3600.0, 126.0, False),
        (127.0, 100.0, 3600.0, 127.0, True),
        (100.5, 100.0, 1.0, 100.6, True),
        (100.5, 100.0, None, 9999.0, False),
    ],
)
def test_a_use_is_told_once_a_window_and_before_it_might_expire(
    used_at: float, told_at: float, timeout: float | None, now: float, told: bool
) -> None:
    """R-STO-5."""
    assert use_must_be_told(used_at, told_at, timeout, now) is told
