"""What goes wrong in a run, and what it looks like: a clear sentence, nothing left running, the next run is right."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from waiting import eventually

import erl
from erl.errors import JobCancelledError, SharedMemoryError, WorkerLostError
from erl.executors import ConcurrentExecutor, InlineExecutor, OtpExecutor, publish

np: Any = pytest.importorskip("numpy", reason="numpy is not installed here")

from erl.compute import UDF, Context, DataSetError  # noqa: E402 - it has numpy
from erl.compute.snoozing import Snoozing  # noqa: E402 - it has numpy
from erl.compute.sources import frames_of  # noqa: E402 - it has numpy

if TYPE_CHECKING:
    from collections.abc import Iterator

DATA = np.random.default_rng(1).random((6, 10, 4, 5)).astype("f4")


@pytest.fixture(params=["inline", "threads", "pool"])
def ctx(request: pytest.FixtureRequest, node: erl.Node) -> Iterator[Context]:
    made = (
        Context(OtpExecutor(node, "default")) if request.param == "pool" else Context.make_with(request.param)
    )
    with made:
        yield made


class Fails(UDF):
    """At one frame, with this error."""

    def get_result_buffers(self) -> dict[str, Any]:
        return {"it": self.buffer("nav")}

    def process_frame(self, frame: Any) -> None:
        if self.meta.coordinates[0].tolist() == [2, 7]:
            raise self.params.error


class OwnForm(Exception):
    def __init__(self, one: int, other: int) -> None:
        super().__init__(one, other)

    def __str__(self) -> str:
        return "its own form"


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("odd"), r"odd \(in Fails\.process_frame, frame 27, at \(2, 7\)\)"),
        (ZeroDivisionError(), r"in Fails\.process_frame, frame 27, at \(2, 7\)"),
        (KeyError("odd"), r"frame 27, at \(2, 7\)"),
        (OwnForm(1, 2), r"frame 27, at \(2, 7\)"),
        (FileNotFoundError(2, "odd", "file"), r"frame 27, at \(2, 7\)"),
    ],
)
def test_an_error_of_a_function_says_where(ctx: Context, error: Exception, text: str) -> None:
    dataset = ctx.load("memory", data=DATA)
    with pytest.raises(type(error), match=text):
        ctx.run_udf(dataset, Fails(error=error))
    assert np.array_equal(ctx.map(dataset, np.max), DATA.max(axis=(2, 3)))


def odd(frame: Any) -> Any:
    return frame[: 1 + int(frame.max() == DATA[3, 4].max())]


def test_an_error_of_a_mapped_function_says_where(ctx: Context) -> None:
    dataset = ctx.load("memory", data=DATA)
    with pytest.raises(IndexError, match=r"in test_an_error.*<lambda>, frame 0, at \(0, 0\)"):
        ctx.map(dataset, lambda frame: frame[100])
    with pytest.raises(ValueError, match=r"odd, frame 34, at \(3, 4\): its result has the shape \(2, 5\)"):
        ctx.map(dataset, odd)


class Wrong(UDF):
    def get_result_buffers(self) -> dict[str, Any]:
        return {"it": self.buffer("nav"), "all": self.buffer("sig")}

    def process_partition(self, partition: Any) -> None:
        if self.params.where == "process":
            self.results.it[:] = np.ones(77)
        if self.params.where == "name":
            self.results.nothing = 1

    def merge(self, dest: Any, src: Any) -> None:
        if self.params.where == "merge":
            dest.all = np.ones((9, 9))


def test_results_of_a_wrong_shape(ctx: Context) -> None:
    dataset = ctx.load("memory", data=DATA)
    with pytest.raises(ValueError, match=r"broadcast.*in Wrong\.process_partition, frames 0 to 2"):
        ctx.run_udf(dataset, Wrong(where="process"))
    with pytest.raises(ValueError, match=r"broadcast.*in Wrong\.merge, frames 0 to 2"):
        ctx.run_udf(dataset, Wrong(where="merge"))
    with pytest.raises(AttributeError, match="no result is named 'nothing'; get_result_buffers has it, all"):
        ctx.run_udf(dataset, Wrong(where="name"))


# Arguments


@pytest.mark.parametrize(
    ("roi", "kind", "text"),
    [
        (
            np.ones((3, 3), bool),
            ValueError,
            r"roi has the shape \(3, 3\), the navigation axes have \(6, 10\)",
        ),
        (np.ones(60, bool), ValueError, r"roi has the shape \(60,\)"),
        (np.arange(60).reshape(6, 10), TypeError, "roi is an array of bool, not of int64"),
        (np.full((6, 10), "x"), TypeError, "roi is an array of bool"),
        ((6, 0), IndexError, r"no frame is at \(6, 0\)"),
        ((-1, 0), IndexError, r"no frame is at \(-1, 0\)"),
        ((1, 2, 3), ValueError, "3 coordinates for a frame: the data has 2 navigation axes"),
        (True, ValueError, "roi has the shape"),
    ],
)
def test_a_wrong_region_of_interest(roi: Any, kind: type[Exception], text: str) -> None:
    with Context.make_with("inline") as ctx:
        dataset = ctx.load("memory", data=DATA)
        with pytest.raises(kind, match=text):
            ctx.run(ctx.create_sum_analysis(dataset), roi=roi)
        with pytest.raises(kind, match=text):
            ctx.map(dataset, np.max, roi=roi)
        with pytest.warns(UserWarning, match="1 selects, 0 does not") as warned:
            ones = ctx.map(dataset, np.max, roi=np.ones((6, 10), int))
        assert [each.filename for each in warned] == [__file__]
        with pytest.warns(UserWarning, match="1 selects, 0 does not") as warned:
            ctx.run(ctx.create_sum_analysis(dataset), roi=np.ones((6, 10), int))
        assert [each.filename for each in warned] == [__file__]
        assert np.array_equal(ones, DATA.max(axis=(2, 3)))
        with pytest.raises(ValueError, match="takes no roi"):
            ctx.run(ctx.create_pick_analysis(dataset, 1, 1), roi=np.ones((6, 10), bool))


def test_wrong_arguments_of_analyses() -> None:
    with Context.make_with("inline") as ctx:
        dataset = ctx.load("memory", data=DATA)
        with pytest.raises(ValueError, match=r"mask 1 has the shape \(3, 4\), the frames have \(4, 5\)"):
            ctx.create_mask_analysis(dataset, [lambda: np.ones((4, 5)), lambda: np.ones((3, 4))])
        with pytest.raises(ValueError, match="no masks"):
            ctx.create_mask_analysis(dataset, [])
        with pytest.raises(TypeError, match="factory 0 is a ndarray, not a function"):
            ctx.create_mask_analysis(dataset, [np.ones((4, 5))])
        with pytest.raises(TypeError, match="masks are of numbers"):
            ctx.create_mask_analysis(dataset, [lambda: np.full((4, 5), None)])
        with pytest.raises(ValueError, match="mask_count is 3, the factories have made 1"):
            ctx.create_mask_analysis(dataset, [lambda: np.ones((4, 5))], mask_count=3)
        with pytest.raises(IndexError, match="no element is at x 5, y 0"):
            ctx.create_point_analysis(dataset, 5, 0)
        with pytest.raises(ValueError, match="mask_radius_inner needs mask_radius"):
            ctx.create_com_analysis(dataset, mask_radius_inner=3)
        with pytest.raises(IndexError, match=r"no frame is at \(6, 0\)"):
            ctx.create_pick_analysis(dataset, 6, 0)
        with pytest.raises(ValueError, match="1 coordinates for a frame"):
            ctx.create_pick_analysis(dataset, 1)
        with pytest.raises(TypeError, match=r"coordinates of a frame are integers, not \(1.5, 0\)"):
            ctx.create_pick_analysis(dataset, 1.5, 0)
        for create in (ctx.create_disk_analysis, ctx.create_ring_analysis, ctx.create_com_analysis):
            with pytest.raises(ValueError, match="cx is a place in the frame, not nan"):
                create(dataset, cx=float("nan"))
        for create, name in (
            (ctx.create_disk_analysis, "r"),
            (ctx.create_ring_analysis, "ro"),
            (ctx.create_com_analysis, "mask_radius"),
        ):
            for radius in (-1, float("nan")):
                with pytest.raises(ValueError, match=f"{name} is a radius, at least 0: not {radius}"):
                    create(dataset, **{name: radius})
        with pytest.raises(ValueError, match="no kind of data set 'tiff': there are memory, npy, raw"):
            ctx.load("tiff", path="x")


@pytest.mark.parametrize(
    ("data", "sig_dims", "kind", "text"),
    [
        (np.float32(3), 2, ValueError, "sig_dims is 2: the data has 0 axes"),
        (np.ones(5), 2, ValueError, r"sig_dims is 2: the data has 1 axes.*its shape is \(5,\)"),
        (np.ones((5, 5)), 0, ValueError, "sig_dims is 0"),
        (np.ones((5, 5)), -1, ValueError, "sig_dims is -1"),
        (np.ones((5, 5)), "2", TypeError, "sig_dims is how many axes a frame has, not '2'"),
        (np.ones((5, 5)), True, TypeError, "sig_dims is how many"),
        (np.full((2, 2), None), 1, DataSetError, "type object: frames are of numbers"),
        (np.full((2, 2), "x"), 1, DataSetError, "type <U1"),
        (np.zeros((2, 2), "f4,i4"), 1, DataSetError, "frames are of numbers"),
        (np.ma.masked_array(np.ones((2, 2)), True), 1, TypeError, "would lose its mask"),
    ],
)
def test_data_that_are_no_frames(data: Any, sig_dims: Any, kind: type[Exception], text: str) -> None:
    with Context.make_with("inline") as ctx, pytest.raises(kind, match=text):
        ctx.load("memory", data=data, sig_dims=sig_dims)


# Files


def test_files_that_are_cut_short(ctx: Context, tmp_path: Path) -> None:
    raw, npy = tmp_path / "a.raw", tmp_path / "a.npy"
    DATA.tofile(raw)
    np.save(npy, DATA)
    shape = {"dtype": "f4", "nav_shape": (6, 10), "sig_shape": (4, 5)}
    loaded = [ctx.load("raw", path=raw, **shape), ctx.load("npy", path=npy)]
    for path in (raw, npy):
        os.truncate(path, 4000)
    with pytest.raises(DataSetError, match=r"a\.raw has 4000 bytes, 4800 are needed .*cut short"):
        ctx.run(ctx.create_sum_analysis(loaded[0]))
    with pytest.raises(DataSetError, match=r"a\.npy was cut short: it has 4000 bytes"):
        ctx.run(ctx.create_sum_analysis(loaded[1]))
    with pytest.raises(DataSetError, match="4000 bytes, 4800 are needed"):
        ctx.load("raw", path=raw, **shape)
    with pytest.raises(DataSetError, match="cut short"):
        ctx.load("npy", path=npy)
    raw.unlink()
    with pytest.raises(FileNotFoundError):
        ctx.run(ctx.create_sum_analysis(loaded[0]))
    with pytest.raises(FileNotFoundError):
        ctx.load("raw", path=raw, **shape)


class Cuts(UDF):
    """Cuts the file that its frames are of."""

    def get_result_buffers(self) -> Any:
        return {"total": self.buffer("nav")}

    def process_frame(self, frame: Any) -> None:
        os.truncate(self.params.path, 1000)
        self.results.total[:] = frame.sum()


@pytest.mark.parametrize("is_threaded", [False, True])
@pytest.mark.parametrize("kind", ["raw", "npy"])
def test_a_file_that_is_cut_while_it_is_read(is_threaded: bool, kind: str, tmp_path: Path) -> None:
    path = tmp_path / "a"
    data = np.ones((64, 64, 64), "f4")  # of many pages: a mapped one would end this program
    with open(path, "wb") as file:
        data.tofile(file) if kind == "raw" else np.save(file, data)
    more = {"dtype": "f4", "nav_shape": 64, "sig_shape": (64, 64)} if kind == "raw" else {}
    with Context(ConcurrentExecutor.make_local(2) if is_threaded else InlineExecutor()) as ctx:
        dataset = ctx.load(kind, path=path, num_partitions=64, **more)
        with pytest.raises(DataSetError, match=r"cut short|1000 bytes"):
            ctx.run_udf(dataset, Cuts(path=str(path)))
    with open(path, "wb") as file:
        data.tofile(file) if kind == "raw" else np.save(file, data)
    with dataset.source.opened(None) as array:
        os.truncate(path, 1000)
        with pytest.raises(
            DataSetError, match="cut short while it was read: it has 1000 bytes, and frame 9 ends"
        ):
            frames_of(array, dataset.shape, 5, 10, None)


def test_a_file_of_hdf5_that_is_cut_short(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py", reason="h5py is not installed (scripts/setup arrays)")
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["data"] = np.ones((50, 40, 20, 20))
    with Context.make_with("inline") as ctx:
        dataset = ctx.load("hdf5", path=path, ds_path="data")
        os.truncate(path, path.stat().st_size // 2)
        with pytest.raises(DataSetError, match="or was cut short"):
            ctx.run(ctx.create_sum_analysis(dataset))
        with pytest.raises(DataSetError, match="or was cut short"):
            ctx.load("hdf5", path=path, ds_path="data")
        with h5py.File(path, "w") as file:
            file["none"] = h5py.Empty("f4")
            file["one"] = 3.0
        with pytest.raises(DataSetError, match="has changed since it was loaded: no data as it was"):
            ctx.run(ctx.create_sum_analysis(dataset))
        with pytest.raises(DataSetError, match="no data set 'none': it has /one"):
            ctx.load("hdf5", path=path, ds_path="none")
        with pytest.raises(ValueError, match="the data has 0 axes"):
            ctx.load("hdf5", path=path, ds_path="one")


def test_files_of_another_form(tmp_path: Path) -> None:
    with Context.make_with("inline") as ctx:
        path = tmp_path / "it"
        path.write_bytes(b"no head at all")
        for kind in ("npy", "auto"):
            with pytest.raises(DataSetError, match="it is n"):
                ctx.load(kind, path=path)
        path.write_bytes(b"")
        with pytest.raises(DataSetError, match="cut short: it has 0 bytes"):
            ctx.load("npy", path=path)
        np.save(tmp_path / "objects.npy", np.full(3, None))
        with pytest.raises(DataSetError, match="no file of numpy's that can be read"):
            ctx.load("npy", path=tmp_path / "objects.npy")
        with pytest.raises(DataSetError, match="no regular file"):
            ctx.load("auto", path=tmp_path)
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(DataSetError, match="no regular file"):
            ctx.load("raw", path=tmp_path / "pipe", dtype="u1", nav_shape=2, sig_shape=(1, 1))
        DATA.tofile(path)
        with pytest.warns(UserWarning, match="has 800 bytes more than") as warned:
            less = ctx.load("raw", path=path, dtype="f4", nav_shape=(5, 10), sig_shape=(4, 5))
        assert [each.filename for each in warned] == [__file__]
        assert np.array_equal(ctx.map(less, np.max), DATA[:5].max(axis=(2, 3)))
        with pytest.raises(TypeError, match="nav_shape"):
            ctx.load("raw", path=path, dtype="f4", sig_shape=(4, 5))
        with pytest.raises(TypeError, match="nav_shape is a tuple of integers"):
            ctx.load("raw", path=path, dtype="f4", nav_shape=(2.5,), sig_shape=(4, 5))
        np.save(tmp_path / "new.npy", DATA)
        dataset = ctx.load("npy", path=tmp_path / "new.npy")
        np.save(tmp_path / "new.npy", DATA.astype("f8"))
        with pytest.raises(DataSetError, match="has changed since it was loaded: float64"):
            ctx.map(dataset, np.max)


# What is not installed


def test_packages_that_are_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("matplotlib", "matplotlib.figure", "h5py", "tqdm"):
        monkeypatch.setitem(sys.modules, name, None)
    with Context.make_with("inline") as ctx:
        dataset = ctx.load("memory", data=DATA)
        found = ctx.run(ctx.create_sum_analysis(dataset))
        with pytest.raises(
            ModuleNotFoundError, match=r"matplotlib, which is not installed here: pip install"
        ):
            found.intensity.plot()
        with pytest.raises(ModuleNotFoundError, match=r"h5py, which is not installed here: pip install h5py"):
            ctx.load("hdf5", path=tmp_path / "a.h5")
        with pytest.warns(UserWarning, match="tqdm is not installed here") as warned:
            ctx.run(ctx.create_sum_analysis(dataset), progress=True)
        assert [each.filename for each in warned] == [__file__]


# Progress


def test_progress_is_told(ctx: Context, capsys: pytest.CaptureFixture[str]) -> None:
    dataset = ctx.load("memory", data=DATA)
    told: list[tuple[int, int]] = []
    roi = np.zeros((6, 10), bool)
    roi[2:] = True
    ctx.map(dataset, np.max, roi=roi, progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (40, 40)
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    with pytest.raises(TypeError, match="progress is True, False, None, or a function"):
        ctx.map(dataset, np.max, progress="yes")
    capsys.readouterr()
    ctx.map(dataset, np.max, progress=None)
    assert capsys.readouterr().err == ""
    pytest.importorskip("tqdm", reason="tqdm is not installed (scripts/setup programs)")
    ctx.map(dataset, np.max, progress=True)
    assert "60/60" in capsys.readouterr().err


# Workers that die, runs that are ended


def dies_once(path: str, frame: Any) -> Any:
    if not os.path.exists(path):
        Path(path).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return frame.max()


class Kills(UDF):
    def get_result_buffers(self) -> dict[str, Any]:
        return {"it": self.buffer("nav")}

    def process_frame(self, frame: Any) -> None:
        if self.meta.coordinates[0].tolist() == [2, 7]:
            os._exit(7)


def test_a_worker_that_dies_in_the_middle(node: erl.Node, tmp_path: Path) -> None:
    from functools import partial

    with Context(OtpExecutor(node, workers=2)) as ctx:
        dataset = ctx.load("memory", data=DATA)
        found = ctx.map(dataset, partial(dies_once, str(tmp_path / "died")))
        assert np.array_equal(found, DATA.max(axis=(2, 3)))
        with pytest.raises(WorkerLostError, match=r"exit status 7.*\n?.*frames 26 to 29, tried 3 times"):
            ctx.run_udf(dataset, Kills())
        assert np.array_equal(ctx.map(dataset, np.max), DATA.max(axis=(2, 3)))


def slow(frame: Any) -> Any:
    time.sleep(1)  # a run is half a minute, unless it is ended
    return frame.max()


@pytest.mark.parametrize("how", ["cancel", "close"])
def test_a_run_is_ended_from_another_thread(node: erl.Node, how: str) -> None:
    with Context(OtpExecutor(node, workers=2)) as ctx:
        dataset = ctx.load("memory", data=DATA, num_partitions=60)
        begun = threading.Event()

        def end() -> None:
            begun.wait(60)
            getattr(ctx, how)()

        ender = threading.Thread(target=end)
        ender.start()
        with pytest.raises(JobCancelledError):
            ctx.map(dataset, slow, progress=lambda done, total: begun.set())
        ender.join()
        if how == "cancel":
            assert np.array_equal(ctx.map(dataset, np.max), DATA.max(axis=(2, 3)))


def test_an_interrupt_ends_a_run_and_nothing_else(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import signal, time, numpy as np\n"
        "from erl.compute import Context\n"
        "def slow(frame):\n"
        "    time.sleep(1)\n"
        "    return frame.max()\n"
        "if __name__ == '__main__':\n"
        "    signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "    data = np.ones((50, 4, 4))\n"
        "    with Context.make_with('pool', cpus=2) as ctx:\n"
        "        dataset = ctx.load('memory', data=data, num_partitions=50)\n"
        "        try:\n"
        "            ctx.map(dataset, slow, progress=lambda *each: print('going', flush=True))\n"
        "        except KeyboardInterrupt:\n"
        "            print('interrupted')\n"
        "        print(ctx.map(dataset, np.max).data.sum())\n"
    )
    running = subprocess.Popen([sys.executable, str(program)], stdout=subprocess.PIPE, text=True)
    assert running.stdout is not None
    assert running.stdout.readline() == "going\n"
    running.send_signal(signal.SIGINT)
    out, _ = running.communicate(timeout=120)
    assert out.splitlines()[-2:] == ["interrupted", "50.0"]
    assert running.returncode == 0


# What stays


def test_data_are_scattered_once_and_given_up_with_their_data_set(node: erl.Node) -> None:
    data = np.ones((40, 50, 50))
    assert node.link.scope.memory is not None
    directory = Path(node.link.scope.memory.directory)

    before = {each.name for each in directory.iterdir()}

    def files() -> int:
        made = [each.name for each in directory.iterdir() if each.name not in before]
        return sum(
            int(name.rpartition("-")[2]) > data.nbytes // 2 for name in made
        )  # its size is in its name

    with Context(OtpExecutor(node, workers=1)) as ctx:
        dataset = ctx.load("memory", data=data)
        other = ctx.load("memory", data=np.zeros((2, 2, 2)))
        for _ in range(3):
            ctx.run(ctx.create_sum_analysis(dataset))
        assert files() == 1
        del dataset
        ctx.run(ctx.create_sum_analysis(other))
        eventually(lambda: files() == 0)
        again = ctx.load("memory", data=data)
        ctx.run(ctx.create_sum_analysis(again))
        assert files() == 1
    eventually(lambda: files() == 0)


def test_an_executor_sleeps_and_wakes() -> None:
    made: list[ConcurrentExecutor] = []

    def make() -> ConcurrentExecutor:
        made.append(ConcurrentExecutor.make_local(1))
        return made[-1]

    executor = Snoozing(make, 0.2)
    with Context(executor) as ctx:
        assert not executor.is_awake
        dataset = ctx.load("memory", data=DATA)
        for _ in range(2):
            assert np.array_equal(ctx.map(dataset, np.max), DATA.max(axis=(2, 3)))
            eventually(lambda: not executor.is_awake)
        assert len(made) >= 2
        with pytest.raises(RuntimeError, match="closed"):
            made[0].run(abs, 1)
        handle = executor.scatter(3)
        assert executor.run(abs, handle) == 3
        executor.update(handle, -4)
        eventually(lambda: not executor.is_awake)
        assert executor.run(abs, handle) == 4
        worker = executor.workers()[0]
        executor.put(worker, "key", 5)
        assert executor.each_worker(abs, -1) == {worker: 1}
        assert executor.resources()[0]["cpu"] == 1
        got: list[Any] = []
        executor.subscribe("topic", got.append)
        executor.run(publish, "topic", 6)
        assert got == [6]
        executor.release(handle)
    with pytest.raises(RuntimeError, match="closed"):
        executor.run(abs, 1)
    with pytest.raises(ValueError, match="greater than 0"):
        Context.make_with("inline", snooze_timeout=0)
    with Context.make_with("threads", cpus=1, snooze_timeout=10) as ctx:
        assert ctx.map(ctx.load("memory", data=DATA), np.max).data.shape == (6, 10)


def test_what_a_task_sleeps_is_not_idle_time() -> None:
    executor = Snoozing(lambda: ConcurrentExecutor.make_local(1), 0.1)
    with executor:
        assert executor.run(time.sleep, 1) is None


def test_data_that_shared_memory_has_no_room_for() -> None:
    narrow = erl.start({"default": {"size": 1}}, name="narrow", max_shared_bytes=1_000_000)
    with narrow, Context(OtpExecutor(narrow, "default")) as ctx:
        large = ctx.load("memory", data=np.zeros((100, 1000, 1000), "u1"))
        with pytest.raises(SharedMemoryError, match="no room for 100000000 bytes"):
            ctx.run(ctx.create_sum_analysis(large))
        small = ctx.load("memory", data=np.ones((20, 300, 300), "u1"))
        assert (ctx.run(ctx.create_sum_analysis(small)).intensity.raw_data == 20).all()
        gc.collect()  # the traceback has what stands for the file, whose directory ends with the node
