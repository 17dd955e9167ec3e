"""Python objects as bytes: pickles, signed with the key of the application that started this interpreter.

A pickle is code that runs when it is read. So 32 bytes of keyed BLAKE2b follow its STOP opcode, and what
bears no valid signature is refused before it is unpickled. `pickle.loads` passes over what follows STOP, so
readers that know nothing of the signature still work. This module does not know terms.
"""

from __future__ import annotations

from _operator import _compare_digest as _is_same

from erl import errors
from erl.values import callout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, Final

SIGNATURE_BYTES: Final = 32
MAX_KEY_BYTES: Final = 64

_PROTOCOL: Final = 5

_NOT_ITS_OWN: Final = (MemoryError, errors.StaleReferenceError, errors.CallCancelled, KeyboardInterrupt)
"""What is raised while a value is pickled, and is not the value's fault: a limit, an interruption."""

_by_name: tuple[Callable[..., bytes], type[Exception]] | None = None


class Pickles:
    """The keys and the policy of a conversation, and pickles under them."""

    __slots__ = ("_former", "_key", "_policy")

    def __init__(self) -> None:
        self._key: bytes | None = None
        self._former: tuple[bytes, ...] = ()
        self._policy = "signed"

    def set_key(self, key: bytes | None, former: Iterable[bytes] = ()) -> None:
        """Sign with this key (1 to 64 bytes) and accept what it, or one of the `former` ones, signed; None: sign
        nothing, accept nothing signed.

        Raises ValueError for a key of another length.
        """
        former = tuple(former)
        for each in former if key is None else (key, *former):
            if not 1 <= len(each) <= MAX_KEY_BYTES:
                raise ValueError(f"a key has 1 to {MAX_KEY_BYTES} bytes, this one has {len(each)}")
        self._key = key
        self._former = former

    def set_policy(self, policy: str) -> None:
        """Which pickles `loads` reads: those signed with the key or a former one (as at the start), or any.
        Raises ValueError for others.
        """
        if policy not in ("signed", "any"):
            raise ValueError(f'the policy is "signed" or "any", not {policy!r}')
        self._policy = policy

    def dumps(self, value: object, protocol: int = _PROTOCOL) -> bytes:
        """The pickle of `value`, and its signature where there is a key.

        Functions and classes that another interpreter can't find by name go by value, with cloudpickle. Raises
        `NotPicklableError` for what can't be pickled: what is linked too deep for `pickle`, too, and what has a
        `__reduce__` of its own that fails, whatever it raises; `EncodeError` where there is no memory for the pickle.
        """
        what = f"pickling a {type(value).__name__}"
        return self.signed(callout.run(errors.EncodeError, what, _pickled, value, protocol))

    def loads(self, data: bytes, *, unsigned: bool = False) -> object:
        """The object in `data`; `unsigned` accepts it without a signature, as the policy "any" does.

        Raises `DecodeError` for a missing or wrong signature and for a pickle that can't be read.
        """
        if not unsigned:
            self.verify(data)
        import pickle

        return callout.run(errors.DecodeError, "reading an opaque Python object", pickle.loads, data)

    def signed(self, pickled: bytes) -> bytes:
        """The pickle with its signature behind it, where there is a key."""
        return pickled if self._key is None else pickled + _signature(self._key, pickled)

    def verify(self, data: bytes) -> None:
        """Raises `DecodeError` for a missing or wrong signature, unless the policy is "any"."""
        if self._policy == "any":
            return
        if self._key is None:
            raise errors.DecodeError(
                "an opaque Python object was refused: there is no key here to verify it (pickle => any accepts it)"
            )
        end = max(0, len(data) - SIGNATURE_BYTES)
        pickled, signature = memoryview(data)[:end], data[end:]
        if not any(_is_same(_signature(key, pickled), signature) for key in (self._key, *self._former)):
            raise errors.DecodeError(
                "an opaque Python object was refused: no worker of this application signed it"
                " (pickle => any accepts it)"
            )


def _signature(key: bytes, pickled: bytes | memoryview) -> bytes:
    try:
        # What hashlib and hmac give, for less. Like `pickle` it is imported with the first pickle.
        from _blake2 import blake2b
    except ImportError:  # a Python without hash functions of its own
        from hashlib import blake2b
    return blake2b(pickled, digest_size=SIGNATURE_BYTES, key=key).digest()


def _pickled(value: object, protocol: int) -> bytes:
    dump, unnamed_error = named_pickler()
    try:
        return dump(value, protocol)
    except unnamed_error as cause:
        return _pickled_by_value(value, protocol, cause)
    except _NOT_ITS_OWN:
        raise
    except BaseException as cause:  # of a `__reduce__`, a `__getstate__`, a property
        raise _not_picklable(value, cause) from cause


def _pickled_by_value(value: object, protocol: int, unnamed: Exception) -> bytes:
    from erl.values import by_value

    try:
        pickler = by_value.pickler()
    except ImportError:
        raise _not_picklable(value, unnamed) from unnamed
    return pickled_by(pickler, value, protocol)


def pickled_by(pickler: Any, value: object, protocol: int = _PROTOCOL) -> bytes:
    """What such a pickler makes of a value. Raises `NotPicklableError` whatever code of the value's own raises."""
    import io

    stream = io.BytesIO()
    try:
        pickler(stream, protocol).dump(value)
    except _NOT_ITS_OWN:
        raise
    except BaseException as cause:  # of a `__reduce__`, a `__getstate__`, a property
        raise _not_picklable(value, cause) from cause
    return stream.getvalue()


def _not_picklable(value: object, cause: BaseException) -> errors.NotPicklableError:
    return errors.NotPicklableError(f"a {type(value).__name__} can't be pickled: {callout.described(cause)}")


def named_pickler() -> tuple[Callable[..., bytes], type[Exception]]:
    """See `_named_pickler`; made once."""
    global _by_name
    if _by_name is None:
        _by_name = _named_pickler()
    return _by_name


def _named_pickler() -> tuple[Callable[..., bytes], type[Exception]]:
    """A `pickle.dumps`, and what it raises for functions and classes that others would not find by their names.

    It takes a callback for buffers behind the protocol. (Other things that `pickle` refuses and cloudpickle does not,
    such as an open file, which it would replace by a copy of the content, are none of cloudpickle's business here.)
    """
    import io
    import pickle
    import sys
    import types

    class UnnamedError(pickle.PicklingError):
        pass

    def has_name(value: Any) -> bool:
        found: Any = sys.modules.get(value.__module__)
        for name in value.__qualname__.split("."):
            found = getattr(found, name, None)
        return found is value and value.__module__ != "__main__"

    class NamedPickler(pickle.Pickler):
        def reducer_override(self, value: Any) -> Any:
            if (
                isinstance(value, (type, types.FunctionType))
                and value not in singletons
                and not has_name(value)
            ):
                raise UnnamedError(f"{value.__qualname__} has no name that other interpreters know")
            return NotImplemented

    def dump(value: Any, protocol: int, buffers: Any = None) -> bytes:
        stream = io.BytesIO()
        NamedPickler(stream, protocol, buffer_callback=buffers).dump(value)
        return stream.getvalue()

    singletons = (type(None), type(NotImplemented), type(...))  # pickle knows these types by their values
    return dump, UnnamedError
