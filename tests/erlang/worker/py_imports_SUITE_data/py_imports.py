"""Calls that import what takes a while."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import threading
import time
from typing import Any


def answer(name: str) -> Any:
    """What the module says, which is imported in the call."""
    return importlib.import_module(name).answer()


def answer_in_c(name: str) -> Any:
    import ctypes

    load = ctypes.pythonapi.PyImport_ImportModule
    load.restype = ctypes.py_object
    return load(name.encode()).answer()


def answer_with_a_thread(name: str) -> Any:
    """A thread imports it, too: the lock of the import is its."""
    thread = threading.Thread(target=importlib.import_module, args=[name])
    thread.start()
    time.sleep(0.05)  # it has the lock
    try:
        return importlib.import_module(name).answer()
    finally:
        thread.join()


def answer_again(name: str) -> Any:
    module = importlib.import_module(name)
    return importlib.reload(module).answer()


def import_and_go_on(name: str, seconds: float) -> Any:
    """The end of the import is not that of the call."""
    module = importlib.import_module(name)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pass
    return module.answer()


def is_loaded(name: str) -> bool:
    return name in sys.modules


LIBRARIES = {
    "numpy": "__import__('numpy').linalg.norm([3.0, 4.0]).item()",
    "pandas": "__import__('pandas').DataFrame({'a': [1, 2]}).a.sum().item()",
    "sklearn": "__import__('sklearn.linear_model').linear_model.LinearRegression().fit([[0.0], [1.0]], [0.0, 2.0])"
    ".predict([[2.0]]).round(6).item()",
    "matplotlib": "len(__import__('matplotlib.figure').figure.Figure().subplots().plot([1, 2]))",
}


def use(name: str) -> Any:
    return eval(LIBRARIES[name])


def has(name: str) -> bool:
    return importlib.util.find_spec(name) is not None
