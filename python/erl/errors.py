"""The package's exceptions, all in one place.

Three kinds are kept apart, as on the Erlang side: what user code raised is never one of these, what the
bridge could not do is a `BridgeError`, and a cancelled call ends by `CallCancelled`, which user code does
not catch by accident.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from concurrent.futures import BrokenExecutor
    from typing import Any


class BridgeError(Exception):
    """Base of everything that the bridge itself raises."""


class CodecError(BridgeError, ValueError):
    """Raised when a value and a term can't be turned into each other; see the two subclasses."""


class EncodeError(CodecError):
    """Raised when a Python value has no term: too deep, a name too long, an encoder that failed."""


class DecodeError(CodecError):
    """Raised when bytes are not a term, or are one that has no Python value under the options of the call."""


class NotPicklableError(EncodeError):
    """Raised when a value can't be pickled, and where it can't be kept as a reference either."""


class StaleReferenceError(BridgeError, LookupError):
    """Raised when a reference names an object that was released, or one of another interpreter."""


class SharedMemoryError(EncodeError):
    """Raised when there is no room in shared memory, or none at all."""


class ElsewhereError(DecodeError):
    """Raised when a term means the shared memory of another node."""


class NoSharedMemoryError(DecodeError):
    """Raised when a term means shared memory and this interpreter has no part in any, as in a sandbox."""


class ProtocolError(BridgeError):
    """Raised when the other side sends a message that the protocol does not have at that place."""


class CallCancelled(BaseException):
    """Raised in the running call when it is cancelled. Not an `Exception`: `except Exception` lets it
    through.
    """

    call = 0
    """The number of the call, where it runs on the main thread."""

    def __init__(self, *args: object) -> None:
        super().__init__(*(args or ("Erlang does not want the result of this call any more",)))


class AnswerTimeoutError(BridgeError, TimeoutError):
    """Raised when Erlang has not answered a call within the call's timeout. The function may still be running."""


class ErlangError(BridgeError):
    """Raised in Python when a call of Erlang failed there.

    `class_` is `error`, `exit` or `throw`, `reason` and `stacktrace` are the terms that Erlang caught. Where Python
    code lets it pass, it is raised again in Erlang.
    """

    def __init__(
        self, class_: object, reason: object, stacktrace: object = None, itself: object = None
    ) -> None:
        super().__init__(class_, reason, stacktrace)
        self.class_ = class_
        self.reason = reason
        self.stacktrace = stacktrace
        self._itself = itself
        self._term: object = (class_, reason, stacktrace)
        """What Erlang has sent, where it was sent."""

    def __str__(self) -> str:
        try:
            reason = str(self.reason) if isinstance(self.reason, str) else repr(self.reason)
        except (ValueError, RecursionError):  # an integer of thousands of digits, lists inside one another
            reason = f"a {type(self.reason).__name__} that is too large to be shown"
        return f"{self.class_}: {reason}{_where(self.stacktrace) if reason in ('undef', 'function_clause') else ''}"


def _where(stacktrace: object) -> str:
    """The function that was called, as the first entry of Erlang's stacktrace has it: `: nosuch:f/0`."""
    try:
        module, function, arity, *_ = stacktrace[0]  # type: ignore[index]
        count = arity if type(arity) is int else len(arity)
    except (TypeError, IndexError, KeyError, ValueError):
        return ""
    return f": {module}:{function}/{count}"


class NodeError(BridgeError):
    """Raised when there is no node to talk to, or when it does not do what it was asked: the text says what to do."""


class TaskTimeoutError(BridgeError, TimeoutError):
    """Raised by the future of a task that was not over within its `timeout`. It was interrupted, its worker is free."""


class RemoteError(BridgeError):
    """Raised for what a task raised when its class is not known here, or can't be pickled.

    `class_name` is the name of the class there, and `text` what the exception said.
    """

    def __init__(self, class_name: str, text: str = "") -> None:
        super().__init__(class_name, text)
        self.class_name = class_name
        self.text = text

    def __str__(self) -> str:
        return f"{self.class_name}: {self.text}" if self.text else self.class_name


class JobCancelledError(BridgeError):
    """Raised by a job of an executor, such as `run_tasks`, that was cancelled by its id."""


class DataSetError(BridgeError, ValueError):
    """Raised for a data set of `erl.compute` that can't be read, or is not what was said of it."""


class ExecutorSpecException(BridgeError, ValueError):
    """Raised for an executor that `Context.make_with` does not know, or that can't have such workers."""


class EntityError(BridgeError, ValueError):
    """Raised for a function, a run, a data item or the like that can't be, or can't be kept: the text says why."""


class UnknownEntityError(EntityError, LookupError):
    """Raised where there is no entity of that name, id or key."""


class RunError(EntityError):
    """Raised for what a run can't give: it has failed, was stopped, or has not ended. The text says why."""


class EntityExistsError(EntityError):
    """Raised where there is an entity of that id already."""


if TYPE_CHECKING:

    class NodeDownError(NodeError, BrokenExecutor):
        """Raised for each call and each task that was open when the node ended, or the link to it."""

    class WorkerLostError(BridgeError, BrokenExecutor):
        """Raised by the future of a task whose worker died while the task ran; of that one alone."""


def __getattr__(name: str) -> Any:
    """The exceptions that are a `BrokenExecutor` as well: `concurrent.futures` is costly to import."""
    if name not in ("NodeDownError", "WorkerLostError"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from concurrent.futures import BrokenExecutor

    base = NodeError if name == "NodeDownError" else BridgeError
    text = (
        "Raised for each call and each task that was open when the node ended, or the link to it."
        if name == "NodeDownError"
        else "Raised by the future of a task whose worker died while the task ran; of that one alone."
    )
    return globals().setdefault(
        name, type(name, (base, BrokenExecutor), {"__module__": __name__, "__doc__": text})
    )
