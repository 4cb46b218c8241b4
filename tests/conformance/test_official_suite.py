"""The official conformance suite finds nothing wrong with a stdio server behind `holdfast serve`.

A suite that ran nothing would also find nothing, so what it must have checked is counted here, scenario by scenario.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import Final

import pytest

from tests.kit import ROOT, serving

from .suite import run_suite

pytestmark = pytest.mark.slow

FIXTURE: Final = (sys.executable, str(ROOT / "tests" / "programs" / "conformance_server.py"))
# The tool of server-sse-polling takes half as long again: its client is sent away once, and comes back in time.
POLL: Final = ("--poll-after", "4s")

# Of every two one is the suite's check that each message it got fits the schema of the revision.
ONE_CHECK_AND_THE_SCHEMA: Final = """
    completion-complete logging-set-level ping
    prompts-get-embedded-resource prompts-get-simple prompts-get-with-args prompts-get-with-image prompts-list
    resources-list resources-read-binary resources-read-text resources-subscribe resources-templates-read
    resources-unsubscribe
    tools-call-audio tools-call-elicitation tools-call-embedded-resource tools-call-error tools-call-image
    tools-call-mixed-content tools-call-sampling tools-call-simple-text tools-call-with-logging tools-call-with-progress
"""
SINCE_2025_06_18: Final = Counter(dict.fromkeys(ONE_CHECK_AND_THE_SCHEMA.split(), 2)) + Counter(
    {"server-initialize": 3, "server-session-lifecycle": 3, "tools-list": 2}
)
SINCE_2025_11_25: Final = SINCE_2025_06_18 + Counter(
    {
        "dns-rebinding-protection": 2,
        "elicitation-sep1034-defaults": 6,
        "elicitation-sep1330-enums": 6,
        "json-schema-2020-12": 8,
        "server-sse-multiple-streams": 2,
        "server-sse-polling": 3,
        "tools-list": 1,
    }
)


def test_every_check_of_the_suite_passes_when_answers_are_streams(tmp_path: Path) -> None:
    """R-MCP-1, R-MCP-3"""
    with serving(tmp_path / "data", "--answer", "stream", *POLL, command=FIXTURE) as served:
        verdict = run_suite(served.port, tmp_path / "out", "--suite", "all", "--spec-version", "2025-11-25")
    assert (verdict.others, verdict.code) == ([], 0), verdict.said
    assert verdict.passed == SINCE_2025_11_25
    assert verdict.passed.total() == 84


def test_what_the_revision_requires_holds_when_only_slow_answers_are_streams(tmp_path: Path) -> None:
    """R-MCP-1, R-MCP-3"""
    with serving(tmp_path / "data", *POLL, command=FIXTURE) as served:
        verdict = run_suite(served.port, tmp_path / "out", "--requirements", "2025-11-25")
    # Three requests at once are answered in JSON unless the machine is slow, and then there are no streams to judge.
    others = [other for other in verdict.others if "server-sse-streams-functional: INFO" not in other]
    assert (others, verdict.code) == ([], 0), verdict.said
    assert SINCE_2025_11_25 - verdict.passed <= Counter({"server-sse-multiple-streams": 1})
    assert verdict.passed <= SINCE_2025_11_25


def test_every_check_of_the_revision_before_passes(tmp_path: Path) -> None:
    """R-MCP-1, R-MCP-3"""
    with serving(tmp_path / "data", command=FIXTURE) as served:
        verdict = run_suite(served.port, tmp_path / "out", "--suite", "all", "--spec-version", "2025-06-18")
    assert (verdict.others, verdict.code) == ([], 0), verdict.said
    assert verdict.passed == SINCE_2025_06_18
