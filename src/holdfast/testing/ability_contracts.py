"""The suites for stores that act without waiting, and for those that say what they are."""

from __future__ import annotations

from typing import Protocol

import pytest

from ..model.errors import Moved, VersionConflict
from ..stores.contract import Described, Resident, Store
from .records import NOW, record_of


class ResidentStore(Store, Resident, Protocol):
    """A store that has every record in this process's memory."""


class DescribedStore(Store, Described, Protocol):
    """A store that says what it is."""


class ResidentContract:
    """Every sentence of `stores.contract.Resident`."""

    async def test_what_is_put_either_way_is_got_either_way(self, store: ResidentStore) -> None:
        """R-STO-1."""
        store.put_now(record_of("s", owner="ada"), 0)
        assert store.get_now("s") == await store.get("s") == record_of("s", owner="ada")
        await store.put(record_of("s", version=2), expect=1)
        assert store.get_now("s") == await store.get("s") == record_of("s", version=2)
        assert store.get_now("nobody") is None

    async def test_a_put_that_does_not_wait_is_refused_like_any(self, store: ResidentStore) -> None:
        """R-STO-2."""
        with pytest.raises(VersionConflict):
            store.put_now(record_of("s", version=2), 1)
        store.put_now(record_of("s", term=5), 0)
        with pytest.raises(VersionConflict):
            store.put_now(record_of("s", term=5), 0)
        with pytest.raises(Moved):
            store.put_now(record_of("s", version=2, term=4), 1)
        assert store.get_now("s") == record_of("s", term=5)

    async def test_a_use_is_an_access_of_what_lives(self, store: ResidentStore) -> None:
        """R-MGR-2, R-MGR-3: to the moment."""
        store.put_now(record_of("s", timeout=10.0, max_age=25.0), 0)
        assert store.use_now("s", NOW + 9) == record_of("s", timeout=10.0, max_age=25.0)
        assert store.use_now("s", NOW + 4) is not None, "it is told late, and lowers nothing"
        found = await store.get("s")
        assert found is not None
        assert found.last_accessed == NOW + 9
        assert store.use_now("s", NOW + 19) is None, "it was idle for its timeout"
        assert store.use_now("s", NOW + 18) is not None
        assert store.use_now("s", NOW + 25) is None, "it has reached its greatest age"

    async def test_what_is_found_comes_with_its_last_access(self, store: ResidentStore) -> None:
        """R-MGR-2: and finding is none."""
        store.put_now(record_of("s", timeout=10.0), 0)
        assert store.find_now("s", NOW + 9) == (record_of("s", timeout=10.0), NOW)
        await store.touch("s", NOW + 5)
        assert store.find_now("s", NOW + 14) == (record_of("s", timeout=10.0), NOW + 5)
        assert store.find_now("s", NOW + 15) is None
        store.put_now(record_of("s", version=2, timeout=10.0, state="terminated"), 1)
        assert store.find_now("s", NOW) is None

    async def test_nothing_uses_what_is_terminated_or_not_there(self, store: ResidentStore) -> None:
        """R-MGR-3."""
        store.put_now(record_of("s", state="terminated"), 0)
        assert store.use_now("s", NOW) is None
        assert store.use_now("nobody", NOW) is None

    async def test_a_use_keeps_a_sweep_away(self, store: ResidentStore) -> None:
        """R-MGR-5: also when the sweep has seen it as expired before."""
        for name in ("s", "t"):
            store.put_now(record_of(name, timeout=10.0), 0)
        assert len(await store.expire(NOW + 10, limit=1)) == 1
        (left,) = (name for name in ("s", "t") if store.get_now(name) is not None)
        assert store.use_now(left, NOW + 9) is not None
        assert await store.expire(NOW + 10) == []
        assert [record.id for record in await store.expire(NOW + 19)] == [left]

    @pytest.mark.parametrize("way", ["use", "put"])
    async def test_what_lives_again_hides_nothing_that_is_due(self, store: ResidentStore, way: str) -> None:
        """R-MGR-5: though it was found expired before."""
        for name, timeout in (("a", 10.0), ("b", 10.0), ("c", 12.0)):
            store.put_now(record_of(name, timeout=timeout), 0)
        (gone,) = await store.expire(NOW + 10, limit=1)
        (left,) = {"a", "b"} - {gone.id}
        if way == "use":
            assert store.use_now(left, NOW + 9.5) is not None
        else:
            store.put_now(record_of(left, version=2, timeout=10.0, last_accessed=NOW + 9.5), 1)
        assert [record.id for record in await store.expire(NOW + 12, limit=1)] == ["c"]


class DescribedContract:
    """Every sentence of `stores.contract.Described`."""

    async def test_it_says_what_it_is(self, store: DescribedStore) -> None:
        """R-MGR-14."""
        info = await store.info()
        assert info.kind
        assert info.durability in ("none", "off", "interval", "full")
        assert info.health == "ok"

    async def test_it_counts_what_is_not_expired_by_state(self, store: DescribedStore) -> None:
        """R-MGR-11."""
        assert await store.count(NOW) == {"active": 0, "terminated": 0}
        for name, timeout, state in (("a", 10.0, "active"), ("b", None, "active"), ("c", 5.0, "terminated")):
            await store.put(record_of(name, timeout=timeout, state=state), expect=0)
        assert await store.count(NOW) == {"active": 2, "terminated": 1}
        await store.touch("a", NOW + 6)
        assert await store.count(NOW + 5) == {"active": 2, "terminated": 0}
        assert await store.count(NOW + 10) == {"active": 2, "terminated": 0}, "an access counts that is not written yet"
        assert await store.count(NOW + 16) == {"active": 1, "terminated": 0}
        await store.delete("b")
        await store.put(record_of("a", version=2, timeout=None, state="terminated"), expect=1)
        assert await store.count(NOW + 16) == {"active": 0, "terminated": 1}
