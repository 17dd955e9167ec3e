"""What a stage is for the scheduler, and the fold of what partitions were folded into: where its tasks go, what they
are sent, what follows from what they answer.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from erl import errors
from erl.dataflow import failures, plan, specs, tasks
from erl.dataflow.functions import LoadBalanced
from erl.dataflow.inputs import Given

if TYPE_CHECKING:
    from collections.abc import Callable

    from erl.dataflow.blocks import Block
    from erl.dataflow.kept import Exchanged, Kept


class StageWork:
    """A stage, for its partitions.

    `sink` is what becomes of a partition: it is kept ("keep", "persist", "block"), folded or split before an exchange
    ("fold", "split"), or nothing ("none").
    """

    def __init__(
        self,
        runner: Any,
        operation: plan.Operation,
        sink: tuple[Any, ...],
        kept: Kept | None = None,
        exchanged: Exchanged | None = None,
        side: int = 0,
        of: plan.Operation | None = None,
    ) -> None:
        self._runner = runner
        self._sink = sink
        self._kept = kept
        self._exchanged = exchanged
        self._side = side
        runner.sweep()
        self._stage = plan.stage(operation)
        self.text = operation.name if of is None else f"{operation.name} before {of.name}"
        self._leaves = list(self._stage.leaves())
        self._inputs = {
            key: each if each.is_kept else runner.keep_input(each)
            for key, each in self._stage.inputs().items()
        }
        self._prepare()
        if of is None and sink[0] == "block":
            of = plan.Operation("gather", 0)
        setup = runner.setup()
        by_value = runner.engine.by_value
        self._id = (runner.env, next(runner.stages))
        spec = specs.spec_of(self._stage, of, setup, by_value)
        self._data: Any = specs.packed(spec, by_value)
        self._numbers: dict[int, int] = {}
        self._sent_to: dict[int, str] = {}
        """Which process was there when a task was sent."""
        self._stop = threading.Event() if runner.engine.is_local else None

    def _prepare(self) -> None:
        """Have all be there that its tasks need."""
        for each in self._inputs.values():
            self._runner.ensure(each.kept)
        for leaf in self._leaves:
            if leaf.is_kept:
                self._runner.ensure(leaf.kept)
            elif leaf.kind in plan.EXCHANGES:
                self._runner.exchanged(leaf)

    def _is_pinned(self) -> bool:
        engine = self._runner.engine
        return engine.is_addressed and not engine.is_local

    def worker(self, index: int) -> int | None:
        """Where the first of its leaves is kept; else, where it stays, in turn."""
        if not self._is_pinned():
            return None
        for leaf in self._leaves:
            if leaf.is_kept and index < leaf.parallelism:
                place = leaf.kept.places[index]
                if place is not None:
                    return int(place[0])
        return index % self._runner.engine.size if self._sink[0] == "keep" else None

    def job(self, index: int, worker: int | None) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        runner = self._runner
        number = self._numbers[index] = runner.file_number()
        places = [self._place(leaf, index, worker) for leaf in self._leaves]
        inputs = {key: self._given(key, each, index, worker) for key, each in self._inputs.items()}
        sink = self._sink
        if sink[0] == "keep":
            assert self._kept is not None
            sink = ("keep", (runner.env, self._kept.set_id, index))
        elif sink[0] == "persist":
            assert self._kept is not None
            sink = ("persist", f"{self._kept.path}-{index}")
        elif sink[0] == "block":
            sink = ("split", 1)
        size = max(1, runner.engine.size)
        shown = index % size if worker is None else worker
        count = self._stage.last.parallelism
        self._sent_to[index] = runner.token(worker)
        job = tasks.Job(index, shown, places, inputs, sink, number, count, self._stop)
        return tasks.run, (self._id, self._data, job)

    def _place(self, leaf: plan.Operation, index: int, worker: int | None) -> Any:
        if index >= leaf.parallelism:
            return None
        if leaf.is_kept:
            return self._kept_place(leaf.kept, index, worker)
        if leaf.kind == "source":
            return ()
        if leaf.kind in ("list", "dict"):
            items = leaf.options["items"]
            count = leaf.parallelism
            return items[len(items) * index // count : len(items) * (index + 1) // count]
        return self._exchanged_place(leaf, index)

    def _kept_place(self, kept: Kept, index: int, worker: int | None) -> Any:
        self._runner.ensure(kept, [index])
        if index in kept.values:
            return kept.values[index]
        place = kept.places[index]
        if not self._is_pinned() or (place is not None and place[0] == worker):
            return (self._runner.env, kept.set_id, index)
        return self._runner.sent(kept, [index])[index]

    def _exchanged_place(self, leaf: plan.Operation, index: int) -> list[list[tuple[int, list[Block]]]]:
        found = self._runner.exchanged(leaf)
        if leaf.kind in plan.FOLDS:
            return [[(0, found.sides[0][0][0])]]
        if leaf.kind in ("gather", "all_gather"):
            index = 0
        turned = leaf.kind == "partition" and isinstance(leaf.function, LoadBalanced)
        sides = []
        for side, counts in zip(found.sides, found.counts, strict=True):
            come, before = [], 0
            for number, boxes in enumerate(side):
                assert boxes is not None
                at = (index - before) % leaf.parallelism if turned else index
                if boxes[at]:
                    come.append((number, boxes[at]))
                before += counts[number]
            sides.append(come)
        return sides

    def _given(self, key: str, of: plan.Operation, index: int, worker: int | None) -> Given:
        runner, kept = self._runner, of.kept
        assert kept is not None
        everything = range(kept.count)
        if not self._is_pinned():
            here = frozenset(each for each in everything if each not in kept.values)
        else:
            here = frozenset(
                each for each in everything if (place := kept.places[each]) is not None and place[0] == worker
            )
        own = 0 if kept.count == 1 else index
        needed = set(everything) if key in runner.wanted or own >= kept.count else {own}
        needed -= here
        sent = {each: kept.values[each] for each in kept.values if each not in here}
        more = [each for each in needed if each not in sent]
        if more:
            sent.update(runner.sent(kept, more))
        return Given(key, runner.env, kept.set_id, kept.count, here, sent)

    def done(self, index: int, worker: int | None, token: str, made: Any) -> None:
        runner, kept = self._runner, self._kept
        is_alive = runner.met(worker, token)
        if kept is not None:
            if kept.were_made[index]:
                runner.report.recomputed += 1
            kept.were_made[index] = True
            if self._sink[0] == "keep":
                kept.places[index] = (worker or 0, token) if is_alive else None
                kept.nbytes[index] = made[0]
            else:
                found = made[0] if self._sink[0] == "persist" else made[0][0]
                kept.values[index] = found
                kept.nbytes[index] = sum(block.nbytes for block in found)
                if self._sink[0] == "block":
                    kept.own_paths |= {block.where for block in found if block.kind == "file"}
        elif self._exchanged is not None:
            boxes, count = made
            boxes = [boxes] if self._sink[0] == "fold" else boxes
            self._exchanged.add(self._side, index, boxes, count, self._numbers[index], worker)
            if not runner.engine.is_local:
                runner.report.moved_bytes += sum(block.nbytes for blocks in boxes for block in blocks)

    def again(self, index: int, worker: int | None, answer: tuple[Any, ...]) -> None:
        kind, token, what = answer
        self._runner.met(worker, token)
        if kind == tasks.WANTED:
            self._runner.wanted.add(what)
        elif kind == tasks.MISSING:
            for of in (*self._leaves, *self._inputs.values()):
                if of.is_kept and of.kept.set_id == what[0][1]:
                    of.kept.places[what[0][2]] = None
        elif kind == tasks.GONE:
            self._gone(what)
        self._prepare()

    def _gone(self, path: str) -> None:
        """A block is not there any more: what has left it is run again."""
        for leaf in self._leaves:
            if leaf.kind in plan.EXCHANGES and not leaf.is_kept and "exchanged" in leaf.options:
                leaf.options["exchanged"].lose(path)
        for of in (*self._leaves, *self._inputs.values()):
            if not of.is_kept:
                continue
            for index, blocks in list(of.kept.values.items()):
                if any(block.where == path for block in blocks):
                    if of.kept.path is not None:
                        raise errors.StaleReferenceError(f"the file of a persisted partition is gone: {path}")
                    del of.kept.values[index]

    def lost(self, index: int, worker: int | None) -> None:
        self._runner.give_up_file(self._numbers[index])
        self._runner.died(worker, self._sent_to[index])
        self._prepare()

    def raised(self, index: int, answer: tuple[Any, ...]) -> BaseException:
        return _raised(index, answer)

    def stop(self) -> None:
        if self._stop is not None:
            self._stop.set()


def _raised(index: int, answer: tuple[Any, ...]) -> BaseException:
    _, _, error, name, text, trace, operation, set_name, item, _ = answer
    return failures.raised(error, name, text, trace, operation, set_name, item, index)


class PartialGoneError(errors.BridgeError):
    """Raised where what a partition was folded into is gone with a worker: it is folded again."""


class Fold:
    """The fold of what partitions were folded into: several of them by one task."""

    def __init__(
        self, runner: Any, operation: plan.Operation, groups: list[list[list[Block]]], outcome: Exchanged
    ) -> None:
        self._runner = runner
        self._groups = groups
        self._outcome = outcome
        self._numbers: dict[int, int] = {}
        self._sent_to: dict[int, str] = {}
        """Which process was there when a task was sent."""
        self.text = operation.name
        self._setup = runner.setup()
        step = specs.step_of(operation, runner.engine.by_value)
        self._data = specs.pickled(step, runner.engine.by_value, f"the function of {operation.name}")

    def worker(self, index: int) -> int | None:
        return None

    def job(self, index: int, worker: int | None) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        number = self._numbers[index] = self._runner.file_number()
        setup = self._setup
        self._sent_to[index] = self._runner.token(worker)
        return tasks.fold, (self._data, self._groups[index], setup.place, number, setup.is_local)

    def done(self, index: int, worker: int | None, token: str, made: Any) -> None:
        self._runner.met(worker, token)
        self._outcome.add(0, index, [made], len(made), self._numbers[index], worker)

    def again(self, index: int, worker: int | None, answer: tuple[Any, ...]) -> None:
        raise PartialGoneError(f"{self.text}: what a partition was folded into is gone: {answer[2]}")

    def lost(self, index: int, worker: int | None) -> None:
        self._runner.give_up_file(self._numbers[index])
        self._runner.died(worker, self._sent_to[index])

    def raised(self, index: int, answer: tuple[Any, ...]) -> BaseException:
        return _raised(-1, answer)

    def stop(self) -> None:
        """Folds end soon."""
