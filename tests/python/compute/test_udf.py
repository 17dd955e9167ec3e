"""Functions of users: what they declare and get, where it is merged, what comes back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from erl.executors import OtpExecutor

np: Any = pytest.importorskip("numpy", reason="numpy is not installed here")

from erl.compute import UDF, Context  # noqa: E402 - it has numpy

if TYPE_CHECKING:
    from collections.abc import Iterator

    import erl

DATA = np.random.default_rng(1).random((5, 8, 6, 7)).astype("f4")


@pytest.fixture(params=["inline", "threads", "pool"])
def ctx(request: pytest.FixtureRequest, node: erl.Node) -> Iterator[Context]:
    made = (
        Context(OtpExecutor(node, "default")) if request.param == "pool" else Context.make_with(request.param)
    )
    with made:
        yield made


class Statistics(UDF):
    """One buffer of each kind."""

    def __init__(self, threshold: float) -> None:
        super().__init__(threshold=threshold)

    def get_result_buffers(self) -> dict[str, Any]:
        return {
            "extremes": self.buffer("nav", extra_shape=(2,), dtype="f8"),
            "mean": self.buffer(kind="nav"),
            "total": self.buffer(kind="sig", dtype="f8"),
            "moments": self.buffer(kind="sig", extra_shape=(2,), dtype=np.float64),
            "above": self.buffer(kind="single", dtype="i8"),
            "table": self.buffer(kind="single", extra_shape=(2, 3), dtype="i4"),
        }

    def process_frame(self, frame: Any) -> None:
        self.results.extremes[:] = frame.min(), frame.max()
        self.results.mean[:] = frame.mean()
        self.results.total[:] += frame
        self.results.moments[..., 0] += frame
        self.results.moments[..., 1] += frame**2
        self.results.above += np.count_nonzero(frame > self.params.threshold)
        self.results.table[1, 2] += 1

    def merge(self, dest: Any, src: Any) -> None:
        dest.extremes[:] = src.extremes
        dest.mean = src.mean
        dest.total[:] += src.total
        dest["moments"] += src["moments"]
        dest.above += src.above
        dest.table += src.table


def test_buffers_of_every_kind(ctx: Context) -> None:
    found = ctx.run_udf(ctx.load("memory", data=DATA), Statistics(0.5))
    assert found["extremes"].data.shape == (5, 8, 2)
    assert found["extremes"].raw_data.shape == (40, 2)
    assert np.array_equal(found["extremes"].data[..., 1], DATA.max(axis=(2, 3)))
    np.testing.assert_allclose(found["mean"], DATA.mean(axis=(2, 3)), rtol=1e-5)
    np.testing.assert_allclose(found.total, DATA.sum(axis=(0, 1), dtype="f8"))
    np.testing.assert_allclose(found.moments[..., 1], (DATA**2).sum(axis=(0, 1), dtype="f8"))
    assert found["above"].data.tolist() == [np.count_nonzero(DATA > 0.5)]
    assert found.table.data.tolist() == [[0, 0, 0], [0, 0, 40]]
    assert (found.mean.kind, found.mean.dtype, found.mean.extra_shape) == ("nav", np.float32, ())
    assert np.asarray(found["mean"], "f8").dtype == np.float64
    with pytest.raises(AttributeError, match="no result is named 'nothing'"):
        found.nothing  # noqa: B018


def test_a_region_of_interest_has_a_place_for_each_of_its_frames(ctx: Context) -> None:
    roi = np.random.default_rng(2).random((5, 8)) < 0.3
    found = ctx.run_udf(ctx.load("memory", data=DATA), Statistics(0.5), roi=roi)
    assert np.array_equal(found.extremes.raw_data[:, 1], DATA[roi].max(axis=(1, 2)))
    assert np.isnan(found.extremes.data[~roi]).all()
    assert found.extremes.valid_mask[..., 0].tolist() == roi.tolist()
    assert found.table.data[1, 2] == roi.sum()
    np.testing.assert_allclose(found.total, DATA[roi].sum(axis=0, dtype="f8"))


class Partitions(UDF):
    """Everything that a class may have."""

    def get_result_buffers(self) -> dict[str, Any]:
        return {
            "sums": self.buffer("nav", dtype="f8"),
            "places": self.buffer("nav", (2,), "i8"),
            "steps": self.buffer("nav", dtype="i8"),
            "count": self.buffer("single", dtype="i8", use="private"),
            "mean": self.buffer("single", dtype="f8", use="result_only"),
        }

    def get_preferred_input_dtype(self) -> Any:
        return self.USE_NATIVE_DTYPE

    def get_task_data(self) -> dict[str, Any]:
        return {"begun": np.ones(3)}

    def preprocess(self) -> None:
        self.results.steps[:] = 1

    def process_partition(self, partition: Any) -> None:
        assert partition.dtype == self.meta.dataset_dtype == self.meta.input_dtype
        assert partition.shape == self.meta.partition_shape
        self.results.sums[:] = partition.sum(axis=(1, 2))
        self.results.places[:] = self.meta.coordinates
        self.results.count += len(partition)
        self.results.steps += int(self.task_data.begun.sum())

    def postprocess(self) -> None:
        self.results.steps *= 10

    def merge(self, dest: Any, src: Any) -> None:
        for name in ("sums", "places", "steps"):
            dest[name] = src[name]
        dest.count += src.count

    def get_results(self) -> dict[str, Any]:
        return {"mean": self.results.sums.sum(keepdims=True) / self.results.count}


def test_a_function_of_partitions_and_what_surrounds_it(ctx: Context) -> None:
    data = (DATA * 100).astype("u2")
    roi = np.random.default_rng(2).random((5, 8)) < 0.5
    found = ctx.run_udf(ctx.load("memory", data=data), Partitions(), roi=roi)
    assert set(found) == {"sums", "places", "steps", "mean"}
    assert np.array_equal(found.sums.raw_data, data[roi].sum(axis=(1, 2)))
    assert np.array_equal(found.places.raw_data, np.argwhere(roi))
    assert (found.steps.raw_data == 40).all()
    np.testing.assert_allclose(found["mean"].data, [data[roi].sum(axis=(1, 2)).mean()])
    assert found.sums.data.shape == (5, 8)


class OnlyNav(UDF):
    def get_result_buffers(self) -> dict[str, Any]:
        return {"it": self.buffer("nav", dtype="f4"), "name": self.buffer("nav", dtype="U9")}

    def process_frame(self, frame: Any) -> None:
        assert frame.dtype == np.float32
        self.results.it[:] = frame[0, 0]
        self.results.name[:] = "-".join(str(each) for each in self.meta.coordinates[0])


def test_results_for_each_frame_need_no_merge(ctx: Context) -> None:
    dataset = ctx.load("memory", data=(DATA * 100).astype("u1"))
    found = ctx.run_udf(dataset, OnlyNav())
    assert np.array_equal(found.it.data, (DATA * 100).astype("u1")[..., 0, 0])
    assert found.name.data[3, 4] == "3-4"
    roi = dataset.roi[3, 4]
    assert ctx.run_udf(dataset, OnlyNav(), roi).name.data[3, 5] == ""


class Plain:
    """Without the base."""

    def get_result_buffers(self) -> dict[str, Any]:
        return {"it": {"kind": "nav", "dtype": "f8"}}

    def process_frame(self, frame: Any) -> None:
        self.results.it[:] = frame.sum()  # type: ignore[attr-defined]


def test_several_functions_and_one_without_the_base(ctx: Context) -> None:
    one, other = ctx.run_udf(ctx.load("memory", data=DATA), [Plain(), Statistics(0)])
    np.testing.assert_allclose(one["it"], DATA.sum(axis=(2, 3)), rtol=1e-5)
    assert other.table.data[1, 2] == 40
    with pytest.raises(ValueError, match="empty list"):
        ctx.run_udf(ctx.load("memory", data=DATA), [])


def test_a_function_that_was_defined_just_now(ctx: Context) -> None:
    factor = 3

    class Local(UDF):
        def get_result_buffers(self) -> dict[str, Any]:
            return {"it": self.buffer("sig", dtype="f8")}

        def process_frame(self, frame: Any) -> None:
            self.results.it += factor * frame + self.params["more"]

        def merge(self, dest: Any, src: Any) -> None:
            dest.it += src.it

    found = ctx.run_udf(ctx.load("memory", data=DATA), Local(more=np.full((6, 7), 2.0)))
    np.testing.assert_allclose(found.it, 3 * DATA.sum(axis=(0, 1), dtype="f8") + 2 * 40, rtol=1e-6)


class Writes(UDF):
    def get_result_buffers(self) -> dict[str, Any]:
        return {"it": self.buffer("nav")}

    def get_preferred_input_dtype(self) -> Any:
        return self.params.dtype

    def process_frame(self, frame: Any) -> None:
        frame -= 1


@pytest.mark.parametrize("dtype", ["?", "f4", "f8"])
def test_nobody_writes_into_the_data(ctx: Context, dtype: str) -> None:
    data = DATA.copy()
    with pytest.raises(ValueError, match=r"read-only.*in Writes\.process_frame, frame 0, at \(0, 0\)"):
        ctx.run_udf(ctx.load("memory", data=data), Writes(dtype=dtype))
    assert np.array_equal(data, DATA)


class Remembers(UDF):
    def __init__(self) -> None:
        super().__init__()
        self.seen = 0

    def get_result_buffers(self) -> dict[str, Any]:
        return {"seen": self.buffer("nav", dtype="i8")}

    def process_frame(self, frame: Any) -> None:
        self.seen += 1
        self.results.seen[:] = self.seen


def test_what_a_function_remembers_lasts_for_its_partition(ctx: Context) -> None:
    udf = Remembers()
    dataset = ctx.load("memory", data=DATA, num_partitions=4)
    for _ in range(2):
        found = ctx.run_udf(dataset, udf)
        assert found.seen.raw_data.tolist() == [*range(1, 11)] * 4
    assert udf.seen == 0


class Declares(UDF):
    """Whatever it is given."""

    def get_result_buffers(self) -> Any:
        return self.params.buffers

    def process_frame(self, frame: Any) -> None:
        pass

    def get_results(self) -> Any:
        return self.params.get("results", {})


@pytest.mark.parametrize(
    ("parameters", "kind", "text"),
    [
        ({"buffers": []}, TypeError, "gave no dict: list"),
        ({"buffers": {"a": 1}}, TypeError, "'a' is no buffer"),
        ({"buffers": {"a": {"kind": "frame"}}}, ValueError, "one of nav, sig, single: not 'frame'"),
        ({"buffers": {"a": {"kind": "nav", "extra_shape": (-1,)}}}, ValueError, "negative axis"),
        ({"buffers": {"a": {"kind": "nav", "use": "x"}}}, ValueError, "use is None"),
        ({"buffers": {"a": {"kind": "sig"}}}, NotImplementedError, r"no merge\(dest, src\).*: a"),
        ({"buffers": {"a": {"kind": "nav", "use": "result_only"}}}, ValueError, "has to give 'a'"),
        (
            {"buffers": {"a": {"kind": "nav"}}, "results": {"b": 1}},
            ValueError,
            "'b', which .* does not declare",
        ),
        (
            {"buffers": {"a": {"kind": "nav", "use": "private"}}, "results": {"a": 1}},
            ValueError,
            "'a', which is private",
        ),
        ({"buffers": {"a": {"kind": "nav"}}, "results": {"a": np.ones(3)}}, ValueError, r"the shape \(3,\)"),
        (
            {"buffers": {"a": {"kind": "nav", "dtype": "i4"}}, "results": {"a": np.ones((5, 8))}},
            TypeError,
            "is of float64, not of int32",
        ),
    ],
)
def test_declarations_that_are_none(parameters: dict[str, Any], kind: type[Exception], text: str) -> None:
    with Context.make_with("inline") as ctx, pytest.raises(kind, match=text):
        ctx.run_udf(ctx.load("memory", data=DATA), Declares(**parameters))


def test_classes_that_are_no_functions() -> None:
    class Nothing(UDF):
        def get_result_buffers(self) -> dict[str, Any]:
            return {}

    class Tiles(Nothing):
        def process_tile(self, tile: Any) -> None: ...

    with Context.make_with("inline") as ctx:
        dataset = ctx.load("memory", data=DATA)
        with pytest.raises(
            TypeError, match=r"Nothing has neither process_frame\(frame\) nor process_partition"
        ):
            ctx.run_udf(dataset, Nothing())
        with pytest.raises(TypeError, match="Tiles has process_tile, which is LiberTEM's"):
            ctx.run_udf(dataset, Tiles())
        with pytest.raises(TypeError, match=r"OnlyNav is a class: run an object of it, OnlyNav\(\)"):
            ctx.run_udf(dataset, OnlyNav)
        with pytest.raises(NotImplementedError, match="has no get_result_buffers"):
            ctx.run_udf(dataset, type("Empty", (UDF,), {"process_frame": abs})())
        with pytest.raises(TypeError, match="map takes a function"):
            ctx.map(dataset, 5)  # type: ignore[arg-type]
