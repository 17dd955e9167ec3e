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


def step_of(operation: plan.Operation, by_value: bool) -> Step:
    """An operation as a step. Raises `plan.PlanError` for a partition function that can't be pickled."""
    options: dict[str, Any] = {}
    function = operation.function
    if operation.kind in plan.EXCHANGES and operation.kind not in (*plan.FOLDS, "keyed_reduce"):
        if function is not None and not isinstance(function, LoadBalanced):
            options["partitioner"] = pickled(
                function, by_value, f"the partition function of {operation.name}"
            )
        function = None
        options["comparator"] = operation.options.get("comparator")
        options["join_type"] = operation.options.get("join_type")
        options["use_disk"] = operation.options.get("use_disk")
        options["sources"] = operation.parents[0].parallelism if operation.parents else 0
    return Step(
        operation.kind,
        operation.id,
        operation.name,
        str(operation.options.get("text") or operation.text()),
        operation.parallelism,
        function,
        1 if function is None else positional(function),
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


def packed(spec: tasks.Spec, stage: plan.Stage, sink: plan.Operation | None, by_value: bool) -> bytes:
    """The bytes of a spec. Raises what `pickle` raises, with the function named that can't be pickled."""
    try:
        return parcels.pickled(spec, None, by_value)
    except (TypeError, AttributeError, ValueError, RecursionError, pickle.PicklingError) as error:
        for each in (*stage.operations(), *(() if sink is None else (sink,))):
            for what in (each.function, each.options.get("comparator")):
                if what is not None:
                    pickled(what, by_value, f"the function of {each.name}, {each.text()},")
        pickled(spec.setup.config, by_value, "the config of the environment")
        raise error
