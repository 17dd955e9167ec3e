"""A package that no index has, for environments that tests build."""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def write_tealeaf(directory: Path) -> None:
    """Write a wheel, as the "binary distribution format" has it."""
    with zipfile.ZipFile(directory / "tealeaf-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("tealeaf.py", "STRENGTH = 3\n")
        info = "tealeaf-1.0.dist-info/"
        wheel.writestr(info + "METADATA", "Metadata-Version: 2.1\nName: tealeaf\nVersion: 1.0\n")
        wheel.writestr(
            info + "WHEEL", "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(info + "RECORD", f"tealeaf.py,,\n{info}METADATA,,\n{info}WHEEL,,\n{info}RECORD,,\n")
