"""Twister2's Python API on top of `erl.dataflow`: its programs run here as they stand, without a JVM.

Found under the name `twister2` after `import erl`, and by `python -m erl submit`, where no other one is installed. Each
module has the class of its name, as there. Written from Twister2's public documentation.
"""

from __future__ import annotations

import logging

logging.getLogger("erl.dataflow").info("twister2 is the one of erl: %s", __file__)
