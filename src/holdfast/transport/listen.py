"""GET: a stream for what belongs to no request, or the rest of one that broke off.

Source: MCP 2025-11-25, "Transports: Listening for Messages from the Server", "Resumability and Redelivery".
"""

from __future__ import annotations

import contextlib
from typing import Final

from ..model import Misused, Unavailable
from ..model.jsonrpc import GAP, error_answer, warning
from ..stores.contract import Entry, Journal, Kind
from .asgi import Exchange, Push
from .host import Host
from .live import STANDALONE, LiveSession
from .rules import PRIMED_SINCE, lost_before
from .sse import COMMENT, EventId, event, parse_event_id, place, unnumbered
from .streams import Outlet, Position, Stream

PAGE: Final = 100


class Listening:
    """Serves GET requests of sessions that have been found."""

    def __init__(self, host: Host, journal: Journal, poll_after_s: float | None) -> None:
        self._host = host
        self._journal = journal
        self._poll_after_s = poll_after_s

    def visit_s(self, live: LiveSession) -> float | None:
        """Return how long one connection may carry the stream of a call; None for as long as it takes.

        Only clients that know of polling are sent away to come back (MCP SEP-1699, in protocol 2025-11-25).
        """
        return self._poll_after_s if live.handshake.protocol >= PRIMED_SINCE else None

    async def serve(self, exchange: Exchange, live: LiveSession, last_event_id: bytes | None) -> None:
        """Send a stream from its end, or from behind the event a client names, until either side ends it.

        Raises:
            Misused: No such event was ever sent in this session.
            Conflict: The plain GET stream is open already; one that resumes it takes it over instead.
        """
        outlet = Outlet()
        stream: Stream | None
        if last_event_id is None:
            await self._host.ready(live)
            unheard = await self._before_unsure(live)
            stream = live.open_standalone(outlet)
            seen = unheard or EventId(STANDALONE, *stream.delivered)
        else:
            seen = parse_event_id(last_event_id.decode("latin-1"), live.tag)
            if not live.may_have_sent(seen):
                raise Misused("Last-Event-ID names an event that was never sent; open a stream without it")
            stream = await self._resume(live, seen, outlet)

        async def feed(push: Push) -> None:
            if stream is not None:
                primed = seen.seq >= 0 and live.handshake.protocol >= PRIMED_SINCE
                await push(place(live.tag, seen) if primed else COMMENT)
            after = await self._replay(live, stream, seen, push)
            if stream is not None:
                stream.delivered = max(stream.delivered, after)
            if seen.stream == STANDALONE:
                live.unsure = set()
            while stream is not None and (chunk := await outlet.take(after)) is not None:
                await push(chunk)

        try:
            if seen.stream == STANDALONE:
                await exchange.stream(outlet, feed, watch_after_s=0.0)  # it must make room for the next one
            else:
                await exchange.stream(outlet, feed, within_s=self.visit_s(live))
        finally:
            if stream is not None:
                stream.detach(outlet)

    async def _before_unsure(self, live: LiveSession) -> EventId | None:
        """Return behind which event of the GET stream a client goes on that names none after a takeover.

        What the server before had journaled there and not seen to, a question above all, it may not have sent; None
        when there is nothing of that kind.
        """
        at: Position = (0, -1)
        while live.unsure and (entries := await self._journal.read(live.id, STANDALONE, after=at, limit=PAGE)):
            for entry in entries:
                if entry.origin in live.unsure:
                    return EventId(STANDALONE, entry.term, entry.seq - 1)
            at = (entries[-1].term, entries[-1].seq)
        return None

    async def _resume(self, live: LiveSession, seen: EventId, outlet: Outlet) -> Stream | None:
        """Take a stream over from whatever connection had it; None when it has ended and only its journal is left."""
        if seen.stream == STANDALONE:
            with contextlib.suppress(Unavailable):  # what is kept is sent even if no server starts
                await self._host.ready(live)
            return live.take_standalone(outlet)
        stream = live.streams.get(seen.stream)
        if stream is not None:
            stream.attach(outlet)
        return stream

    async def _replay(self, live: LiveSession, stream: Stream | None, seen: EventId, push: Push) -> Position:
        """Send what the journal holds of a stream behind `seen`; return the position reached.

        What is missing is told: with a warning when the answer is still to come, for a client takes any error on a
        request's stream as its answer; else with an error.
        """
        at: Position = (seen.term, seen.seq)
        lost: int | None = 0 if stream is None or seen.seq < stream.next_seq else None
        entry: Entry | None = None
        while entries := await self._journal.read(live.id, seen.stream, after=at, limit=PAGE):
            for entry in entries:
                lost = lost_before(entry, at)
                if lost != 0:
                    await push(unnumbered(_gap(lost)))
                await push(event(live.tag, entry))
                at = (entry.term, entry.seq)
        if entry is None and (lost is None or (stream is None and not await self._is_final(live, seen))):
            await push(unnumbered(error_answer(None, GAP, "the rest of this stream is not kept any more")))
        return at

    async def _is_final(self, live: LiveSession, seen: EventId) -> bool:
        """Return whether the event a client has seen is the last one of its stream, so that nothing is missing."""
        found = await self._journal.read(live.id, seen.stream, after=(seen.term, seen.seq - 1), limit=1)
        return bool(found) and found[0].kind is Kind.FINAL


def _gap(lost: int | None) -> bytes:
    number = "an unknown number of" if lost is None else str(lost)
    return warning({"code": GAP, "lost": lost, "message": f"{number} messages of this stream are not kept any more"})
