"""Whether an import is under way: what an exception would leave half done, for as long as the process lives.

A module whose source was left in the middle is taken out of `sys.modules`, but not what it had imported and changed
till then: the next import of it finds those there, and its parent without them. So no interruption enters an import.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from types import CodeType, FrameType

_IMPORTLIB = "<frozen importlib"
"""The files of `importlib`'s own frames: they stand below those of all that is executed for an import."""


def is_under_way(frame: FrameType | None, outermost: tuple[CodeType, ...]) -> bool:
    """Whether one of `importlib`'s frames stands between this frame and the next one of these codes."""
    while frame is not None:
        code = frame.f_code
        if code in outermost:
            return False
        if code.co_filename.startswith(_IMPORTLIB):
            return True
        frame = frame.f_back
    return False
