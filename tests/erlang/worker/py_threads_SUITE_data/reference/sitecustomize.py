"""With this directory on its path a Python has the reference codec, as where the compiled one is missing."""

import sys

sys.modules["erl.codec.native"] = None  # type: ignore[assignment]
