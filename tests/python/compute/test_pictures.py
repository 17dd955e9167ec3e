"""Pictures of results: real ones of matplotlib's, without a display; and examples that draw them."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

np: Any = pytest.importorskip("numpy", reason="numpy is not installed here")
pytest.importorskip("matplotlib", reason="matplotlib is not installed (scripts/setup arrays)")

from erl.compute import AnalysisResult, AnalysisResultSet, Context  # noqa: E402 - it has numpy

ROOT = Path(__file__).parents[3]


def size_of(figure: Any) -> tuple[int, int]:
    """Of the picture, as it is written into its file."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    data = stream.getvalue()
    assert data.startswith(b"\x89PNG")
    return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")


def test_all_analyses_have_pictures() -> None:
    data = np.random.default_rng(0).random((5, 6, 8, 9)).astype("f4")
    with Context.make_with("inline") as ctx:
        for kind in (data, data.astype("c8")):
            dataset = ctx.load("memory", data=kind)
            for analysis in (
                ctx.create_sum_analysis(dataset),
                ctx.create_ring_analysis(dataset),
                ctx.create_com_analysis(dataset),
                ctx.create_point_analysis(dataset),
                ctx.create_pick_analysis(dataset, 1, 1),
            ):
                found = ctx.run(analysis)
                assert len(found.plot().axes) >= len(found)
                assert size_of(found[0].plot(dpi=40))[0] == int(3.2 * 40)
        assert size_of(found.plot(columns=1, figsize=(4, 6), dpi=25)) == (100, 150)


@pytest.mark.parametrize(
    "data",
    [
        np.zeros((3, 4)),
        np.full((3, 4), np.nan),
        np.arange(-5.0, 7).reshape(3, 4),
        np.ones((3, 4), bool),
        np.arange(24.0).reshape(2, 3, 4),
        np.arange(7.0),
        np.float64(3),
        np.zeros((1, 1), "c16"),
        np.ones(3, "c16"),
        (np.arange(3.0), np.arange(3.0)),
        (np.full((2, 2), np.nan), np.zeros((2, 2))),
        (np.zeros((2, 3, 4)), np.ones((2, 3, 4))),
    ],
)
@pytest.mark.filterwarnings("error")
def test_data_of_any_kind_have_a_picture(data: Any) -> None:
    for log in (False, True):
        result = AnalysisResult("it", data, "title", "", log=log)
        assert size_of(result.plot(dpi=30)) == (96, 96)


def test_a_region_of_interest_is_drawn_with_holes() -> None:
    with Context.make_with("inline") as ctx:
        dataset = ctx.load("memory", data=np.ones((4, 4, 6, 6)))
        found = ctx.run(ctx.create_com_analysis(dataset), roi=dataset.roi[1:3, 1:3])
        assert np.isnan(found.x.raw_data[0]).all()
        size_of(found.plot(dpi=30))


def test_a_class_of_ones_own_draws() -> None:
    drawn: list[Any] = []

    def draw(results: Any, **kwargs: Any) -> str:
        drawn.append(([each.key for each in results], kwargs))
        return "a picture"

    with Context.make_with("inline", plot_class=draw) as ctx:
        found = ctx.run(ctx.create_sum_analysis(ctx.load("memory", data=np.ones((2, 3, 4)))))
        assert found.plot(title="x") == found.intensity.plot() == "a picture"
    assert drawn == [(["intensity", "intensity_lin"], {"title": "x"}), (["intensity"], {})]


def test_results_are_found_by_name_number_and_in_turn() -> None:
    results = AnalysisResultSet([AnalysisResult(key, np.ones(2), key, "") for key in ("one", "two")])
    assert results.one is results["one"] is results[0] is next(iter(results))
    assert len(results) == 2
    assert "two" in results
    assert "two" in dir(results)
    assert np.array(results.two).tolist() == [1, 1]
    assert np.asarray(results.two, "i4").dtype == np.int32
    with pytest.raises(AttributeError, match="no result is named 'three': there are one, two"):
        results.three  # noqa: B018
    with pytest.raises(KeyError, match="three"):
        results["three"]


@pytest.mark.parametrize(
    ("name", "executor"),
    [("virtual_detectors", "threads"), ("virtual_detectors", "dask"), ("custom_udf", "threads")],
)
def test_an_example_draws_its_picture_on_any_executor(name: str, executor: str, tmp_path: Path) -> None:
    if executor == "dask":
        pytest.importorskip(
            "distributed", reason="dask's distributed is not installed (scripts/setup arrays)"
        )
    picture = tmp_path / "picture.png"
    command = [sys.executable, str(ROOT / "examples" / "python" / f"{name}.py"), executor, str(picture)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert picture.read_bytes().startswith(b"\x89PNG")
    *lines, last = done.stdout.splitlines()
    assert last == f"the picture is {picture}"
    page = (ROOT / "docs" / "arrays.md").read_text(encoding="utf-8")
    shown = page.partition(f"$ python examples/python/{name}.py\n")[2].partition("\n```")[0].splitlines()
    assert len(lines) == len(shown)


def test_the_pages_pictures_are_small() -> None:
    for name in ("virtual_detectors", "custom_udf"):
        assert (ROOT / "docs" / "img" / f"{name}.png").stat().st_size < 60_000
