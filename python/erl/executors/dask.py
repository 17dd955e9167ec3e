"""The executor over a cluster of dask's: where one machine is not enough."""

from __future__ import annotations

import _thread
import asyncio
import concurrent.futures
import contextlib
import logging
import os
import pickle
import threading
import time
import uuid
import weakref
from typing import TYPE_CHECKING, Any, Final

import dask
import distributed
from distributed.scheduler import KilledWorker

from erl import errors
from erl.executors import dask_calls, devices
from erl.executors.interface import Executor, Handle

if TYPE_CHECKING:
    from collections.abc import Callable

_START_SECONDS: Final = 120.0
_CLOSE_SECONDS: Final = 30.0
_KNOWN_SECONDS: Final = 1.0
"""So long it is not asked again who the workers are, for how many tasks are on their way."""
_SENT_AHEAD_BYTES: Final = 1_000_000
"""What is larger goes to a worker before the task does, past the scheduler."""
_PUT_SECONDS: Final = 30.0
_PAUSE_SECONDS: Final = 0.1
_TRIES: Final = 10
"""So often a task is sent again that has not begun, since what it needs was lost with a worker."""
_LOST: Final = ("cancelled", "lost", "error")


class _Task(concurrent.futures.Future[Any]):
    """One call. What runs can't be ended: the worker goes on with it, and nobody waits for that."""

    sent: Any = None
    """The future of dask's."""

    def cancel(self) -> bool:
        if not super().cancel():
            return False
        if self.sent is not None:
            self.sent.cancel()
        return True

    kill = cancel


class _Object:
    """An object on the cluster, which is put there again where the cluster has lost it with a worker."""

    def __init__(self, client: distributed.Client, parcel: dask_calls.Parcel) -> None:
        self._client = client
        self._parcel = parcel
        self._lock = threading.Lock()
        self._there: Any = None

    def there(self) -> Any:
        """What stands for it among a task's arguments."""
        with self._lock:
            if self._there is None or self._there.status in _LOST:
                self._there = self._put()
            return self._there

    def forget(self) -> None:
        """Put it there again, for the next task: one that named it was lost."""
        with self._lock:
            self._there = None

    def _put(self) -> Any:
        if self._parcel.size_bytes <= _SENT_AHEAD_BYTES:
            # As what a task gives back: the scheduler can make it again.
            return self._client.submit(dask_calls.kept, self._parcel, pure=False)
        deadline = time.monotonic() + _PUT_SECONDS
        while True:
            try:
                return self._client.scatter(self._parcel, broadcast=True, hash=False)
            except (KeyError, OSError, asyncio.TimeoutError):  # a worker that dies at that moment
                if time.monotonic() > deadline or self._client.status != "running":
                    raise
                time.sleep(_PAUSE_SECONDS)


class _Call:
    """What a task is sent as, and how often it may be sent again."""

    __slots__ = ("call", "objects", "retries", "tries", "worker")

    def __init__(self, worker: Any, call: Any, objects: list[_Object], retries: int) -> None:
        self.worker = worker
        self.call = call
        self.objects = objects
        self.retries = retries
        self.tries = _TRIES


class DaskExecutor(Executor):
    """Runs tasks on the workers of a `distributed` cluster, which have this package installed.

    `client`  a `distributed.Client`; whoever made it closes it

    A task that runs can't be ended: a job that is cancelled leaves at once, and its workers finish what they began.
    A task whose worker dies fails with `errors.WorkerLostError` once `retries` are used up; a cluster that `make_local`
    has not started tries it elsewhere before that, as often as its setting `allowed-failures` says.
    """

    def __init__(self, client: distributed.Client) -> None:
        super().__init__()
        self._client = client
        self._cluster: Any = None
        self._owns_client = False
        self._topic = f"erl-{uuid.uuid4().hex}"
        self._open: set[_Task] = set()
        self._sent: dict[str, tuple[int, _Object]] = {}
        # Handlers may ask the executor for something, which the thread of dask's that hears must not wait for.
        self._telling = concurrent.futures.ThreadPoolExecutor(1, "erl-dask-topics")
        self._known: tuple[float, dict[Any, dict[str, Any]]] = (0.0, {})
        self._end: weakref.finalize[..., DaskExecutor] | None = None
        # By a weak reference: a cluster of its own ends where nobody has the executor any more.
        client.subscribe_topic(self._topic, _heard_by(weakref.ref(self)))

    @classmethod
    def connect(cls, address: str, *, timeout: float = 10.0) -> DaskExecutor:
        """One on the cluster whose scheduler listens at `address`, such as "tcp://localhost:8786".

        The cluster lives on after `close`. Code of this program goes there by value, unless it is installed. Raises
        `errors.NodeError` where no scheduler answers within `timeout` seconds.
        """
        if not timeout > 0:
            raise ValueError("timeout must be a number of seconds greater than 0")
        try:
            client = distributed.Client(address, timeout=timeout, set_as_default=False)
        except (OSError, ValueError, concurrent.futures.TimeoutError) as error:
            raise errors.NodeError(f"no dask scheduler answers at {address}: {error}") from error
        made = cls._on(client)
        made._own(client, None)
        return made

    @classmethod
    def make_local(cls, spec: dict[str, Any] | None = None) -> DaskExecutor:
        """One with a cluster of its own on this machine, which ends with `close`.

        `spec`  the workers, as `devices.cluster_spec` writes them; one for each device of `devices.detect` by default
        """
        workers = devices.cluster_spec(**devices.detect()) if spec is None else spec
        scheduler = {
            "cls": distributed.Scheduler,
            "options": {
                "host": "127.0.0.1",
                "port": 0,
                "dashboard": False,
                "dashboard_address": "127.0.0.1:0",
                "allowed_failures": 0,
            },
        }
        # The profile is taken by a thread that can stop the worker: dask/distributed issue 6776.
        with dask.config.set({"distributed.worker.profile.enabled": False}):
            cluster = distributed.SpecCluster(
                workers=workers, scheduler=scheduler, silence_logs=logging.WARNING
            )
        try:
            client = distributed.Client(cluster, timeout=_START_SECONDS, set_as_default=False)
            client.wait_for_workers(len(workers), timeout=_START_SECONDS)
        except BaseException:
            cluster.close(timeout=_CLOSE_SECONDS)
            raise
        made = cls._on(client)
        made._own(client, cluster)
        return made

    @classmethod
    def _on(cls, client: distributed.Client) -> DaskExecutor:
        try:
            return cls(client)
        except BaseException:
            client.close()
            raise

    def _own(self, client: distributed.Client, cluster: Any) -> None:
        self._owns_client = True
        self._cluster = cluster
        self._end = weakref.finalize(self, _given_up, os.getpid(), client, cluster)
        self._end.atexit = False  # dask ends them there

    @property
    def client(self) -> distributed.Client:
        """The `distributed.Client`."""
        return self._client

    def _check_open(self) -> None:
        super()._check_open()
        if (
            self._client.status != "running"
        ):  # it tries to come back, and what is asked meanwhile waits for that
            raise errors.NodeDownError(f"the dask scheduler at {self._address()} is gone")

    # Workers

    def _asked(self) -> dict[Any, dict[str, Any]]:
        """What the scheduler says of those that compute, by their names."""
        self._check_open()
        try:
            info = self._client.scheduler_info(n_workers=-1)
        except TypeError:  # before 2025 it told of all of them
            info = self._client.scheduler_info()
        workers = {worker["name"]: worker for worker in info["workers"].values()}
        if computing := {name: each for name, each in workers.items() if "compute" in each["resources"]}:
            workers = computing
        found = dict(sorted(workers.items(), key=lambda item: str(item[0])))
        self._known = (time.monotonic(), found)
        return found

    def _lately(self) -> dict[Any, dict[str, Any]]:
        asked, found = self._known
        return found if found and time.monotonic() - asked < _KNOWN_SECONDS else self._asked()

    def workers(self) -> list[Any]:
        return list(self._asked())

    @property
    def _width(self) -> int:
        threads: int = sum(each["nthreads"] for each in self._lately().values())
        return 2 * max(1, threads)

    def each_host(self, fn: Callable[..., Any], *args: Any) -> dict[str, Any]:
        first: dict[str, Any] = {}
        for name, worker in self._asked().items():
            first.setdefault(worker["host"], name)
        futures = {host: self._start(name, fn, args, 0) for host, name in first.items()}
        return {host: future.result() for host, future in futures.items()}

    def resources(self) -> list[dict[str, Any]]:
        self._check_open()
        try:
            info = self._client.scheduler_info(n_workers=-1)
        except TypeError:
            info = self._client.scheduler_info()
        hosts: dict[str, dict[str, Any]] = {}
        has_kinds = any("compute" in each["resources"] for each in info["workers"].values())
        for worker in info["workers"].values():
            there = hosts.setdefault(
                worker["host"], {"host": worker["host"], "cpu": 0, "cuda": 0, "service": 0}
            )
            named = worker["resources"]
            kind = "cuda" if "CUDA" in named else "service" if has_kinds and "compute" not in named else "cpu"
            there[kind] += 1
        return [hosts[host] for host in sorted(hosts)]

    # Objects

    def scatter(self, obj: Any) -> Handle:
        self._check_open()
        handle = Handle(uuid.uuid4().hex, obj)
        self._object(handle).there()
        return handle

    def update(self, handle: Handle, obj: Any) -> None:
        self._check_open()
        super().update(handle, obj)
        self._object(handle).there()

    def release(self, handle: Handle) -> None:
        super().release(handle)
        self._sent.pop(handle.key, None)

    def _parcel(self, value: Any) -> dask_calls.Parcel:
        return dask_calls.Parcel.of(value, self._cluster is None)

    def _object(self, handle: Handle) -> _Object:
        """The present version. Tasks that name an older one keep that."""
        version, found = self._sent.get(handle.key, (0, None))
        if found is None or version != handle.version:
            found = _Object(self._client, self._parcel(handle.value))
            self._sent[handle.key] = handle.version, found
        return found

    def put(self, worker: Any, key: Any, obj: Any) -> None:
        self._check_worker(worker)
        self._client.submit(
            dask_calls.hold, key, self._parcel(obj), workers=[worker], allow_other_workers=False, pure=False
        ).result()

    # Tasks

    def _start(
        self, worker: Any, function: Callable[..., Any], args: tuple[Any, ...], retries: int
    ) -> concurrent.futures.Future[Any]:
        self._check_open()
        task = _Task()
        self._open.add(task)
        task.add_done_callback(self._open.discard)
        try:
            self._send(task, self._call(worker, function, args, retries))
        except Exception as error:
            self._settle(task, None, error)
        return task

    def _call(self, worker: Any, function: Callable[..., Any], args: tuple[Any, ...], retries: int) -> _Call:
        objects: list[_Object] = []
        ready = []
        for each in args:
            if isinstance(each, Handle):
                objects.append(self._object(each))
                each = dask_calls.Place(len(objects) - 1)
            ready.append(each)
        call: Any = self._parcel((function, tuple(ready)))
        if call.size_bytes > _SENT_AHEAD_BYTES:
            call = _Object(self._client, call)
        return _Call(worker, call, objects, retries)

    def _send(self, task: _Task, call: _Call) -> None:
        named: dict[str, Any] = {}
        if call.worker is not None:
            named = {"workers": [call.worker], "allow_other_workers": False}
        elif any("compute" in each["resources"] for each in self._lately().values()):
            named = {"resources": {"compute": 1}}
        sent = call.call.there() if isinstance(call.call, _Object) else call.call
        there = [each.there() for each in call.objects]
        task.sent = self._client.submit(dask_calls.run, sent, self._topic, *there, pure=False, **named)
        task.sent.add_done_callback(lambda over: self._came(task, call, over))
        if task.cancelled():
            task.sent.cancel()

    def _came(self, task: _Task, call: _Call, sent: Any) -> None:
        """A future of dask's is over, in the thread that tells of all of them."""
        if task.done():
            return
        value, error, may_be_sent = None, None, False
        try:
            status = sent.status
            if status == "finished":
                value = sent.result()
            elif status == "error":
                error = sent.exception()
            else:
                raise concurrent.futures.CancelledError
        except concurrent.futures.CancelledError:
            error, may_be_sent = self._lost(call)
        except Exception as failed:
            error = failed
        if isinstance(error, KilledWorker) and error.task != sent.key:
            error, may_be_sent = self._lost(call)  # while it made what the task needs
        elif isinstance(error, KilledWorker):
            error = errors.WorkerLostError(f"the worker of the task died: {error}")
            may_be_sent = call.retries > 0
            call.retries -= 1
        if may_be_sent and not self._is_closed:
            try:
                self._send(task, call)
                return
            except Exception as failed:
                error = failed
        self._settle(task, value, error)

    def _lost(self, call: _Call) -> tuple[BaseException, bool]:
        """What a task ends with that was not cancelled here, and whether it may be sent again: it has not begun."""
        try:
            self._check_open()
        except Exception as gone:
            return gone, False
        for each in (call.call, *call.objects):
            if isinstance(each, _Object):
                each.forget()
        call.tries -= 1
        return errors.WorkerLostError("a worker died, and with it what the task needs"), call.tries >= 0

    @staticmethod
    def _settle(task: _Task, value: Any, error: BaseException | None) -> None:
        task.sent = None
        if not task.set_running_or_notify_cancel():
            return
        if error is None:
            task.set_result(value)
        else:
            task.set_exception(error)

    def _address(self) -> str:
        scheduler = self._client.scheduler
        return "?" if scheduler is None else str(scheduler.address)

    # Topics

    def _heard(self, event: Any) -> None:
        try:
            _, data = event
            topic, message = pickle.loads(data)
            self._telling.submit(self._published, topic, message)
        except Exception:  # of somebody else, or it is closed
            return

    def close(self) -> None:
        """End what is the executor's own: a cluster that `make_local` has started, and the connection to another."""
        if self._is_closed:
            return
        super().close()
        if self._end is not None:
            self._end.detach()
        for task in list(self._open):
            task.cancel()
        self._sent.clear()
        self._telling.shutdown(wait=False)
        if self._owns_client:
            self._client.close(timeout=_CLOSE_SECONDS)
        elif self._client.status == "running":
            self._client.unsubscribe_topic(self._topic)
        if self._cluster is not None:
            self._cluster.close(timeout=_CLOSE_SECONDS)

    def __repr__(self) -> str:
        return f"<DaskExecutor on {self._address()}>"


def _heard_by(executor: weakref.ref[DaskExecutor]) -> Callable[[Any], None]:
    def heard(event: Any) -> None:
        found = executor()
        if found is not None:
            found._heard(event)

    return heard


def _given_up(pid: int, client: distributed.Client, cluster: Any) -> None:
    """End what nobody has any more, in a thread: a finalizer may run in any, at any time."""
    if pid != os.getpid():  # a child that was forked: leave it to the parent
        return
    with contextlib.suppress(RuntimeError):  # no thread begins at the end of the program
        _thread.start_new_thread(_ended, (client, cluster))


def _ended(client: distributed.Client, cluster: Any) -> None:
    with contextlib.suppress(Exception):
        client.close(timeout=_CLOSE_SECONDS)
    if cluster is not None:
        with contextlib.suppress(Exception):
            cluster.close(timeout=_CLOSE_SECONDS)
