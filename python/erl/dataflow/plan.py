"""The plan: operations, how they are frozen, which of them are one task, and how all that is printed. Pure: it knows no
executor, and what is kept only by what stands for it.

An operation has parents. Those that want an item, or a partition, at a time are *narrow*: a chain of them is one task
for each partition, a `Stage`, up to its base. The base is a source, a set that is kept, a union, or an *exchange*:
what has to see partitions of others. Before an exchange each partition leaves blocks, behind it they are read.
"""

from __future__ import annotations

from erl.dataflow.functions import described

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, Final

NARROW: Final = frozenset(("map", "flat_map", "compute", "sink", "for_each"))
FOLDS: Final = frozenset(("reduce", "all_reduce"))
EXCHANGES: Final = frozenset(
    (
        "reduce",
        "all_reduce",
        "gather",
        "all_gather",
        "partition",
        "keyed_reduce",
        "keyed_gather",
        "keyed_partition",
        "join",
    )
)
CALLED: Final = frozenset((*NARROW, *FOLDS, "keyed_reduce"))
"""Those that a function of the user's is called by."""
JOINS: Final = ("inner", "left", "right", "outer")


class PlanError(ValueError):
    """Raised for a plan that can't be: a set that is an input of itself."""


class Operation:
    """One operation, and the set or link that it gives."""

    __slots__ = ("function", "id", "inputs", "kept", "kind", "name", "options", "parallelism", "parents")

    def __init__(
        self,
        kind: str,
        id: int,  # noqa: A002
        function: Any = None,
        parents: tuple[Operation, ...] = (),
        parallelism: int = 1,
        options: dict[str, Any] | None = None,
    ) -> None:
        self.kind = kind
        self.id = id
        self.function = function
        self.parents = parents
        self.parallelism = parallelism
        self.options = options or {}
        self.inputs: dict[str, Operation] = {}
        self.name = f"{kind}-{id}"
        self.kept: Any = None
        """Of a set that is kept: what keeps it."""

    @property
    def is_kept(self) -> bool:
        """Whether it is a set that is kept, or is to be: nothing before it matters."""
        return self.kept is not None

    def text(self) -> str:
        """What errors call it: `map(<lambda> at program.py:3)`."""
        return self.kind if self.function is None else f"{self.kind}({described(self.function)})"

    def __repr__(self) -> str:
        return f"<Operation {self.name}>"


class Stage:
    """What is one task for each partition: the operations from the base on."""

    __slots__ = ("base", "parts", "steps")

    def __init__(self, base: Operation, steps: list[Operation], parts: list[Stage]) -> None:
        self.base = base
        self.steps = steps
        self.parts = parts
        """Of a union: the stages of its sets."""

    @property
    def last(self) -> Operation:
        """What it gives."""
        return self.steps[-1] if self.steps else self.base

    def operations(self) -> Iterator[Operation]:
        """All that is part of it, from the base on."""
        for part in self.parts:
            yield from part.operations()
        yield self.base
        yield from self.steps

    def leaves(self) -> Iterator[Operation]:
        """The bases that are no unions, in order."""
        if self.parts:
            for part in self.parts:
                yield from part.leaves()
        else:
            yield self.base

    def inputs(self) -> dict[str, Operation]:
        """The inputs of all its operations by their names, and the numbers of the operations."""
        return {f"{each.id}:{name}": of for each in self.operations() for name, of in each.inputs.items()}


def stage(operation: Operation) -> Stage:
    """The stage that gives it."""
    steps: list[Operation] = []
    base = operation
    while base.kind in NARROW and not base.is_kept:
        steps.append(base)
        base = base.parents[0]
    steps.reverse()
    parts = [stage(each) for each in base.parents] if base.kind == "union" and not base.is_kept else []
    return Stage(base, steps, parts)


def freeze(operation: Operation) -> Operation:
    """A copy of all that leads to it, up to what is kept, with the inputs as they are now: an operation behind one with
    inputs sees those as well. Raises `PlanError` where a set is an input of itself.
    """
    copies: dict[int, Operation] = {}
    path: list[Operation] = []
    pending: list[tuple[Operation, bool]] = [(operation, False)]
    while pending:
        each, is_left = pending.pop()
        if is_left:
            path.pop()
            copies[id(each)] = _copy(each, copies)
            continue
        if id(each) in copies:
            continue
        if each.is_kept:
            copies[id(each)] = each
            continue
        if any(other is each for other in path):
            ring = [*path[[other is each for other in path].index(True) :], each]
            raise PlanError("a set is an input of itself: " + " <- ".join(one.name for one in ring))
        path.append(each)
        pending.append((each, True))
        pending += [(one, False) for one in (*each.inputs.values(), *each.parents)]
    return copies[id(operation)]


def _copy(of: Operation, copies: dict[int, Operation]) -> Operation:
    made = Operation(of.kind, of.id, of.function, (), of.parallelism, dict(of.options))
    made.name = of.name
    made.parents = tuple(copies[id(each)] for each in of.parents)
    for parent in made.parents:
        if not parent.is_kept:
            made.inputs.update(parent.inputs)
    made.inputs.update((name, copies[id(each)]) for name, each in of.inputs.items())
    return made


def unfolded(operation: Operation, plan_of: Callable[[Operation], Operation | None]) -> Operation:
    """A frozen plan in which what was kept, and is not any more, is made again on the way: `plan_of` gives its plan,
    None for what is kept.
    """
    copies: dict[int, Operation] = {}
    pending: list[tuple[Operation, Operation | None, bool]] = [(operation, None, False)]
    while pending:
        each, instead, is_left = pending.pop()
        if is_left:
            copies[id(each)] = _replaced(each, copies) if instead is None else copies[id(instead)]
        elif id(each) not in copies:
            instead = plan_of(each) if each.is_kept else None
            if each.is_kept and instead is None:
                copies[id(each)] = each
                continue
            pending.append((each, instead, True))
            below = (*each.inputs.values(), *each.parents) if instead is None else (instead,)
            pending += [(one, None, False) for one in below]
    return copies[id(operation)]


def _replaced(each: Operation, copies: dict[int, Operation]) -> Operation:
    parents = tuple(copies[id(one)] for one in each.parents)
    inputs = {name: copies[id(one)] for name, one in each.inputs.items()}
    if all(new is old for new, old in zip(parents, each.parents, strict=True)) and all(
        inputs[name] is old for name, old in each.inputs.items()
    ):
        return each
    made = Operation(each.kind, each.id, each.function, parents, each.parallelism, dict(each.options))
    made.name = each.name
    made.inputs = inputs
    return made


def without_holds(operation: Operation) -> None:
    """Have a frozen plan name what is kept without keeping it."""
    seen: set[int] = set()
    pending = [operation]
    while pending:
        each = pending.pop()
        if id(each) in seen or each.is_kept:
            continue
        seen.add(id(each))
        each.parents = tuple(_named(one) for one in each.parents)
        each.inputs = {name: _named(one) for name, one in each.inputs.items()}
        pending += [*each.parents, *each.inputs.values()]


def _named(operation: Operation) -> Operation:
    if not operation.is_kept or "hold" not in operation.options:
        return operation
    options = {name: value for name, value in operation.options.items() if name != "hold"}
    made = Operation(operation.kind, operation.id, None, (), operation.parallelism, options)
    made.name = operation.name
    made.kept = operation.kept
    return made


def explained(operation: Operation) -> str:
    """The plan as text: a line for each stage, the first that runs first."""
    frozen = freeze(operation)
    lines: list[str] = []
    numbers: dict[int, int] = {}
    _explain(frozen, lines, numbers)
    return "\n".join(lines)


def _explain(operation: Operation, lines: list[str], numbers: dict[int, int]) -> str:
    """Add the lines of the stage that gives it; what stands for it in others."""
    if id(operation) in numbers:
        return f"stage {numbers[id(operation)]}"
    if operation.is_kept:
        return f"{operation.name}, which is kept"
    own = stage(operation)
    before = [_explain_base(each, lines, numbers) for each in own.leaves()]
    names = own.inputs()
    inputs = {key.partition(":")[2]: _explain(of, lines, numbers) for key, of in names.items()}
    numbers[id(operation)] = len(lines) + 1
    what = " -> ".join([" + ".join(before), *(each.text() for each in own.steps)])
    with_inputs = "".join(f", with {name} = {of}" for name, of in inputs.items())
    count = operation.parallelism
    lines.append(
        f"stage {len(lines) + 1}: {what}{with_inputs}; {count} task{'' if count == 1 else 's'} = {operation.name}"
    )
    return f"stage {numbers[id(operation)]}"


def _explain_base(base: Operation, lines: list[str], numbers: dict[int, int]) -> str:
    if base.is_kept:
        return f"{base.name}, which is kept"
    if base.kind in EXCHANGES:
        come = ", ".join(_explain(each, lines, numbers) for each in base.parents)
        return f"{base.text()} of {come}, {base.parents[0].parallelism} partitions to {base.parallelism}"
    return f"{base.text()} in {base.parallelism} partitions"
