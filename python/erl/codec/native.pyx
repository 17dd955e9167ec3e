# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, auto_pickle=False, binding=False
"""The codec, compiled: the same interface, values and verdicts as `erl.codec.reference`, which specifies it.

What is common is done in C here: integers, floats, strings, binaries, atoms, lists, tuples, dicts. What is rare is
asked of the modules that the reference asks: `forms`, `simplify`, `leaves`, `callout`.

Two conventions live side by side. A `noexcept` function has its objects counted by hand; it answers NULL or -1 with
the exception set, and its callers pass that on. The others are ordinary Cython. `given` leads from the first to the
second, a cast of the function's type (`slow…`) back.

Nothing is read before it is known to lie inside the data. A term is read up to a `limit`, which leaves a byte for
each term that must still follow; so all the elements that a frame claims, at all depths together, are no more than it
has bytes, and are checked before there is room made for them.
"""

include "native_capi.pxi"
include "native_atoms.pxi"
include "native_tables.pxi"
include "native_read.pxi"
include "native_maps.pxi"
include "native_forms.pxi"
include "native_buffer.pxi"
include "native_write.pxi"
include "native_text.pxi"
include "native_values.pxi"
include "native_heads.pxi"
include "native_frames.pxi"
include "native_outlet.pxi"

from erl.codec.options import Options

__all__ = [
    "Collector", "FrameBuffer", "Intake", "Lane", "Options", "Outlet", "Promise", "Reader", "Sender", "decode", "encode",
    "encode_into", "implementation", "keep_free", "one_heap", "plain_call", "plain_result", "plain_task", "signed",
    "trim", "verify",
]

implementation = "native"

cdef enum:
    BINARIES_BYTES = 4
    PLAIN = 16
    HAYSTACK = 32
    PAUSE_BYTES = 16384     # a term of so many bytes may be one of ten thousand objects

cdef object _Atom = terms.Atom
cdef tuple _options_by_flags = tuple([Options.from_flags(flags) for flags in range(32)])


cdef class Reader:
    """Reads a message: a term piece by piece, so that its options can come from its own front.

    `data` is a term with its version byte (131), plain or compressed, and begins at `offset`. `position` is where the
    next piece begins (in the inflated data, where the term was compressed).
    """

    cdef Walk walk
    cdef Py_ssize_t size
    cdef bytes data
    cdef Tables tables

    def __cinit__(self, data, Py_ssize_t offset=0):
        self.tables = current_tables()
        self.data = opened(data, offset, self.tables, &self.walk)
        self.size = len(self.data)

    @property
    def position(self):
        return self.walk.i

    def call_head(self):
        """Id, module and function of `{'C', Id, Module, Function, Args}`; the arguments are the next piece.

        None, and the position is what it was, for any other term.
        """
        cdef Py_ssize_t start = self.walk.i
        cdef bint five = start + 1 < self.size and self.at(SMALL_TUPLE) and self.walk.p[start + 1] == 5
        if five and self.header(True) and self.raw() == "C":
            id_ = self.raw()
            module = self.raw()
            function = self.raw()
            if type(id_) is int and type(module) is _Atom and type(function) is _Atom:
                return id_, module, function
        self.walk.i = start
        return None

    def tuple_header(self):
        """Enter a tuple; returns its size."""
        cdef int tag = self.tag()
        if tag != SMALL_TUPLE and tag != LARGE_TUPLE:
            raise errors.DecodeError(f"a tuple was expected at byte {self.walk.i}, not tag {tag}")
        return self.header(tag == SMALL_TUPLE)

    def list_header(self):
        """Enter a list; returns its length. After its elements comes `list_end`, unless the length is 0.

        A list that came as STRING_EXT has no elements to enter: `args` reads it.
        """
        return self.enter_list()

    def list_end(self):
        """Leave a list; DecodeError where it is improper or not at its end."""
        self.leave_list()

    def term(self, options):
        """The next term."""
        return read_whole(&self.walk, self.size, options.flags)

    def raw(self):
        """The next term, binaries as `bytes`."""
        return read_whole(&self.walk, self.size, BINARIES_BYTES)

    def args(self, options):
        """A whole list as a list of values; DecodeError for a term that is no proper list."""
        if self.at(STRING):
            return read_whole(&self.walk, self.size, BINARIES_BYTES)
        cdef Py_ssize_t count = self.enter_list()
        if count == 0:
            return []
        values = read_several(&self.walk, self.size, options.flags, count)
        self.leave_list()
        return values

    def flagged_args(self):
        """A list whose first element is the flags of the call: the options, and the other elements under them."""
        cdef list values
        if self.at(STRING):
            values = read_whole(&self.walk, self.size, BINARIES_BYTES)
            return options_of(values[0] if values else None), values[1:]
        cdef Py_ssize_t count = self.enter_list()
        options = options_of(read_whole(&self.walk, self.size, BINARIES_BYTES) if count else None)
        values = read_several(&self.walk, self.size, options.flags, count - 1)
        self.leave_list()
        return options, values

    def end(self):
        """DecodeError if bytes remain. The reader is empty then, and lets go of its data."""
        if self.walk.i != self.size:
            raise errors.DecodeError(f"{self.size - self.walk.i} bytes follow the term")
        self.let_go()

    def let_go(self):
        """Be empty."""
        self.data = b""
        self.size = self.walk.i = 0
        self.walk.p = <const unsigned char*>PyBytes_AS_STRING(<PyObject*>self.data)
        self.walk.data = <PyObject*>self.data

    cdef bint at(self, int tag):
        return self.walk.i < self.size and self.walk.p[self.walk.i] == tag

    cdef int tag(self) except -1:
        if self.walk.i >= self.size:
            given(truncated())
        return self.walk.p[self.walk.i]

    cdef Py_ssize_t header(self, bint small) except -1:
        """Past the tag and the count; returns the count."""
        cdef Py_ssize_t i = self.walk.i, count, after = i + (2 if small else 5)
        if after > self.size:
            given(truncated())
        count = self.walk.p[i + 1] if small else <Py_ssize_t>u32(self.walk.p + i + 1)
        if count > self.size - after:
            given(truncated())
        self.walk.i = after
        return count

    cdef Py_ssize_t enter_list(self) except -1:
        cdef int tag = self.tag()
        if tag == NIL:
            self.walk.i += 1
            return 0
        if tag != LIST:
            raise errors.DecodeError(f"a list was expected at byte {self.walk.i}, not tag {tag}")
        return self.header(False)

    cdef int leave_list(self) except -1:
        if not self.at(NIL):
            raise errors.DecodeError(f"a list does not end at byte {self.walk.i}: it is improper")
        self.walk.i += 1
        return 0


cdef extern from *:
    """
    #include <stdlib.h>

    /* Arenas, from which CPython takes small objects, that are free and kept: to give them back and have others costs a fault
       for each page. Whoever frees or wants one may be of another interpreter, and have another lock. */
    #define ERL_ARENA_BYTES ((size_t)1 << 20)
    #define ERL_KEPT_ARENAS 4
    #define ERL_HEAP_BYTES ((size_t)2 << 20)
    static void *erl_kept[ERL_KEPT_ARENAS];
    static int erl_keeps;
    static PyObjectArenaAllocator erl_system;

    static void *erl_arena(void *context, size_t size) {
        int i;
        void *arena;
        (void)context;
        if (size == ERL_ARENA_BYTES)
            for (i = 0; i < ERL_KEPT_ARENAS; i++)
                if (__atomic_load_n(&erl_kept[i], __ATOMIC_RELAXED) != NULL
                    && (arena = __atomic_exchange_n(&erl_kept[i], NULL, __ATOMIC_ACQ_REL)) != NULL)
                    return arena;
        return erl_system.alloc(erl_system.ctx, size);
    }

    static void erl_free_arena(void *context, void *arena, size_t size) {
        int i;
        (void)context;
        if (size == ERL_ARENA_BYTES && erl_keeps)
            for (i = 0; i < ERL_KEPT_ARENAS; i++) {
                void *none = NULL;
                if (__atomic_compare_exchange_n(&erl_kept[i], &none, arena, 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)) return;
            }
        erl_system.free(erl_system.ctx, arena, size);
    }

    static void erl_drop_arenas(void) {
        int i;
        for (i = 0; i < ERL_KEPT_ARENAS; i++) {
            void *arena = __atomic_exchange_n(&erl_kept[i], NULL, __ATOMIC_ACQ_REL);
            if (arena != NULL) erl_system.free(erl_system.ctx, arena, ERL_ARENA_BYTES);
        }
    }

    static void erl_keep_free(void) {
        PyObjectArenaAllocator ours = {NULL, erl_arena, erl_free_arena};
        if (erl_keeps) return;
        PyObject_GetArenaAllocator(&erl_system);
        PyObject_SetArenaAllocator(&ours);
        erl_keeps = 1;
        /* The C library of GNU maps no block alone that is as small as the largest that was freed, and gives back the end of
           its heap from twice that size on. */
        void *volatile block = malloc(ERL_HEAP_BYTES);
        free(block);
    }

    #if defined(__GLIBC__)
    #include <malloc.h>
    #define erl_trim() ((void)malloc_trim(0))
    #define erl_one_heap() ((void)mallopt(M_ARENA_MAX, 1))
    #else
    #define erl_trim() ((void)0)
    #define erl_one_heap() ((void)0)
    #endif
    """
    void trim_heap "erl_trim" () nogil
    void use_one_heap "erl_one_heap" () nogil
    void drop_arenas "erl_drop_arenas" () noexcept
    void use_kept "erl_keep_free" () noexcept


def trim():
    """Give memory back to the system that was freed and is kept."""
    drop_arenas()
    with nogil:
        trim_heap()


def one_heap():
    """Have the C library take all memory from one heap."""
    use_one_heap()


def keep_free():
    """Keep some memory that is freed, 8 MB at most, for what comes next, which need not ask the system for it then."""
    use_kept()


def decode(data, options):
    """The value of a whole term. Raises `DecodeError`, also for bytes that follow it."""
    cdef Walk walk
    cdef Tables tables = current_tables()
    cdef bytes held = opened(data, 0, tables, &walk)
    value = read_whole(&walk, len(held), options.flags)
    if walk.i != len(held):
        raise errors.DecodeError(f"{len(held) - walk.i} bytes follow the term")
    return value


def encode(value, options):
    """The value as a whole term. Raises `EncodeError`."""
    return encoded(value, options.flags, current_tables())


cdef bytes encoded(value, int flags, Tables tables):
    cdef unsigned char first[FIRST_BYTES]
    cdef Out out
    begin(&out, first)
    out.p[0] = VERSION
    out.n = 1
    write_whole(&out, value, flags, 0, tables)
    return whole(&out)


def encode_into(bytearray buffer not None, value, options):
    """Append the value's term, without the version byte. On an error the buffer is what it was."""
    cdef unsigned char first[FIRST_BYTES]
    cdef Out out
    begin(&out, first)
    write_whole(&out, value, options.flags, 0, current_tables())
    buffer += whole(&out)


cdef bytes whole(Out* out):
    """What was written."""
    return given(finished(out))


cdef bytes opened(data, Py_ssize_t offset, Tables tables, Walk* walk):
    """The bytes that hold the term at `offset`, inflated if need be, and a walk that begins at the term's tag."""
    cdef bytes held = data if type(data) is bytes else bytes(data)
    cdef Py_ssize_t size = len(held)
    cdef const unsigned char* p = <const unsigned char*>PyBytes_AS_STRING(<PyObject*>held)
    if offset < 0 or offset >= size or p[offset] != VERSION:
        raise errors.DecodeError("not a term: the version byte 131 is missing")
    walk.i = offset + 1
    if offset + 1 < size and p[offset + 1] == COMPRESSED:
        from erl.codec.reader import inflated

        held = inflated(held, offset + 2)
        p = <const unsigned char*>PyBytes_AS_STRING(<PyObject*>held)
        walk.i = 0
    walk.p = p
    walk.data = <PyObject*>held
    walk.tables = <PyObject*>tables
    walk.text = walk.tagged = walk.haystack = False
    walk.atoms = 1
    return held


cdef object options_of(flags):
    if type(flags) is not int:
        raise errors.DecodeError("the arguments do not begin with the flags of the call")
    if 0 <= flags < 32:
        return _options_by_flags[flags]
    try:
        return Options.from_flags(flags)
    except ValueError as cause:
        raise errors.DecodeError(str(cause)) from None


cdef object read_whole(Walk* walk, Py_ssize_t size, int flags):
    """The next term of all that there is. What can go wrong on the way becomes a refusal."""
    cdef Walk own = walk[0]     # user code that runs meanwhile may use the same reader
    if flags & HAYSTACK and not (<Tables>walk.tables).haystack_collected:
        (<Tables>walk.tables).collect_haystack()
    cdef bint paused = paused_for(&own, size, flags)
    cdef PyObject* made = read_term(&own, size, 0, False)
    if paused:
        PyGC_Enable()
    walk.i = own.i
    if made == NULL:
        refuse_to_decode()
    return given(made)


cdef list read_several(Walk* walk, Py_ssize_t size, int flags, Py_ssize_t count):
    """The next `count` terms of all that there is."""
    cdef Walk own = walk[0]
    if flags & HAYSTACK and not (<Tables>walk.tables).haystack_collected:
        (<Tables>walk.tables).collect_haystack()
    cdef bint paused = paused_for(&own, size, flags)
    cdef PyObject* made = read_elements(&own, count, size, 0)
    if paused:
        PyGC_Enable()
    walk.i = own.i
    if made == NULL:
        refuse_to_decode()
    return given(made)


cdef bint paused_for(Walk* walk, Py_ssize_t size, int flags) noexcept:
    """Set how to read, and pause the collection of garbage if much is to come; whether it was paused here."""
    walk.text = not flags & BINARIES_BYTES
    walk.tagged = not flags & PLAIN
    walk.atoms = atoms_of(flags)
    walk.haystack = (flags & HAYSTACK) != 0 and walk.tagged
    return size - walk.i > PAUSE_BYTES and PyGC_Disable()


cdef object refuse_to_decode():
    """Raise the exception that is set, or the refusal that it amounts to."""
    try:
        given(NULL)
    except UnicodeDecodeError as cause:
        raise errors.DecodeError(
            f"a binary is not UTF-8 (see its byte {cause.start}), so it can't be a str:"
            " write {bytes, B} for bytes"
        ) from None
    except RecursionError:
        raise errors.DecodeError("no room for the term: RecursionError") from None
    except MemoryError:
        raise
    except Exception as cause:
        from struct import error

        if isinstance(cause, (IndexError, error)):  # of `leaves` and `extents`, at the end of the data
            given(truncated())
        raise


cdef int write_whole(Out* out, value, int flags, int depth, Tables tables) except -1:
    """The term of a value in a container at `depth`. What can go wrong on the way becomes a refusal, and the buffer goes."""
    out.tables = <PyObject*>tables
    out.none = 0 if flags & PLAIN else (flags & NONE_FLAGS) >> NONE_SHIFT
    out.mode = &tables.modes[PLAIN_MODE if flags & PLAIN else flags & 3 | (flags & FORMS) >> 3]
    if write_value(out, <PyObject*>value, depth):
        return 0
    try:
        given(NULL)
    except RecursionError:
        raise errors.EncodeError("no room for the term: RecursionError") from None
    except TypeError as cause:  # from the table of ways: a metaclass without a hash
        raise errors.EncodeError(f"a value whose type can't be looked up: {cause}") from cause
    finally:
        Py_XDECREF(out.held)


include "native_calls.pxi"
include "native_lane.pxi"
include "native_signature.pxi"
include "native_plain.pxi"
include "native_tasks.pxi"
