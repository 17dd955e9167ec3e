"""DigitalHub's SDK on top of `erl.functions`: its programs run here as they stand, without a platform.

Found under the name `digitalhub` after `import erl`, and in workers, where no other one is installed. Written from its
public documentation.
"""

from __future__ import annotations

from erl.functions import __all__ as __all__
from erl.names import lazily as _lazily

__getattr__ = _lazily.imported(__name__, dict.fromkeys(__all__, "erl.functions"))


def __dir__() -> list[str]:
    return sorted(__all__)
