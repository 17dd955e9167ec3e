"""The runner: evaluates plans over an executor. What is lost with a worker it makes again, by the plans that it has
kept.

It knows where partitions and blocks are, and nothing of what is in them. `docs/architecture.md` ("A dataflow") has the
states, and who may die when.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import secrets
import threading
from collections import deque
from typing import TYPE_CHECKING, Any

from erl import errors
from erl.dataflow import kept as names
from erl.dataflow import plan, scheduling, specs, tasks
from erl.dataflow.blocks import Place
from erl.dataflow.data import DataObject, DataPartition
from erl.dataflow.fresh import fresh
from erl.dataflow.kept import Exchanged, Kept
from erl.dataflow.report import Report
from erl.dataflow.work import Fold, PartialGoneError, StageWork

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from erl.dataflow.blocks import Block
    from erl.dataflow.engines import Engine

_BEGIN_TIMES = 5
_MOST_FETCHES = 8
_MOST_FOLDS = 5
_RETAINED_BYTES = 64 << 20
"""Blocks of an exchange that are no larger stay with what was made of them: then nothing before them is made again."""
_ONE_TASK_BYTES = 8 << 20
"""What is no larger is folded by one task; in the same tree."""
_FILES = 1_000_000_000
_first_files = itertools.count(500_000 * _FILES, _FILES)
"""The numbers of files of blocks begin there, so many for each environment; those that the link makes are lower."""


class Runner:
    """Evaluates the plans of one environment. By one thread at a time."""

    def __init__(
        self, engine: Engine, name: str, config: dict[str, Any], seed: int, numbers: Iterator[int]
    ) -> None:
        self.engine = engine
        self.name = name
        self.env = secrets.token_hex(8)
        self.report = Report()
        self.wanted: set[str] = set()
        """Inputs whose functions ask for partitions of other workers."""
        self._config = config
        self._seed = seed
        self._ids = numbers
        self.stages = itertools.count(1)
        self._first_file = next(_first_files)
        self._files = itertools.count(self._first_file)
        self._setup: tasks.Setup | None = None
        self._place: Place | None = None
        self._lease: str | None = None
        self._kept: dict[int, Kept] = {}
        self._tokens: dict[int, str] = {}
        self._down: set[int] = set()
        """Workers that have died, and have not answered since."""
        self._ended: set[str] = set()
        """The tokens of processes that are known to be over: an answer of theirs may be looked at later."""
        self._garbage: deque[Any] = deque()
        self._lock = threading.RLock()
        self._is_closed = False

    # What sets ask for

    def effects(self, operation: plan.Operation) -> None:
        """Compute it for the sake of what its functions do."""
        with self._lock:
            if operation.is_kept:
                self.ensure(operation.kept)
            else:
                self._run(plan.freeze(operation), ("none",))

    def keep(self, operation: plan.Operation, kind: str, path: Any) -> plan.Operation:
        """The set that keeps what it gives, from now on, or from its first use on."""
        with self._lock:
            self.check_open()
            frozen = plan.freeze(operation)
            if operation.is_kept and kind != "persist":
                if kind == "cache":
                    self.ensure(operation.kept)
                return operation
            if kind == "lazy_cache":
                specs.freeze_all(frozen, self.engine.by_value)
            made = self._held(frozen, kind, None if path is None else os.path.abspath(os.fspath(path)))
            if kind != "lazy_cache":
                self.ensure(made.kept)
            return made

    def data(self, operation: plan.Operation) -> DataObject:
        """Its items, for the driver."""
        with self._lock:
            held = operation if operation.is_kept else self._held(plan.freeze(operation), "data", None)
            self.ensure(held.kept)
        partitions = [DataPartition(index, _Fetched(self, held, index)) for index in range(held.parallelism)]
        return DataObject(operation.id, partitions)

    def close(self) -> None:
        """Free all that is kept; end the workers that are the environment's."""
        if self._is_closed:
            return
        self._is_closed = True
        with contextlib.suppress(errors.BridgeError, RuntimeError):
            self._forget()
        self.engine.close()

    def _forget(self) -> None:
        if self._setup is None:
            return
        if self.engine.is_local:
            tasks.drop_environment(self.env)
        elif self.engine.is_addressed:
            for number in range(len(self.engine.workers())):
                self.engine.start(number, tasks.drop_environment, self.env)
        if self._place is not None:
            self._place.forget(range(self._first_file, self._first_file + _FILES))

    def check_open(self) -> None:
        """Raises `RuntimeError` once it is closed."""
        if self._is_closed:
            raise RuntimeError("the environment is closed")

    # What works ask for

    def setup(self) -> tasks.Setup:
        """What all tasks have in common; the node is started for that."""
        self.check_open()
        if self._setup is None:
            engine, place = self.engine, self.engine.place
            if place is not None:
                self._place = Place(place.directory, place.maker, place.most_bytes)
                self._lease = self._place.path(next(self._files), 1)
                with open(self._lease, "xb") as file:
                    file.write(b"\0")
            self._setup = tasks.Setup(
                self.env,
                self._config,
                self._seed,
                engine.limit_bytes,
                self._lease,
                self._place,
                engine.is_local,
            )
            if engine.is_addressed and not (engine.is_local or engine.is_own):
                self._begin()
        return self._setup

    def _begin(self) -> None:
        """Have no worker be replaced meanwhile. One that was about to be is, and another one asked."""
        asked = (tasks.begin, self.env, self.engine.limit_bytes, self._lease)
        before: list[str] = []
        for _ in range(_BEGIN_TIMES):
            try:
                futures = [self.engine.start(number, *asked) for number in range(len(self.engine.workers()))]
                tokens = [future.result() for future in futures]
            except errors.WorkerLostError:
                self.engine.refresh()
                continue
            if tokens == before:
                return
            before = tokens

    def file_number(self) -> int:
        """Of a file of blocks."""
        return next(self._files)

    def give_up_file(self, number: int) -> None:
        """A worker has died that was about to write it."""
        if self._place is not None:
            self._place.forget((number,))

    def token(self, worker: int | None) -> str:
        """Of the process that has answered last from there; empty where none has."""
        return "" if worker is None else self._tokens.get(worker, "")

    def died(self, worker: int | None, token: str) -> None:
        """A task's worker has died: what it had is lost. `token`: the process that was there when the task was sent,
        which has ended for certain; the one that is there now may be the next. None: it has not begun.
        """
        if worker is None or self.engine.is_local:
            self.engine.refresh()
            return
        if token:
            self._ended.add(token)
        known = self._tokens.get(worker)
        self.engine.refresh()
        if token and known not in (None, token):  # the next one has answered before this was heard
            return
        if worker not in self._down:  # one death ends all of its tasks
            self._down.add(worker)
            self.report.workers_lost += 1
        self._tokens.pop(worker, None)
        self._lose(worker, None)

    def met(self, worker: int | None, token: str) -> bool:
        """A process has answered: what another one had in that worker is lost. Whether it still is, as far as is
        known.
        """
        if worker is None or self.engine.is_local:
            return True
        if token in self._ended:
            return False
        self._down.discard(worker)
        known = self._tokens.get(worker)
        if known != token:
            self._tokens[worker] = token
            if known is not None:
                self._ended.add(known)
                self.report.workers_lost += 1
            self._lose(worker, token)
        return True

    def _lose(self, worker: int, token: str | None) -> None:
        for kept in list(self._kept.values()):
            for index, place in enumerate(kept.places):
                if place is not None and place[0] == worker and place[1] != token:
                    kept.places[index] = None

    def ensure(self, kept: Kept, indices: Iterable[int] | None = None) -> None:
        """Have partitions be there: make those that are nowhere."""
        wanted = range(kept.count) if indices is None else indices
        missing = [index for index in wanted if not kept.is_there(index)]
        if not missing:
            kept.is_made = True
            return
        if kept.plan is None:
            raise errors.WorkerLostError(f"set {kept.set_id} is gone, and nothing says how it was made")
        self.check_open()
        work = StageWork(self, self._unfolded(kept.plan), self._keep_sink(kept), kept)
        scheduling.run(work, missing, self.engine, self.report, self.name)
        if not kept.is_made:
            kept.is_made = True
            self._cut(kept)

    def _keep_sink(self, kept: Kept) -> tuple[Any, ...]:
        if kept.path is not None:
            return ("persist",)
        return ("keep",) if self.engine.is_addressed and not kept.is_sent else ("block",)

    def _unfolded(self, operation: plan.Operation) -> plan.Operation:
        return plan.unfolded(operation, _plan_of)

    def _run(
        self,
        operation: plan.Operation,
        sink: tuple[Any, ...],
        exchanged: Exchanged | None = None,
        side: int = 0,
        of: plan.Operation | None = None,
        indices: Iterable[int] | None = None,
    ) -> None:
        work = StageWork(self, self._unfolded(operation), sink, None, exchanged, side, of)
        scheduling.run(
            work,
            range(operation.parallelism) if indices is None else indices,
            self.engine,
            self.report,
            self.name,
        )

    def keep_input(self, operation: plan.Operation) -> plan.Operation:
        """An input that is not kept: it is, as long as it is used."""
        return self._held(operation, "input", None)

    def _held(self, frozen: plan.Operation, kind: str, path: str | None) -> plan.Operation:
        set_id = next(self._ids)
        kept = Kept(set_id, frozen.parallelism, frozen, self._directory(kind, path, set_id))
        made = plan.Operation(kind, set_id, None, (), frozen.parallelism, {"of": frozen.name})
        made.kept = kept
        kept.is_sent = kind == "persist" and path is None
        self._kept[set_id] = kept
        names.when_free(names.held(made), self._garbage.append, set_id)
        return made

    def _directory(self, kind: str, path: str | None, set_id: int) -> str | None:
        if path is None:
            return None
        os.makedirs(path, exist_ok=True)
        return os.path.join(path, f"set-{self.env}-{set_id}")

    def _cut(self, kept: Kept) -> None:
        """Of what a set was made by, what is not needed to make it again is let go."""
        frozen = kept.plan
        assert frozen is not None
        if kept.path is not None:
            kept.plan = None
            return
        pending = [frozen]
        while pending:
            each = pending.pop()
            exchanged: Exchanged | None = each.options.get("exchanged")
            if exchanged is not None:
                if exchanged.nbytes <= _RETAINED_BYTES and not exchanged.lies_in_workers():
                    each.parents = ()
                    each.inputs = {}
                    continue
                del each.options["exchanged"]
            pending += [one for one in (*each.parents, *each.inputs.values()) if not one.is_kept]
        plan.without_holds(frozen)

    # Exchanges

    def exchanged(self, operation: plan.Operation) -> Exchanged:
        """The blocks of an exchange; what is not there of them is made."""
        found: Exchanged | None = operation.options.get("exchanged")
        if found is None:
            count = [each.parallelism for each in operation.parents]
            found = Exchanged([[None] * each for each in count], [[0] * each for each in count])
            for attempt in range(_MOST_FOLDS if operation.kind in plan.FOLDS else 0):
                try:
                    self._fold(operation, found)
                    break
                except PartialGoneError:
                    if attempt == _MOST_FOLDS - 1:
                        raise
            operation.options["exchanged"] = found
            found.finalize(self._garbage.append)
        if operation.kind not in plan.FOLDS:
            for side, parent in enumerate(operation.parents):
                missing = [index for index, boxes in enumerate(found.sides[side]) if boxes is None]
                if missing:
                    sink = ("split", _destinations(operation))
                    self._run(parent, sink, found, side, operation, missing)
        return found

    def _fold(self, operation: plan.Operation, found: Exchanged) -> None:
        """Each partition, then all of them, pairwise."""
        partials = Exchanged(
            [[None] * operation.parents[0].parallelism], [[0] * operation.parents[0].parallelism]
        )
        partials.finalize(self._garbage.append)
        self._run(operation.parents[0], ("fold",), partials, 0, operation)
        values: list[list[Block]] = [boxes[0] if boxes else [] for boxes in partials.sides[0]]
        keep: list[Exchanged] = [partials]
        while len(values) > 1:
            total = sum(block.nbytes for blocks in values for block in blocks)
            width = len(values) if total <= _ONE_TASK_BYTES else 2
            groups = [values[at : at + width] for at in range(0, len(values), width)]
            outcome = Exchanged([[None] * len(groups)], [[0] * len(groups)])
            outcome.finalize(self._garbage.append)
            work = Fold(self, operation, groups, outcome)
            scheduling.run(work, range(len(groups)), self.engine, self.report, self.name)
            values = [boxes[0] if boxes else [] for boxes in outcome.sides[0]]
            keep.append(outcome)
        found.sides = [[[values[0]]]] if values else [[[[]]]]
        found.take_over(keep[-1])

    # What goes from worker to worker

    def sent(self, kept: Kept, indices: Iterable[int]) -> dict[int, list[Block]]:
        """The blocks of partitions, for workers that have them not."""
        needed = [index for index in indices if index not in kept.values]
        while needed:
            self.ensure(kept, needed)
            futures = {}
            for index in needed:
                place = kept.places[index]
                if place is None:
                    continue
                key = (self.env, kept.set_id, index)
                future = self.engine.start(place[0], tasks.export, key, self._place, self.file_number(), 0)
                futures[index] = *place, future
            for index, (worker, token, future) in futures.items():
                try:
                    answer = future.result()
                except errors.NodeDownError:
                    raise
                except errors.WorkerLostError:
                    self.died(worker, token)
                    continue
                self.met(worker, answer[1])
                if answer[0] == tasks.DONE:
                    kept.values[index] = answer[2]
                    kept.own_paths |= {block.where for block in answer[2] if block.kind == "file"}
                    self.report.moved_bytes += sum(block.nbytes for block in answer[2])
                else:
                    kept.places[index] = None
            needed = [index for index in needed if index not in kept.values]
        return {index: kept.values[index] for index in indices}

    def fetch(self, kept: Kept, index: int, number: int, is_first: bool) -> tuple[int, list[Any]]:
        """How many chunks a partition has, and the items of one of them."""
        for _ in range(_MOST_FETCHES):
            with self._lock:
                self.check_open()
                self.ensure(kept, [index])
                if index in kept.values:
                    blocks = kept.values[index]
                    items = blocks[number].read() if number < len(blocks) else []
                    return len(blocks), fresh(items) if self.engine.is_local else items
                place = kept.places[index]
                assert place is not None
                key = (self.env, kept.set_id, index)
                try:
                    answer = self.engine.start(place[0], tasks.fetch, key, number, is_first).result()
                except errors.NodeDownError:
                    raise
                except errors.WorkerLostError:
                    self.died(*place)
                    continue
                self.met(place[0], answer[1])
                if answer[0] == tasks.DONE:
                    found: tuple[int, list[Any]] = answer[2]
                    return found
                kept.places[index] = None
        raise errors.WorkerLostError(
            f"partition {index} of set {kept.set_id}: workers die while it is fetched"
        )

    def sweep(self) -> None:
        """Free what nobody has any more."""
        dropped: dict[int, tuple[list[Any], list[int]]] = {}
        while self._garbage:
            each = self._garbage.popleft()
            if isinstance(each, int):
                kept = self._kept.get(each)
                if kept is None:
                    continue
                self._kept.pop(each)
                if kept.path is not None:
                    continue  # its files are there for whoever was made of it
                kept.is_freed = True
                if not kept.is_made:  # tasks that nobody waited for may have left something
                    for number in range(self.engine.size):
                        keys = dropped.setdefault(number, ([], []))[0]
                        keys += [(self.env, each, index) for index in range(kept.count)]
                for index, place in enumerate(kept.places):
                    if place is not None:
                        dropped.setdefault(place[0], ([], []))[0].append((self.env, each, index))
                kept.places = [None] * kept.count
                kept.values = {}
                paths: Iterable[str] = kept.own_paths
            else:
                paths, owners = each
                for number, worker in owners.items():
                    dropped.setdefault(worker, ([], []))[1].append(number)
            for path in paths:
                with contextlib.suppress(OSError):
                    os.unlink(path)
        for worker, (keys, numbers) in dropped.items():
            if self.engine.is_local:
                tasks.drop(keys, numbers)
            else:
                self.engine.start(worker, tasks.drop, keys, numbers)


def _plan_of(operation: plan.Operation) -> plan.Operation | None:
    kept = operation.kept
    found: plan.Operation | None = kept.plan if kept.is_freed else None
    return found


def _destinations(operation: plan.Operation) -> int:
    return 1 if operation.kind in ("gather", "all_gather") else operation.parallelism


class _Fetched:
    """The items of one partition, from the first one on each time; as long as anybody has this, they are kept."""

    def __init__(self, runner: Runner, operation: plan.Operation, index: int) -> None:
        self._runner = runner
        self._operation = operation
        self._index = index

    def __call__(self) -> Iterator[Any]:
        number, count = 0, 1
        while number < count:
            count, items = self._runner.fetch(self._operation.kept, self._index, number, False)
            yield from items
            number += 1

    def first(self) -> Iterator[Any]:
        """The first item, without the others."""
        yield from self._runner.fetch(self._operation.kept, self._index, 0, True)[1][:1]
