"""Files: one of them, a folder with all below it, or a pattern with `*` and `**`."""

import os
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Final
from urllib.parse import unquote, urlparse

from firedoor.collector import Blob, Collector
from firedoor.collectors import _globs, _names
from firedoor.errors import BadInput

UNFINISHED: Final = (".part", ".partial", ".tmp", ".crdownload")
"""How files end that something is still writing."""


def takes(url: str) -> bool:
    """Return whether it is a path."""
    return "://" not in url or url.startswith("file://")


def blobs(url: str, _since: datetime | None = None) -> Iterator[Blob]:
    """Yield the files, oldest first; hidden and unfinished ones are left out.

    When a file changed says nothing about when it came: it may be moved here with its old times. So
    none is left out for that, and asking for them costs nothing.
    """
    path = _path(url)
    if path.is_file():
        yield _blob(path)
        return
    found: list[Blob] = []
    for file in _files(path):
        with suppress(FileNotFoundError):  # it was removed or renamed while we looked around
            found.append(_blob(file))
    yield from sorted(found, key=lambda blob: (blob.modified, blob.name))


def open_(blob: Blob, offset: int) -> BinaryIO:
    """Return a stream of a file from an offset."""
    try:
        stream = Path(blob.name).open("rb")  # noqa: SIM115 - the caller closes it
    except OSError as error:
        raise _bad(Path(blob.name), error) from error
    stream.seek(offset)
    return stream


COLLECTOR = Collector(title="files and folders", takes=takes, blobs=blobs, open=open_)


def _path(url: str) -> Path:
    path = unquote(urlparse(url).path) if url.startswith("file://") else url
    # One name for one file, wherever we stand.
    return Path(path).expanduser().absolute()


def _files(path: Path) -> Iterator[Path]:
    if path.is_dir():
        yield from _below(path)
        return
    above, _, _ = _globs.root(str(path)).rpartition("/")
    folder = Path(above or "/")
    if not _globs.has_star(str(path)) or not folder.is_dir():
        raise BadInput("logs", str(path), "no such file or folder")
    fits = _globs.matcher(str(path))
    yield from (file for file in _below(folder) if fits(str(file)) or file.is_dir())


def _below(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder; through links too, but no folder twice.

    A folder that we may not look into is yielded itself, so that opening it says so.
    """
    seen: set[tuple[int, int]] = set()
    closed: set[Path] = set()

    def note(error: OSError) -> None:
        if Path(error.filename) == folder:
            raise _bad(folder, error)
        closed.add(Path(error.filename))

    for at, folders, files in os.walk(folder, followlinks=True, onerror=note):
        try:
            here = Path(at).stat()
        except FileNotFoundError:
            continue
        if (here.st_dev, here.st_ino) in seen:
            folders.clear()
            continue
        seen.add((here.st_dev, here.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in files:
            file = Path(at) / name
            hidden = name.startswith(".") or name.endswith(UNFINISHED)
            try:
                if not hidden and file.is_file():
                    yield file
            except PermissionError:  # names are shown, and nothing else
                closed.add(Path(at))
    yield from closed


def _bad(path: Path, error: OSError) -> BadInput:
    return BadInput("logs", str(path), f"{error.strerror}: expected a file that we may read")


def _blob(path: Path) -> Blob:
    state, (account, region) = path.stat(), _names.copied(path.as_posix())
    return Blob(
        # A name that is no text is named as far as it is, and cannot be opened.
        name=str(path).encode("utf-8", "backslashreplace").decode(),
        version=f"{state.st_size}-{state.st_mtime_ns}",
        size=state.st_size,
        modified=datetime.fromtimestamp(state.st_mtime, UTC),
        account=account,
        region=region,
    )
