"""The server's end of the keeper: `KeeperWorkers`."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import uvloop

from holdfast.gateway.keeper import KeeperWorkers
from holdfast.gateway.keeper_worker import KeeperWorker
from holdfast.model import Misused, Moved, Unavailable
from holdfast_keeper import wire
from tests.keeper.habits import alive, opened, parent_of, spawned
from tests.kit import eventually_async

pytestmark = pytest.mark.slow


def children_of(keeper: int) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{keeper}/task/{keeper}/children").read_text().split()]


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_it_is_the_same_on_either_loop(tmp_path: Path, new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def scenario() -> None:
        async with opened(tmp_path, "echo") as workers:
            worker, heard = await spawned(workers, tmp_path / "one")
            large = b'"' + b"x" * (10 * 2**20 - 2) + b'"'
            worker.send(large)
            await worker.deliver(b"2")
            await heard.frames_reach(2)
            assert heard.frames == [large, b"2"]
            keeper = parent_of(worker.pid)
            os.kill(keeper, signal.SIGKILL)
            await heard.exit()
            again, _ = await spawned(workers, tmp_path / "one")
            await again.stop(grace_s=2.0)
        assert not alive(keeper)

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(scenario())


async def test_closing_stops_every_worker_within_the_grace_and_tells_each_exit_once(tmp_path: Path) -> None:
    async with opened(tmp_path, "stubborn", grace_s=0.3) as workers:
        pairs = [await spawned(workers, tmp_path / str(number)) for number in range(3)]
        for _, heard in pairs:
            await heard.frames_reach(1)
        keeper = parent_of(pairs[0][0].pid)
    assert [[how.signal for how in heard.exits] for _, heard in pairs] == [[signal.SIGKILL]] * 3
    assert not alive(keeper)
    with pytest.raises(Unavailable, match="closing"):
        await spawned(workers, tmp_path / "late")


async def test_closing_kills_a_keeper_that_does_not_end(tmp_path: Path) -> None:
    async with opened(tmp_path, "echo", grace_s=0.1, hello_s_max=2.0) as workers:
        worker, heard = await spawned(workers, tmp_path / "one")
        keeper = parent_of(worker.pid)
        os.kill(keeper, signal.SIGSTOP)
    assert not alive(keeper)
    assert len(heard.exits) == 1
    await eventually_async(lambda: not alive(worker.pid))


async def test_a_cancelled_spawn_leaves_no_worker(tmp_path: Path) -> None:
    async with opened(tmp_path, "echo") as workers:
        worker, _ = await spawned(workers, tmp_path / "one")
        keeper = parent_of(worker.pid)
        os.kill(keeper, signal.SIGSTOP)
        spawning = asyncio.ensure_future(spawned(workers, tmp_path / "two"))
        for _ in range(10):
            await asyncio.sleep(0)
        spawning.cancel()
        with pytest.raises(asyncio.CancelledError):
            await spawning
        os.kill(keeper, signal.SIGCONT)
        await worker.deliver(b"behind the spawn")
        await eventually_async(lambda: children_of(keeper) == [worker.pid])


async def test_a_start_over_its_bound_is_said_and_never_happens_later(tmp_path: Path) -> None:
    with (tmp_path / "keeper.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        async with opened(tmp_path, "echo", start_s_max=0.2) as workers:
            with pytest.raises(Unavailable, match=r"within 0\.2 s"):
                await spawned(workers, tmp_path / "one")
            fcntl.flock(held, fcntl.LOCK_UN)
            worker = await started_at_last(workers, tmp_path / "two")
            assert children_of(parent_of(worker.pid)) == [worker.pid]


async def started_at_last(workers: KeeperWorkers, place: Path) -> KeeperWorker:
    """Try until a start keeps to its bound."""
    for _ in range(300):
        with contextlib.suppress(Unavailable):
            return (await spawned(workers, place))[0]
    pytest.fail("no worker started")


async def test_no_keeper_on_a_directory_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"keeper\.lock cannot be opened: No such file"):
        async with opened(tmp_path / "nowhere", "echo"):
            pytest.fail("it was opened")


async def test_a_callback_that_raises_is_reported_and_disturbs_nobody(tmp_path: Path) -> None:
    reports: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reports.append(context))

    def fail(*_: object) -> None:
        raise LookupError("on purpose")

    async with opened(tmp_path, "echo") as workers:
        calm, heard = await spawned(workers, tmp_path / "one")
        (tmp_path / "two" / "work").mkdir(parents=True)
        failing = await workers.spawn("two", tmp_path / "two", on_frame=fail, on_exit=fail)
        failing.go()
        failing.send(b"1")
        await failing.stop(grace_s=2.0)
        calm.send(b"2")
        await heard.frames_reach(1)
    assert [str(report["exception"]) for report in reports] == ["on purpose"] * 2


async def test_a_message_larger_than_the_wire_allows_is_refused_and_nothing_is_sent(tmp_path: Path) -> None:
    async with opened(tmp_path, "echo") as workers:
        worker, heard = await spawned(workers, tmp_path / "one")
        with pytest.raises(Misused, match="at most"):
            worker.send(b"x" * (wire.PAYLOAD_BYTES_MAX + 1))
        worker.send(b"1")
        await heard.frames_reach(1)
        assert heard.frames == [b"1"]


async def test_workers_are_full_while_the_keeper_does_not_read_and_ready_when_it_does(tmp_path: Path) -> None:
    async with opened(tmp_path, "echo") as workers:
        worker, heard = await spawned(workers, tmp_path / "one")
        keeper = parent_of(worker.pid)
        os.kill(keeper, signal.SIGSTOP)
        frame = b'"' + b"x" * (10 * 2**20 - 2) + b'"'
        worker.send(frame)
        await asyncio.sleep(0)
        assert not worker.full, "one large message is no reason to refuse others"
        worker.send(frame)
        await eventually_async(lambda: worker.full)
        os.kill(keeper, signal.SIGCONT)
        await eventually_async(lambda: not worker.full)
        await heard.frames_reach(2)


async def test_a_keeper_that_never_reads_is_given_up_and_another_follows(tmp_path: Path) -> None:
    async with opened(tmp_path, "echo", hello_s_max=2.0) as workers:
        worker, heard = await spawned(workers, tmp_path / "one")
        os.kill(parent_of(worker.pid), signal.SIGSTOP)
        for _ in range(80):
            worker.send(b"x" * 2**20)
        assert "too slow in reading" in (await heard.exit()).why
        again, heard_again = await spawned(workers, tmp_path / "one")
        assert not alive(worker.pid)
        again.send(b"1")
        await heard_again.frames_reach(1)


async def test_a_pause_holds_for_the_next_keeper_too(tmp_path: Path) -> None:
    async with opened(tmp_path, "echo") as workers:
        worker, heard = await spawned(workers, tmp_path / "one")
        workers.pause()
        os.kill(parent_of(worker.pid), signal.SIGKILL)
        with contextlib.suppress(Unavailable):  # a paused link learns of its end when something is sent
            await spawned(workers, tmp_path / "two")
        await heard.exit()
        spawning = asyncio.ensure_future(spawned(workers, tmp_path / "three"))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(spawning), 0.3)
        assert not spawning.done()
        workers.resume()
        await spawning


async def test_a_server_that_was_superseded_leaves_the_keeper_and_the_workers_alone(tmp_path: Path) -> None:
    """R-KEE-2: also when it was this server that started the keeper."""
    async with opened(tmp_path, "echo", term=1, keep_s=60.0) as old:
        worker, heard = await spawned(old, tmp_path / "one")
        async with opened(tmp_path, "echo", term=2) as new:
            assert old._link is not None
            old._link.close()  # as the keeper does to one that hangs
            await old.superseded.wait()
            with pytest.raises(Unavailable, match="superseded"):
                await old.ready()
            told: list[bytes] = []
            found = await new.attach(
                str(tmp_path / "one"), on_frame=lambda frame, _: told.append(frame), on_exit=lambda _: None
            )
            assert found is not None
            taken, inventory = found
            assert inventory.pid == worker.pid
            taken.go()
            taken.send(b"1")
            await eventually_async(lambda: told == [b"1"])
            worker.send(b"2")
            await taken.deliver(b"3")
            await eventually_async(lambda: told == [b"1", b"3"])
    assert heard.exits == []
    assert not alive(worker.pid)


async def test_a_worker_is_given_to_who_waits_for_it_when_its_server_lets_go(tmp_path: Path) -> None:
    async with (
        opened(tmp_path, "echo", term=1, keep_s=60.0) as old,
        opened(tmp_path, "echo", term=2, attach_s_max=0.2) as new,
    ):
        worker, _ = await spawned(old, tmp_path / "one")
        label = str(tmp_path / "one")
        heard: list[bytes] = []
        hear = lambda frame, _: heard.append(frame)  # noqa: E731 (a callback for two calls)
        with pytest.raises(Unavailable, match="has not let go"):
            await new.attach(label, on_frame=hear, on_exit=lambda _: None)
        assert await new.attach("nobody", on_frame=hear, on_exit=lambda _: None) is None
        worker.send(b"1", call=7)
        worker.release()
        found = await new.attach(label, on_frame=hear, on_exit=lambda _: None)
        assert found is not None
        taken, inventory = found
        assert [(call.call, call.note) for call in inventory.calls] == [(7, "1")]
        taken.go()
        await eventually_async(lambda: heard == [b"1"])


async def test_a_worker_of_a_newer_server_is_not_waited_for(tmp_path: Path) -> None:
    """Whoever was overtaken would else start one of its own when that ends, for a session that is not its own."""
    async with opened(tmp_path, "echo", term=1) as old, opened(tmp_path, "echo", term=2) as new:
        await spawned(new, tmp_path / "one")
        with pytest.raises(Unavailable, match="a newer server has this session"):
            await old.clear(str(tmp_path / "one"))


async def test_what_is_delivered_to_a_worker_that_was_left_is_not_taken_for_one_that_ended(tmp_path: Path) -> None:
    async with opened(tmp_path, "echo", term=1) as workers:
        left, _ = await spawned(workers, tmp_path / "one")
        left.release()
        ended, _ = await spawned(workers, tmp_path / "two")
        await ended.stop(grace_s=1.0)
        with pytest.raises(Moved):
            await left.deliver(b"1")
        with pytest.raises(Unavailable):
            await ended.deliver(b"1")


async def test_closing_ends_its_own_workers_and_leaves_the_keeper_to_another_server(tmp_path: Path) -> None:
    async with opened(tmp_path, "echo", term=2) as new:
        theirs, heard = await spawned(new, tmp_path / "two")
        async with opened(tmp_path, "echo", term=2) as old:
            own, _ = await spawned(old, tmp_path / "one")
        assert not alive(own.pid)
        theirs.send(b"1")
        await heard.frames_reach(1)
        keeper = parent_of(theirs.pid)
    assert not alive(keeper)
