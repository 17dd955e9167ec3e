# Where the encoder writes: first a small buffer on the stack, then a bytes object that doubles, and is the result.

cdef enum:
    FIRST_BYTES = 512

cdef struct Out:
    unsigned char* p
    Py_ssize_t n            # bytes written
    Py_ssize_t room         # bytes that `p` has
    PyObject* held          # the bytes object that `p` points into; NULL for the first buffer
    Mode* mode
    int none                # which of `_nones` None is
    PyObject* tables        # of the conversation


cdef void begin(Out* o, unsigned char* first) noexcept:
    o.p = first
    o.n = 0
    o.room = FIRST_BYTES
    o.held = NULL


cdef inline bint fits(Out* o, Py_ssize_t more) noexcept:
    """See to it that `more` bytes can be written; False where an exception is set."""
    return o.room - o.n >= more or grown(o, more)


cdef bint grown(Out* o, Py_ssize_t more) noexcept:
    cdef Py_ssize_t room
    if more > PY_SSIZE_T_MAX - o.n - 64:
        PyErr_NoMemory()
        return False
    room = o.n + more
    if o.room <= PY_SSIZE_T_MAX // 2 and room < 2 * o.room:
        room = 2 * o.room
    if o.held == NULL:
        o.held = PyBytes_FromStringAndSize(NULL, room)
        if o.held == NULL:
            return False
        memcpy(PyBytes_AS_STRING(o.held), o.p, o.n)
    elif _PyBytes_Resize(&o.held, room) < 0:    # which has set it to NULL
        return False
    o.p = <unsigned char*>PyBytes_AS_STRING(o.held)
    o.room = room
    return True


cdef PyObject* finished(Out* o) noexcept:
    """All that was written, as bytes; the buffer is used up."""
    if o.held == NULL:
        return PyBytes_FromStringAndSize(<char*>o.p, o.n)
    if o.n != o.room and _PyBytes_Resize(&o.held, o.n) < 0:
        return NULL
    return o.held


cdef inline bint put(Out* o, const void* bytes, Py_ssize_t size) noexcept:
    if not fits(o, size):
        return False
    memcpy(o.p + o.n, bytes, size)
    o.n += size
    return True


cdef inline bint put_tag(Out* o, int tag) noexcept:
    if not fits(o, 1):
        return False
    o.p[o.n] = <unsigned char>tag
    o.n += 1
    return True


cdef inline bint put_tag16(Out* o, int tag, uint32_t number) noexcept:
    if not fits(o, 3):
        return False
    o.p[o.n] = <unsigned char>tag
    put16(o.p + o.n + 1, number)
    o.n += 3
    return True


cdef bint put_head(Out* o, int tag, Py_ssize_t size) noexcept:
    """A tag and a size of 32 bits."""
    if size > <Py_ssize_t>0xFFFFFFFF:
        PyErr_Format(encode_error, "longer than a term can say (4,294,967,295)")
        return False
    if not fits(o, 5):
        return False
    o.p[o.n] = <unsigned char>tag
    put32(o.p + o.n + 1, <uint32_t>size)
    o.n += 5
    return True
