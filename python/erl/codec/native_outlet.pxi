# The bytes that leave, together where they fit: `erl.wire.frames.Outlet`; and what is printed, before it is sent.
#
# As in `native_frames.pxi`, no code of Python runs in the middle of a step.

cdef extern from *:
    """
    #include <errno.h>
    #include <poll.h>
    #include <unistd.h>

    /* All of it, whatever signals come; 0, or the error's number. */
    static int erl_write(int fd, const char *from, size_t size) {
        while (size) {
            ssize_t count = write(fd, from, size);
            if (count >= 0) {
                from += count;
                size -= (size_t)count;
            } else if (errno == EAGAIN) {
                struct pollfd ready = {fd, POLLOUT, 0};
                poll(&ready, 1, -1);
            } else if (errno != EINTR) {
                return errno;
            }
        }
        return 0;
    }
    """
    int erl_write(int, const char*, size_t) nogil

cdef extern from "Python.h":
    ctypedef void* PyThread_type_lock
    PyThread_type_lock PyThread_allocate_lock()
    void PyThread_free_lock(PyThread_type_lock)
    int PyThread_acquire_lock(PyThread_type_lock, int) nogil
    void PyThread_release_lock(PyThread_type_lock)
    int PyList_SetSlice(PyObject*, Py_ssize_t, Py_ssize_t, PyObject*)

cdef enum:
    ROOM_BYTES = 65536      # a frame up to this length is copied, to leave with others in one write


cdef class Outlet:
    """Writes what is pending: see `erl.wire.frames.Outlet`."""

    cdef readonly list pending
    cdef PyThread_type_lock lock
    cdef bint writing
    cdef char* room

    is_inside = False

    def __cinit__(self):
        self.pending = []
        self.lock = PyThread_allocate_lock()
        self.room = <char*>PyMem_Malloc(ROOM_BYTES)
        if self.lock == NULL or self.room == NULL:
            raise MemoryError

    def __dealloc__(self):
        if self.lock != NULL:
            PyThread_free_lock(self.lock)
        PyMem_Free(self.room)

    def flush(self, int fd):
        """Write all that is pending, and wait for what another thread is writing; 0, or the error's number."""
        cdef int error = 0
        if not PyList_GET_SIZE(<PyObject*>self.pending) and not self.writing:
            return 0
        if not PyThread_acquire_lock(self.lock, 0):
            with nogil:
                PyThread_acquire_lock(self.lock, 1)
        self.writing = True
        while not error and PyList_GET_SIZE(<PyObject*>self.pending):
            error = self.write_some(fd)
        self.writing = False
        PyThread_release_lock(self.lock)
        return error

    def renew(self):
        """Forget who writes, in a child that was forked, and what."""
        self.lock = PyThread_allocate_lock()    # the other one is lost: a thread that is not here may hold it
        self.writing = False
        self.pending.clear()

    cdef int write_some(self, int fd) noexcept:
        """Write what is first: as much as goes out together, or one long piece."""
        cdef PyObject* pending = <PyObject*>self.pending
        cdef PyObject* piece = PyList_GET_ITEM(pending, 0)
        cdef Py_ssize_t size = PyBytes_GET_SIZE(piece), filled = 0, count = 0, most = PyList_GET_SIZE(pending)
        cdef char* room = self.room
        cdef int error
        if size > ROOM_BYTES:
            Py_INCREF(piece)
            PyList_SetSlice(pending, 0, 1, NULL)
            room = PyBytes_AS_STRING(piece)
            with nogil:
                error = erl_write(fd, room, size)
            Py_DECREF(piece)
            return error
        while filled + size <= ROOM_BYTES:
            memcpy(room + filled, PyBytes_AS_STRING(piece), size)
            filled += size
            count += 1
            if count == most:
                break
            piece = PyList_GET_ITEM(pending, count)
            size = PyBytes_GET_SIZE(piece)
        PyList_SetSlice(pending, 0, count, NULL)
        with nogil:
            error = erl_write(fd, room, filled)
        return error


cdef class Collector:
    """Takes bytes that are printed: no other code enters there, unless there are many; see `erl.runtime.console`."""

    cdef list parts
    cdef Py_ssize_t most
    cdef Py_ssize_t size
    cdef object filled

    def __cinit__(self, list parts not None, Py_ssize_t most, filled):
        self.parts = parts
        self.most = most
        self.filled = filled

    def write(self, data):
        """Keep these bytes; how many they were."""
        cdef bytes held
        if type(data) is bytes:
            held = data
        elif isinstance(data, str):
            raise TypeError("a bytes-like object is required, not 'str'")
        else:
            held = bytes(data)
        cdef Py_ssize_t size = len(held)
        if not PyList_GET_SIZE(<PyObject*>self.parts):
            self.size = 0
        if size:
            self.parts.append(held)
            self.size += size
            if self.size > self.most:
                self.size = 0
                self.filled()
        return size
