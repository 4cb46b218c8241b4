"""How people write durations, sizes and numbers."""

import pytest

from holdfast.config.options import OPTIONS
from holdfast.config.values import duration_s, lifetime_s, size_bytes, url_path, whole
from holdfast.model import Misused


@pytest.mark.parametrize(
    ("text", "seconds"), [("500ms", 0.5), ("0", 0), ("90s", 90), ("1.5m", 90), ("2 h", 7200), ("7d", 604800)]
)
def test_a_duration_has_a_unit_or_is_seconds(text: str, seconds: float) -> None:
    assert duration_s(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "h", "8", "-1s", "1w", "1h30m", "nan", "inf", "1e3", "١s"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(Misused, match="500ms"):
        duration_s(text)


def test_a_lifetime_may_be_for_ever() -> None:
    assert (lifetime_s("never"), lifetime_s("1s")) == (None, 1.0)


@pytest.mark.parametrize(("text", "bytes_"), [("10", 10), ("512KiB", 524288), ("1.5MiB", 1572864), ("4GiB", 2**32)])
def test_a_size_has_a_unit_or_is_bytes(text: str, bytes_: int) -> None:
    assert size_bytes(text) == bytes_


@pytest.mark.parametrize("text", ["10MB", "", "-1", "ten"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(Misused, match="10MiB"):
        size_bytes(text)


@pytest.mark.parametrize("text", ["-1", "65536", "1.0", "", "9" * 30])
def test_a_number_out_of_range_is_refused(text: str) -> None:
    with pytest.raises(Misused, match="from 0 to 65535"):
        whole(0, 65535)(text)


@pytest.mark.parametrize("text", ["mcp", "", "/a b", "/a?b", "/a\n"])
def test_a_path_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(Misused):
        url_path(text)


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_every_default_is_a_value_a_user_could_give(option: object) -> None:
    option = next(one for one in OPTIONS if one is option)
    if option.default is not None:
        option.read(option.default)
