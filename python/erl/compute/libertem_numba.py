"""Importing this has numba fill its tables, as its first compilation would.

It does so by generators that give what they have once: an interruption in the middle leaves them empty for good, and
each later compilation in that worker fails. What happens in an import is not interrupted.
"""

from __future__ import annotations

import contextlib

with contextlib.suppress(ImportError, AttributeError):  # none here, or one that does it elsewhere
    from numba.core.registry import cpu_target

    cpu_target.typing_context.refresh()
    cpu_target.target_context.refresh()
