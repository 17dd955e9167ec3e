"""Encoders that user code registers: found by type, trusted with nothing."""

from __future__ import annotations

import abc
from typing import Any

import pytest

from erl import encoders, errors
from erl.codec import Options, decode, encode
from erl.terms import Atom

pytestmark = pytest.mark.usefixtures("registered", "key")

DEFAULT = Options.from_flags(0)
PLAIN = Options.from_flags(20)


class Point:
    def __init__(self, x: int, y: int) -> None:
        self.x, self.y = x, y


class Dot(Point):
    pass


def as_tuple(point: Point) -> Any:
    return Atom("point"), (point.x, point.y)


POINT = (Atom("point"), (1, 2))


def there_and_back(value: Any, options: Options = DEFAULT) -> Any:
    return decode(encode(value, options), options)


def test_registered_type_is_encoded_by_its_encoder_at_any_depth() -> None:
    encoders.register(Point, as_tuple)
    assert there_and_back([Point(1, 2), {1: (Point(1, 2),)}]) == [POINT, {1: (POINT,)}]


def test_subclass_is_encoded_by_the_encoder_of_its_base() -> None:
    encoders.register(Point, as_tuple)
    assert there_and_back(Dot(1, 2)) == POINT


def test_encoder_of_the_nearest_class_wins() -> None:
    encoders.register(Point, as_tuple)
    encoders.register(Dot, lambda dot: Atom("dot"))
    assert there_and_back([Point(1, 2), Dot(1, 2)]) == [POINT, "dot"]


def test_abstract_base_class_finds_its_members() -> None:
    class Planar(abc.ABC):  # noqa: B024
        """Has a place in the plane."""

    Planar.register(Dot)
    encoders.register(Planar, as_tuple)
    assert there_and_back([Dot(1, 2)]) == [POINT]


def test_register_can_decorate() -> None:
    @encoders.register(Point)
    def short(point: Point) -> Any:
        return point.x

    assert short(Point(3, 4)) == 3
    assert there_and_back(Point(3, 4)) == 3
    assert encoders.lookup(Point) is short


def test_later_registration_replaces_an_earlier_one_even_after_its_use() -> None:
    encoders.register(Point, as_tuple)
    assert there_and_back(Point(1, 2)) == POINT
    encoders.register(Point, lambda point: point.y)
    assert there_and_back(Point(1, 2)) == 2


def test_unregistered_type_is_what_it_was() -> None:
    encoders.register(Point, as_tuple)
    encoders.unregister(Point)
    assert type(there_and_back(Point(1, 2))) is Point
    assert encoders.lookup(Point) is None
    with pytest.raises(LookupError, match="Point"):
        encoders.unregister(Point)


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        (type(value), value)
        for value in (7, 10**30, 1.5, "a", b"a", [1, 2], (1,), {1: 2}, True, None, {1}, 1j, Atom("a"))
    ],
)
@pytest.mark.parametrize("flags", [0, 3])
def test_encoder_wins_over_what_the_codec_does_with_a_type(type_: type, value: Any, flags: int) -> None:
    options = Options.from_flags(flags)
    encoders.register(type_, lambda value: BitFlag())
    encoders.register(BitFlag, lambda value: 1.25 if type_ is not float else 5)
    expected = 5 if type_ is float else 1.25
    assert there_and_back(value, options) == expected
    if type_ not in (list, tuple, dict):
        assert there_and_back([value] * 20, options) == [expected] * 20
        assert there_and_back((value, (value,)), options) == (expected, (expected,))
    if type_ not in (dict, int, tuple, list):
        assert there_and_back({1: value}, options) == {1: expected}


class BitFlag:
    """What the encoders of built-in types return here."""


def test_key_is_encoded_by_its_encoder() -> None:
    encoders.register(Point, as_tuple)
    point = Point(1, 2)
    for flags in (0, 2, 3):
        assert there_and_back({point: 1}, Options.from_flags(flags)) == {POINT: 1}


def test_keys_that_their_encoder_makes_one_term_are_an_error() -> None:
    encoders.register(Point, as_tuple)
    with pytest.raises(errors.EncodeError, match="same term"):
        encode({Point(1, 2): 1, Point(1, 2): 2}, Options.from_flags(2))


class Mute(Exception):
    def __str__(self) -> str:
        raise ZeroDivisionError


@pytest.mark.parametrize(
    "error", [ValueError("no"), Mute(), RecursionError("deep"), errors.DecodeError("inner")]
)
def test_encoder_that_raises_is_an_error_that_names_the_type_and_the_cause(error: Exception) -> None:
    def fail(point: Point) -> Any:
        raise error

    encoders.register(Point, fail)
    with pytest.raises(errors.EncodeError, match=f"encoder of Dot failed: {type(error).__name__}") as caught:
        encode([Dot(1, 2)], DEFAULT)
    assert caught.value.__cause__ is error


def test_encoder_that_returns_its_own_type_is_an_error() -> None:
    encoders.register(Point, lambda point: point)
    with pytest.raises(errors.EncodeError, match="nested more than"):
        encode(Point(1, 2), DEFAULT)


def test_encoder_that_changes_the_list_it_is_in_breaks_nothing() -> None:
    values: list[Any] = [Point(1, 2), 1, 2, 3]
    encoders.register(Point, lambda point: values.clear())
    assert there_and_back(values) == [None, 1, 2, 3]


def test_interrupt_in_an_encoder_goes_through() -> None:
    def interrupt(point: Point) -> Any:
        raise errors.CallCancelled

    encoders.register(Point, interrupt)
    with pytest.raises(errors.CallCancelled):
        encode(Point(1, 2), DEFAULT)


def test_plain_mapping_knows_no_encoders() -> None:
    encoders.register(Point, as_tuple)
    encoders.register(int, lambda number: Atom("number"))
    assert type(there_and_back(Point(1, 2), PLAIN)) is Point
    assert there_and_back([1, 2], PLAIN) == [1, 2]


@pytest.mark.parametrize(("type_", "function"), [(1, as_tuple), (Point, 1)])
def test_what_is_no_type_or_no_function_is_refused(type_: Any, function: Any) -> None:
    with pytest.raises(TypeError, match="register"):
        encoders.register(type_, function)


def test_set_encoder_sees_a_result_once_and_whole() -> None:
    assert encoders.apply([1]) == [1]
    encoders.set_encoder(lambda value: ("seen", value))
    assert encoders.apply([1]) == ("seen", [1])
    encoders.set_encoder(None)
    assert encoders.apply([1]) == [1]


def test_encoder_is_in_force_while_another_one_is_registered() -> None:
    found: list[Any] = []

    class Asking(type):
        """Asks for the encoder of points whenever it is looked at."""

        def __getattr__(cls, name: str) -> Any:
            found.append(encoders.lookup(Point))
            raise AttributeError(name)

    encoders.register(Point, as_tuple)
    encoders.register(Asking("Looked", (), {}), as_tuple)
    assert set(found) == {as_tuple}
