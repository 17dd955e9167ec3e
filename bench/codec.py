#!/usr/bin/env python3
"""The codec alone: ours, compiled and in Python, beside `pickle` protocol 5 and erlang-py, on the same values.

    python bench/codec.py [--seconds S] [--without erlang-py,reference] [--json FILE]

Every measurement is one whole value to bytes, or back. The implementations take turns; each figure is the median of
its turns, in microseconds, and the ratio is to pickle. `S` (default 0.4) is the time that each cell of the table gets.

A value goes under the mapping that suits it: `list` is the default one (a `str` is a list of code points, a `dict` is
`{"dict", [{K, V}]}`), `binary` has strings as binaries and dicts as maps. What is read need not be what was written (a
`str` comes back as a list under the default mapping), so pickle reads the very value that ours reads. erlang-py has a
mapping of its own, and gets strings as bytes.
"""

from __future__ import annotations

import argparse
import json
import pickle
import platform
import random
import statistics
import sys
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "python"))

import erl.codec
from erl.codec import Options
from erl.terms import Atom

if TYPE_CHECKING:
    from collections.abc import Callable

    Cells = dict[str, Callable[[], object]]

LIST = Options.from_flags(0)
BINARY = Options.from_flags(3)
BYTES = Options.from_flags(4)
GRID = Options.from_flags(3 + 32)
COLUMNS = Options.from_flags(3 + 64)
ARROW = Options.from_flags(4 + 128)

MIN_TURNS, MAX_TURNS = 5, 2000


def frames() -> dict[str, tuple[Any, Options]]:
    """A frame of a million rows: times, floats, integers, truths, texts. Nothing where pandas is missing."""
    try:
        import numpy
        import pandas
    except ImportError:
        print("pandas is not installed here: no frames")
        return {}
    rows = 1_000_000
    rng = numpy.random.default_rng(1)
    frame = pandas.DataFrame(
        {
            "time": pandas.date_range("2020", periods=rows, freq="min"),
            "value": rng.random(rows),
            "count": rng.integers(0, 2**40, rows),
            "valid": rng.random(rows) > 0.5,
            "name": numpy.array([f"name {number}" for number in range(1000)])[rng.integers(0, 1000, rows)],
        }
    )
    return {
        "1M x 5 frame, grid": (frame, GRID),
        "1M x 5 frame, columns": (frame, COLUMNS),
        "1M x 5 frame, arrow": (frame, ARROW),
        "1M x 5 float64 array": (rng.random((rows, 5)), GRID),
    }


def payloads() -> dict[str, tuple[Any, Options]]:
    """Name to value and mapping."""
    rng = random.Random(1)
    words = [f"key{number}" for number in range(5)]
    records = [
        {
            words[0]: number,
            words[1]: number / 7,
            words[2]: f"name {number}",
            words[3]: number % 2 == 0,
            words[4]: None,
        }
        for number in range(10_000)
    ]
    nested: Any = [
        (Atom("point"), (number, (Atom("ok"), -number)), [Atom("a"), Atom("b")]) for number in range(20_000)
    ]
    strings = [f"string {number}" for number in range(100_000)]
    return {
        "100k ints": ([rng.randrange(-(2**31), 2**31) for _ in range(100_000)], LIST),
        "100k ints of 64 bits": ([rng.randrange(-(2**62), 2**62) for _ in range(100_000)], LIST),
        "100k floats": ([rng.random() for _ in range(100_000)], LIST),
        "10k dicts, list": (records, LIST),
        "10k dicts, binary": (records, BINARY),
        "20k nested tuples": (nested, LIST),
        "100k strings, list": (strings, LIST),
        "100k strings, binary": (strings, BINARY),
        "1 MB binary": (rng.randbytes(1_000_000), BYTES),
        "1000-digit int": (10**999 + 7, LIST),
        "tiny call": ((Atom("r"), 17, [1, "two", 3.0]), LIST),
        **frames(),
    }


def cells(value: Any, options: Options, left_out: set[str]) -> tuple[Cells, Cells]:
    """What to time, by implementation: encoding, decoding."""
    encode: Cells = {"pickle": lambda: pickle.dumps(value, 5)}
    read = erl.codec.decode(erl.codec.encode(value, options), options)
    same = isinstance(value, (list, tuple, bytes, int)) and read == value  # frames have no such comparison
    pickled = pickle.dumps(value if same else read, 5)
    decode: Cells = {"pickle": lambda: pickle.loads(pickled)}
    for name in ("native", "reference"):
        try:
            codec: Any = import_module(f"erl.codec.{name}")
        except ImportError:
            continue
        if name not in left_out:
            term = codec.encode(value, options)
            encode[name] = lambda codec=codec: codec.encode(value, options)
            decode[name] = lambda codec=codec, term=term: codec.decode(term, options)
    if "erlang-py" not in left_out:
        erlang: Any = import_module("erlang")
        theirs = as_erlang_py(value, erlang)
        try:
            term = erlang.term_to_binary(theirs)
            erlang.binary_to_term(term)
        except Exception:
            return encode, decode
        encode["erlang-py"] = lambda: erlang.term_to_binary(theirs)
        decode["erlang-py"] = lambda: erlang.binary_to_term(term)
    return encode, decode


def as_erlang_py(value: Any, erlang: Any) -> Any:
    """The value as erlang-py takes it: atoms of its own class, strings as bytes."""
    if isinstance(value, Atom):
        return erlang.OtpErlangAtom(str(value))
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, (list, tuple)):
        return type(value)(as_erlang_py(item, erlang) for item in value)
    if isinstance(value, dict):
        return {as_erlang_py(key, erlang): as_erlang_py(item, erlang) for key, item in value.items()}
    return value


def medians(work: Cells, seconds: float) -> dict[str, float]:
    """The median of each in microseconds; they take turns until each has had its time."""
    times: dict[str, list[float]] = {name: [] for name in work}
    spent = dict.fromkeys(work, 0.0)
    for turn in range(MAX_TURNS):
        due = [name for name in work if turn < MIN_TURNS or spent[name] < seconds]
        if not due:
            break
        for name in due:
            function = work[name]
            start = perf_counter()
            function()
            took = perf_counter() - start
            times[name].append(took)
            spent[name] += took
    return {name: statistics.median(taken) * 1e6 for name, taken in times.items()}


def main() -> None:
    """Measure, print, and write the figures where they were asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=0.4)
    parser.add_argument("--without", default="", help="implementations to leave out, by commas")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    left_out = set(asked.without.split(","))
    names = [name for name in ("native", "reference", "pickle", "erlang-py") if name not in left_out]
    found = []
    print(
        f"Python {platform.python_version()}, erlang-py {version('erlang_py')}; medians in µs, and native to pickle"
    )
    print(f"{'':24}{'':8}" + "".join(f"{name:>13}" for name in names) + f"{'ratio':>9}")
    for title, (value, options) in payloads().items():
        for way, work in zip(("encode", "decode"), cells(value, options, left_out), strict=True):
            taken = medians(work, asked.seconds)
            found.append({"payload": title, "way": way, "median_us": taken})
            row = "".join(f"{taken[name]:13,.1f}" if name in taken else f"{'':13}" for name in names)
            ratio = f"{taken['native'] / taken['pickle']:9.2f}" if "native" in taken else ""
            print(f"{title:24}{way:8}{row}{ratio}", flush=True)
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
