"""Zip archives of sources: nothing of one lies outside, leads outside, or is larger than it says and may be."""

from __future__ import annotations

import os
import stat
import zipfile
import zlib

from erl import errors

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from typing import Final

_MOST_RATIO: Final = 100
"""How many times as large an archive may become; what is small may be more."""
_SMALL_BYTES: Final = 1 << 20
_MOST_DEPTH: Final = 32
_MOST_ARCHIVE_BYTES: Final = 256 << 20
_CHUNK: Final = 1 << 16


def read(path: str, content: str, most_files: int, most_bytes: int) -> None:
    """Make the folder `content` of an archive. Raises `errors.EntityError`, and nothing else for its bytes."""
    try:
        size = os.path.getsize(path)
        if size > _MOST_ARCHIVE_BYTES:
            raise errors.EntityError(f"{path}: an archive has at most {_MOST_ARCHIVE_BYTES >> 20} MiB")
        with zipfile.ZipFile(path) as archive:
            _extract(
                archive, path, content, most_files, min(most_bytes, max(_SMALL_BYTES, size * _MOST_RATIO))
            )
    except errors.EntityError:
        raise
    except (zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, EOFError) as error:
        raise errors.EntityError(f"{path} is no zip that can be read: {error}") from error
    except (
        NotImplementedError,
        RuntimeError,
        ValueError,
        OverflowError,
    ) as error:  # a password, another method
        raise errors.EntityError(f"{path} can't be read: {error}") from error
    except OSError as error:
        raise errors.EntityError(f"{path} can't be unpacked: {error}") from error


def _extract(archive: zipfile.ZipFile, path: str, content: str, most_files: int, most_bytes: int) -> None:
    entries = archive.infolist()
    if len(entries) > most_files:
        raise errors.EntityError(f"{path} has {len(entries):,} entries: a source has at most {most_files:,}")
    if sum(entry.file_size for entry in entries) > most_bytes:
        raise errors.EntityError(
            f"{path} would have more than {most_bytes:,} bytes unpacked: a source has at most 64 MiB, and at most "
            f"{_MOST_RATIO} times what its archive has"
        )
    os.mkdir(content, 0o700)
    left = most_bytes
    for entry in entries:
        parts = _parts(entry, path)
        if not parts:
            continue
        target = os.path.join(content, *parts)
        if entry.is_dir():
            os.makedirs(target, 0o700, exist_ok=True)
            continue
        os.makedirs(os.path.dirname(target), 0o700, exist_ok=True)
        with archive.open(entry) as packed, open(target, "xb") as file:
            while part := packed.read(_CHUNK):
                left -= len(part)
                if left < 0:
                    raise errors.EntityError(f"{path} is larger than it says: more than {most_bytes:,} bytes")
                file.write(part)


def _parts(entry: zipfile.ZipInfo, path: str) -> list[str]:
    """The parts of an entry's name. Raises `errors.EntityError` for what is no file or folder in this archive."""
    name = entry.orig_filename
    parts = [part for part in name.split("/") if part not in ("", ".")]
    kind = stat.S_IFMT(entry.external_attr >> 16)
    why = None
    if name.startswith("/") or "\\" in name or (parts and ":" in parts[0]):
        why = "its name is absolute"
    elif ".." in parts:
        why = "its name leads out of the archive"
    elif "\0" in name:
        why = "its name has a zero"
    elif len(parts) > _MOST_DEPTH:
        why = f"it lies more than {_MOST_DEPTH} folders deep"
    elif kind == stat.S_IFLNK:
        why = "it is a link"
    elif kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        why = "it is a device, or a pipe"
    if why is not None:
        raise errors.EntityError(f"{path}: {name!r:.100} is refused: {why}")
    return parts
