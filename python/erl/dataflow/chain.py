"""Operations that are one task: items go from step to step in batches, lists of a megabyte or of few thousand items.

A function of the user's that raises is said with where: the operation, and the number of the item in its partition. So
what it raises is wrapped (`Located`), and no function behind it may take that for its own.
"""

from __future__ import annotations

import pickle
from itertools import islice
from time import monotonic

from erl.dataflow import extents, seeds
from erl.dataflow.context import Collector

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any, Final

    Batches = Iterator[list[Any]]

CAUGHT: Final = (Exception, SystemExit)
"""What a function of the user's may raise. Interrupts and cancelled calls go through."""
_AT_ONCE_SECONDS: Final = 0.005
"""Items of a slow source are not waited for longer."""


class Located(BaseException):
    """What a function raised, and where; no `Exception`, so that functions behind it let it through."""

    def __init__(self, error: BaseException, step: Step, item: int | None) -> None:
        super().__init__(error)
        self.error = error
        self.step = step
        self.item = item


class Step:
    """One operation of a task."""

    __slots__ = ("function", "id", "inputs", "kind", "name", "options", "parallelism", "positional", "text")

    def __init__(
        self,
        kind: str,
        id: int,  # noqa: A002
        name: str,
        text: str,
        parallelism: int,
        function: Any,
        positional: int,
        inputs: dict[str, str],
        options: dict[str, Any],
    ) -> None:
        self.kind = kind
        self.id = id
        self.name = name
        self.text = text
        self.parallelism = parallelism
        self.function = function
        self.positional = positional
        """How many arguments the function takes."""
        self.inputs = inputs
        """Which input of the task has which name here."""
        self.options = options

    def open(self) -> Step:
        """Have its functions be functions; on their way they are pickles."""
        if type(self.function) is bytes:
            self.function = pickle.loads(self.function)
        comparator = self.options.get("comparator")
        if type(comparator) is bytes:
            self.options["comparator"] = pickle.loads(comparator)
        return self

    def __reduce__(self) -> Any:
        return Step, tuple(
            getattr(self, name)
            for name in (
                "kind",
                "id",
                "name",
                "text",
                "parallelism",
                "function",
                "positional",
                "inputs",
                "options",
            )
        )


def through(
    batches: Batches, steps: Iterable[Step], context: Callable[[Step], Any], stop: Any = None
) -> Batches:
    """What comes out behind these steps, until nobody wants it any more (`stop`)."""
    if stop is not None:
        batches = watched(batches, stop)
    maps: list[tuple[Callable[[Any], Any], Step]] = []
    for step in steps:
        function = step.function
        if step.kind != "map" and maps:
            batches, maps = _map(maps, batches, stop), []
        if step.kind in ("map", "sink", "for_each"):
            call = _with_context(function, context(step)) if step.positional > 1 else function
            if step.kind == "map":
                maps.append((call, step))
            else:
                batches = _each(call, batches, step)
        elif step.kind == "flat_map":
            if step.positional > 1:
                own = context(step) if step.positional > 2 else None
                call = _collecting(function, own)
            else:
                call = function
            batches = _flat_map(call, batches, step)
        else:
            batches = _compute(function, batches, step, context(step))
        if stop is not None and not maps:
            batches = watched(batches, stop)
    return _map(maps, batches, stop) if maps else batches


def _with_context(function: Callable[..., Any], context: Any) -> Callable[[Any], Any]:
    return lambda item: function(item, context)


def _collecting(function: Callable[..., Any], context: Any) -> Callable[[Any], Any]:
    def collected(item: Any) -> Any:
        collector = Collector()
        more = function(item, collector) if context is None else function(item, collector, context)
        return collector.items if more is None else [*collector.items, *more]

    return collected


def _map(maps: list[tuple[Callable[[Any], Any], Step]], batches: Batches, stop: Any) -> Batches:
    """One after another, however many they are: generators inside one another would reach the recursion limit."""
    done, most = 0, 1
    for batch in batches:
        at = 0
        while at < len(batch):
            made = batch if not at and most >= len(batch) else batch[at : at + most]
            size, most = len(made), extents.MOST_ITEMS
            for function, step in maps:
                part: Any = iter(made)
                try:
                    made = [function(item) for item in part]
                except CAUGHT as error:
                    raise Located(error, step, done + size - part.__length_hint__() - 1) from None
                most = min(most, extents.room(made[-1]))
                if stop is not None and stop.is_set():
                    raise StoppedError
            at += size
            done += size
            yield made


def _each(function: Callable[[Any], Any], batches: Batches, step: Step) -> Batches:
    done = 0
    for batch in batches:
        part: Any = iter(batch)
        try:
            for item in part:
                function(item)
        except CAUGHT as error:
            raise Located(error, step, done + len(batch) - part.__length_hint__() - 1) from None
        done += len(batch)
    yield from ()


def _flat_map(function: Callable[[Any], Any], batches: Batches, step: Step) -> Batches:
    done, most = 0, 1
    out: list[Any] = []
    for batch in batches:
        part: Any = iter(batch)
        try:
            for item in part:
                made = function(item)
                if type(made) is list or type(made) is tuple:
                    out += made
                else:
                    produced = iter(made)
                    while taken := list(islice(produced, most)):
                        out += taken
                        if len(out) >= most:
                            yield out
                            most, out = extents.room(taken[-1]), []
                if len(out) >= most:
                    most = extents.room(out[-1])
                    for at in range(0, len(out), max(most, extents.MOST_ITEMS)):
                        yield out if len(out) <= most else out[at : at + max(most, extents.MOST_ITEMS)]
                    out = []
        except CAUGHT as error:
            raise Located(error, step, done + len(batch) - part.__length_hint__() - 1) from None
        done += len(batch)
    if out:
        yield out


class _Flow:
    """The items of a partition one by one, as a function that computes has them."""

    def __init__(self, batches: Batches) -> None:
        self._batches = batches
        self._done = 0
        self._part: Any = iter(())
        self._size = 0

    def __iter__(self) -> Iterator[Any]:
        for batch in self._batches:
            self._done += self._size
            self._size = len(batch)
            self._part = iter(batch)
            yield from self._part

    @property
    def index(self) -> int | None:
        """The number of the item that was taken last."""
        taken = self._done + self._size - self._part.__length_hint__()
        return taken - 1 if taken else None


def _compute(function: Callable[..., Any], batches: Batches, step: Step, context: Any) -> Batches:
    flow = _Flow(batches)
    collector = Collector()
    try:
        if step.positional >= 3:
            function(iter(flow), collector, context)
            made = collector.items
        elif step.positional == 2:
            made = [function(iter(flow), context)]
        else:
            made = [function(iter(flow))]
    except CAUGHT as error:
        raise Located(error, step, flow.index) from None
    if made:
        yield made


def drawn(items: Iterator[Any], step: Step) -> Batches:
    """The items of a source, as they come."""
    done, most = 0, 1
    batch: list[Any] = []
    end = monotonic() + _AT_ONCE_SECONDS
    try:
        for item in items:
            batch.append(item)
            if len(batch) >= most or monotonic() > end:
                most = extents.room(item)
                done += len(batch)
                yield batch
                batch = []
                end = monotonic() + _AT_ONCE_SECONDS
    except CAUGHT as error:
        its_own = error.__cause__ if isinstance(error, seeds.SourceStoppedError) else None
        raise Located(its_own or error, step, done + len(batch)) from None
    if batch:
        yield batch


class StoppedError(BaseException):
    """Raised in a thread of the driver's where nobody wants the task any more."""


def watched(batches: Batches, stop: Any) -> Batches:
    """The same, until nobody wants it any more."""
    for batch in batches:
        if stop.is_set():
            raise StoppedError
        yield batch


def folded(function: Callable[[Any, Any], Any], batches: Batches, step: Step) -> list[Any]:
    """All items folded into one, in their order; of none, none."""
    found: list[Any] = []
    done = 0
    for batch in batches:
        if not batch:
            continue
        part: Any = iter(batch)
        try:
            value = found[0] if found else next(part)
            for item in part:
                value = function(value, item)
        except CAUGHT as error:
            raise Located(error, step, done + len(batch) - part.__length_hint__() - 1) from None
        found = [value]
        done += len(batch)
    return found


def folded_tree(function: Callable[[Any, Any], Any], values: list[list[Any]], step: Step) -> list[Any]:
    """What the partitions were folded into, folded pairwise, neighbours first: their number alone decides which."""
    while len(values) > 1:
        pairs = [values[at : at + 2] for at in range(0, len(values), 2)]
        values = [_both(function, pair, step) for pair in pairs]
    return values[0] if values else []


def _both(function: Callable[[Any, Any], Any], pair: list[list[Any]], step: Step) -> list[Any]:
    both = [value for values in pair for value in values]
    if len(both) < 2:
        return both
    try:
        return [function(*both)]
    except CAUGHT as error:
        raise Located(error, step, None) from None
