#!/usr/bin/env bash
# Install the Debian packages named, or say that somebody has to. Call it only when something is missing.
set -u
export DEBIAN_FRONTEND=noninteractive

# DPkg::Lock::Timeout does not cover the lock on the package lists, so that one is waited for here: 60 times 5 s.
update() {
    local answer
    for _ in $(seq 60); do
        answer=$(apt-get update -qq 2>&1) && return 0
        case $answer in *"/lists/lock"*) sleep 5 ;; *) break ;; esac
    done
    echo "$answer" >&2
    return 1
}

if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "Missing: $*. Install what these Debian packages hold, for instance: sudo apt-get install $*" >&2
    exit 1
fi
echo "Installing $* with apt-get"
update && apt-get install -y -qq -o DPkg::Lock::Timeout=300 "$@" >/dev/null
