#!/usr/bin/env bash
# Make a virtual environment in the folder $1 with the first Python of 3.11 to 3.14 that really can; $PYTHON overrides.
# A name on PATH proves nothing (version managers leave names that fail when called, and Debian ships pythons without
# ensurepip), so each candidate is tried for real.
set -u
place=$1
candidates=${PYTHON:-python3.11 python3.12 python3.13 python3.14 python3}

make_venv() {
    local python
    for python in $candidates; do
        rm -rf "$place"
        "$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' 2>/dev/null || continue
        if "$python" -m venv "$place" >/dev/null 2>&1 && "$place/bin/python" -m pip --version >/dev/null 2>&1; then
            echo "Using $("$place/bin/python" --version) ($python)"
            return 0
        fi
    done
    rm -rf "$place"
    return 1
}

make_venv && exit 0
if [ -n "${PYTHON:-}" ]; then
    echo "$PYTHON cannot make a virtual environment: it must be Python 3.11 to 3.14 with venv and ensurepip." >&2
    exit 1
fi
"$(dirname "$0")/need.sh" python3-venv && make_venv && exit 0
echo "No usable Python: install Python 3.11 to 3.14 with venv (Debian: python3-venv), or name one: make PYTHON=..." >&2
exit 1
