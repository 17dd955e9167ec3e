"""DigitalHub's python runtime, as sources import it: `from digitalhub_runtime_python import handler`."""

from erl.functions.handlers import handler

__all__ = ["handler"]
