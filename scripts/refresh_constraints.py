#!/usr/bin/env python3
"""Write constraints.txt anew: for every package the newest release that works on every Python we support.

    .venv/bin/python scripts/refresh_constraints.py

What is asked for stands in pyproject.toml (dependencies, extras, the build backend); pip resolves it once for each
Python, wheels only, without installing anything. Where the Pythons disagree the lowest answer is taken and everything
is resolved again, until they agree. Run it on the oldest supported Python: there the conditional dependencies of all
later ones are wanted too. Nothing but names and versions is written.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from pip._vendor.packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
ROUNDS_MAX = 5
HEADER = """\
# Every package that any target of the Makefile installs, at the one version everybody uses.
# Written by scripts/refresh_constraints.py (`make constraints`); do not edit by hand.
"""


def wanted() -> list[str]:
    """Return every requirement that pyproject.toml states, the build backend and its editable support included."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project = settings["project"]
    stated = [*project["dependencies"], *settings["build-system"]["requires"], "editables"]
    for extra in project["optional-dependencies"].values():
        stated += [need for need in extra if not need.startswith(project["name"] + "[")]
    return stated


def resolve(python: str, needs: list[str], pins: dict[str, str]) -> dict[str, str]:
    """Return the name and version of each wheel that `needs` comes to on `python` when held to `pins`."""
    with tempfile.TemporaryDirectory() as place:
        here = [need for need in needs if is_for(python, need)]
        held = Path(place, "held.txt")
        held.write_text("".join(f"{name}=={version}\n" for name, version in pins.items()))
        report = Path(place, "report.json")
        options = ["--dry-run", "--ignore-installed", "--only-binary=:all:", "-qq", "--target", place]
        command = [
            sys.executable,
            "-m",
            "pip",
            "install",
            *options,
            "--python-version",
            python,
            "--report",
            str(report),
        ]
        subprocess.run([*command, "-c", str(held), *here], check=True, stdout=subprocess.DEVNULL)
        found = json.loads(report.read_text())["install"]
    return {canonical(item["metadata"]["name"]): item["metadata"]["version"] for item in found}


def canonical(name: str) -> str:
    """Return the one spelling of a package's name (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def is_for(python: str, need: str) -> bool:
    """Return whether a requirement is meant for `python`: pip itself would ask the one that runs it."""
    marker = Requirement(need).marker
    return marker is None or marker.evaluate({"python_version": python})


def release(version: str) -> tuple[int, ...]:
    """Return the numbers of a plain release, for comparing; anything else is refused."""
    return tuple(int(part) for part in version.split("."))


def agree(needs: list[str]) -> dict[str, str]:
    """Return one version per package that every Python accepts."""
    pins: dict[str, str] = {}
    for _ in range(ROUNDS_MAX):
        answers = [resolve(python, needs, pins) for python in PYTHONS]
        names = {name for answer in answers for name in answer}
        merged = {name: min((a[name] for a in answers if name in a), key=release) for name in names}
        if all(answer[name] == merged[name] for answer in answers for name in answer):
            return merged
        pins = merged
    sys.exit(f"the Pythons {', '.join(PYTHONS)} did not agree in {ROUNDS_MAX} rounds; loosen a bound in pyproject.toml")


def main() -> None:
    pins = agree(wanted())
    lines = [f"{name}=={pins[name]}\n" for name in sorted(pins)]
    (ROOT / "constraints.txt").write_text(HEADER + "".join(lines))


if __name__ == "__main__":
    main()
