"""The numbers that sources draw: of one run, set and partition always the same, of any other ones different.

`random` and the functions of `numpy.random` draw from a state of the process's. A source finds its own there, whenever
it is asked for items, and what was there before is put back: threads that share the process draw nothing from each
other's, and a program that computes in its own process goes on with its own numbers.
"""

from __future__ import annotations

import hashlib
import random
import sys
import threading
from time import monotonic

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, Final

_WORDS: Final = 8
_MOST_AT_ONCE: Final = 256
_AT_ONCE_SECONDS: Final = 0.002

_lock = threading.RLock()


class SourceStoppedError(Exception):
    """Carries a `StopIteration` of a source's out of a generator, where it would be something else: as its cause."""


def seeded(source: Any, seed: int, set_id: int, index: int, is_shared: bool) -> Iterator[Any]:
    """The items of a source, which draws its own numbers; `is_shared`: others may draw between two of them."""
    digest = hashlib.blake2b(f"{seed}:{set_id}:{index}".encode(), digest_size=4 * _WORDS).digest()
    if is_shared:
        yield from _taking_turns(source, digest)
        return
    _seed(digest)
    hook = _Hook(digest)
    try:
        has_next, next_ = source.has_next, source.next
        while has_next():
            yield next_()
    except StopIteration as error:
        raise SourceStoppedError from error
    finally:
        hook.close()


def _seed(digest: bytes) -> None:
    random.seed(int.from_bytes(digest, "big"))
    if "numpy.random" in sys.modules:
        _seed_numpy(sys.modules["numpy.random"], digest)


def _seed_numpy(module: Any, digest: bytes) -> None:
    words = [int.from_bytes(digest[at : at + 4], "big") for at in range(0, len(digest), 4)]
    module.seed(words)


def _taking_turns(source: Any, digest: bytes) -> Iterator[Any]:
    """A few items at a time, with the state put there before and what was there put back behind them. What the source
    raises comes behind the items that it gave before.
    """
    state: Any = None
    failure: Exception | None = None
    is_more = True
    while is_more:
        items: list[Any] = []
        with _lock:
            before = _taken()
            hook = None
            try:
                if state is None:
                    _seed(digest)
                    hook = _Hook(digest)
                else:
                    _put(state)
                is_more = _fill(items, source)
                state = _taken()
            except Exception as error:  # the door around user code
                failure = error
            finally:
                if hook is not None:
                    hook.close()
                _put(before)
        yield from items
        if isinstance(failure, StopIteration):
            raise SourceStoppedError from failure
        if failure is not None:
            raise failure


def _fill(items: list[Any], source: Any) -> bool:
    """Take some items; whether there may be more."""
    end = monotonic() + _AT_ONCE_SECONDS
    while len(items) < _MOST_AT_ONCE:
        if not source.has_next():
            return False
        items.append(source.next())
        if monotonic() > end:
            return True
    return True


def _taken() -> tuple[Any, Any]:
    numpy_random = sys.modules.get("numpy.random")
    return random.getstate(), None if numpy_random is None else numpy_random.get_state()


def _put(state: tuple[Any, Any]) -> None:
    random.setstate(state[0])
    if state[1] is not None:
        sys.modules["numpy.random"].set_state(state[1])


class _Hook:
    """Seeds numpy as soon as the source imports it."""

    def __init__(self, digest: bytes) -> None:
        self._digest = digest
        self._is_open = "numpy.random" not in sys.modules
        if self._is_open:
            sys.meta_path.insert(0, self)

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """As a finder's: that of numpy's, with a loader that seeds."""
        if name != "numpy.random":
            return None
        self.close()
        import importlib.util

        spec = importlib.util.find_spec(name)
        loader: Any = None if spec is None else spec.loader
        if loader is not None:
            run: Callable[[Any], None] = loader.exec_module

            def seeding(module: Any) -> None:
                run(module)
                _seed_numpy(module, self._digest)

            loader.exec_module = seeding
        return spec

    def close(self) -> None:
        """Look no more."""
        if self._is_open:
            self._is_open = False
            if self in sys.meta_path:
                sys.meta_path.remove(self)
