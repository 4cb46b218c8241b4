"""The files of archives: written beside their names and renamed when whole, read, and read from pipes. Blocks."""

from __future__ import annotations

import fcntl
import os
import secrets
import stat
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final

from ..model.errors import Misused, Refused, Unavailable
from .archive import MAGIC

SPOOLED_BYTES_MAX: Final = 64 * 2**30
_AT_ONCE: Final = 2**20


class NewFile:
    """A file that gets its name when it is whole and on power-safe storage. For its owner only, for ids are secrets.

    While it is written it is called `NAME.part-…` and locked, so that one nobody writes any more can be told.
    """

    def __init__(self, target: Path) -> None:
        self._target = target
        self._part = target.parent / f"{target.name}.part-{secrets.token_hex(4)}"
        self._file: BinaryIO | None = None

    def open(self) -> None:
        """Make it.

        Raises:
            Misused: It cannot be made there, or its name is that of something else than an archive.
        """
        check_target(self._target)
        try:
            descriptor = os.open(self._part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except OSError as error:
            why = error.strerror or error
            raise Misused(f"{self._target} cannot be written: {why}; choose another place") from error
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._file = os.fdopen(descriptor, "wb", buffering=_AT_ONCE)

    def write(self, data: bytes) -> None:
        """Write all of `data`.

        Raises:
            Unavailable: The disk is full, or does not work. Nothing is left of the file after `close`.
        """
        assert self._file is not None
        try:
            self._file.write(data)
        except OSError as error:
            raise self._failed(error) from error

    def keep(self, *, new: bool = False) -> None:
        """Give it its name, in place of an older archive unless it must be `new`.

        Raises:
            Misused: The name is taken.
            Unavailable: As `write`.
        """
        assert self._file is not None
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            if new:
                os.link(self._part, self._target)
                self._part.unlink()
            else:
                self._part.rename(self._target)
            _sync_folder(self._target.parent)
        except FileExistsError as error:
            raise Misused(f"{self._target} is there already; choose another name") from error
        except OSError as error:
            raise self._failed(error) from error

    def close(self) -> None:
        """Close it; what did not get its name is gone."""
        if self._file is not None:
            with suppress(OSError):  # it was told when it was written
                self._file.close()
            self._file = None
            self._part.unlink(missing_ok=True)

    def _failed(self, error: OSError) -> Unavailable:
        return Unavailable(
            f"{self._target} could not be written: {error.strerror or error}; nothing of it is left, and what was "
            "there before is as it was"
        )


def check_target(target: Path) -> None:
    """Refuse a place where no archive may be put.

    Raises:
        Misused: It is a folder, its folder is not there, or it is something else than an archive.
    """
    try:
        if target.is_dir():
            raise Misused(f"{target} is a folder; name a file in it")
        if not target.parent.is_dir():
            raise Misused(f"{target} cannot be made: its folder is not there; make it, or choose another place")
        if os.path.lexists(target) and not is_archive(target):
            raise Misused(f"{target} is there and no archive of Holdfast; choose another name, for it would be lost")
    except OSError as error:
        raise Misused(f"{target} cannot be looked at: {error.strerror or error}; choose another place") from error


def is_archive(path: Path) -> bool:
    """Tell whether a file begins as archives do."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def opened(source: Path | BinaryIO, beside: Path) -> BinaryIO:
    """Return what can be read twice: the file, or a copy of what comes through a pipe, in a file without a name.

    Raises:
        Misused: It is not there, or may not be read.
        Refused: More than 64 GiB come through the pipe.
        Unavailable: There is no room for the copy.
    """
    if isinstance(source, Path):
        try:
            file = source.open("rb")
        except OSError as error:
            raise Misused(f"{source} cannot be read: {error.strerror or error}; name an archive") from error
        if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            return file
        with file:
            return _spooled(file, beside)
    return _spooled(source, beside)


def _spooled(pipe: BinaryIO, beside: Path) -> BinaryIO:
    try:
        copy = tempfile.TemporaryFile(dir=beside)  # noqa: SIM115  # whoever asked closes it
    except OSError as error:
        raise Misused(f"{beside} may not be written ({error.strerror or error}); choose another folder") from error
    try:
        while data := pipe.read(_AT_ONCE):
            copy.write(data)
            _check_spooled(copy.tell())
        copy.seek(0)
    except OSError as error:
        copy.close()
        raise Unavailable(
            f"what comes could not be saved in {beside} to be checked: {error.strerror or error}; nothing was changed"
        ) from error
    except BaseException:
        copy.close()
        raise
    return copy


def _check_spooled(size: int) -> None:
    if size > SPOOLED_BYTES_MAX:
        raise Refused(f"more than {SPOOLED_BYTES_MAX:,} bytes come; save them in a file first", wait_s=0.0)


def nobody_writes(part: Path) -> bool:
    """Tell whether a file that has not its name yet is not being written any more."""
    try:
        descriptor = os.open(part, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
