"""DigitalHub's SDK on top of `erl.functions`: its programs run here as they stand, without a platform.

Found under the name `digitalhub` after `import erl`, and in workers, where no other one is installed. Written from its
public documentation.
"""

from __future__ import annotations

from erl import functions as _functions
from erl.functions import __all__ as __all__

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from typing import Any


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(_functions, name)


def __dir__() -> list[str]:
    return sorted(__all__)
