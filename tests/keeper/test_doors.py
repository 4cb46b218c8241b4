"""The doors by which one server takes the place of another: real sockets, the keeper's own loop."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from holdfast_keeper import wire
from holdfast_keeper.doors import DOORS_MAX, Doors
from holdfast_keeper.loop import Loop

LONG_S = 30.0


class House:
    """Doors on a loop that turns when a test waits."""

    def __init__(self, owned: ExitStack) -> None:
        self.owned = owned
        self.loop = Loop()
        self.cut_off: list[int] = []
        self.doors = Doors(self.loop, self.cut_off.append)

    def door(self, address: str | None = None) -> Door:
        return Door(self, address)

    def listener(self) -> socket.socket:
        return self.owned.enter_context(socket.create_server(("127.0.0.1", 0)))

    def pair(self) -> tuple[socket.socket, socket.socket]:
        ours, theirs = socket.socketpair()
        return self.owned.enter_context(ours), self.owned.enter_context(theirs)


class Door:
    """A server's end of a door, and what it was told."""

    def __init__(self, house: House, address: str | None) -> None:
        self._house = house
        self.end, theirs = house.pair()
        self.end.settimeout(LONG_S)
        theirs.setblocking(False)
        house.doors.add(theirs, {"pid": 4711, "address": address})
        (self.hello,), self.given = self.told()

    def told(self) -> tuple[list[Any], list[socket.socket]]:
        """Return the payloads of what comes next, and the sockets that come with it."""
        chunk, descriptors, _, _ = socket.recv_fds(self.end, 4096, 4)
        given = [self._house.owned.enter_context(socket.socket(fileno=descriptor)) for descriptor in descriptors]
        return [json.loads(payload or b"null") for _, _, payload, _ in wire.Splitter().feed(chunk)], given

    def say(self, kind: int, fields: dict[str, Any], *given: socket.socket) -> None:
        said = wire.message(kind, 0, json.dumps(fields).encode())
        socket.send_fds(self.end, [said], [one.fileno() for one in given])
        self._house.loop.turn()

    def serve(self, term: int, address: str = "here") -> tuple[socket.socket, socket.socket]:
        """Say that it serves; return its listener and its end of the channel."""
        listener, (channel, theirs) = self._house.listener(), self._house.pair()
        self.say(wire.SERVING, {"term": term, "address": address}, listener, theirs)
        theirs.close()
        return listener, channel

    @property
    def is_open(self) -> bool:
        self.end.setblocking(False)
        try:
            return bool(self.end.recv(1, socket.MSG_PEEK))
        except BlockingIOError:
            return True
        except OSError:
            return False


@pytest.fixture
def house() -> Iterator[House]:
    with ExitStack() as owned:
        yield House(owned)


def test_who_asks_for_an_address_gets_the_listener_of_who_serves_there(house: House) -> None:
    """R-KEE-1: the system's own queue of clients goes with it."""
    listener, _ = house.door().serve(1, "here")
    assert house.door("there").hello["listener"] is False
    asking = house.door("here")
    assert (asking.hello["listener"], asking.hello["serving"]) == (True, [4711])
    (given,) = asking.given
    assert given.getsockname() == listener.getsockname()
    house.owned.enter_context(socket.create_connection(listener.getsockname(), LONG_S))
    listener.close()
    house.owned.enter_context(given.accept()[0])


def test_the_newest_listener_of_an_address_is_given(house: House) -> None:
    house.door().serve(1)
    newest, _ = house.door().serve(2)
    assert house.door("here").given[0].getsockname() == newest.getsockname()


def test_who_serves_is_asked_to_leave_by_who_serves_next_and_gets_its_channel(house: House) -> None:
    """R-KEE-1: the channel is one between the two servers; the keeper keeps nothing of it."""
    old, new = house.door(), house.door()
    old.serve(1)
    _, ours = new.serve(2)
    _, (channel,) = old.told()
    channel.sendall(b"from the old one")
    assert ours.recv(100) == b"from the old one"
    channel.close()
    assert ours.recv(100) == b""
    assert house.door().hello["serving"] == [4711]


def test_the_channel_ends_at_once_when_nobody_served_before(house: House) -> None:
    _, channel = house.door().serve(1)
    assert channel.recv(1) == b""


def test_a_server_that_leaves_is_asked_only_once(house: House) -> None:
    first, second, third = (house.door() for _ in range(3))
    first.serve(1)
    second.serve(2)
    assert first.told()
    first.say(wire.LEAVING, {"within_s": 60.0})
    third.serve(3)
    assert second.told()
    with pytest.raises(BlockingIOError):
        assert first.is_open and first.end.recv(1)


@pytest.mark.slow
def test_a_server_that_does_not_say_that_it_leaves_is_cut_off_and_finds_what_it_was_asked(house: House) -> None:
    """R-KEE-2: it may be paused, and must not serve beside its successor when it goes on."""
    old, new = house.door(), house.door()
    old.serve(1)
    _, ours = new.serve(2)
    while not house.cut_off:
        house.loop.turn()
    assert house.cut_off == [1]
    _, (channel,) = old.told()
    channel.sendall(b"late")
    assert ours.recv(100) == b"late"
    assert not old.is_open and new.is_open


@pytest.mark.slow
def test_a_server_that_leaves_in_time_is_not_cut_off_and_one_that_does_not_is(house: House) -> None:
    old, new, another = house.door(), house.door(), house.door()
    old.serve(1)
    new.serve(2)
    old.say(wire.LEAVING, {"within_s": 4.0})
    old.end.close()
    another.serve(3)
    new.say(wire.LEAVING, {"within_s": 3.0})
    while not house.cut_off:
        house.loop.turn()
    assert house.cut_off == [2]


def test_a_server_that_was_replaced_cannot_take_its_place_back(house: House) -> None:
    """R-KEE-2: it may have been paused while it started."""
    late = house.door()
    new = house.door()
    new.serve(2)
    late.serve(1)
    assert not late.is_open and new.is_open


def test_a_dead_server_s_port_refuses_at_once(house: House) -> None:
    door = house.door()
    listener, _ = door.serve(1)
    address = listener.getsockname()
    listener.close()
    house.owned.enter_context(socket.create_connection(address, LONG_S))
    door.end.close()
    house.loop.turn()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, LONG_S)
    assert house.door("here").hello == {"version": wire.VERSION, "pid": os.getpid(), "listener": False, "serving": []}


@pytest.mark.parametrize(
    "said",
    [
        wire.message(wire.SERVING, 0, b'{"term": 1, "address": "here"}'),
        wire.message(wire.SERVING, 0, b"[]"),
        wire.message(wire.LEAVING, 0, b"{}"),
        wire.message(wire.LEAVE, 0),
        b"\xff" * 100,
    ],
)
def test_a_door_that_makes_no_sense_is_closed_and_disturbs_no_other(house: House, said: bytes) -> None:
    other, door = house.door(), house.door()
    other.serve(1)
    door.end.sendall(said)
    house.loop.turn()
    assert not door.is_open and other.is_open


def test_a_door_that_gives_too_much_is_closed_with_all_it_gave(house: House) -> None:
    door, listeners = house.door(), [house.listener() for _ in range(3)]
    addresses = [listener.getsockname() for listener in listeners]
    door.say(wire.SERVING, {"term": 1, "address": "here"}, *listeners)
    assert not door.is_open
    for listener, address in zip(listeners, addresses, strict=True):
        listener.close()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address, LONG_S)


def test_doors_are_bounded(house: House) -> None:
    doors = [house.door() for _ in range(DOORS_MAX)]
    refused = house.door()
    assert "error" in refused.hello and not refused.is_open
    assert all(door.is_open for door in doors)
    doors[0].end.close()
    house.loop.turn()
    assert house.door().is_open
