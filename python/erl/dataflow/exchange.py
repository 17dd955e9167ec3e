"""Exchanges in the workers: a partition's items into blocks, one or more for each destination; and blocks into items.

Blocks are read in the order of the partitions that they come from. So what is folded, or comes in an order, depends on
the number of partitions alone.
"""

from __future__ import annotations

import pickle
from functools import cmp_to_key
from types import FunctionType

from erl.dataflow import extents
from erl.dataflow.blocks import Shelf
from erl.dataflow.chain import CAUGHT, Located
from erl.dataflow.hashing import canonical, destination, hashed

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any, Final

    from erl.dataflow.blocks import Block, Writer
    from erl.dataflow.chain import Batches, Step

_MOST_KEYS: Final = 1 << 17
"""So many keys are folded before they are written: a number, so that the memory of a worker plays no part in
results.
"""
_MOST_ROUNDS: Final = 64
_ASIDE_BYTES: Final = 4 << 20
_DISK_BYTES: Final = 256 << 20
"""With `use_disk`, where nothing bounds the memory."""
_IN_MEMORY: Final = 2
"""So many times the size of its items a dictionary takes, nearly."""


def is_pair(item: Any) -> bool:
    """Whether it is a key and a value."""
    return isinstance(item, tuple) and len(item) == 2


def check_pair(item: Any, kind: str) -> None:
    """Raises `TypeError` for what is none."""
    if not is_pair(item):
        raise TypeError(f"{kind} is for pairs, (key, value), and this item is none: {item!r:.200}")


# Out of a partition


class Outbox:
    """The blocks of one task, for so many destinations."""

    def __init__(self, writer: Writer, count: int, most_bytes: int) -> None:
        self._writer = writer
        self._most_bytes = most_bytes
        self._nbytes = 0
        self.boxes: list[list[Any]] = [[] for _ in range(count)]
        self.blocks: list[list[Block]] = [[] for _ in range(count)]

    def took(self, batch: list[Any]) -> None:
        """So many items were put into boxes."""
        self._nbytes += extents.size_of_all(batch)
        if self._nbytes >= self._most_bytes:
            self.flush()

    def flush(self) -> None:
        """Write what is in the boxes."""
        share = self._nbytes // len(self.boxes)
        for box, blocks in zip(self.boxes, self.blocks, strict=True):
            if box:
                blocks.append(self._writer.add(list(box), share))
                box.clear()
        self._nbytes = 0


def split(batches: Batches, step: Step, index: int, outbox: Outbox) -> int:
    """Put the items of a partition into boxes, by what the exchange is; how many there were."""
    kind = step.kind
    if len(outbox.boxes) == 1 and kind not in ("partition", "keyed_partition", "keyed_reduce"):
        count = _all(batches, step, outbox)
    elif kind == "keyed_reduce":
        count = _combined(batches, step, outbox)
    elif step.options.get("partitioner") is not None:
        count = _by_function(batches, step, index, outbox)
    elif kind == "partition":
        count = _in_turn(batches, outbox)
    else:
        count = _by_key(batches, step, outbox)
    outbox.flush()
    return count


def _all(batches: Batches, step: Step, outbox: Outbox) -> int:
    count = 0
    is_keyed = step.kind in ("keyed_gather", "join")
    for batch in batches:
        if is_keyed:
            for at, item in enumerate(batch):
                _check(item, step, count + at)
        outbox.boxes[0] += batch
        outbox.took(batch)
        count += len(batch)
    return count


def _check(item: Any, step: Step, at: int) -> None:
    try:
        if not is_pair(item):
            check_pair(item, step.kind)
        if step.options.get("partitioner") is None:
            hashed(item[0])
        else:
            hash(item[0])
    except CAUGHT as error:
        raise Located(error, step, at) from None


def _in_turn(batches: Batches, outbox: Outbox) -> int:
    """One after the other; the driver turns the boxes, so that each destination has as many."""
    count, boxes = 0, outbox.boxes
    size = len(boxes)
    for batch in batches:
        for start in range(min(size, len(batch))):
            boxes[(count + start) % size] += batch[start::size]
        outbox.took(batch)
        count += len(batch)
    return count


def _by_key(batches: Batches, step: Step, outbox: Outbox) -> int:
    count, size = 0, len(outbox.boxes)
    for batch in batches:
        part: Any = iter(batch)
        boxes = outbox.boxes
        try:
            for item in part:
                if not is_pair(item):
                    check_pair(item, step.kind)
                boxes[destination(item[0], size)].append(item)
        except CAUGHT as error:
            raise Located(error, step, count + len(batch) - part.__length_hint__() - 1) from None
        outbox.took(batch)
        count += len(batch)
    return count


def _by_function(batches: Batches, step: Step, index: int, outbox: Outbox) -> int:
    partitioner = pickle.loads(step.options["partitioner"])
    count, size = 0, len(outbox.boxes)
    is_keyed = step.kind != "partition"
    place, commit = partitioner.partition, partitioner.commit
    partitioner.prepare(set(range(step.options["sources"])), set(range(size)))
    for batch in batches:
        part: Any = iter(batch)
        try:
            for item in part:
                if is_keyed and not is_pair(item):
                    check_pair(item, step.kind)
                to = place(index, item[0] if is_keyed else item)
                if not isinstance(to, int):
                    to = _index(to)
                if not 0 <= to < size:
                    raise ValueError(f"partition() gave {to!r}, and the destinations are 0 to {size - 1}")
                commit(index, to)
                outbox.boxes[to].append(item)
        except CAUGHT as error:
            raise Located(error, step, count + len(batch) - part.__length_hint__() - 1) from None
        outbox.took(batch)
        count += len(batch)
    return count


def _index(value: Any) -> int:
    try:
        return int(value.__index__())
    except AttributeError:
        raise TypeError(f"partition() gives the number of a destination, not {value!r:.100}") from None


def _combined(batches: Batches, step: Step, outbox: Outbox) -> int:
    """The values of each key folded, before they go anywhere."""
    function, is_sum = step.function, is_addition(step.function)
    count = 0
    found: dict[Any, Any] = {}
    for batch in batches:
        part: Any = iter(batch)
        try:
            if is_sum:
                for item in part:
                    if type(item) is not tuple or len(item) != 2:
                        check_pair(item, step.kind)
                    key, value = item
                    if key in found:
                        found[key] = found[key] + value
                    else:
                        found[key] = value
            else:
                for item in part:
                    if type(item) is not tuple or len(item) != 2:
                        check_pair(item, step.kind)
                    key, value = item
                    found[key] = function(found[key], value) if key in found else value
        except CAUGHT as error:
            raise Located(error, step, count + len(batch) - part.__length_hint__() - 1) from None
        count += len(batch)
        if len(found) >= _MOST_KEYS:
            _put(found, step, outbox)
            found = {}
    _put(found, step, outbox)
    return count


def _put(found: dict[Any, Any], step: Step, outbox: Outbox) -> None:
    size, boxes = len(outbox.boxes), outbox.boxes
    items = list(found.items())
    try:
        for item in items:
            boxes[destination(item[0], size)].append(item)
    except CAUGHT as error:
        raise Located(error, step, None) from None
    outbox.took(items)


def is_addition(function: Any) -> bool:
    """Whether a function adds its two arguments and does nothing else."""
    if type(function) is not FunctionType:
        import operator

        return function is operator.add
    code, plain = function.__code__, _plain_addition.__code__
    return (
        code.co_code == plain.co_code
        and code.co_argcount == 2
        and not (code.co_kwonlyargcount or code.co_flags & 0x2C or function.__closure__)
    )


def _plain_addition(one: Any, other: Any) -> Any:
    return one + other


# Into a partition


def read(step: Step, sides: list[list[tuple[int, list[Block]]]], most_bytes: int | None) -> Batches:
    """The items that an exchange gives: of each side, of each partition in order, the blocks that came from there."""
    kind = step.kind
    if most_bytes is None and step.options.get("use_disk"):
        most_bytes = _DISK_BYTES
    if kind in ("gather", "all_gather"):
        return _numbered(sides[0])
    if kind == "keyed_reduce":
        return _rounds(_merged, step, sides, most_bytes)
    if kind == "keyed_gather":
        return _rounds(_grouped, step, sides, most_bytes)
    if kind == "join":
        return _rounds(_joined, step, sides, most_bytes)
    return plain(sides[0])


def plain(side: list[tuple[int, list[Block]]]) -> Iterator[list[Any]]:
    """The items of blocks, as they are."""
    for _, blocks in side:
        for block in blocks:
            items = block.read()
            if items:
                yield items


def _numbered(side: list[tuple[int, list[Block]]]) -> Iterator[list[Any]]:
    for index, blocks in side:
        for block in blocks:
            items = block.read()
            for at in range(0, len(items), extents.MOST_ITEMS):
                yield [(index, item) for item in items[at : at + extents.MOST_ITEMS]]


def _rounds(
    made: Callable[[Step, list[Iterator[list[Any]]]], Iterable[Any]],
    step: Step,
    sides: list[list[tuple[int, list[Block]]]],
    most_bytes: int | None,
) -> Batches:
    """Some of the keys at a time, where all don't fit into memory: they are put aside on disk before, then."""
    total = sum(block.held for side in sides for _, blocks in side for block in blocks)
    rounds = 1
    if most_bytes is not None and step.options.get("comparator") is None:
        rounds = min(_MOST_ROUNDS, 1 + _IN_MEMORY * total // max(1, most_bytes))
    if rounds == 1:
        yield from _batched(made(step, [plain(side) for side in sides]))
        return
    shelf = Shelf()
    try:
        put = [_put_aside(shelf, plain(side), rounds, step.parallelism) for side in sides]
        for number in range(rounds):
            taken: list[Iterator[list[Any]]] = [map(shelf.take, boxes[number]) for boxes in put]
            yield from _batched(made(step, taken))
    finally:
        shelf.close()


def _batched(items: Iterable[Any]) -> Batches:
    batch: list[Any] = []
    most = 1
    for item in items:
        batch.append(item)
        if len(batch) >= most:
            most = extents.room(item)
            yield batch
            batch = []
    if batch:
        yield batch


def _put_aside(shelf: Shelf, batches: Iterator[list[Any]], rounds: int, count: int) -> list[list[Any]]:
    """The pairs, by their keys: where those of each round lie."""
    boxes: list[list[Any]] = [[] for _ in range(rounds)]
    lies: list[list[Any]] = [[] for _ in range(rounds)]
    nbytes = 0
    for batch in batches:
        for item in batch:
            boxes[_number_of(item[0]) // count % rounds].append(item)
        nbytes += extents.size_of_all(batch)
        if nbytes >= _ASIDE_BYTES:
            _shelve(shelf, boxes, lies)
            nbytes = 0
    _shelve(shelf, boxes, lies)
    return lies


def _number_of(key: Any) -> int:
    """The key's number; where a function of the user's says where keys go, any that equal keys have in this process."""
    try:
        return hashed(key)
    except TypeError:
        return hash(key)


def _shelve(shelf: Shelf, boxes: list[list[Any]], lies: list[list[Any]]) -> None:
    for box, lie in zip(boxes, lies, strict=True):
        if box:
            lie.append(shelf.put(box))
            box.clear()


def _merged(step: Step, sides: list[Iterator[list[Any]]]) -> Iterable[Any]:
    function = step.function
    found: dict[Any, Any] = {}
    for batch in sides[0]:
        try:
            for key, value in batch:
                if type(key) is not str:
                    key = canonical(key)
                found[key] = function(found[key], value) if key in found else value
        except CAUGHT as error:
            raise Located(error, step, None) from None
    return found.items()


def _grouped(step: Step, sides: list[Iterator[list[Any]]]) -> Iterable[Any]:
    groups: dict[Any, list[Any]] = {}
    for batch in sides[0]:
        for key, value in batch:
            if type(key) is not str:
                key = canonical(key)
            if key in groups:
                groups[key].append(value)
            else:
                groups[key] = [value]
    if step.options.get("comparator") is None:
        return groups.items()
    return _ordered(step, groups, list.__iadd__)


def _ordered(step: Step, groups: dict[Any, Any], joined: Callable[[Any, Any], Any]) -> list[Any]:
    """By the comparator, which says too which keys are the same."""
    compare = step.options["comparator"]
    try:
        order = cmp_to_key(compare)
        found: list[Any] = []
        for key, values in sorted(groups.items(), key=lambda item: order(item[0])):
            if found and compare(found[-1][0], key) == 0:
                joined(found[-1][1], values)
            else:
                found.append((key, values))
        return found
    except CAUGHT as error:
        raise Located(error, step, None) from None


def _joined(step: Step, sides: list[Iterator[list[Any]]]) -> Iterable[Any]:
    kind = step.options["join_type"]
    groups: dict[Any, tuple[list[Any], list[Any]]] = {}
    for number, side in enumerate(sides):
        for batch in side:
            for key, value in batch:
                if type(key) is not str:
                    key = canonical(key)
                both = groups.get(key)
                if both is None:
                    both = groups[key] = ([], [])
                both[number].append(value)
    ordered: Iterable[Any] = groups.items()
    if step.options.get("comparator") is not None:
        ordered = _ordered(
            step, groups, lambda one, other: (one[0].extend(other[0]), one[1].extend(other[1]))
        )
    for key, (left, right) in ordered:
        if not left:
            if kind in ("right", "outer"):
                yield from ((key, (None, value)) for value in right)
        elif not right:
            if kind in ("left", "outer"):
                yield from ((key, (value, None)) for value in left)
        else:
            yield from ((key, (one, other)) for one in left for other in right)
