"""The environment that a process runs in, as a run gives it that has had it built."""

from __future__ import annotations

import platform
import sys

from erl.functions import outputs


def described() -> outputs.Outputs:
    """The result `environment`: `path`, `python_version`, and `packages` with their versions."""
    from importlib import metadata

    packages = {
        f"{each.metadata['Name']}=={each.version}"
        for each in metadata.distributions()
        if each.metadata["Name"]
    }
    made = outputs.Outputs()
    made.results["environment"] = {
        "path": sys.prefix,
        "python_version": platform.python_version(),
        "packages": sorted(packages, key=str.lower),
    }
    return made
