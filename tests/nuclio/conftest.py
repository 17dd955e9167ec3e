"""Runs nuclio_sdk's own tests, of its wheel, with this package's classes in the place of its own: `make test-nuclio`.

Its module is replaced before its tests import it; what belongs to its platform alone stays as it is.
"""

from __future__ import annotations

import sys
from types import ModuleType

import nuclio_sdk
import nuclio_sdk.test

from erl.serving import contexts, encoding, events, responses

_OURS = {
    "event": (events, ("Event", "TriggerInfo", "EventDeserializerKinds")),
    "response": (
        responses,
        ("Response", "GENERATOR_RESPONSE", "SINGLE_RESPONSE", "RESPONSE_WITH_GENERATOR_BODY"),
    ),
    "logger": (contexts, ("Logger", "JSONFormatter", "HumanReadableFormatter")),
    "context": (contexts, ("Context",)),
    "json_encoder": (encoding, ("Encoder",)),
    "qualified_offset": (events, ("QualifiedOffset",)),
}
for _name, (_module, _classes) in _OURS.items():
    _made = ModuleType(f"nuclio_sdk.{_name}")
    for _each in _classes:
        setattr(_made, _each, getattr(_module, _each))
        setattr(nuclio_sdk, _each, getattr(_module, _each))
    setattr(nuclio_sdk, _name, _made)
    sys.modules[f"nuclio_sdk.{_name}"] = _made
