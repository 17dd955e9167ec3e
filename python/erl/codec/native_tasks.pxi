# The driver's tasks: what is common is sent, settled and taken in C. `erl.link.lanes`, `erl.futures.tasks` and
# `erl.link.waiting` specify what happens; what is rare, and what somebody looks at, is left to them.
#
# Each change here is a step: nothing in the middle of it allocates what the collector of garbage counts, or runs code of
# Python's.

cdef enum:
    SUBMIT_BYTES = 13               # before the id

cdef double _SHORT_SECONDS = 0.004
cdef double _LONG_SECONDS = 0.02
cdef object _PENDING = "PENDING"
cdef object _RUNNING = "RUNNING"
cdef object _FINISHED = "FINISHED"


cdef class Promise:
    """What a future knows, and that nobody may wait for: its condition is made for whoever asks for it.

    `_answer` is the answer as it came, signed; `result` reads it where that runs no code, else `_waited` does.
    """

    cdef public object _state
    cdef public object _result
    cdef public object _exception
    cdef public object _answer
    cdef public object _task
    cdef public object _link
    cdef object own_condition
    cdef object own_waiters
    cdef object own_callbacks
    cdef object own_gate
    cdef object own_fate

    def __cinit__(self, *args, **keywords):
        self._state = _PENDING

    def __init__(self):
        """The fields are what they should be."""

    @property
    def _condition(self):
        if self.own_condition is None:
            from threading import Condition

            made = Condition()
            if self.own_condition is None:
                self.own_condition = made
        return self.own_condition

    @_condition.setter
    def _condition(self, condition):
        self.own_condition = condition

    @property
    def _waiters(self):
        if self.own_waiters is None:
            made = []
            if self.own_waiters is None:
                self.own_waiters = made
        return self.own_waiters

    @_waiters.setter
    def _waiters(self, waiters):
        self.own_waiters = waiters

    @property
    def _done_callbacks(self):
        if self.own_callbacks is None:
            made = []
            if self.own_callbacks is None:
                self.own_callbacks = made
        return self.own_callbacks

    @_done_callbacks.setter
    def _done_callbacks(self, callbacks):
        self.own_callbacks = callbacks

    def _fate(self, wanted):
        """Whether it runs or is cancelled: what was said first."""
        if self.own_fate is None:
            self.own_fate = wanted
        return self.own_fate

    def _gate(self):
        """Where those wait who ask for its result; open where there is one."""
        if self.own_gate is None:
            made = self._new_gate()
            opened = self._new_gate(True)
            if self.own_gate is None:
                self.own_gate = made if self._state is _PENDING or self._state is _RUNNING else opened
        return self.own_gate

    def _exchange(self, old, new):
        """The answer, which becomes `new` where it was `old`."""
        if self._answer is old:
            self._answer = new
        return self._answer

    def result(self, timeout=None):
        cdef PyObject* made
        if self._state is _FINISHED:
            answer = self._answer
            if answer is None:
                if self._exception is None:
                    return self._result
            elif type(answer) is bytes:
                made = plain_answer(<bytes>answer)
                if made != NULL:
                    value = given(made)
                    verify(self._link.scope.pickles, <bytes>answer)
                    if self._answer is answer:
                        self._result = value
                        self._answer = None
                        return value
        return self._waited(timeout)


cdef class Sender:
    """Sends tasks of one lane at once, as long as none waits there; see `erl.link.lanes.Lane`."""

    cdef object lane
    cdef dict open
    cdef object queue
    cdef list hand
    cdef list out
    cdef dict lanes
    cdef dict calls
    cdef object late
    cdef Py_ssize_t most
    cdef object number
    cdef bytes head

    def __init__(
        self, lane, list out not None, dict lanes not None, dict calls not None, late, Py_ssize_t most, number, bytes head
    ):
        """`head` is what the body of a task begins with."""
        self.head = head
        self.lane = lane
        self.open = lane.open
        self.queue = lane._queue
        self.hand = lane._hand
        self.out = out
        self.lanes = lanes
        self.calls = calls
        self.late = late
        self.most = most
        self.number = number

    def send(self, task, Promise future not None, bytes route not None, bytes payload not None, set opened not None):
        """Send a task, and have its future among `opened`; whether it was."""
        cdef Py_ssize_t count = PyDict_Size(<PyObject*>self.open)
        cdef long number
        if len(self.hand) or len(self.queue) or count >= self.lane.window or not self.has_room():
            return False
        id_ = self.number()
        number = id_
        sent = now_ns() / 1e9
        frame = self.frame(<uint32_t>number, route, payload)
        if future.own_fate is not None or future._state is not _PENDING or self.hand or self.queue:
            return False
        task.id = id_
        task.sent = sent
        opened.add(future)
        self.open[id_] = task
        future.own_fate = _RUNNING
        future._state = _RUNNING
        self.out.append(frame)
        return True

    cdef bytes frame(self, uint32_t number, bytes route, bytes payload):
        """See `erl.link.protocol.submit`."""
        cdef Py_ssize_t route_size = len(route), head_size = len(self.head), size = len(payload)
        cdef Py_ssize_t body = head_size + 6 + size, whole = SUBMIT_BYTES + 4 + route_size + 5 + body
        cdef bytes made = given(PyBytes_FromStringAndSize(NULL, 4 + whole))
        cdef unsigned char* p = <unsigned char*>PyBytes_AS_STRING(<PyObject*>made)
        put32(p, <uint32_t>whole)
        memcpy(p + 4, b"\x83h\x04d\x00\x06submitb", SUBMIT_BYTES)
        p += 4 + SUBMIT_BYTES
        put32(p, number)
        memcpy(p + 4, PyBytes_AS_STRING(<PyObject*>route), route_size)
        p += 4 + route_size
        p[0] = BINARY
        put32(p + 1, <uint32_t>body)
        memcpy(p + 5, PyBytes_AS_STRING(<PyObject*>self.head), head_size)
        p += 5 + head_size
        p[0] = BINARY
        put32(p + 1, <uint32_t>size)
        memcpy(p + 5, PyBytes_AS_STRING(<PyObject*>payload), size)
        p[5 + size] = NIL
        return made

    cdef bint has_room(self) except -1:
        cdef Py_ssize_t count = PyDict_Size(<PyObject*>self.calls) - <Py_ssize_t>len(self.late), at = 0
        if PyDict_Size(<PyObject*>self.lanes) == 1:
            return count + PyDict_Size(<PyObject*>self.open) < self.most
        for each in list(self.lanes.values()):
            count += len(each.open)
        return count < self.most


cdef class Intake:
    """Cuts what comes into messages. The answer to a task of the common kind is its future's at once, for the others there
    is an event (`erl.link.protocol`).
    """

    cdef bytearray left
    cdef Py_ssize_t start
    cdef dict lanes
    cdef object event
    cdef object told

    def __init__(self, dict lanes not None, event, told):
        """`event` makes a message of a frame, `told` is called with what was raised where a task was told of its end."""
        self.left = bytearray()
        self.lanes = lanes
        self.event = event
        self.told = told

    def add(self, data):
        """More bytes."""
        if self.start:
            del self.left[:self.start]
            self.start = 0
        self.left += data

    def next(self, Py_ssize_t most):
        """The next event; None where a message is not whole. Raises `errors.ProtocolError`, also for a frame of more than
        `most` bytes.
        """
        cdef Py_ssize_t have, size, start
        cdef const unsigned char* p
        while True:
            start = self.start
            have = len(self.left) - start
            if have < 4:
                return None
            p = <const unsigned char*>PyByteArray_AS_STRING(<PyObject*>self.left) + start
            size = u32(p)
            if not 0 < size <= most:
                raise errors.ProtocolError(f"the node has sent a frame of {size} bytes")
            if have - 4 < size:
                return None
            self.start = start + 4 + size
            if self.is_taken(p + 4, size):
                continue
            event = self.event(bytes(self.left[start + 4 : start + 4 + size]))
            if event:
                return event

    cdef bint is_taken(self, const unsigned char* p, Py_ssize_t size) except -1:
        """Whether the message was the answer to a task that one look settles."""
        cdef Promise future
        cdef Py_ssize_t count
        cdef dict open
        cdef double seconds
        # {done, Id, trusted, {r, _, Answer}}
        if size < 70 or memcmp(p, b"\x83h\x04w\x04doneb", 10) != 0 or memcmp(p + 14, b"w\x07trustedm", 10) != 0:
            return False
        cdef const unsigned char* inner = p + 28
        cdef Py_ssize_t inner_size = u32(p + 24), at
        if inner_size != size - 28 or memcmp(inner, b"\x83h\x03", 3) != 0:
            return False
        if memcmp(inner + 3, b"w\x01r", 3) == 0:
            at = 6
        elif memcmp(inner + 3, b"d\0\x01r", 4) == 0:
            at = 7
        else:
            return False
        at += 2 if inner[at] == SMALL_INTEGER else 5 if inner[at] == INTEGER else 0
        if inner[at] != BINARY or u32(inner + at + 1) != inner_size - at - 5 or inner[at + 5] != c"R":
            return False
        id_ = u32(p + 10)
        for lane in list(self.lanes.values()) if PyDict_Size(<PyObject*>self.lanes) != 1 else self.lanes.values():
            open = lane.open
            if id_ not in open:
                continue
            task = open[id_]
            opened = getattr(task, "opened", None)
            if type(opened) is not set or task.memory is not None or not isinstance(task.future, Promise):
                return False
            future = task.future
            answer = given(PyBytes_FromStringAndSize(<const char*>inner + at + 5, inner_size - at - 5))
            if (
                future.own_condition is not None or future.own_callbacks is not None or future.own_fate is not _RUNNING
                or not (future._state is _RUNNING or future._state is _PENDING) or open.get(id_) is not task
            ):
                return False
            del open[id_]
            future._answer = answer
            future._state = _FINISHED
            future._task = None
            (<set>opened).discard(future)
            try:
                if future.own_gate is not None:
                    future.own_gate.open()
                seconds = now_ns() / 1e9 - <double>task.sent
                if seconds > _LONG_SECONDS or (seconds < _SHORT_SECONDS and lane._queue):
                    lane.learn(seconds)
                if not opened:
                    task._over(future)
            except BaseException:
                self.told()
            return True
        return False
