"""Every manager test runs on every store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from holdfast import SessionManager
from holdfast.testing import ManualClock


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(params=["memory", "sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return "memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/sessions.db"


@pytest.fixture
async def sessions(url: str, clock: ManualClock) -> AsyncIterator[SessionManager[dict[str, Any]]]:
    async with SessionManager[dict[str, Any]].open(url, clock=clock) as manager:
        yield manager
