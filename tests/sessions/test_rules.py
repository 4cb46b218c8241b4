"""The manager's rules, as a table and by search."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.sessions import rules
from holdfast.testing.records import NOW, record_of

SECONDS = st.floats(0, 1e9)
LIVES = st.none() | SECONDS


@pytest.mark.parametrize(
    ("timeout", "max_age", "idle_s", "age_s", "expired"),
    [
        (10.0, None, 9.999, 9.999, False),
        (10.0, None, 10.0, 10.0, True),
        (0.0, None, 0.0, 0.0, True),
        (None, None, 1e12, 1e12, False),
        (None, 5.0, 0.0, 5.0, True),
        (10.0, 5.0, 0.0, 4.9, False),
        (10.0, None, -50.0, 0.0, False),
    ],
)
def test_expired_means_idle_for_the_timeout_or_as_old_as_allowed(
    timeout: float | None, max_age: float | None, idle_s: float, age_s: float, expired: bool
) -> None:
    """R-MGR-3."""
    record = record_of("s", timeout=timeout, max_age=max_age, last_accessed=NOW - idle_s, created_at=NOW - age_s)
    assert rules.is_expired(record, NOW) is expired


@pytest.mark.parametrize(
    ("timeout", "max_age", "after_s", "expired"),
    [
        (10.0, None, 10.0, False),
        (10.0, None, 12.9, False),
        (10.0, None, 13.0, True),
        (0.0, None, 0.0, True),
        (None, 10.0, 10.0, True),
        (9.0, 10.0, 9.5, False),
        (9.0, 10.0, 10.0, True),
    ],
)
def test_lateness_is_granted_to_accesses_only(
    timeout: float | None, max_age: float | None, after_s: float, expired: bool
) -> None:
    """R-STO-5, R-MGR-3: no access extends a timeout of 0 or the greatest age."""
    record = record_of("s", timeout=timeout, max_age=max_age)
    assert rules.is_expired(record, NOW + after_s, 3.0) is expired
    assert rules.is_gone(record, NOW + after_s, 3.0) is expired


@given(LIVES, LIVES, SECONDS, SECONDS)
def test_what_is_expired_stays_expired(
    timeout: float | None, max_age: float | None, after_s: float, later_s: float
) -> None:
    """R-MGR-3: nothing revives it."""
    record = record_of("s", timeout=timeout, max_age=max_age)
    if rules.is_expired(record, NOW + after_s):
        assert rules.is_expired(record, NOW + after_s + later_s)


@given(LIVES, LIVES, SECONDS, SECONDS)
def test_what_is_left_of_a_life_says_when_it_is_gone(
    timeout: float | None, max_age: float | None, after_s: float, late_s: float
) -> None:
    """R-MGR-3: to the moment."""
    record = record_of("s", timeout=timeout, max_age=max_age)
    left_s = rules.left_s(record, NOW + after_s, late_s)
    assert (left_s <= 0) is rules.is_gone(record, NOW + after_s, late_s)
    assert rules.left_s(record_of("s", state="terminated"), NOW) <= 0


@given(SECONDS, SECONDS)
def test_an_access_never_moves_back(first_s: float, second_s: float) -> None:
    """R-MGR-2."""
    record = rules.next_version(record_of("s", last_accessed=NOW + first_s), NOW + second_s, {"term": 3})
    assert (record.last_accessed, record.version, record.term) == (NOW + max(first_s, second_s), 2, 3)


@pytest.mark.parametrize(("timeout_s", "delay_s"), [(None, 3.0), (0.0, 1.0), (60.0, 1.0), (200.0, 2.0), (3600.0, 3.0)])
def test_an_access_waits_a_hundredth_of_the_timeout(timeout_s: float | None, delay_s: float) -> None:
    """R-STO-5."""
    assert rules.touch_delay_s(timeout_s) == delay_s


@pytest.mark.parametrize(("value", "seconds"), [(None, None), (0, 0.0), (1.5, 1.5), (timedelta(minutes=2), 120.0)])
def test_a_duration_is_seconds_or_a_timedelta(value: float | timedelta | None, seconds: float | None) -> None:
    """R-MGR-1."""
    assert rules.duration_s(value, "timeout") == seconds
