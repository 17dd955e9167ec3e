"""The analyses beside LiberTEM's own, with its defaults and its names of results."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

from erl.compute import Context

np: Any = pytest.importorskip("numpy", reason="numpy is not installed here")
pytest.importorskip("libertem", reason="LiberTEM is not installed (scripts/setup arrays)")

ANALYSES: list[tuple[str, dict[str, Any]]] = [
    ("sum", {}),
    ("disk", {}),
    ("disk", {"cx": 5, "cy": 7, "r": 4}),
    ("ring", {}),
    ("ring", {"cx": 3, "cy": 4, "ri": 2, "ro": 6}),
    ("point", {}),
    ("point", {"x": 3, "y": 9}),
    ("com", {}),
    ("com", {"cx": 6, "cy": 7, "mask_radius": 5}),
    ("com", {"mask_radius": 7, "mask_radius_inner": 2, "flip_y": True, "scan_rotation": 33.0}),
    ("mask", {"factories": [lambda: np.arange(18 * 16).reshape(18, 16) / 100]}),
    ("pick", {"x": 3, "y": 4}),
]


@pytest.mark.parametrize("dtype", ["u2", "c8"])
def test_analyses_are_those_of_libertem(dtype: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import libertem.api

        theirs = libertem.api.Context.make_with("inline")
        rng = np.random.default_rng(0)
        data = (rng.random((6, 7, 18, 16)) * 100).astype(dtype)
        roi = rng.random((6, 7)) < 0.5
        with Context.make_with("inline") as ctx, theirs:
            inputs = [each.load("memory", data=data, sig_dims=2) for each in (theirs, ctx)]
            for name, parameters in ANALYSES:
                for chosen in (None,) if name == "pick" else (None, roi):
                    expected, found = (
                        each.run(
                            getattr(each, f"create_{name}_analysis")(dataset=its, **parameters), roi=chosen
                        )
                        for each, its in zip((theirs, ctx), inputs, strict=True)
                    )
                    assert found.keys() == expected.keys()
                    for key in found.keys():  # noqa: SIM118
                        np.testing.assert_allclose(
                            found[key].raw_data,
                            expected[key].raw_data,
                            rtol=1e-4,
                            atol=1e-4,
                            err_msg=f"{name} {key}",
                        )
