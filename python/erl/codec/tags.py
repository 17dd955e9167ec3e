"""The tag bytes of the external term format (ERTS User's Guide, "External Term Format")."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final


VERSION: Final = 131
COMPRESSED: Final = 80

NEW_FLOAT: Final = 70
BIT_BINARY: Final = 77
NEW_PID: Final = 88
NEW_PORT: Final = 89
NEWER_REFERENCE: Final = 90
SMALL_INTEGER: Final = 97
INTEGER: Final = 98
FLOAT: Final = 99
ATOM: Final = 100
REFERENCE: Final = 101
PORT: Final = 102
PID: Final = 103
SMALL_TUPLE: Final = 104
LARGE_TUPLE: Final = 105
NIL: Final = 106
STRING: Final = 107
LIST: Final = 108
BINARY: Final = 109
SMALL_BIG: Final = 110
LARGE_BIG: Final = 111
NEW_FUN: Final = 112
EXPORT: Final = 113
NEW_REFERENCE: Final = 114
SMALL_ATOM: Final = 115
MAP: Final = 116
FUN: Final = 117
ATOM_UTF8: Final = 118
SMALL_ATOM_UTF8: Final = 119
V4_PORT: Final = 120
