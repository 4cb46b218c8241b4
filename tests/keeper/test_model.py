"""Why no frame is lost, doubled or out of order, whoever dies or is paused when: the relay, checked step by step.

The keeper's backlog here is the real one, with its file on disk. Keeper, servers, journal and client around it are
models of a few lines, one method for each step of the real ones, and Hypothesis takes the steps in any order. A server
that is paused is one whose steps are not taken for a while; a crash may come between any two.

How a session passes from one server to the next:

1. ATTACH: the keeper gives a worker to one server at a time; the next one waits until that one is gone, cut off
   or lets go of it. Everything kept counts as unsent then, and nothing is sent yet.
2. The next server raises the session's term in the store. From then on the journal refuses the one before, which may
   still be running and hold frames it received.
3. It asks the journal which of the frames that are kept were journaled: after 2 that can no longer change.
4. GO: it receives all that is kept, in order, and does not journal again what is journaled.

Four rules carry it: a frame is kept until it is DONE, which it is only when nothing more is to be done with it; the
journal refuses lower terms; the next server asks it what it has; and not before 2. The last tests take away one each.
"""

from __future__ import annotations

import contextlib
import resource
import tempfile
from collections import defaultdict, deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, TypeAlias

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from holdfast_keeper.backlog import FRAME_COST, Backlog
from holdfast_keeper.room import Room

CHUNK_FRAMES_MAX = 4  # what the keeper reads from the worker at once
LARGE = 800
CHUNK_COST_MAX = CHUNK_FRAMES_MAX * (LARGE + 50 + FRAME_COST)
WIRE_FRAMES_MAX = 5  # what the socket to the server takes
SERVERS_MAX = 3
BOUNDS = {
    "memory_bytes_max": 6 * FRAME_COST,
    "own_memory_bytes_max": 4 * FRAME_COST,
    "disk_bytes_max": 5 * LARGE,
    "own_disk_bytes_max": 4 * LARGE,
    "sent_bytes_max": 10 * FRAME_COST,
}
ROUNDS_MAX = 1000

STREAMS = (b"one", b"two")
MESSAGE, QUESTION, ANSWER = b"message", b"question", b"answer"  # an answer goes to its request and into no journal
Said: TypeAlias = tuple[Any, ...]  # one message between the keeper and a server


class Entry(NamedTuple):
    stream: bytes
    frame: bytes
    origin: int
    term: int


def frame_of(kind: bytes, about: bytes, serial: int, size: int) -> bytes:
    return b"%s %s %d " % (kind, about, serial) + b"x" * size


def kind_and_about(frame: bytes) -> tuple[bytes, bytes]:
    kind, about, _ = frame.split(b" ", 2)
    return kind, about


class Journal:
    """Of one session: appends all or nothing, in one step."""

    fenced = True

    def __init__(self) -> None:
        self.term = 0
        self.entries: list[Entry] = []

    def adopt(self, term: int) -> bool:
        if term < self.term:
            return False
        self.term = term
        return True

    def append(self, entries: list[Entry]) -> bool:
        if self.fenced and any(entry.term < self.term for entry in entries):
            return False
        self.entries += entries
        return True

    def origins(self, first: int, last: int) -> set[int]:
        return {entry.origin for entry in self.entries if first <= entry.origin <= last}


class Server:
    """One server's view of the session. What `reads` and `says` hold is in the sockets to and from the keeper."""

    adopts_first = True
    asks_for_origins = True
    acknowledges_early = False
    acknowledges_questions_early = False

    def __init__(self, term: int, journal: Journal, client: Client) -> None:
        self.term = term
        self.journal = journal
        self.client = client
        self.reads: deque[Said] = deque()
        self.says: deque[Said] = deque([("ATTACH",)])
        self.span: tuple[int, int] | None = None
        self.adopted = self.going = False
        self.origins: set[int] | None = None
        self.received: dict[bytes, list[tuple[int, bytes]]] = defaultdict(list)
        self.journaled: list[Entry] = []
        self.questions: list[int] = []
        self.requests: set[bytes] = set()

    # Each step returns False when the server finds that it lost the session, and ends.

    def read(self) -> bool:
        said = self.reads.popleft() if self.reads else ("NOTHING",)
        if said[0] == "ATTACHED":
            self.span = said[1], said[2]
        elif said[0] == "FRAME":
            self._receive(said[1], said[2])
        return True

    def _receive(self, number: int, frame: bytes) -> None:
        assert self.origins is not None
        kind, about = kind_and_about(frame)
        if kind == ANSWER:
            if about in self.requests:  # else it was that of a connection to the server before
                self.requests.remove(about)
                self.client.answers.append(about)
            self.says.append(("DONE", number))
        elif number not in self.origins:
            self.received[about].append((number, frame))
            if self.acknowledges_early:
                self.says.append(("DONE", number))
        elif kind == QUESTION:
            self.questions.append(number)
        else:
            self.says.append(("DONE", number))

    def take_over(self) -> bool:
        """Take the next of the steps 2 to 4."""
        if self.span is None or self.going:
            return True
        look = self.origins is None and (self.adopted or not self.adopts_first)
        if look:
            self.origins = self.journal.origins(*self.span) if self.asks_for_origins else set()
        elif not self.adopted:
            self.adopted = True
            return self.journal.adopt(self.term)
        else:
            self.going = True
            self.says.append(("GO",))
        return True

    def write_journal(self) -> bool:
        """Append what was received for streams that somebody listens to; what it answers is heard one step later."""
        entries = [
            Entry(stream, frame, number, self.term)
            for stream in self.client.listens
            for number, frame in self.received.pop(stream, ())
        ]
        self.journaled += entries
        return self.journal.append(entries)

    def hand_out(self) -> bool:
        """Send on what is journaled, and acknowledge it."""
        for stream, frame, origin, _ in self.journaled:
            self.client.heard.append((stream, frame))
            if kind_and_about(frame)[0] == QUESTION:
                self.questions.append(origin)
            if kind_and_about(frame)[0] == MESSAGE or self.acknowledges_questions_early:
                self.says.append(("DONE", origin))
        self.journaled.clear()
        return True

    def be_answered(self) -> bool:
        """Take the client's answer to a question, the newest first, and acknowledge that."""
        if self.questions:
            self.client.answered.append(number := self.questions.pop())
            self.says.append(("DONE", number))
        return True

    def release(self) -> bool:
        """Let the next server have the worker: with nothing under way any more, so that it ends."""
        if self.going and not (self.reads or self.journaled or any(self.received.values())):
            self.says.append(("RELEASE",))
            return False
        return True


class Client:
    """What comes out at the other end."""

    def __init__(self) -> None:
        self.listens: set[bytes] = set(STREAMS)
        self.heard: list[tuple[bytes, bytes]] = []
        self.answers: list[bytes] = []
        self.answered: list[int] = []


class Keeper:
    """The keeper's part that decides who has the worker; the frames are in the backlog."""

    rewinds = True

    def __init__(self, backlog: Backlog) -> None:
        self.backlog = backlog
        self.owner: Server | None = None
        self.going = False
        self.waiting: list[Server] = []
        self.highest = 0

    def read_worker(self, pipe: deque[bytes]) -> None:
        backlog = self.backlog
        if backlog.full:
            return
        frames = [pipe.popleft() for _ in range(min(len(pipe), CHUNK_FRAMES_MAX))]
        if self.owner is not None and self.going and backlog.caught_up and len(self.owner.reads) < WIRE_FRAMES_MAX:
            first = backlog.add(frames)
            self.owner.reads.extend(("FRAME", first + at, frame) for at, frame in enumerate(frames))
        else:
            backlog.keep(frames)

    def send(self, bytes_max: int) -> None:
        if self.owner is not None and self.going and len(self.owner.reads) < WIRE_FRAMES_MAX:
            self.owner.reads.extend(("FRAME", *numbered) for numbered in self.backlog.unsent(bytes_max))

    def hear(self, server: Server) -> None:
        """Take one message of a server that is connected: the owner, or one that wants to be."""
        said = server.says.popleft() if server.says else ("NOTHING",)
        owns = server is self.owner
        if said[0] == "ATTACH" and server.term >= self.highest:
            self.highest = server.term
            self.waiting.append(server)
            self._attach_next()
        elif said[0] == "DONE" and owns:
            self.backlog.done(said[1])
        elif said[0] == "GO" and owns:
            self.going = True
        elif said[0] in ("RELEASE", "END"):
            self.cut_off(server)

    def cut_off(self, server: Server) -> None:
        """See the end of a server's connection, or make it: nothing it says from now on is heard."""
        server.says.clear()
        if server in self.waiting:
            self.waiting.remove(server)
        if server is self.owner:
            self.owner, self.going = None, False
            if self.rewinds:
                self.backlog.rewind()
        self._attach_next()

    def _attach_next(self) -> None:
        if self.owner is None and self.waiting:
            self.owner = self.waiting.pop()
            self.owner.reads.append(("ATTACHED", self.backlog.first, self.backlog.last))


@contextlib.contextmanager
def files_of_at_most(size: int | None) -> Iterator[None]:
    """Have the disk be full behind so many bytes of a file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft if size is None else size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


STEPS = ("read", "take_over", "write_journal", "hand_out", "be_answered")
WHICH = st.integers(0, SERVERS_MAX)


class Relay(RuleBasedStateMachine):
    """A worker, its keeper, and one server after another; the parts are parameters of the subclasses."""

    keeper_type: ClassVar[type[Keeper]] = Keeper
    server_type: ClassVar[type[Server]] = Server
    journal_type: ClassVar[type[Journal]] = Journal

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.room = Room(**BOUNDS)
        self.keeper = self.keeper_type(Backlog(self.room, f"{self.folder.name}/spill"))
        self.neighbour = Backlog(self.room, f"{self.folder.name}/neighbour")
        self.journal = self.journal_type()
        self.client = Client()
        self.pipe: deque[bytes] = deque()
        self.written: list[bytes] = []
        self.asked = 0
        self.terms = 0
        self.disk_bytes_max: int | None = None
        self.servers: list[Server] = []  # that run
        self.connected: list[Server] = []  # that the keeper hears, some of them dead
        self.a_server_starts()

    # --- the worker and the machine

    def _write(self, kind: bytes, about: bytes, size: int) -> None:
        self.written.append(frame_of(kind, about, len(self.written), size))
        self.pipe.append(self.written[-1])

    @rule(
        kinds=st.lists(st.sampled_from([MESSAGE, MESSAGE, QUESTION]), max_size=6),
        stream=st.sampled_from(STREAMS),
        size=st.sampled_from([0, 0, 20, LARGE]),
    )
    def the_worker_writes(self, kinds: list[bytes], stream: bytes, size: int) -> None:
        for kind in kinds:
            self._write(kind, stream, size)

    @rule(size=st.sampled_from([0, LARGE]), which=WHICH)
    def the_worker_answers_a_request(self, size: int, which: int) -> None:
        if server := self._one_of(which):
            self.asked += 1
            server.requests.add(b"%d" % self.asked)
            self._write(ANSWER, b"%d" % self.asked, size)

    @rule(frames=st.integers(0, 6))
    def a_neighbour_takes_room(self, frames: int) -> None:
        self.neighbour.close()
        self.neighbour = Backlog(self.room, f"{self.folder.name}/neighbour")
        self.neighbour.keep([b"x" * 100] * frames)

    @rule(size=st.sampled_from([None, 1, 100, 1000]))
    def the_disk_changes(self, size: int | None) -> None:
        self.disk_bytes_max = size

    @rule(streams=st.sets(st.sampled_from(STREAMS)))
    def the_client_listens(self, streams: set[bytes]) -> None:
        self.client.listens = streams

    # --- the keeper

    @rule()
    def the_keeper_reads_the_worker(self) -> None:
        with files_of_at_most(self.disk_bytes_max):
            self.keeper.read_worker(self.pipe)

    @rule()
    def the_keeper_offers_the_disk_again_what_it_refused(self) -> None:
        with files_of_at_most(self.disk_bytes_max):
            self.keeper.backlog.keep([])

    @rule(bytes_max=st.sampled_from([1, 50, 2000]))
    def the_keeper_sends(self, bytes_max: int) -> None:
        self.keeper.send(bytes_max)

    @rule(which=WHICH)
    def the_keeper_hears(self, which: int) -> None:
        if self.connected:
            server = self.connected[which % len(self.connected)]
            ended = bool(server.says) and server.says[0][0] in ("RELEASE", "END")
            self.keeper.hear(server)
            if ended:
                self.connected.remove(server)

    @rule(which=WHICH)
    def the_keeper_cuts_off(self, which: int) -> None:
        """The one that is superseded: it goes on with what is in its socket, and is heard no more."""
        if self.connected:
            self.keeper.cut_off(self.connected.pop(which % len(self.connected)))

    # --- servers

    def _one_of(self, which: int) -> Server | None:
        return self.servers[-1 - which % len(self.servers)] if self.servers else None

    def _step(self, which: int, name: str) -> None:
        server = self._one_of(which)
        if server is not None and not getattr(server, name)():
            self._end(server)

    def _end(self, server: Server) -> None:
        self.servers.remove(server)
        server.says.append(("END",))

    @precondition(lambda self: len(self.servers) < SERVERS_MAX)
    @rule()
    def a_server_starts(self) -> None:
        self.terms += 1
        server = self.server_type(self.terms, self.journal, self.client)
        self.servers.append(server)
        self.connected.append(server)

    @rule(which=WHICH, lost=st.integers(0, 3))
    def a_server_crashes(self, which: int, lost: int) -> None:
        """The last things it said may be lost."""
        if server := self._one_of(which):
            for _ in range(min(lost, len(server.says))):
                server.says.pop()
            self._end(server)

    @rule(steps=st.lists(st.tuples(WHICH, st.sampled_from(STEPS)), min_size=1, max_size=12))
    def servers_go_on(self, steps: list[tuple[int, str]]) -> None:
        for which, step in steps:
            self._step(which, step)

    @precondition(lambda self: len(self.servers) < SERVERS_MAX)
    @rule(steps=st.lists(st.tuples(st.sampled_from([0, 0, 1]), st.sampled_from(STEPS)), max_size=12))
    def a_server_supersedes_all_others(self, steps: list[tuple[int, str]]) -> None:
        """The newest, 0, takes steps of its takeover between those of others that do not know of it."""
        for _ in tuple(self.connected):
            self.the_keeper_cuts_off(0)
        self.a_server_starts()
        self.the_keeper_hears(0)
        self.servers_go_on(steps)

    @rule(which=WHICH)
    def a_server_releases(self, which: int) -> None:
        self._step(which, "release")

    @rule(which=WHICH, rounds=st.integers(1, 6), stuck=st.sampled_from(["", *STEPS]))
    def all_but_other_servers_go_on(self, which: int, rounds: int, stuck: str) -> None:
        for _ in range(rounds):
            for connected in range(len(self.connected)):
                self.the_keeper_hears(connected)
            self.the_keeper_reads_the_worker()
            self.the_keeper_sends(100)
            for step in STEPS:
                if step != stuck:
                    self._step(which, step)

    # --- what must hold

    def _written_to(self, stream: bytes) -> list[bytes]:
        return [frame for frame in self.written if kind_and_about(frame)[1] == stream]

    def check_all(self) -> None:
        self.each_stream_in_the_journal_is_what_was_written_to_it_once_and_in_order()
        self.nobody_adds_to_the_journal_once_a_higher_term_has()
        self.nothing_is_sent_to_the_client_that_is_not_journaled_nor_twice()
        self.no_request_is_answered_twice()
        self.bounds_hold()

    @invariant()
    def each_stream_in_the_journal_is_what_was_written_to_it_once_and_in_order(self) -> None:
        for stream in STREAMS:
            journaled = [entry.frame for entry in self.journal.entries if entry.stream == stream]
            assert journaled == self._written_to(stream)[: len(journaled)]

    @invariant()
    def nobody_adds_to_the_journal_once_a_higher_term_has(self) -> None:
        terms = [entry.term for entry in self.journal.entries]
        assert terms == sorted(terms)

    @invariant()
    def nothing_is_sent_to_the_client_that_is_not_journaled_nor_twice(self) -> None:
        assert len(self.client.heard) == len(set(self.client.heard))
        assert set(self.client.heard) <= {(entry.stream, entry.frame) for entry in self.journal.entries}

    @invariant()
    def no_request_is_answered_twice(self) -> None:
        assert len(self.client.answers) == len(set(self.client.answers))

    @invariant()
    def bounds_hold(self) -> None:
        backlog = self.keeper.backlog
        in_hand = 3 * CHUNK_COST_MAX  # read from the worker, sent over the bound, and read from the disk
        assert self.room.disk_bytes <= BOUNDS["disk_bytes_max"]
        assert backlog.spilled_bytes <= BOUNDS["own_disk_bytes_max"]
        assert backlog.size_bytes <= BOUNDS["sent_bytes_max"] + BOUNDS["own_memory_bytes_max"] + in_hand
        assert backlog.lost == 0

    # --- and in the end

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            with self.folder:
                self._finish()

    def _finish(self) -> None:
        """Let a last server do its work while all others are paused, then let those go on: everything has arrived."""
        self.disk_bytes_max = None
        self.client.listens = set(STREAMS)
        paused, self.servers = self.servers, []
        self.a_server_supersedes_all_others([])
        for _ in range(ROUNDS_MAX):
            self.all_but_other_servers_go_on(0, 1, "")
            if not self.pipe and not self.keeper.backlog.first and self.servers[0].going:
                break
        self.servers = paused
        for step in STEPS * WIRE_FRAMES_MAX:
            for which in reversed(range(len(self.servers))):
                self._step(which, step)
        self.check_all()
        for stream in STREAMS:
            journaled = [entry.frame for entry in self.journal.entries if entry.stream == stream]
            assert journaled == self._written_to(stream)
        questions = {entry.origin for entry in self.journal.entries if kind_and_about(entry.frame)[0] == QUESTION}
        assert set(self.client.answered) == questions
        assert self.keeper.backlog.size_bytes == 0
        self.neighbour.close()
        assert self.room.memory_bytes == self.room.disk_bytes == 0
        assert not list(Path(self.folder.name).iterdir())


class Unfenced(Journal):
    fenced = False


class Unasked(Server):
    asks_for_origins = False


class AskedTooEarly(Server):
    adopts_first = False


class AcknowledgedEarly(Server):
    acknowledges_early = True


class AcknowledgedUnanswered(Server):
    acknowledges_questions_early = True


class Forgetful(Keeper):
    rewinds = False


def relay(**parts: Any) -> type[Relay]:
    return type("Relay", (Relay,), parts)


def check(machine: type[Relay], examples_max: int, *phases: Phase) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples_max,
            stateful_step_count=50,
            database=None,
            derandomize=True,
            phases=phases,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.slow
def test_every_frame_is_journaled_once_in_order_whoever_dies_or_is_paused_when() -> None:
    """R-KEE-2, R-KEE-1"""
    check(Relay, 500, Phase.generate, Phase.shrink)


@pytest.mark.slow
@pytest.mark.parametrize(
    "parts",
    [
        {"journal_type": Unfenced},
        {"server_type": Unasked},
        {"server_type": AcknowledgedEarly},
        {"server_type": AcknowledgedUnanswered},
        {"keeper_type": Forgetful},
    ],
    ids=lambda parts: next(iter(parts.values())).__name__,
)
def test_without_a_rule_the_check_finds_a_fault(parts: dict[str, Any]) -> None:
    with pytest.raises(AssertionError):
        check(relay(**parts), 20_000, Phase.generate)


@pytest.mark.parametrize(("server_type", "times"), [(Server, 1), (AskedTooEarly, 2)])
def test_what_is_journaled_while_the_next_server_takes_over_is_known_to_it(
    server_type: type[Server], times: int
) -> None:
    """One that asked the journal before it raised the term journals that frame again."""
    run = relay(server_type=server_type)()
    run.begin()
    run.the_worker_writes([MESSAGE], STREAMS[0], 0)
    run.all_but_other_servers_go_on(0, 5, "write_journal")
    run.a_server_supersedes_all_others([(0, "read"), (0, "take_over"), (1, "write_journal")])
    run.all_but_other_servers_go_on(0, 5, "")
    run.servers_go_on([(1, "write_journal")])
    with run.folder:
        assert [entry.frame for entry in run.journal.entries] == run.written * times
