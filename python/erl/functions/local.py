"""Runs in the caller's own process: nothing of them outlives it, but the entities that they have logged."""

from __future__ import annotations

import contextlib
import io
import logging
import sys
import time
import traceback
import uuid

from erl.functions import job, runs

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from typing import Any

_MOST_MESSAGE = 1000


class _Both(io.TextIOBase):
    """What is printed, for whoever looks at the stream, and for the run's log."""

    def __init__(self, stream: Any, printed: io.StringIO) -> None:
        self._stream = stream
        self._printed = printed

    def write(self, text: str) -> int:
        self._printed.write(text)
        if self._stream is not None:
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        if self._stream is not None:
            self._stream.flush()


class LocalRun(runs.Run):
    """A run that has ended when it is there. The parameters of its task have no effect."""

    def __init__(self, spec: dict[str, Any]) -> None:
        super().__init__(f"local-{uuid.uuid4()}", {**spec, "local_execution": True})
        self._log = ""
        self._transitions: list[dict[str, Any]] = []
        self._run()

    def _run(self) -> None:
        self._transitions = []
        self._given = None
        for state in ("CREATED", "PENDING", "RUNNING"):
            self._to(state, "")
        printed = io.StringIO()
        handler = logging.StreamHandler(printed)
        handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
        logging.getLogger().addHandler(handler)
        try:
            with (
                contextlib.redirect_stdout(_Both(sys.stdout, printed)),
                contextlib.redirect_stderr(_Both(sys.stderr, printed)),
            ):
                made = job.called(self._said(), self.id, lambda: self, is_remote=False)
        except (Exception, SystemExit) as error:
            kind = type(error)
            printed.write(traceback.format_exc())
            self._to("ERROR", f"{kind.__module__}.{kind.__qualname__}: {error}"[:_MOST_MESSAGE])
        else:
            self._given = {"results": made.results, "outputs": made.outputs, "warnings": made.warnings}
            self._to("COMPLETED", "; ".join(made.warnings))
        finally:
            logging.getLogger().removeHandler(handler)
            self._log += printed.getvalue()

    def _to(self, state: str, message: str) -> None:
        self._transitions.append({"status": state, "time": round(time.time() * 1000), "message": message})
        info = {"state": state, "message": message, "transitions": self._transitions, "attempt": 1}
        self._status = runs._status(info)
        if self._given is not None:
            self._status.warnings = list(self._given["warnings"])

    def refresh(self) -> LocalRun:
        """Nothing: it has ended."""
        return self

    def wait(self, timeout: float | None = None) -> LocalRun:
        """Nothing: it has ended."""
        return self

    def stop(self, wait: bool = True) -> LocalRun:
        """Nothing: it has ended."""
        return self

    def retry(self) -> LocalRun:
        """Run it again, if it has failed."""
        if self.status.state == "ERROR":
            self._run()
        return self

    def logs(self) -> str:
        """What it has printed and logged, and its traceback."""
        return self._log

    def delete(self) -> None:
        """Nothing: nobody else knows it."""
