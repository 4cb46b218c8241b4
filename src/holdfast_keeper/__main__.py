"""`python -I <this folder> FD DATA`: be the keeper for the server at the other end of FD (see `entry.run`)."""

from __future__ import annotations

import sys


def main() -> None:
    """Import the package from the folder given, whatever else is installed, and run."""
    package = sys.path[0]
    if not sys.platform.startswith("linux"):
        sys.exit("the keeper needs Linux")
    # Its folder must not shadow the standard library, nor its neighbours: on the path only for this one import.
    sys.path[0] = package.rpartition("/")[0]
    import holdfast_keeper  # noqa: F401 - found only now, and only once

    del sys.path[0]
    from holdfast_keeper import entry

    try:
        entry.run(int(sys.argv[1]), sys.argv[2])
    except BaseException:
        import traceback

        with open(f"{sys.argv[2]}/keeper.log", "w") as log:  # noqa: PTH123 - no start should pay for pathlib
            traceback.print_exc(file=log)
        raise


main()
