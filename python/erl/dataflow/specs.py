"""Stages of a plan as what workers are sent: without parents, with the functions of their operations."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

from erl.dataflow import plan, tasks
from erl.dataflow.chain import Step
from erl.dataflow.functions import LoadBalanced, positional
from erl.values import parcels

if TYPE_CHECKING:
    from erl.dataflow.tasks import Setup


def frozen(operation: plan.Operation, by_value: bool) -> dict[str, Any]:
    """What an operation was given, as it is now, pickled: kept with a frozen operation, so that what is made again is
    made by the same. Raises what `pickle` raises, with what can't be pickled named.
    """
    found: dict[str, Any] | None = operation.options.get("frozen")
    if found is None:
        found = operation.options["frozen"] = _frozen(operation, by_value)
    return found


def _frozen(operation: plan.Operation, by_value: bool) -> dict[str, Any]:
    function = operation.function
    named = f"the function of {operation.name}, {operation.text()},"
    is_called = operation.kind in plan.CALLED
    found: dict[str, Any] = {"positional": positional(function) if is_called else 1}
    if is_called:
        found["function"] = pickled(function, by_value, named)
    elif function is not None and not isinstance(function, LoadBalanced):
        found["partitioner"] = pickled(function, by_value, f"the partition function of {operation.name}")
    comparator = operation.options.get("comparator")
    if comparator is not None:
        found["comparator"] = pickled(comparator, by_value, f"the key_comparator of {operation.name}")
    if operation.kind == "source":
        source = operation.options["source"]
        found["source"] = pickled(source, by_value, f"the source of {operation.name}")
    return found


def freeze_all(operation: plan.Operation, by_value: bool) -> None:
    """Do that for all that a frozen plan consists of."""
    seen: set[int] = set()
    pending = [operation]
    while pending:
        each = pending.pop()
        if id(each) not in seen and not each.is_kept:
            seen.add(id(each))
            frozen(each, by_value)
            pending += [*each.parents, *each.inputs.values()]


def step_of(operation: plan.Operation, by_value: bool) -> Step:
    """An operation as a step. Raises what `pickle` raises."""
    data = frozen(operation, by_value)
    options: dict[str, Any] = {
        name: data[name] for name in ("partitioner", "comparator") if data.get(name) is not None
    }
    if operation.kind in plan.EXCHANGES:
        options |= {name: operation.options.get(name) for name in ("join_type", "use_disk")}
        options["sources"] = operation.parents[0].parallelism if operation.parents else 0
    return Step(
        operation.kind,
        operation.id,
        operation.name,
        str(operation.options.get("text") or operation.text()),
        operation.parallelism,
        data.get("function"),
        data["positional"],
        {name: f"{operation.id}:{name}" for name in operation.inputs},
        options,
    )


def spec_of(stage: plan.Stage, sink: plan.Operation | None, setup: Setup, by_value: bool) -> tasks.Spec:
    """A stage, and the exchange before which it ends, as workers are sent them."""
    leaves: list[tasks.Leaf] = []

    def tree(of: plan.Stage) -> tasks.Tree:
        steps = [step_of(each, by_value) for each in of.steps]
        if of.parts:
            return tasks.Tree(None, [tree(each) for each in of.parts], steps)
        leaves.append(_leaf(of.base, by_value))
        return tasks.Tree(len(leaves) - 1, [], steps)

    made = tree(stage)
    return tasks.Spec(setup, leaves, made, None if sink is None else step_of(sink, by_value))


def _leaf(base: plan.Operation, by_value: bool) -> tasks.Leaf:
    if base.is_kept:
        return tasks.Leaf(
            "kept", Step(base.kind, base.id, base.name, base.name, base.parallelism, None, 1, {}, {})
        )
    step = step_of(base, by_value)
    if base.kind == "source":
        return tasks.Leaf(
            "source", step, pickled(base.options["source"], by_value, f"the source of {base.name}")
        )
    return tasks.Leaf("items" if base.kind in ("list", "dict") else "exchange", step)


def pickled(value: Any, by_value: bool, what: str) -> bytes:
    """Its pickle. Raises the error of `pickle` that says what it is of."""
    try:
        return parcels.pickled(value, None, by_value)
    except (TypeError, AttributeError, ValueError, RecursionError, pickle.PicklingError) as error:
        raise named(error, what) from error


def named(error: Exception, what: str) -> Exception:
    """The error, with what can't be pickled in front."""
    text = f"{what} can't be pickled: {error}"
    kind = type(error)
    if kind in (TypeError, AttributeError, ValueError, RecursionError, pickle.PicklingError):
        return kind(text)
    return pickle.PicklingError(text)


def packed(spec: tasks.Spec, by_value: bool) -> bytes:
    """The bytes of a spec. Raises what `pickle` raises."""
    return pickled(spec, by_value, "the config of the environment")
