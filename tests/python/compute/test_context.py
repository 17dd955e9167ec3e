"""A `Context` on every executor: analyses are numpy's, the same to the last bit wherever they run."""

from __future__ import annotations

import gc
import itertools
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from erl.compute import Context, DataSetError, ExecutorSpecException, Shape, analyse
from erl.executors import ConcurrentExecutor, InlineExecutor, OtpExecutor
from erl.futures import PoolExecutor

np: Any = pytest.importorskip("numpy", reason="numpy is not installed here")

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import erl


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A cluster of dask's with two workers."""
    pytest.importorskip("distributed", reason="dask's distributed is not installed (scripts/setup arrays)")
    from erl.executors import DaskExecutor, devices

    with DaskExecutor.make_local(devices.cluster_spec(2, 0, False)) as made:
        yield made.client


# Of what dask is built on.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::PendingDeprecationWarning")

EXECUTORS = ["inline", "debug", "threads", "pool"]
with_dask = pytest.mark.parametrize("ctx", [*EXECUTORS, "dask"], indirect=True)


@pytest.fixture(params=EXECUTORS)
def ctx(request: pytest.FixtureRequest, node: erl.Node) -> Iterator[Context]:
    kind = request.param
    if kind == "dask":
        client = request.getfixturevalue("cluster")
        from erl.executors import DaskExecutor

        with Context(DaskExecutor(client)) as made:
            yield made
        return
    if kind == "inline":
        made = Context.make_with("inline")
    elif kind == "debug":
        made = Context(InlineExecutor(debug=True))
    elif kind == "threads":
        made = Context.make_with("threads", cpus=2)
    else:
        made = Context(OtpExecutor(node, "default"))
    with made:
        yield made


def frames(*shape: int, dtype: str = "f4", seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return rng.random(shape).astype(dtype)
    if np.dtype(dtype).kind == "c":
        return (rng.random(shape) + 1j * rng.random(shape)).astype(dtype)
    return rng.integers(0, 2 if np.dtype(dtype).kind == "b" else 100, shape).astype(dtype)


DATA = frames(7, 9, 16, 15)
Y, X = np.mgrid[:16, :15]


def circle(cy: float, cx: float, r: float) -> Any:
    return (Y - cy) ** 2 + (X - cx) ** 2 <= r * r


# Analyses


@with_dask
def test_sum_and_pick_are_numpys(ctx: Context) -> None:
    dataset = ctx.load("memory", data=DATA, sig_dims=2)
    found = ctx.run(ctx.create_sum_analysis(dataset))
    np.testing.assert_allclose(found.intensity.raw_data, DATA.sum(axis=(0, 1)), rtol=1e-6)
    assert found.intensity.raw_data.dtype == np.float32
    assert found.keys() == ["intensity", "intensity_lin"]
    picked = ctx.run(ctx.create_pick_analysis(dataset, 3, 4))
    assert np.array_equal(picked.intensity.raw_data, DATA[3, 4])
    assert np.array_equal(ctx.run(ctx.create_pick_analysis(dataset, x=4, y=3)).intensity, DATA[3, 4])


def test_virtual_detectors_are_numpys(ctx: Context) -> None:
    dataset = ctx.load("memory", data=DATA)
    disk = ctx.run(ctx.create_disk_analysis(dataset, cx=6, cy=7, r=4)).intensity.raw_data
    np.testing.assert_allclose(disk, DATA[..., circle(7, 6, 4)].sum(axis=-1), rtol=1e-5)
    assert disk.shape == (7, 9)
    ring = ctx.run(ctx.create_ring_analysis(dataset, cx=6, cy=7, ri=2, ro=5)).intensity.raw_data
    inner = circle(7, 6, 5) & ~circle(7, 6, 2)
    np.testing.assert_allclose(ring, DATA[..., inner].sum(axis=-1), rtol=1e-5)
    point = ctx.run(ctx.create_point_analysis(dataset, x=3, y=5)).intensity.raw_data
    assert np.array_equal(point, DATA[:, :, 5, 3])
    weights = frames(16, 15, seed=1)
    found = ctx.run(ctx.create_mask_analysis(dataset, [lambda: weights, lambda: circle(3, 3, 2)]))
    assert found.keys() == ["mask_0", "mask_1"]
    np.testing.assert_allclose(found.mask_0.raw_data, (DATA * weights).sum(axis=(2, 3)), rtol=1e-5)
    np.testing.assert_allclose(found["mask_1"].raw_data, DATA[..., circle(3, 3, 2)].sum(axis=-1), rtol=1e-5)


@with_dask
def test_the_centre_of_mass_is_numpys(ctx: Context) -> None:
    dataset = ctx.load("memory", data=DATA)
    found = ctx.run(ctx.create_com_analysis(dataset, cx=6, cy=7))
    total = DATA.sum(axis=(2, 3), dtype="f8")
    x, y = (DATA * X).sum(axis=(2, 3)) / total - 6, (DATA * Y).sum(axis=(2, 3)) / total - 7
    np.testing.assert_allclose(found.x.raw_data, x, atol=1e-5)
    np.testing.assert_allclose(found.y.raw_data, y, atol=1e-5)
    assert found.keys() == ["field", "magnitude", "divergence", "curl", "x", "y"]
    np.testing.assert_allclose(found.magnitude.raw_data, np.hypot(x, y), atol=1e-5)
    divergence = np.gradient(y, axis=0) + np.gradient(x, axis=1)
    np.testing.assert_allclose(found.divergence.raw_data, divergence, atol=1e-4)
    assert np.array_equal(found.field.raw_data[0], found.x.raw_data)


def test_defaults_are_those_of_the_document(ctx: Context) -> None:
    dataset = ctx.load("memory", data=DATA)
    disk = ctx.run(ctx.create_disk_analysis(dataset)).intensity.raw_data
    np.testing.assert_allclose(disk, DATA[..., circle(8, 7.5, 15 / 2 * 0.3)].sum(axis=-1), rtol=1e-5)
    ring = ctx.run(ctx.create_ring_analysis(dataset)).intensity.raw_data
    inner = circle(8, 7.5, 7.5) & ~circle(8, 7.5, 6)
    np.testing.assert_allclose(ring, DATA[..., inner].sum(axis=-1), rtol=1e-5)
    assert np.array_equal(ctx.run(ctx.create_point_analysis(dataset)).intensity, DATA[..., 8, 7])
    com = ctx.run(ctx.create_com_analysis(dataset)).x.raw_data
    shifts = (DATA * X).sum(axis=(2, 3)) / DATA.sum(axis=(2, 3)) - 7.5
    np.testing.assert_allclose(com, shifts, atol=1e-5)


def test_map_gives_numbers_and_arrays(ctx: Context) -> None:
    dataset = ctx.load("memory", data=DATA)
    maxima = ctx.map(dataset, np.max)
    assert np.array_equal(maxima, DATA.max(axis=(2, 3)))
    profiles = ctx.map(dataset, lambda frame: frame.sum(axis=0))
    assert profiles.data.shape == (7, 9, 15)
    np.testing.assert_allclose(profiles, DATA.sum(axis=2), rtol=1e-5)
    assert ctx.map(dataset, lambda frame: frame > 2).dtype == bool


@with_dask
def test_a_region_of_interest_leaves_nan_elsewhere(ctx: Context) -> None:
    dataset = ctx.load("memory", data=DATA)
    roi = np.zeros((7, 9), bool)
    roi[1:3, 4:] = roi[6, 0] = True
    disk = ctx.run(ctx.create_disk_analysis(dataset, 6, 7, 4), roi=roi).intensity.raw_data
    assert np.isnan(disk[~roi]).all()
    np.testing.assert_allclose(disk[roi], DATA[roi][:, circle(7, 6, 4)].sum(axis=-1), rtol=1e-5)
    total = ctx.run(ctx.create_sum_analysis(dataset), roi=roi).intensity.raw_data
    np.testing.assert_allclose(total, DATA[roi].sum(axis=0), rtol=1e-6)
    mapped = ctx.map(dataset, np.max, roi=roi)
    assert np.array_equal(mapped.raw_data, DATA[roi].max(axis=(1, 2)))
    assert np.isnan(mapped.data[~roi]).all()
    assert np.array_equal(ctx.map(dataset, np.max, roi=dataset.roi[2, 3]).raw_data, [DATA[2, 3].max()])
    assert np.array_equal(ctx.map(dataset, np.max, roi=(2, 3)).raw_data, [DATA[2, 3].max()])


def test_an_empty_region_runs_nothing(ctx: Context) -> None:
    dataset = ctx.load("memory", data=DATA)
    roi = np.zeros((7, 9), bool)
    assert not ctx.run(ctx.create_sum_analysis(dataset), roi=roi).intensity.raw_data.any()
    assert np.isnan(ctx.run(ctx.create_disk_analysis(dataset), roi=roi).intensity.raw_data).all()
    assert np.isnan(ctx.map(dataset, np.max, roi=roi).data).all()
    assert ctx.map(dataset, np.max, roi=roi).raw_data.shape == (0,)


def all_results(ctx: Context, data: Any) -> list[bytes]:
    dataset = ctx.load("memory", data=data, num_partitions=7)
    com = ctx.run(ctx.create_com_analysis(dataset))
    found = [
        ctx.run(ctx.create_sum_analysis(dataset)).intensity,
        ctx.run(ctx.create_mask_analysis(dataset, [lambda: frames(*data.shape[2:], seed=1)])).mask_0,
        *(com[key] for key in ("x", "y", "divergence")),
        ctx.map(dataset, np.sum),
    ]
    return [np.asarray(each).tobytes() for each in found]


@with_dask
def test_results_are_the_same_to_the_last_bit(ctx: Context) -> None:
    """Whatever the order in which tasks end: on each executor as inline."""
    data = frames(23, 11, 64, 60, seed=5)
    with Context.make_with("inline") as inline:
        expected = all_results(inline, data)
    for _ in range(4):
        assert all_results(ctx, data) == expected


# Data sets


def test_files_are_read_by_the_workers(ctx: Context, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", DATA)
    np.save(tmp_path / "fortran.npy", np.asfortranarray(DATA))
    DATA.astype(">f4").tofile(tmp_path / "big.raw")
    shapes = {"nav_shape": (7, 9), "sig_shape": (16, 15)}
    loaded = [
        ctx.load("npy", path=tmp_path / "a.npy"),
        ctx.load("npy", path=str(tmp_path / "fortran.npy"), sig_dims=2),
        ctx.load("raw", path=tmp_path / "big.raw", dtype=">f4", **shapes),
        ctx.load("auto", path=tmp_path / "a.npy"),
    ]
    expected = None
    for dataset in loaded:
        assert (tuple(dataset.shape), tuple(dataset.shape.nav), tuple(dataset.shape.sig)) == (
            DATA.shape,
            (7, 9),
            (16, 15),
        )
        found = ctx.run(ctx.create_com_analysis(dataset)).x.raw_data.tobytes()
        expected = expected or found
        assert found == expected
        roi = frames(7, 9, dtype="?", seed=3)
        total = ctx.run(ctx.create_sum_analysis(dataset), roi=roi).intensity.raw_data
        np.testing.assert_allclose(total, DATA[roi].sum(axis=0), rtol=1e-6)
        assert np.array_equal(ctx.map(dataset, np.max), DATA.max(axis=(2, 3)))


def test_workers_of_dasks_read_files(cluster: Any, tmp_path: Path) -> None:
    from erl.executors import DaskExecutor

    np.save(tmp_path / "a.npy", DATA)
    with Context(DaskExecutor(cluster)) as ctx:
        dataset = ctx.load("npy", path=tmp_path / "a.npy", num_partitions=3)
        assert np.array_equal(ctx.map(dataset, np.max), DATA.max(axis=(2, 3)))


def test_files_of_hdf5(ctx: Context, tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py", reason="h5py is not installed (scripts/setup arrays)")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("small", data=np.zeros((2, 2)))
        file.create_dataset("group/data", data=DATA, chunks=(2, 3, 16, 15), compression="gzip")
    path = tmp_path / "a.h5"
    for dataset in (
        ctx.load("hdf5", path=path, ds_path="group/data", sig_dims=2),
        ctx.load("hdf5", path=path),
        ctx.load("auto", path=path),
    ):
        found = ctx.run(ctx.create_sum_analysis(dataset)).intensity.raw_data
        np.testing.assert_allclose(found, DATA.sum(axis=(0, 1)), rtol=1e-6)
        assert np.array_equal(
            ctx.map(dataset, np.max, roi=dataset.roi[3:, 2]).raw_data, DATA[3:, 2].max((1, 2))
        )
    with pytest.raises(DataSetError, match="no data set 'nothing': it has /group/data, /small"):
        ctx.load("hdf5", path=path, ds_path="nothing")
    with pytest.raises(DataSetError, match="no file of HDF5"):
        ctx.load("hdf5", path=__file__)


@pytest.mark.parametrize(
    "dtype", ["?", "i1", "u1", "i2", ">u2", "i4", ">i8", "u8", "f2", "f8", ">f8", "c8", "c16"]
)
def test_elements_of_every_type(dtype: str) -> None:
    data = frames(5, 6, 8, 9, dtype=dtype)
    with Context.make_with("inline") as ctx:
        dataset = ctx.load("memory", data=data)
        total = ctx.run(ctx.create_sum_analysis(dataset))
        mask = ctx.run(ctx.create_mask_analysis(dataset, [lambda: np.arange(72).reshape(8, 9) % 5]))
        disk = ctx.run(ctx.create_disk_analysis(dataset, 4, 4, 3)).intensity.raw_data
        point = ctx.run(ctx.create_point_analysis(dataset, 1, 2)).intensity.raw_data
        picked = ctx.run(ctx.create_pick_analysis(dataset, 4, 5))
        is_complex = np.dtype(dtype).kind == "c"
        wide = data.astype("c16" if is_complex else "f8")
        expected = wide.sum(axis=(0, 1))
        weighted = (wide * (np.arange(72).reshape(8, 9) % 5)).sum(axis=(2, 3))
        if is_complex:
            np.testing.assert_allclose(total.intensity_complex.raw_data, expected, rtol=1e-6)
            np.testing.assert_allclose(total.intensity.raw_data, np.abs(expected), rtol=1e-6)
            np.testing.assert_allclose(mask.mask_0_real.raw_data, weighted.real, rtol=1e-5)
            np.testing.assert_allclose(mask.mask_0_angle.raw_data, np.angle(weighted), rtol=1e-5)
            assert np.array_equal(picked.intensity_complex.raw_data, data[4, 5])
            assert ctx.run(ctx.create_com_analysis(dataset)).keys() == [
                "x_real",
                "y_real",
                "x_imag",
                "y_imag",
            ]
            return
        exact = np.dtype(dtype).kind in "biu"
        np.testing.assert_allclose(total.intensity.raw_data, expected, rtol=0 if exact else 1e-5)
        np.testing.assert_allclose(mask.mask_0.raw_data, weighted, rtol=0 if exact else 1e-5)
        inner = (np.ogrid[:8, :9][0] - 4) ** 2 + (np.ogrid[:8, :9][1] - 4) ** 2 <= 9
        np.testing.assert_allclose(disk, wide[..., inner].sum(axis=-1), rtol=0 if exact else 1e-5)
        assert np.array_equal(point, data[..., 2, 1])
        assert np.array_equal(picked.intensity.raw_data, data[4, 5])
        if exact:
            assert total.intensity.raw_data.dtype.kind in "iu"
        com = ctx.run(ctx.create_com_analysis(dataset)).x.raw_data
        columns = wide.sum(axis=2)
        with np.errstate(invalid="ignore"):
            centre = (columns * np.arange(9)).sum(axis=-1) / columns.sum(axis=-1) - 4.5
        np.testing.assert_allclose(com, np.nan_to_num(centre), atol=1e-5)


def test_sums_of_integers_are_exact() -> None:
    data = np.full((300, 64, 64), 65535, "u2")
    large = np.full((4, 2, 2), 2**62, "u8")
    with Context.make_with("inline") as ctx:
        dataset = ctx.load("memory", data=data)
        total = ctx.run(ctx.create_sum_analysis(dataset)).intensity.raw_data
        assert (total == 300 * 65535).all()
        ring = ctx.run(ctx.create_ring_analysis(dataset, 32, 32, 0, 90)).intensity.raw_data
        assert (ring == 65535 * (64 * 64 - 1)).all()
        dataset = ctx.load("memory", data=large)
        ones = ctx.create_mask_analysis(dataset, lambda: np.ones((2, 2), "u1"))
        assert (ctx.run(ones).mask_0.raw_data == np.uint64(0)).all()  # as numpy: modulo 2**64
        three = ctx.create_mask_analysis(dataset, lambda: np.array([[1, 1], [1, 0]], "u1"))
        assert (ctx.run(three).mask_0.raw_data == np.uint64(3 * 2**62)).all()
        roi = np.array([True, False, False, False])
        point = ctx.run(ctx.create_point_analysis(ctx.load("memory", data=data[:4])), roi).intensity.raw_data
        assert point[0] == 65535
        assert np.isnan(point[1:]).all()


@pytest.mark.parametrize("sig_dims", [1, 2, 3])
def test_frames_of_one_two_and_three_axes(sig_dims: int) -> None:
    data = frames(3, 4, 5, 6)
    nav = tuple(range(4 - sig_dims))
    with Context.make_with("inline") as ctx:
        dataset = ctx.load("memory", data=data, sig_dims=sig_dims)
        assert dataset.shape.nav.dims == 4 - sig_dims
        total = ctx.run(ctx.create_sum_analysis(dataset)).intensity
        np.testing.assert_allclose(total.raw_data, data.sum(axis=nav), rtol=1e-6)
        mask = ctx.run(ctx.create_mask_analysis(dataset, lambda: np.ones(data.shape[4 - sig_dims :]))).mask_0
        np.testing.assert_allclose(mask.raw_data, data.sum(axis=tuple(range(4 - sig_dims, 4))), rtol=1e-6)
        place = (1, 2, 3)[: 4 - sig_dims]
        assert np.array_equal(ctx.run(ctx.create_pick_analysis(dataset, *place)).intensity, data[place])
        if sig_dims != 2:
            with pytest.raises(ValueError, match="have two axes"):
                ctx.create_disk_analysis(dataset)


def test_arrays_that_lie_in_memory_any_way() -> None:
    data = frames(6, 8, 10, 12)
    with Context.make_with("inline") as ctx:

        def found(array: Any) -> list[bytes]:
            dataset = ctx.load("memory", data=array)
            roi = frames(*array.shape[:2], dtype="?", seed=2)
            return [
                ctx.run(analysis, each).intensity.raw_data.tobytes()
                for analysis in (ctx.create_sum_analysis(dataset), ctx.create_ring_analysis(dataset))
                for each in (None, roi)
            ]

        wide = np.zeros((12, 8, 10, 24), "f4")
        wide[::2, :, :, ::2] = data
        buffer = bytearray(data.nbytes + 1)
        odd = np.frombuffer(buffer, "f4", data.size, offset=1).reshape(data.shape)
        odd[...] = data
        read_only = data.copy()
        read_only.flags.writeable = False
        turned = np.ascontiguousarray(data[::-1, ::-1])[::-1, ::-1]
        views = [np.asfortranarray(data), wide[::2, :, :, ::2], odd, read_only, turned, data.astype(">f4")]
        for view in views:
            assert found(view) == found(data)
        assert np.array_equal(ctx.map(ctx.load("memory", data=data.tolist()), np.max), data.max(axis=(2, 3)))


def test_data_without_navigation_axes_and_without_frames() -> None:
    with Context.make_with("inline") as ctx:
        one = ctx.load("memory", data=DATA[0, 0])
        assert np.array_equal(ctx.run(ctx.create_sum_analysis(one)).intensity, DATA[0, 0])
        assert ctx.map(one, np.max).data.shape == ()
        assert np.array_equal(ctx.run(ctx.create_pick_analysis(one)).intensity, DATA[0, 0])
        line = ctx.load("memory", data=np.arange(5.0), sig_dims=1)
        assert np.array_equal(ctx.run(ctx.create_sum_analysis(line)).intensity, np.arange(5.0))
        none = ctx.load("memory", data=np.zeros((0, 3, 4, 5), "f4"))
        assert ctx.run(ctx.create_sum_analysis(none)).intensity.raw_data.shape == (4, 5)
        assert ctx.run(ctx.create_disk_analysis(none)).intensity.raw_data.shape == (0, 3)
        assert ctx.map(ctx.load("memory", data=np.zeros((3, 0, 5))), np.size).data.tolist() == [0, 0, 0]


def test_masks_with_nan_and_sparse_ones() -> None:
    data = DATA.copy()
    data[0, 0, 0, 0] = np.nan
    mask = np.zeros((16, 15))
    mask[5, 5], mask[6, 7] = 2, 3

    class Sparse:
        def todense(self) -> Any:
            return mask

    with Context.make_with("inline") as ctx:
        dataset = ctx.load("memory", data=data)
        dense = ctx.run(ctx.create_mask_analysis(dataset, [lambda: mask])).mask_0.raw_data
        assert np.isnan(dense[0, 0])
        assert not np.isnan(dense[0, 1:]).any()
        expected = 2 * DATA[..., 5, 5] + 3 * DATA[..., 6, 7]
        for analysis in (
            ctx.create_mask_analysis(dataset, [Sparse]),
            ctx.create_mask_analysis(dataset, [lambda: mask], use_sparse=True),
        ):
            np.testing.assert_allclose(ctx.run(analysis).mask_0.raw_data, expected, rtol=1e-6)
        empty = ctx.create_mask_analysis(dataset, [lambda: mask * 0], use_sparse=True)
        assert not ctx.run(empty).mask_0.raw_data.any()
        nan = np.where(mask, np.nan, 1)
        assert np.isnan(ctx.run(ctx.create_mask_analysis(dataset, [lambda: nan])).mask_0.raw_data).all()
        ints = ctx.load("memory", data=frames(3, 4, 16, 15, dtype="u2"))
        assert np.isnan(ctx.run(ctx.create_mask_analysis(ints, [lambda: nan])).mask_0.raw_data).all()


def test_many_masks_of_one_factory_and_the_types_that_are_asked_for() -> None:
    stack = frames(5, 16, 15, seed=2).astype("f8")
    with Context.make_with("inline") as ctx:
        dataset = ctx.load("memory", data=DATA)
        found = ctx.run(ctx.create_mask_analysis(dataset, lambda: stack, mask_count=5))
        assert len(found) == 5
        assert found.mask_4.raw_data.dtype == np.float64
        np.testing.assert_allclose(found[4].raw_data, (DATA * stack[4]).sum(axis=(2, 3)))
        found = ctx.run(ctx.create_mask_analysis(dataset, lambda: stack, mask_dtype="f4"))
        assert found.mask_0.raw_data.dtype == np.float32
        turned = ctx.create_mask_analysis(lambda: stack[0], dataset)  # LiberTEM's order of arguments
        np.testing.assert_allclose(ctx.run(turned).mask_0, (DATA * stack[0]).sum(axis=(2, 3)))


# In one call


def test_analyse_is_one_call(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", DATA)
    with Context.make_with("inline") as ctx:
        dataset = ctx.load("memory", data=DATA)
        disk = ctx.run(ctx.create_disk_analysis(dataset, 6, 7, 4)).intensity.raw_data
        com = ctx.run(ctx.create_com_analysis(dataset, 6, 7))
        total = ctx.run(ctx.create_sum_analysis(dataset)).intensity.raw_data
    for data in (DATA, tmp_path / "a.npy", str(tmp_path / "a.npy"), str(tmp_path / "a.npy").encode()):
        found = analyse(data, b"disk", cx=6, cy=7, r=4)
        assert found.keys() == {"intensity"}
        assert np.array_equal(found["intensity"], disk)
    assert np.array_equal(
        analyse(DATA, "sum", executor=b"threads", roi=np.ones((7, 9), bool))["intensity"], total
    )
    found = analyse(DATA, "com", cx=6, cy=7)
    assert list(found) == ["magnitude", "divergence", "curl", "x", "y"]
    assert np.array_equal(found["x"], com.x.raw_data)
    assert np.array_equal(analyse(DATA, "pick", 3, 4)["intensity"], DATA[3, 4])
    assert analyse(DATA, "pick", 3, sig_dims=3)["intensity"].shape == (9, 16, 15)
    masks = [np.ones((16, 15)), circle(3, 3, 2)]
    for several in (masks, np.stack([masks[0], masks[1]])):
        found = analyse(DATA, "mask", masks=several)
        assert list(found) == ["mask_0", "mask_1"]
        np.testing.assert_allclose(found["mask_1"], DATA[..., circle(3, 3, 2)].sum(axis=-1), rtol=1e-5)
    assert list(analyse(DATA, "mask", masks=masks[0])) == ["mask_0"]
    with pytest.raises(ValueError, match="no analysis 'fft': there are sum, mask, disk"):
        analyse(DATA, "fft")


# How it is cut


@pytest.mark.parametrize("nav", [(), (1,), (7,), (3, 5), (2, 3, 4), (4, 1, 3, 2)])
def test_boxes_are_the_frames_one_behind_the_other(nav: tuple[int, ...]) -> None:
    from erl.compute.shapes import ranges

    count = int(np.prod(nav, dtype=int))
    numbers = np.arange(count).reshape(nav)
    for start, stop in itertools.combinations(range(count + 1), 2):
        parts = [numbers[box].reshape(-1) for box in ranges(nav, start, stop)]
        assert np.concatenate(parts).tolist() == list(range(start, stop))


def test_partitions_are_the_datas_alone() -> None:
    from erl.compute.shapes import partitions_of

    for count, size in ((0, 4), (1, 4), (5, 1), (100, 1000), (1000, 1 << 20), (10, 1 << 30), (10**6, 4)):
        found = partitions_of(count, size)
        assert [each for bounds in found for each in bounds][1:-1:2] == [bounds[1] for bounds in found[:-1]]
        assert sum(stop - start for start, stop in found) == count
        assert all((stop - start) * size <= 32 << 20 or stop - start == 1 for start, stop in found)
    assert partitions_of(10, 1, 3) == [(0, 3), (3, 6), (6, 10)]
    assert len(partitions_of(2, 1, 30)) == 2


def test_a_shape_is_a_tuple_of_two_parts() -> None:
    import pickle

    shape = pickle.loads(pickle.dumps(Shape((2, 3, 4, 5), 2)))
    assert shape == (2, 3, 4, 5)
    assert (shape.nav, shape.sig, shape.dims, shape.size) == ((2, 3), (4, 5), 4, 120)
    assert shape.sig.sig_dims == 2


# Contexts


def test_words_for_executors(node: erl.Node) -> None:
    with Context.make_with("inline") as ctx:
        assert isinstance(ctx.executor, InlineExecutor)
    with Context.make_with("synchronous") as ctx:
        assert isinstance(ctx.executor, InlineExecutor)
    with Context.make_with("threads", cpus=[0, 1, 2]) as ctx:
        assert isinstance(ctx.executor, ConcurrentExecutor)
        assert len(ctx.executor.workers()) == 3
    with Context(OtpExecutor(node, workers=1)) as ctx:
        assert ctx.map(ctx.load("memory", data=DATA), np.max).data.shape == (7, 9)
    with pytest.raises(RuntimeError, match="closed"):
        ctx.load("memory", data=DATA)
    with pytest.raises(RuntimeError, match="closed"):
        ctx.executor.run(abs, 1)


def test_executors_of_calls_are_taken(node: erl.Node) -> None:
    with (
        PoolExecutor(1, node=node) as own,
        PoolExecutor(node=node, pool="default") as shared,
        ThreadPoolExecutor(2) as threads,
    ):
        for executor in (own, shared, threads):
            with Context(executor) as ctx:
                assert isinstance(ctx.executor, ConcurrentExecutor if executor is threads else OtpExecutor)
                assert np.array_equal(ctx.map(ctx.load("memory", data=DATA), np.max), DATA.max(axis=(2, 3)))
            assert executor.submit(abs, -1).result() == 1
    with Context(PoolExecutor(1, node=node)) as ctx:  # nobody else has it
        gc.collect()
        assert np.array_equal(ctx.map(ctx.load("memory", data=DATA), np.max), DATA.max(axis=(2, 3)))


@pytest.mark.parametrize(
    ("spec", "workers", "text"),
    [
        ("inline", {"cpus": 2}, "Executor type inline does not support specifying CPU workers at this time"),
        (
            "synchronous",
            {"cpus": [0]},
            "Executor type synchronous does not support specifying CPU workers at this time",
        ),
        ("inline", {"gpus": 1}, "Executor type inline does not support specifying GPU workers at this time"),
        (
            "threads",
            {"gpus": 1},
            "Executor type threads does not support specifying GPU workers at this time",
        ),
        ("pool", {"gpus": 1}, "Cannot specify GPU workers as no GPUs detected"),
        ("pool", {"cpus": 2, "gpus": [0, 1]}, "Cannot specify GPU workers as no GPUs detected"),
        ("dask", {"gpus": 1}, "Cannot specify GPU workers as no GPUs detected"),
    ],
)
def test_workers_that_there_are_not(
    spec: str, workers: dict[str, Any], text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(ExecutorSpecException) as raised:
        Context.make_with(spec, **workers)
    assert str(raised.value) == text


@pytest.mark.parametrize("cpus", [0, -1, "two", True, 1.5, []])
def test_numbers_of_workers_that_are_none(cpus: Any) -> None:
    with pytest.raises(ExecutorSpecException, match="cpus is a number of workers, at least 1"):
        Context.make_with("threads", cpus=cpus)
    with pytest.raises(
        ExecutorSpecException, match="not known: there are inline, synchronous, threads, pool, dask"
    ):
        Context.make_with("delayed")
    with pytest.raises(TypeError, match=r"one of erl\.executors"):
        Context("inline")  # type: ignore[arg-type]


def test_importing_it_is_cheap() -> None:
    program = (
        "import sys; from erl.compute import Context; import erl.compute; c = Context.make_with('inline'); c.close();"
        "print(*sorted({'numpy', 'libertem', 'matplotlib', 'h5py', 'tqdm', 'distributed', 'dask'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == ""
