"""What the runner has workers do: run a stage for one partition, hand out what is kept, drop it.

What a task leaves stays here, or is in blocks; what it answers is small: names and counts. It answers, and raises not,
what the runner has to see to: that a partition is missing, that a function of the user's has raised.
"""

from __future__ import annotations

import os
import pickle
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from erl.dataflow import blocks, chain, exchange, extents, output, seeds
from erl.dataflow.context import TSetContext
from erl.dataflow.fresh import fresh
from erl.dataflow.inputs import Given, Input, MissingError, WantedError
from erl.dataflow.store import own_limit, store
from erl.values import unpickled

if TYPE_CHECKING:
    from collections.abc import Iterator

    from erl.dataflow.blocks import Place
    from erl.dataflow.chain import Batches, Step
    from erl.dataflow.store import Key

DONE, MISSING, GONE, WANTED, RAISED = "done", "missing", "gone", "wanted", "raised"

_MOST_SPECS = 64
_BLOCK_BYTES = 32 << 20
"""Of items, before a block of them is written."""
_specs: OrderedDict[tuple[str, int], Spec] = OrderedDict()


class Setup:
    """What all tasks of an environment have in common."""

    def __init__(
        self,
        env: str,
        config: dict[str, Any],
        seed: int,
        limit: int | None,
        lease: str | None,
        place: Place | None,
        is_local: bool,
    ) -> None:
        self.env = env
        self.config = config
        self.seed = seed
        self.limit = limit
        self.lease = lease
        self.place = place
        self.is_local = is_local

    @property
    def block_bytes(self) -> int:
        """Of items, before a block of them is written."""
        return _BLOCK_BYTES if self.limit is None else max(1 << 20, min(_BLOCK_BYTES, self.limit // 16))


class Leaf:
    """Where a stage begins. `kind`: "source", "items", "kept" or "exchange"."""

    def __init__(self, kind: str, step: Step, source: bytes | None = None) -> None:
        self.kind = kind
        self.step = step
        self.source = source


class Tree:
    """Steps behind a leaf, or behind several trees, one after the other."""

    def __init__(self, leaf: int | None, parts: list[Tree], steps: list[Step]) -> None:
        self.leaf = leaf
        self.parts = parts
        self.steps = steps


class Spec:
    """A stage on its way to the workers."""

    def __init__(self, setup: Setup, leaves: list[Leaf], tree: Tree, sink: Step | None) -> None:
        self.setup = setup
        self.leaves = leaves
        self.tree = tree
        self.sink = sink

    def steps(self) -> Iterator[Step]:
        """All of it."""
        trees = [self.tree]
        for tree in trees:
            yield from tree.steps
            trees += tree.parts
        yield from (leaf.step for leaf in self.leaves)
        if self.sink is not None:
            yield self.sink

    @property
    def last(self) -> Step:
        """What the stage gives."""
        tree = self.tree
        while not tree.steps and tree.leaf is None:
            tree = tree.parts[-1]
        return tree.steps[-1] if tree.steps else self.leaves[tree.leaf or 0].step


class Job:
    """One partition of a stage. `places` say where each leaf's items are, `sink` what becomes of what comes out."""

    __slots__ = ("count", "index", "inputs", "number", "places", "sink", "stop", "worker")

    def __init__(
        self,
        index: int,
        worker: int,
        places: list[Any],
        inputs: dict[str, Given],
        sink: tuple[Any, ...],
        number: int,
        count: int,
        stop: Any = None,
    ) -> None:
        self.index = index
        self.worker = worker
        self.places = places
        self.inputs = inputs
        self.sink = sink
        self.number = number
        self.count = count
        self.stop = stop
        """Set where nobody wants it any more, and it can't be interrupted: in a thread of the driver's."""

    def __reduce__(self) -> Any:
        names = ("index", "worker", "places", "inputs", "sink", "number", "count")
        return Job, tuple(getattr(self, name) for name in names)


def run(spec_id: tuple[str, int], data: bytes, job: Job) -> tuple[Any, ...]:
    """Run a stage for one partition: what became of it, the token of this process, and more."""
    with output.kept() as printed:
        try:
            spec = _spec(spec_id, data)
            setup = spec.setup
            store.bind(setup.env, setup.limit, setup.lease)
            spilled = store.spilled_bytes
            made = _Run(spec, job).made()
            return DONE, store.token, made, printed.getvalue(), store.spilled_bytes - spilled
        except MissingError as error:
            return MISSING, store.token, [error.key]
        except WantedError as error:
            return WANTED, store.token, error.name
        except blocks.BlockGoneError as error:
            return GONE, store.token, str(error)
        except chain.Located as error:
            return (RAISED, store.token, *_told(error.error, error.step, error.item), printed.getvalue())
        except MemoryError as error:
            return (RAISED, store.token, *_told(error, _spec(spec_id, data).last, None), printed.getvalue())


def _spec(spec_id: tuple[str, int], data: bytes) -> Spec:
    found = _specs.get(spec_id)
    if found is None:
        found = pickle.loads(data)
        assert found is not None
        for step in found.steps():
            step.open()
        if found.setup.limit is None and not found.setup.is_local:
            found.setup.limit = own_limit()
        _specs[spec_id] = found
        while len(_specs) > _MOST_SPECS:
            _specs.popitem(last=False)
    return found


def _told(error: BaseException, step: Step, item: int | None) -> tuple[Any, ...]:
    """An exception as the driver makes it again: itself where it can be pickled, its name, its text, its trace."""
    trace = _trace(error)
    error.__traceback__ = None
    if isinstance(error, MemoryError):
        text = "the partition does not fit into the worker's memory: smaller partitions, or workers with more, do"
        error = MemoryError(f"{error}: {text}" if str(error) else text)
    error.__context__ = None
    made = unpickled.portable(error)
    name, text, _ = unpickled.error_apart(error)
    return made, name, text, trace, step.text, step.name, item


def _trace(error: BaseException) -> str:
    """Its traceback, from the user's function on."""
    import traceback

    here = os.path.dirname(__file__)
    own = error.__traceback__
    while own is not None and os.path.dirname(own.tb_frame.f_code.co_filename) == here:
        own = own.tb_next
    try:
        return "".join(traceback.format_exception(type(error), error, own))
    except Exception:
        return ""


class _Run:
    """A stage, for one partition, in this worker."""

    def __init__(self, spec: Spec, job: Job) -> None:
        self._spec = spec
        self._job = job
        self._is_called = _has_steps(spec.tree) or (spec.sink is not None and spec.sink.function is not None)
        """Whether any function of the user's has the items."""

    def made(self) -> Any:
        """Run it; what the runner wants to know of what it made."""
        job, spec, setup = self._job, self._spec, self._spec.setup
        kind = job.sink[0]
        writer = blocks.Writer(setup.place, job.number, setup.is_local)
        try:
            batches = self._tree(spec.tree)
            if kind == "keep":
                kept = store.keep(job.sink[1], batches)
                return kept.nbytes, kept.count
            if kind == "none":
                return sum(len(batch) for batch in batches)
            if kind == "persist":
                return blocks.persisted(job.sink[1], batches, setup.block_bytes)
            assert spec.sink is not None
            if kind == "fold":
                found = chain.folded(spec.sink.function, batches, spec.sink)
                made: Any = [writer.add(found, extents.size_of_all(found))] if found else [], len(found)
            else:
                outbox = exchange.Outbox(writer, job.sink[1], setup.block_bytes)
                count = exchange.split(batches, spec.sink, job.index, outbox)
                made = outbox.blocks, count
        except Exception as error:  # no function's: items that can't be pickled, a disk that is full
            writer.give_up()
            raise chain.Located(error, spec.sink or spec.last, None) from None
        except BaseException:
            writer.give_up()
            raise
        writer.close()
        return made

    def _tree(self, tree: Tree) -> Batches:
        if tree.leaf is not None:
            batches = self._leaf(tree.leaf)
        else:
            batches = (batch for part in tree.parts for batch in self._tree(part))
        return chain.through(batches, tree.steps, self._context, self._job.stop)

    def _leaf(self, number: int) -> Batches:
        """The items of a base, which functions may change."""
        leaf, place = self._spec.leaves[number], self._job.places[number]
        batches = self._read(leaf, place)
        if leaf.kind == "source" or not self._is_called:
            return batches
        if self._spec.setup.is_local or (leaf.kind == "kept" and type(place) is tuple):
            return map(fresh, batches)
        return batches

    def _read(self, leaf: Leaf, place: Any) -> Batches:
        setup, job = self._spec.setup, self._job
        if place is None:
            return iter(())  # of a union, a set with fewer partitions
        if leaf.kind == "source":
            assert leaf.source is not None
            source = pickle.loads(leaf.source)
            is_shared = setup.is_local or threading.current_thread() is not threading.main_thread()
            items = seeds.seeded(source, setup.seed, leaf.step.id, job.index, is_shared)
            return chain.drawn(items, leaf.step)
        if leaf.kind == "items":
            return _sliced(place)
        if leaf.kind == "kept":
            if type(place) is tuple:
                if not store.has(place):
                    raise MissingError(place)
                return store.batches(place)
            return exchange.plain([(0, place)])
        most = None if setup.limit is None else setup.limit // 4
        return exchange.read(leaf.step, place, most)

    def _context(self, step: Step) -> TSetContext:
        job = self._job

        def get(name: str) -> Any:
            if name not in step.inputs:
                known = ", ".join(sorted(step.inputs)) or "none"
                raise KeyError(f"{step.name} has no input {name!r}; it has: {known}")
            return Input(job.inputs[step.inputs[name]], job.index)

        return TSetContext(job.index, step.id, step.name, job.worker, job.count, self._spec.setup.config, get)


def _has_steps(tree: Tree) -> bool:
    return bool(tree.steps) or any(_has_steps(part) for part in tree.parts)


def _sliced(items: list[Any]) -> Iterator[list[Any]]:
    for at in range(0, len(items), extents.MOST_ITEMS):
        yield items[at : at + extents.MOST_ITEMS]


def fold(
    data: bytes, values: list[list[blocks.Block]], place: Place | None, number: int, is_local: bool
) -> tuple[Any, ...]:
    """Fold what partitions were folded into: the blocks of the one item, or none."""
    with output.kept() as printed:
        writer = blocks.Writer(place, number, is_local)
        try:
            step = pickle.loads(data).open()
            read = [[item for block in each for item in block.read()] for each in values]
            if is_local:
                read = [fresh(each) for each in read]
            found = chain.folded_tree(step.function, read, step)
            made = [writer.add(found, extents.size_of_all(found))] if found else []
        except blocks.BlockGoneError as error:
            return GONE, store.token, str(error)
        except chain.Located as error:
            writer.give_up()
            return (RAISED, store.token, *_told(error.error, error.step, error.item), printed.getvalue())
        writer.close()
        return DONE, store.token, made, printed.getvalue(), 0


def export(key: Key, place: Place | None, number: int, most_bytes: int) -> tuple[Any, ...]:
    """Have a partition be read by others: its blocks."""
    if not store.has(key):
        return MISSING, store.token, [key]
    writer = blocks.Writer(place, number, False)
    made = [writer.add(batch, extents.size_of_all(batch)) for batch in store.batches(key) if batch]
    writer.close()
    return DONE, store.token, made, "", 0


def fetch(key: Key, number: int, is_first: bool) -> tuple[Any, ...]:
    """A chunk of a partition, for the driver, and how many chunks there are; or its first item alone."""
    if not store.has(key):
        return MISSING, store.token, [key]
    count, items = store.chunk(key, number)
    return DONE, store.token, (count, fresh(items[:1] if is_first else items)), "", 0


def drop(keys: list[Key], numbers: list[int]) -> None:
    """Free partitions, and blocks that have no place in shared memory."""
    store.drop(keys)
    blocks.forget_disks(numbers)


def drop_environment(env: str) -> None:
    """Free all that is an environment's."""
    store.drop_environment(env)
    for spec_id in [each for each in _specs if each[0] == env]:
        _specs.pop(spec_id, None)


def begin(env: str, limit: int | None, lease: str | None) -> str:
    """An environment begins here: this worker is not replaced as long as it lasts. The token of this process."""
    store.bind(env, limit, lease)
    return store.token


def figures() -> dict[str, int]:
    """How much this process keeps: `partitions`, `bytes_in_memory`, `spilled_bytes`."""
    return store.figures()
