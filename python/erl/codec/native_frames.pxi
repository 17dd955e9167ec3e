# The bytes that arrive, cut into frames: what `erl.wire.frames` does, each step in one call.
#
# No code of Python runs in the middle of a step: nothing here allocates what the collector of garbage counts, releases an
# object that has a finalizer, or asks for signals. While a system call waits without the GIL, other threads find `reading`
# set.

from _collections import deque as _deque     # `collections` costs more

cdef extern from *:
    """
    #include <errno.h>
    #include <poll.h>
    #include <signal.h>
    #include <time.h>
    #include <unistd.h>

    /* What came: 0 the end, -1 an error, -2 nothing in time, or a signal first. `ms` below 0: wait without end. */
    static Py_ssize_t erl_read(int fd, void *to, size_t room, int ms) {
        ssize_t count;
        if (ms >= 0) {
            struct pollfd ready = {fd, POLLIN, 0};
            int found = poll(&ready, 1, ms);
            if (found == 0 || (found < 0 && errno == EINTR)) return -2;
            if (found < 0) return -1;
        }
        count = read(fd, to, room);
        return count < 0 && (errno == EINTR || errno == EAGAIN) ? -2 : count;
    }

    /* Hold signals back in this thread. */
    static void erl_hold(sigset_t *before) {
        sigset_t held;
        sigfillset(&held);
        pthread_sigmask(SIG_BLOCK, &held, before);
    }

    static void erl_let_come(const sigset_t *before) { pthread_sigmask(SIG_SETMASK, before, NULL); }

    /* The same where signals are held back: one that has come since ends the wait at once. Where there is no ppoll(2), it is found
       in a while. */
    static Py_ssize_t erl_read_woken(int fd, void *to, size_t room, int ms, const sigset_t *before) {
        struct pollfd ready = {fd, POLLIN, 0};
    #if defined(__linux__) || defined(__FreeBSD__)
        struct timespec time = {ms / 1000, (ms % 1000) * 1000000L};
        int found = ppoll(&ready, 1, ms < 0 ? NULL : &time, before);
    #else
        int found;
        erl_let_come(before);
        found = poll(&ready, 1, ms < 0 || ms > 50 ? 50 : ms);
    #endif
        if (found == 0 || (found < 0 && errno == EINTR)) return -2;
        if (found < 0) return -1;
        return erl_read(fd, to, room, -1);
    }

    /* Tell of the call that begins, then see up to which one may: never the other way round, for whoever takes calls back does
       the same from his side. The exchange is a full barrier on x86 and cheaper than a fence. */
    static CYTHON_INLINE uint64_t erl_begin(uint64_t *page, uint64_t number, int fenced) {
        if (!fenced) {
            __atomic_store_n(page, number, __ATOMIC_RELAXED);
            __atomic_signal_fence(__ATOMIC_SEQ_CST);
        } else {
    #if defined(__x86_64__) || defined(__i386__)
            (void)__atomic_exchange_n(page, number, __ATOMIC_SEQ_CST);
    #else
            __atomic_store_n(page, number, __ATOMIC_SEQ_CST);
            __atomic_thread_fence(__ATOMIC_SEQ_CST);
    #endif
        }
        return __atomic_load_n(page + 1, __ATOMIC_SEQ_CST);
    }

    static CYTHON_INLINE void erl_put_word(uint64_t *word, uint64_t value) {
        __atomic_store_n(word, value, __ATOMIC_SEQ_CST);
    }
    """
    uint64_t erl_begin(uint64_t*, uint64_t, bint) noexcept
    void erl_put_word(uint64_t*, uint64_t) noexcept
    ctypedef struct sigset_t:
        pass
    void erl_hold(sigset_t*) noexcept
    void erl_let_come(const sigset_t*) noexcept
    Py_ssize_t erl_read(int, void*, size_t, int) nogil
    Py_ssize_t erl_read_woken(int, void*, size_t, int, const sigset_t*) nogil
    int errno

cdef enum:
    NOTHING = -2
    CLOSED = -1
    BUSY = -3

cdef enum:
    FIRST_BUFFER_BYTES = 65536
    LEAST_BUFFER_BYTES = 64
    KEEP_BUFFER_BYTES = 1 << 20
    DROPPED_HEAD_BYTES = 4096
    LARGE_FRAME_BYTES = 1 << 18
    MOST_TIMES = 64             # as much as has come of a frame is its room at once

cdef uint64_t NO_LIMIT = 0xFFFFFFFFFFFFFFFFULL
# In the backlog, by its identity: a call that is not to be begun, whose number is used.
cdef bytes _NOTHING = b"no call"


cdef class FrameBuffer:
    """Collects bytes as they come and cuts them into frames: see `erl.wire.frames.FrameBuffer`."""

    cdef bytearray buffer
    cdef bytes large            # a large frame at the start is read into what it will be; then nothing else has come
    cdef bint reading           # a thread waits for bytes: the buffer is its own
    cdef Py_ssize_t skipped     # bytes still to come of a frame that was dropped
    cdef readonly object backlog
    cdef readonly set expected
    cdef readonly dict answers
    cdef readonly list answered
    cdef readonly list unwanted
    cdef readonly Py_ssize_t backlog_bytes
    cdef public set marks       # gets the ids of calls that are unwanted
    cdef readonly long long turn    # how many frames were taken from the backlog
    cdef readonly long long moves   # changes whenever a frame comes to its place
    cdef readonly int error     # why the last `read` failed
    cdef Py_ssize_t first
    cdef Py_ssize_t start       # of the next frame's length
    cdef Py_ssize_t stop        # behind the last byte that has come
    cdef readonly int packet
    cdef readonly uint64_t calls    # the number of the last call that was begun, or is not to be
    cdef uint64_t* page         # begun; if there are more words, limit, and what short calls took: see docs/architecture.md
    cdef Py_buffer counter      # that `page` points into
    cdef readonly bint keeps_limit
    cdef public bint woken      # other threads end a wait, by `again` and then a signal
    cdef public bint fenced     # False: begins calls twice, as a test wants to see

    def __cinit__(self, packet, Py_ssize_t first_bytes=FIRST_BUFFER_BYTES):
        if packet not in (1, 2, 4):
            raise ValueError(f"packet must be 1, 2 or 4 bytes, not {packet!r}")
        self.packet = packet
        self.first = max(first_bytes, <Py_ssize_t>LEAST_BUFFER_BYTES)
        self.buffer = room_for(self.first)
        self.backlog = _deque()
        self.expected = set()
        self.answers = {}
        self.answered = []
        self.unwanted = []
        self.marks = set()
        self.fenced = True

    def __dealloc__(self):
        self.forget_page()

    cdef int forget_page(self) except -1:
        if self.page != NULL:
            self.page = NULL
            PyBuffer_Release(&self.counter)
        return 0

    def count_begun(self, page):
        """Write the numbers of calls to the first of these native integers of eight bytes; None: do not."""
        cdef Py_buffer words
        if page is not None:
            PyObject_GetBuffer(page, &words, PyBUF_WRITABLE)
            if words.len % 8 or not words.len or <size_t>words.buf % 8:
                PyBuffer_Release(&words)
                raise ValueError("begun calls are counted in words of eight bytes, aligned as such")
        self.forget_page()
        if page is not None:
            self.counter = words
            self.page = <uint64_t*>words.buf
        self.keeps_limit = self.page != NULL and self.counter.len >= 16

    cdef bint may_begin(self) noexcept:
        """Tell of the next call that it begins; False where it may not."""
        cdef uint64_t number = self.calls + 1
        if self.keeps_limit:
            if erl_begin(self.page, number, self.fenced) < number:
                erl_put_word(self.page, self.calls)
                return False
        elif self.page != NULL:
            self.page[0] = number
        self.calls = number
        return True

    cdef void took(self, long long ns) noexcept:
        """Tell of a short call that has ended: how many there were, and how long they took together."""
        if self.page != NULL and self.counter.len >= 64:
            self.page[3] += 1
            self.page[4] += <uint64_t>ns

    cdef void begin_no_more(self) noexcept:
        """What `may_begin` has told of is still to come."""
        self.calls -= 1
        if self.page != NULL:
            erl_put_word(self.page, self.calls)

    def is_held(self):
        """Whether the next frame is a call that may not begin."""
        return (
            self.keeps_limit and len(self.backlog) and is_call(self.backlog[0]) and self.page[1] < self.calls + 1
        )

    def refuse_call(self):
        """The frame that was dropped was a call, behind all others; False where it is not for us to answer."""
        cdef uint64_t number = self.calls + 1
        for frame in self.backlog:
            if frame is _NOTHING or is_call(frame):
                number += 1
        if self.keeps_limit and self.page[1] < number:
            self.backlog.append(_NOTHING)
            return False
        self.backlog.append(_NOTHING)
        return True

    def read(self, int fd, int ms=-1, long long seen=-1):
        """Read once; `ms` milliseconds are waited at most, below 0 without end.

        How many bytes came; `NOTHING` in time, before a signal, or where `moves` is not what was seen any more; `CLOSED`,
        and why is `error`; `BUSY`: another thread reads.
        """
        cdef Py_ssize_t count, room
        cdef void* to
        cdef int error
        cdef sigset_t before
        if self.reading:
            return BUSY
        if 0 <= seen and seen != self.moves:
            return NOTHING
        if ms and self.complete() >= 0:
            ms = 0      # another thread has read it and is about to sort it, which it can't while this one waits
        self.make_room()
        cdef bytearray buffer = self.buffer     # held, whatever happens meanwhile
        cdef bytes large = self.large
        to = <void*>self.bytes_at(self.stop)
        room = (len(buffer) if large is None else self.packet + len(large)) - self.stop
        if self.skipped:
            room = min(room, self.skipped)
        self.reading = True
        if self.woken and ms:
            erl_hold(&before)   # whoever ends this wait needs the GIL for it
            with nogil:
                count = erl_read_woken(fd, to, room, ms, &before)
                error = errno
            erl_let_come(&before)
        else:
            with nogil:
                count = erl_read(fd, to, room, ms)
                error = errno
        self.reading = False
        if count == 0 or count == -1:
            self.error = error if count else 0
            return CLOSED
        if count > 0:
            if self.skipped:
                self.skipped -= count
            else:
                self.stop += count
        return count

    def next(self):
        """The next frame that is no answer somebody waits for, None where it is not here; it stays until `begin`."""
        while True:
            while len(self.backlog):
                frame = self.backlog[0]
                if frame is not _NOTHING:
                    return frame
                self.backlog.popleft()
                self.calls += 1
            if not self.move():
                return None

    def sort(self):
        """Put each frame that is complete where it belongs."""
        while self.move():
            pass

    def begin(self, long long turn, steps=(), bint call=False):
        """Take the frame that `next` has shown at this `turn`, and do these steps; False where somebody else has, or
        where it is a call and may not begin."""
        if turn != self.turn or not len(self.backlog) or (call and not self.may_begin()):
            return False
        if not call and is_call(self.backlog[0]):
            self.calls += 1     # one that can't be read
        self.turn += 1
        self.backlog_bytes -= len(self.backlog.popleft())
        for _ in steps:
            pass
        return True

    def renew(self):
        """Forget who reads, in a child that was forked, and all that has come."""
        self.reading = False
        self.large = None
        self.start = self.stop = self.skipped = 0
        self.backlog.clear()
        self.backlog_bytes = 0

    cdef bint move(self) except -1:
        """Put the first frame where it belongs; False where it is not complete. No finalizer runs meanwhile."""
        cdef bint paused = PyGC_Disable()
        try:
            return self.move_first()
        finally:
            if paused:
                PyGC_Enable()

    cdef bint move_first(self) except -1:
        cdef Py_ssize_t size = self.complete()
        cdef const unsigned char* p
        cdef long long id_
        if size < 0:
            return False
        p = self.bytes_at(self.start + self.packet)
        if self.keeps_limit and is_taken(p, size):
            self.take(little64(p + 10))
            self.moves += 1
            self.passed(size)
            return True
        frame = self.content(size)
        if answer_id(p, size, &id_) and id_ in self.expected:
            self.answers[id_] = frame
            self.answered.append(id_)
        else:
            self.backlog.append(frame)
            self.backlog_bytes += size
            if is_unwanted(p, size):
                id_ = <int32_t>u32(p + 8)
                self.marks.add(id_)
                self.unwanted.append(id_)
        self.moves += 1
        self.passed(size)
        return True

    cdef int take(self, uint64_t last) except -1:
        """The calls behind this one that have come are not ours any more."""
        cdef uint64_t number = self.calls
        cdef Py_ssize_t left = len(self.backlog)
        for _ in range(left):
            frame = self.backlog.popleft()
            if frame is _NOTHING or is_call(frame):
                number += 1
                if number > last and frame is not _NOTHING:
                    self.backlog_bytes -= len(frame)
                    frame = _NOTHING
            self.backlog.append(frame)
        self.turn += 1      # whoever has looked at one looks again
        erl_put_word(self.page + 1, NO_LIMIT)
        return 0

    def again(self):
        """Let who waits look again: in this thread a wait ends with a signal, and in others with the next."""
        self.moves += 1

    cdef int make_room(self) except -1:
        """See to it that there is room for a byte at least."""
        cdef Py_ssize_t size, have, wanted
        if self.large is not None:
            if self.complete() < 0:
                return 0
            self.move()     # another thread has read it, and would do the same
        size = len(self.buffer)
        have = self.stop - self.start
        if have == 0:
            self.start = self.stop = 0
            if size > KEEP_BUFFER_BYTES:
                self.buffer = room_for(self.first)
        elif self.stop == size:
            if have > size // 2:
                wanted = self.packet + self.length()
                if have < wanted <= have * MOST_TIMES and wanted > LARGE_FRAME_BYTES:
                    self.enlarge(wanted - self.packet, have - self.packet)
                    return 0
                size = wanted if size < wanted <= have * 16 else size * 2
            grown = room_for(size)
            memcpy(PyByteArray_AS_STRING(<PyObject*>grown), self.bytes_at(self.start), have)
            self.buffer = grown
            self.start = 0
            self.stop = have
        return 0

    cdef int enlarge(self, Py_ssize_t size, Py_ssize_t have) except -1:
        """Go on with the frame at the start, of which so much is here, in bytes of its own."""
        self.large = <bytes>given(PyBytes_FromStringAndSize(NULL, size))
        memcpy(PyBytes_AS_STRING(<PyObject*>self.large), PyByteArray_AS_STRING(<PyObject*>self.buffer) + self.start + self.packet, have)
        self.start = 0
        self.stop = self.packet + have
        if len(self.buffer) > KEEP_BUFFER_BYTES:
            try:
                self.buffer = room_for(self.first)
            except MemoryError:
                return 0
        return 0

    def waiting(self):
        """How many bytes there are that no frame was made of yet."""
        return self.stop - self.start

    def drop(self):
        """Give up the frame at the start, for which there is no memory: its first bytes, and how many are still to come."""
        cdef Py_ssize_t body = self.start + self.packet, size = self.length()
        cdef Py_ssize_t have = min(size, self.stop - body), rest = self.stop - body - have
        head = given(PyBytes_FromStringAndSize(
            <const char*>self.bytes_at(body), min(have, <Py_ssize_t>DROPPED_HEAD_BYTES)
        ))
        if self.large is not None:
            self.large = None
            self.start = self.stop = 0
            self.skipped = size - have
            return head, size - have
        kept = room_for(max(self.first, rest))
        memcpy(PyByteArray_AS_STRING(<PyObject*>kept), self.bytes_at(body + have), rest)
        self.buffer = kept
        self.start = 0
        self.stop = rest
        self.skipped = size - have
        return head, size - have

    cdef const unsigned char* bytes_at(self, Py_ssize_t position) noexcept:
        if self.large is not None:
            return <const unsigned char*>PyBytes_AS_STRING(<PyObject*>self.large) + position - self.packet
        return <const unsigned char*>PyByteArray_AS_STRING(<PyObject*>self.buffer) + position

    cdef Py_ssize_t length(self) noexcept:
        """What the next frame says of its own length."""
        cdef const unsigned char* p
        if self.large is not None:
            return PyBytes_GET_SIZE(<PyObject*>self.large)
        p = self.bytes_at(self.start)
        if self.packet == 4:
            return u32(p)
        return u16(p) if self.packet == 2 else p[0]

    cdef Py_ssize_t complete(self) noexcept:
        """The length of the next frame if all of it is here, else -1."""
        cdef Py_ssize_t have = self.stop - self.start - self.packet, size
        if have < 0 or self.reading:
            return -1
        size = self.length()
        return size if size <= have else -1

    cdef bytes taken(self, Py_ssize_t size):
        """The next frame, known to be here with this length."""
        frame = self.content(size)
        self.passed(size)
        return frame

    cdef bytes content(self, Py_ssize_t size):
        if self.large is not None:
            return self.large
        return <bytes>given(PyBytes_FromStringAndSize(<const char*>self.bytes_at(self.start + self.packet), size))

    cdef int passed(self, Py_ssize_t size) except -1:
        """The next frame, of this length, is no longer here."""
        if self.large is not None:
            self.large = None
            self.start = self.stop = 0
            return 0
        self.start += self.packet + size
        if self.start == self.stop and len(self.buffer) > KEEP_BUFFER_BYTES:
            # A large frame is not kept twice while its call runs.
            try:
                self.buffer = room_for(self.first)
            except MemoryError:
                return 0
            self.start = self.stop = 0
        return 0


cdef bytearray room_for(Py_ssize_t size):
    """A buffer whose bytes nobody has set."""
    return <bytearray>given(PyByteArray_FromStringAndSize(NULL, size))
