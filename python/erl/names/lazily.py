"""What packages offer by their own names, and import when it is first asked for (PEP 562)."""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any


def imported(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """The `__getattr__` of a package: a name's value is what its home, a module, has under that name.

    A home that is the package's own module of that name is the value itself.
    """

    def find(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        home = homes[name]
        __import__(home)
        value: Any = sys.modules[home]
        if home != f"{package}.{name}":
            value = getattr(value, name)
        setattr(sys.modules[package], name, value)
        return value

    return find
