# The lane: the common call served without leaving C, from its frame in the buffer to its answer among the pending ones.
#
# The server in Python (`erl.runtime.server`) specifies what happens and in which order; the lane does the same for a call of a
# module's function that is known, trusted to be fast, and found unchanged. What is rare it asks of the server's methods,
# and a frame that it does not know how to serve stays where it is, for the server.
#
# User code runs where arguments are decoded, in the call, and where its value is encoded. It may read the port, serve
# calls, and fork: what the lane knows of the buffer holds until then only.

cdef extern from *:
    """
    #include <time.h>

    static CYTHON_INLINE long long erl_now(void) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return (long long)now.tv_sec * 1000000000 + now.tv_nsec;
    }

    /* The list is the caller's alone: nobody changes it while its elements are the arguments. */
    static CYTHON_INLINE PyObject *erl_called(PyObject *run, PyObject *list) {
        return PyObject_Vectorcall(run, ((PyListObject *)list)->ob_item, (size_t)PyList_GET_SIZE(list), NULL);
    }

    static CYTHON_INLINE int erl_is_awaitable(PyObject *value) {
        PyAsyncMethods *methods = Py_TYPE(value)->tp_as_async;
        return methods != NULL && methods->am_await != NULL;
    }
    """
    bint is_awaitable "erl_is_awaitable" (PyObject*) noexcept
    long long now_ns "erl_now" () noexcept
    PyObject* called "erl_called" (PyObject*, PyObject*) noexcept

cdef enum:
    KNOWN_SLOTS = 1024
    LEAST_CALL_BYTES = 24       # shorter frames are left to the server: so all before the names is known to be there
    FIRST_IN_A_RUN = 8          # their callers go on while the rest is served
    CALLS_IN_A_RUN = 256
    BYTES_IN_A_RUN = 1 << 18
    LARGE_BYTES = 1024          # of a frame: its own time is not its call's
    FAST_NS = 100000
    FRAME_BYTES_END = 0xFFFFFFFF

cdef object _MODULE = type(errors)
cdef object _RESULT = terms.Atom("r")


cdef class Lane:
    """Serves calls from the front of a `FrameBuffer` for as long as they are of the common kind; see `erl.runtime.server`."""

    cdef Tables tables          # of the conversation
    cdef FrameBuffer frames
    cdef list pending           # the port's
    cdef list printed           # parts of what user code has printed and nobody has sent
    cdef list open_calls        # gets the ids of the calls that the server is to answer
    cdef set cancelled
    cdef dict cached
    cdef dict doubts
    cdef dict wrappers
    cdef object said            # the names of the module whose functions they are
    cdef object find
    cdef object keywords
    cdef object invoke
    cdef object failure
    cdef object answer
    cdef object doubt
    cdef object closed
    cdef list spare             # memory for answers to a MemoryError, see `erl.runtime.limits`
    cdef object later
    cdef list slots
    cdef int own_flags
    cdef int run_calls          # how many the next run serves: twice as many as the one before, where that was full
    cdef bint inside
    cdef long long clock        # when the call before has ended, in nanoseconds; 0: not known
    cdef long long taken        # how long the last call took, with what belongs to it
    cdef Py_ssize_t pending_bytes
    cdef object pairs           # the keywords of the call whose arguments were read; None: there are none
    cdef Reader rest            # of its frame, where more than its end may follow
    cdef readonly long long running
    cdef readonly long long serving     # the id of the call, also while it is read and answered

    def __cinit__(
        self, *, scope, FrameBuffer frames not None, list pending not None, list printed not None, list open_calls not None,
        set cancelled not None,
        dict cached not None, dict doubts not None, dict wrappers not None, said, find, keywords, invoke, failure, answer,
        doubt, closed, list spare not None, later, int flags,
    ):
        self.tables = tables_of(scope)
        self.frames = frames
        self.pending = pending
        self.printed = printed
        self.open_calls = open_calls
        self.cancelled = cancelled
        self.cached = cached
        self.doubts = doubts
        self.wrappers = wrappers
        self.said = said
        self.find = find
        self.keywords = keywords
        self.invoke = invoke
        self.failure = failure
        self.answer = answer
        self.doubt = doubt
        self.closed = closed
        self.spare = spare
        self.later = later
        self.run_calls = FIRST_IN_A_RUN
        self.use(flags)

    def use(self, int flags):
        """The mapping flags of calls that bring none."""
        if flags & ~LANE_FLAGS:
            raise ValueError(f"the lane knows no calls with the flags {flags}")
        self.own_flags = flags
        self.slots = [None] * KNOWN_SLOTS

    def run(self):
        """Serve calls. True: there may be more for the lane, once its answers were sent; False: it is the server's turn."""
        cdef int most = self.run_calls, left = most
        if self.inside:
            return False
        self.run_calls = FIRST_IN_A_RUN
        self.inside = True
        self.clock = 0
        if not self.pending:
            self.pending_bytes = 0
        try:
            while left and self.pending_bytes < BYTES_IN_A_RUN:
                if not self.step():
                    return False
                self.serving = 0
                left -= 1
        finally:
            self.serving = 0
            self.inside = False
        self.run_calls = min(2 * most, CALLS_IN_A_RUN)
        return True

    cdef bint step(self) except -1:
        """Serve the next frame; False where it is the server's."""
        cdef Head head
        cdef Py_ssize_t size
        cdef int flags
        cdef object args = None, value = None, keywords = None, run, term
        cdef bytes frame, answer = None
        cdef bint large, apart = False
        cdef Known known = self.known_call(&head, &size)
        if known is None or not self.frames.may_begin():
            return False
        try:
            frame = self.frames.taken(size)
        except MemoryError:
            self.frames.begin_no_more()
            return False    # the server refuses the call
        self.serving = head.id
        large = size > LARGE_BYTES
        if large:
            self.clock = 0
        flags = self.own_flags if known.flags == OWN_FLAGS else known.flags
        try:
            if known.flags == OWN_FLAGS:
                args = self.own_arguments(frame, head.stop, flags)
            else:
                args = self.wrapped_arguments(frame, head.stop, flags)
                keywords, self.pairs = self.pairs, None
            if self.rest is not None:
                rest, self.rest = self.rest, None
                rest.end()
            frame = None    # a large one goes when it is read, before its call runs
            if is_current(known):
                run = known.found
            else:
                known.head = b""
                run = self.find(known.key[0], known.key[1])
            if keywords is not None:
                keywords = self.keywords(keywords) if keywords else None
            if PyList_GET_SIZE(<PyObject*>self.tables.top_decoder):
                args = self.tables.decoders.apply(args)
                if keywords:
                    values = self.tables.decoders.apply(list(keywords.values()))
                    keywords = dict(zip(keywords, values, strict=True))
            value = self.value_of(run, args, keywords, head.id, known.key)
            if not flags & PLAIN and is_awaitable(<PyObject*>value):
                self.clock = 0
                self.open_calls.append(head.id)
                self.later(head.id, value, flags)
                return True
            apart = self.goes_apart(value, flags)
            answer = front_of(head.id, len(<bytes>value), flags) if apart else answer_of(head.id, value, flags, self.tables)
            args = None
            if not apart:
                value = None
        except self.closed:
            raise
        except BaseException as error:  # the door around user code, as in `erl.runtime.server`
            self.clock = 0
            if isinstance(error, MemoryError):
                self.spare.clear()
            # What they hold may be all that there is.
            frame = args = keywords = value = run = self.pairs = self.rest = None
            if head.id not in self.open_calls:
                self.open_calls.append(head.id)
            term = self.failure(head.id, error)
            answer = None
        if answer is not None:
            if not (PyList_GET_SIZE(<PyObject*>self.tables.made) or PyList_GET_SIZE(<PyObject*>self.printed)):
                size = PyBytes_GET_SIZE(<PyObject*>answer) + (len(<bytes>value) if apart else 0)
                if size - 4 < FRAME_BYTES_END:
                    if apart:
                        self.pending += (answer, value)
                    else:
                        self.pending.append(answer)
                    self.pending_bytes += size
                    if size > LARGE_BYTES:
                        self.clock = 0
                    elif not large:
                        self.frames.took(self.taken)
                    return True
            self.open_calls.append(head.id)
            term = answer[4:]
        self.answer(head.id, term)
        self.clock = 0
        return True

    cdef bint goes_apart(self, value, int flags) except -1:
        """Whether a value is bytes that can leave as they are, behind the head of their frame."""
        return (
            type(value) is bytes
            and ROOM_BYTES < PyBytes_GET_SIZE(<PyObject*>value) < <Py_ssize_t>FRAME_BYTES_END - FIRST_BYTES
            and self.tables.modes[PLAIN_MODE if flags & PLAIN else flags & 3].fast
            and not PyList_GET_SIZE(<PyObject*>self.tables.top_encoder)
            and not PyList_GET_SIZE(<PyObject*>self.tables.made)
            and not PyList_GET_SIZE(<PyObject*>self.printed)
        )

    cdef object own_arguments(self, bytes frame, Py_ssize_t at, int flags):
        """The arguments of a call that brings no flags: the last element of its frame, a whole list."""
        cdef Walk walk
        cdef Reader reader
        cdef Py_ssize_t size = PyBytes_GET_SIZE(<PyObject*>frame), count
        begin_walk(&walk, frame, at, self.tables)
        if walk.p[at] == LIST and size - at > 5 and 0 < u32(walk.p + at + 1) <= size - at - 5:
            count = u32(walk.p + at + 1)
            walk.i = at + 5
            args = read_several(&walk, size, flags, count)
            if walk.i != size - 1 or walk.p[walk.i] != NIL:
                reader = reader_at(frame, walk.i, self.tables)
                reader.leave_list()
            else:
                reader = None
        elif walk.p[at] == STRING:
            args = read_whole(&walk, size, BINARIES_BYTES)
            reader = None if walk.i == size else reader_at(frame, walk.i, self.tables)
        else:
            reader = reader_at(frame, at, self.tables)
            args = reader.args(options_of(flags))
        self.rest = reader
        return args

    cdef object wrapped_arguments(self, bytes frame, Py_ssize_t at, int flags):
        """The arguments, the third of the elements that follow the flags; the keywords, the fourth, go to `pairs`.

        The end of the frame is looked at, in `rest`, when the server does it: with the arguments in hand.
        """
        cdef Walk walk
        cdef Reader reader
        cdef Py_ssize_t size = PyBytes_GET_SIZE(<PyObject*>frame)
        begin_walk(&walk, frame, at, self.tables)
        args = read_whole(&walk, size - 1, flags)
        if walk.i == size - 2 and walk.p[walk.i] == NIL and walk.p[walk.i + 1] == NIL:
            return args
        pairs = read_whole(&walk, size, flags)
        reader = reader_at(frame, walk.i, self.tables)
        reader.leave_list()
        self.rest = reader
        self.pairs = pairs
        return args

    cdef object value_of(self, run, args, keywords, long long id_, tuple key):
        """What the call gives. Its time is from the end of the call before it, where that is known."""
        cdef PyObject* value
        cdef long long start = self.clock, stop
        if start == 0:
            start = now_ns()
        self.clock = 0      # for a call that raises, or calls Erlang, which serves others
        if type(args) is list and not keywords:
            self.running = id_
            value = called(<PyObject*>run, <PyObject*>args)
            self.running = 0
            made = given(value)
        else:
            self.running = id_
            try:
                made = self.invoke(run, args, keywords)
            finally:
                self.running = 0
        stop = now_ns()
        self.taken = min(stop - start, FAST_NS)     # beyond that, another process had the processor
        if stop - start > FAST_NS:
            self.doubt(key)
        else:
            self.clock = stop
        return made

    cdef Known known_call(self, Head* head, Py_ssize_t* size):
        """What the next frame calls, if the lane knows it, trusts it, and is allowed to; runs no user code."""
        cdef const unsigned char* p
        cdef Known known
        cdef PyObject* item
        cdef Py_ssize_t length
        cdef uint32_t slot
        if PySet_GET_SIZE(<PyObject*>self.cancelled) or len(self.frames.backlog):
            return None
        size[0] = self.frames.complete()
        if size[0] < LEAST_CALL_BYTES:
            return None
        p = self.frames.bytes_at(self.frames.start + 4)
        if not read_head(p, size[0], self.own_flags & PLAIN, head):
            return None
        length = head.stop - head.start
        slot = hash_of(p + head.start, length) % KNOWN_SLOTS
        item = PyList_GET_ITEM(<PyObject*>self.slots, slot)
        if item != Py_None:
            known = <Known>item
            if (
                PyBytes_GET_SIZE(<PyObject*>known.head) == length
                and memcmp(PyBytes_AS_STRING(<PyObject*>known.head), p + head.start, length) == 0
            ):
                return known if self.is_trusted(known.key) else None
        if self.met(p[head.start : head.stop], head, slot):
            return self.known_call(head, size)  # anew: the garbage collector may have run code that reads the port
        return None

    cdef bint is_trusted(self, tuple key) except -1:
        doubts = self.doubts.get(key)
        return <PyObject*>doubts == small_integers[0]

    cdef bint met(self, bytes spelled, Head* head, uint32_t slot) except -1:
        """Whether the server has called before what these names stand for, and trusts it: then it has its slot."""
        cdef Walk walk
        cdef Known known
        walk.p = <const unsigned char*>PyBytes_AS_STRING(<PyObject*>spelled)
        walk.data = <PyObject*>spelled
        walk.tables = <PyObject*>self.tables
        walk.i = head.names - head.start
        try:
            module = read_whole(&walk, len(spelled), BINARIES_BYTES)
            name = read_whole(&walk, len(spelled), BINARIES_BYTES)
        except errors.DecodeError:
            return False
        if type(module) is not _Atom or type(name) is not _Atom:
            return False
        if head.flags == OWN_FLAGS and not self.own_flags & PLAIN and module in self.said and name in self.wrappers:
            return False
        key = (module, name)
        found = self.cached.get(key)
        if found is None or not self.is_trusted(key):
            return False
        known = Known()
        known.holder, known.first, known.value, known.found = found
        if type(known.holder) is not _MODULE or type(known.first) is not str:
            return False
        known.names = vars(known.holder)
        known.head = spelled
        known.flags = head.flags
        known.key = key
        self.slots[slot] = known
        return True


cdef inline void begin_walk(Walk* walk, bytes frame, Py_ssize_t at, Tables tables) noexcept:
    walk.p = <const unsigned char*>PyBytes_AS_STRING(<PyObject*>frame)
    walk.data = <PyObject*>frame
    walk.tables = <PyObject*>tables
    walk.i = at


cdef Reader reader_at(bytes frame, Py_ssize_t at, Tables tables):
    cdef Reader reader = Reader(frame)
    reader.tables = tables
    reader.walk.tables = <PyObject*>tables
    reader.walk.i = at
    return reader


cdef bytes front_of(long long id_, Py_ssize_t size, int flags):
    """The frame `{r, Id, Bytes}` up to the bytes, of which there are so many."""
    cdef unsigned char first[FIRST_BYTES]
    cdef Out out
    begin(&out, first)
    begin_answer(&out, id_, flags)
    put_head(&out, BINARY, size)
    put32(out.p, <uint32_t>(out.n - 4 + size))
    return whole(&out)


cdef inline void begin_answer(Out* out, long long id_, int flags) noexcept:
    """The frame up to its value, into a buffer that is empty; its length is still to come."""
    cdef bint plain = flags & PLAIN
    memcpy(out.p + 4, b"\x83h\x03d\x00\x01r" if plain else b"\x83h\x03w\x01r", 7 if plain else 6)
    out.n = 11 if plain else 10
    out.n += spell_int(out.p + out.n, id_)


cdef bytes answer_of(long long id_, value, int flags, Tables tables):
    """The frame `{r, Id, Value}` of a result, behind its length. One that can't be encoded holds no references."""
    cdef unsigned char first[FIRST_BYTES]
    cdef Out out
    cdef Py_ssize_t given_before = PyList_GET_SIZE(<PyObject*>tables.made)
    cdef bint plain = flags & PLAIN
    try:
        if PyList_GET_SIZE(<PyObject*>tables.top_encoder):
            value = tables.encoders.apply(value)
        if not tables.modes[PLAIN_MODE if plain else flags & 3].fast:   # one may stand for a type of the frame itself
            term = encoded((_RESULT, id_, value), flags, tables)
            return len(term).to_bytes(8, "big")[4:] + term
        begin(&out, first)
        begin_answer(&out, id_, flags)
        write_whole(&out, value, flags, 1, tables)
        put32(out.p, <uint32_t>(out.n - 4))
        return whole(&out)
    except BaseException:
        tables.references.release_since(given_before)
        raise
