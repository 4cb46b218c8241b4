"""Every manager test runs on every store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from holdfast import SessionManager, open_store
from holdfast.testing import ManualClock

from ..stores.engines import ENGINES


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(params=["memory", "sqlite", *ENGINES])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return "memory://" if request.param == "memory" else f"{request.param}:///{tmp_path}/sessions.db"


@pytest.fixture
async def sessions(url: str, clock: ManualClock) -> AsyncIterator[SessionManager[dict[str, Any]]]:
    """Not entered, so that nothing is swept but what the test sweeps."""
    async with open_store(url) as store:
        yield SessionManager(store, clock=clock)
