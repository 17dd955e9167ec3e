"""The golden vectors: the same bytes, terms and values for both halves (`tests/vectors`)."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import NamedTuple

import pytest
from beams import Beam, exact

from erl import errors, haystack, terms
from erl.codec import Options, decode, encode, reference
from erl.values import plain

VECTORS = Path(__file__).parents[2] / "vectors"
NAMES = {
    **vars(haystack),
    **vars(terms),
    "plain": plain,
    **{
        name: importlib.import_module(name)
        for name in ("collections", "datetime", "decimal", "fractions", "uuid", "zoneinfo")
    },
}


class Vector(NamedTuple):
    name: str
    direction: str
    options: Options
    term: bytes
    erlang: str
    python: str

    def value(self) -> object:
        return eval(self.python, dict(NAMES))


def rows(file: str) -> list[list[str]]:
    lines = (VECTORS / file).read_text().splitlines()
    return [line.split("\t") for line in lines if line and not line.startswith("#")]


VECTOR_ROWS = [
    Vector(name, direction, Options.from_flags(int(flags)), bytes.fromhex(term), erlang, python)
    for name, direction, flags, term, erlang, python in rows("terms.txt")
]
READ = [vector for vector in VECTOR_ROWS if vector.direction != "encode"]
WRITTEN = [vector for vector in VECTOR_ROWS if vector.direction != "decode"]
REFUSED = rows("refused.txt")


def test_names_are_not_repeated() -> None:
    names = [vector.name for vector in VECTOR_ROWS]
    assert len(set(names)) == len(names) > 100


@pytest.mark.parametrize("vector", READ, ids=lambda vector: vector.name)
def test_vector_is_read_as_its_value(vector: Vector) -> None:
    assert exact(decode(vector.term, vector.options)) == exact(vector.value())


def test_bits_of_no_bytes_are_read() -> None:
    """Erlang up to OTP 26 reads them so, later ones refuse them; none writes them. So they are no vector."""
    term = b"\x83M\0\0\0\0\0"
    for codec in (decode, reference.decode):
        assert exact(codec(term, Options.from_flags(4))) == exact(b"")


@pytest.mark.parametrize("vector", WRITTEN, ids=lambda vector: vector.name)
def test_value_is_written_as_its_vector(vector: Vector) -> None:
    assert reference.encode(vector.value(), vector.options) == vector.term


@pytest.mark.parametrize("vector", WRITTEN, ids=lambda vector: vector.name)
def test_value_is_written_as_the_term_of_its_vector(vector: Vector, beam: Beam) -> None:
    assert beam.same(encode(vector.value(), vector.options), vector.term)


@pytest.mark.parametrize("vector", VECTOR_ROWS, ids=lambda vector: vector.name)
def test_vector_is_its_term_for_erlang(vector: Vector, beam: Beam) -> None:
    assert beam.same(vector.term, beam.evaluate(vector.erlang + "."))


@pytest.mark.parametrize("vector", READ, ids=lambda vector: vector.name)
def test_term_that_was_read_is_the_same_term_when_written(vector: Vector, beam: Beam) -> None:
    """With maps for dicts: a map is no form, and comes in and goes out as itself. Forms have other
    spellings.
    """
    options = Options.from_flags(6) if vector.options.tagged else vector.options
    term = encode(decode(vector.term, options), options)
    assert beam.same(encode(decode(beam.echo(term), options), options), term)


@pytest.mark.parametrize("row", REFUSED, ids=lambda row: row[0])
def test_bytes_are_refused_with_the_reason(row: list[str]) -> None:
    _name, flags, term, why = row
    with pytest.raises(errors.DecodeError) as caught:
        decode(bytes.fromhex(term), Options.from_flags(int(flags)))
    assert why in str(caught.value)


def test_old_fun_is_kept_as_it_came() -> None:
    """FUN_EXT (117), which releases before 23 wrote, is in no vector: this Erlang does not read it any
    more.
    """
    pid = b"g" + b"s\x01n" + bytes(9)
    fun = b"u\0\0\0\2" + pid + b"w\x01m" + b"a\1" + b"b\0\1\0\0" + b"h\1j" + b"k\0\1x"
    value = decode(b"\x83" + fun, Options.from_flags(0))
    assert value == terms.Fun(fun)
    assert encode(value, Options.from_flags(0)) == b"\x83" + fun
