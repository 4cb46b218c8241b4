"""A server whose store is encrypted: what its disk shows, and what becomes of sessions when a key is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kit import PROBE, serving

pytestmark = pytest.mark.slow

OLD = f"2026 {'QUFB' * 10}QUE="
NEW = f"2027 {'QUFC' * 10}QUI="
NAME = "Ada-Lovelace-of-London"


def test_sessions_outlive_the_exchange_of_keys_and_a_missing_one(tmp_path: Path) -> None:
    """R-STO-6, R-SEC-4: while the key is missing the answer is 503, and nothing is ended or lost."""
    keys = tmp_path / "keys"
    keys.write_text(OLD)
    keys.chmod(0o600)
    with serving(tmp_path / "data", "--compress", "on", "--answer", "stream", command=PROBE) as served:
        served.terminate()
        served.start("--key-file", str(keys))
        client = served.opened()
        client.call("write", name=NAME, text=NAME)
        assert served.terminate() == 0
        on_disk = (tmp_path / "data" / "sessions.db").read_bytes()
        assert NAME.encode() not in on_disk
        assert client.session is not None
        assert client.session.encode() in on_disk
        served.start()
        assert client.request("tools/list").status == 503
        assert "is sealed under key '2026', which is not in the key ring" in str(client.request("tools/list").json())
        assert served.terminate() == 0
        served.env = {"HOLDFAST_KEYS": f"{NEW}\n{OLD}"}
        served.start()
        assert "tools" in client.request("tools/list").answer()["result"]
