# The bytes that arrive, cut into frames: what `erl.wire.FrameBuffer` does, with the same sizes.

cdef enum:
    FIRST_BUFFER_BYTES = 65536
    LEAST_BUFFER_BYTES = 64
    KEEP_BUFFER_BYTES = 1 << 20
    DROPPED_HEAD_BYTES = 4096


cdef class FrameBuffer:
    """Collects bytes as they come and cuts them into frames: see `erl.wire.FrameBuffer`."""

    cdef bytearray buffer
    cdef Py_ssize_t first
    cdef Py_ssize_t start       # of the next frame's length
    cdef Py_ssize_t stop        # behind the last byte that has come
    cdef readonly int packet

    def __cinit__(self, packet, Py_ssize_t first_bytes=FIRST_BUFFER_BYTES):
        if packet not in (1, 2, 4):
            raise ValueError(f"packet must be 1, 2 or 4 bytes, not {packet!r}")
        self.packet = packet
        self.first = max(first_bytes, <Py_ssize_t>LEAST_BUFFER_BYTES)
        self.buffer = room_for(self.first)

    def free(self):
        """Where the next bytes go: at least one byte."""
        cdef Py_ssize_t size = len(self.buffer), have = self.stop - self.start, wanted
        if have == 0:
            self.start = self.stop = 0
            if size > KEEP_BUFFER_BYTES:
                self.buffer = room_for(self.first)
        elif self.stop == size:
            if have > size // 2:
                wanted = self.packet + self.length()
                size = wanted if size < wanted <= have * 16 else size * 2
            grown = room_for(size)
            memcpy(PyByteArray_AS_STRING(<PyObject*>grown), self.bytes_at(self.start), have)
            self.buffer = grown
            self.start = 0
            self.stop = have
        return memoryview(self.buffer)[self.stop :]

    def waiting(self):
        """How many bytes there are that no frame was made of yet."""
        return self.stop - self.start

    def fill(self, Py_ssize_t count):
        """Say that `count` bytes were written to the start of `free()`."""
        if not 0 <= count <= len(self.buffer) - self.stop:
            raise ValueError(f"{count} bytes can't have been written to the room for {len(self.buffer) - self.stop}")
        self.stop += count

    def take(self):
        """The next frame that is complete, without its length; None when the rest is still to come."""
        cdef Py_ssize_t size = self.complete()
        return None if size < 0 else self.taken(size)

    def drop(self):
        """Give up the frame at the start, for which there is no memory: its first bytes, and how many are still to come."""
        cdef Py_ssize_t body = self.start + self.packet, size = self.length()
        cdef Py_ssize_t have = min(size, self.stop - body), rest = self.stop - body - have
        head = given(PyBytes_FromStringAndSize(
            <const char*>self.bytes_at(body), min(have, <Py_ssize_t>DROPPED_HEAD_BYTES)
        ))
        kept = room_for(max(self.first, rest))
        memcpy(PyByteArray_AS_STRING(<PyObject*>kept), self.bytes_at(body + have), rest)
        self.buffer = kept
        self.start = 0
        self.stop = rest
        return head, size - have

    cdef const unsigned char* bytes_at(self, Py_ssize_t position) noexcept:
        return <const unsigned char*>PyByteArray_AS_STRING(<PyObject*>self.buffer) + position

    cdef Py_ssize_t length(self) noexcept:
        """What the next frame says of its own length."""
        cdef const unsigned char* p = self.bytes_at(self.start)
        if self.packet == 4:
            return u32(p)
        return u16(p) if self.packet == 2 else p[0]

    cdef Py_ssize_t complete(self) noexcept:
        """The length of the next frame if all of it is here, else -1."""
        cdef Py_ssize_t have = self.stop - self.start - self.packet, size
        if have < 0:
            return -1
        size = self.length()
        return size if size <= have else -1

    cdef bytes taken(self, Py_ssize_t size):
        """The next frame, known to be here with this length."""
        cdef Py_ssize_t body = self.start + self.packet
        frame = given(PyBytes_FromStringAndSize(<const char*>self.bytes_at(body), size))
        self.start = body + size
        if self.start == self.stop and len(self.buffer) > KEEP_BUFFER_BYTES:
            # A large frame is not kept twice while its call runs.
            self.buffer = room_for(self.first)
            self.start = self.stop = 0
        return frame


cdef bytearray room_for(Py_ssize_t size):
    """A buffer whose bytes nobody has set."""
    return <bytearray>given(PyByteArray_FromStringAndSize(NULL, size))
