"""Tagged forms on their way out: which simplifier a type has under the flags of a call.

A simplifier returns what is encoded in the value's place, or `standard.NO_FORM`.
"""

from __future__ import annotations

from erl.codec import standard
from erl.codec.options import ARRAYS_SHARED, ARRAYS_VALUE, FORMS, STRINGS_BINARY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from erl.codec.standard import Simplifier


def of_type(kind: type, flags: int) -> Simplifier | None:
    """The simplifier for exactly this type, or None; the flags add forms (see `options.FORMS`), and `STRINGS_BINARY`
    says how texts are written.
    """
    if flags & STRINGS_BINARY and (kind is set or kind is frozenset):
        return standard.elements_apart
    if flags & ARRAYS_SHARED:
        from erl.codec import shared

        if shared.is_shareable(kind):
            return shared.simplifier(of_type(kind, flags & ~ARRAYS_SHARED | ARRAYS_VALUE))
    found = standard.of_type(kind)
    if found is None and flags & FORMS:
        from erl.codec import haystack

        return haystack.of_type(kind, flags)
    return found
