"""Both codecs at once: what the one reads and writes, the other does."""

from __future__ import annotations

from typing import Any

from beams import exact

from erl.codec import Options, reference

try:
    from erl.codec import native

    CODECS: list[Any] = [reference, native]
except ImportError:
    CODECS = [reference]

RAW = Options.from_flags(4)


def read(term: bytes, options: Options) -> Any:
    """What both codecs read."""
    found = [codec.decode(term, options) for codec in CODECS]
    assert all(exact(value) == exact(found[0]) for value in found)
    return found[0]


def written(value: Any, options: Options) -> bytes:
    """What both codecs write. (They may spell a list of code points differently.)"""
    found = [codec.encode(value, options) for codec in CODECS]
    if found[0] != found[-1]:
        assert exact(reference.decode(found[0], RAW)) == exact(reference.decode(found[-1], RAW))
    return found[-1]
