# Plain values as `pickle` writes them, and reads them: numbers, truth values, None, short texts and bytes. No code runs where they are
# read, and none of another's where they are written.

cdef enum:
    MOST_QUICK_BYTES = 1 << 14      # of a task: a larger one is written at once
    SHORT_TEXT = 1000


cdef PyObject* plain_answer(bytes answer) noexcept:
    """The value in the pickle of a number, a truth value, None, or a short text or bytes; NULL, and no exception, for others."""
    cdef const unsigned char* p = <const unsigned char*>PyBytes_AS_STRING(<PyObject*>answer)
    cdef Py_ssize_t n = PyBytes_GET_SIZE(<PyObject*>answer) - SIGNATURE_BYTES - 1, i = 3
    cdef PyObject* made
    if n < 4 or p[0] != c"R" or p[1] != 0x80 or p[2] != 5 or p[n] != c".":
        return NULL
    # As `pickle` writes it: numbers of two bytes, and a frame around a text.
    if p[3] == c"M" and n == 6:
        return PyLong_FromLong(p[4] | p[5] << 8)
    if p[3] == 0x95 and n > 14 and p[n - 1] == 0x94:
        i = 12
        n -= 1
    made = read_pickled(p, &i, n)
    if made != NULL and i != n:
        Py_DECREF(made)
        return NULL
    return made


cdef bint put_short(Out* o, int tag, const char* text, Py_ssize_t size) noexcept:
    """A tag, a length of one byte, or of four behind the tag that stands for those, and the bytes."""
    if not fits(o, size + 5):
        return False
    if size < 256:
        o.p[o.n] = <unsigned char>tag
        o.p[o.n + 1] = <unsigned char>size
        o.n += 2
    else:
        o.p[o.n] = c"X" if tag == 0x8C else c"B"
        put32_low(o.p + o.n + 1, <uint32_t>size)
        o.n += 5
    memcpy(o.p + o.n, text, size)
    o.n += size
    return True


cdef bint put_pickled(Out* o, PyObject* value) noexcept:
    """The pickle of a number, of a truth value, of None or of a short text or bytes; False, and no exception, for others."""
    cdef PyTypeObject* kind = Py_TYPE(value)
    cdef long long number
    cdef double real
    cdef uint64_t bits
    cdef int overflow = 0
    cdef const char* text
    cdef Py_ssize_t size
    if not fits(o, 16):
        PyErr_Clear()
        return False
    if kind == &PyLong_Type:
        number = PyLong_AsLongLongAndOverflow(value, &overflow)
        if overflow or number > 0x7FFFFFFF or number < -0x80000000LL:
            return False
        if 0 <= number < 256:
            o.p[o.n] = c"K"
            o.p[o.n + 1] = <unsigned char>number
            o.n += 2
        else:
            o.p[o.n] = c"J"
            put32_low(o.p + o.n + 1, <uint32_t>number)
            o.n += 5
    elif value == Py_None:
        o.p[o.n] = c"N"
        o.n += 1
    elif kind == &PyBool_Type:
        o.p[o.n] = 0x88 if value == Py_True else 0x89
        o.n += 1
    elif kind == &PyFloat_Type:
        real = PyFloat_AS_DOUBLE(value)
        memcpy(&bits, &real, 8)
        o.p[o.n] = c"G"
        put64(o.p + o.n + 1, bits)
        o.n += 9
    elif kind == &PyUnicode_Type:
        text = PyUnicode_AsUTF8AndSize(value, &size)
        if text == NULL:
            PyErr_Clear()
            return False
        return size <= SHORT_TEXT and put_short(o, 0x8C, text, size)
    elif kind == &PyBytes_Type:
        size = PyBytes_GET_SIZE(value)
        return size <= SHORT_TEXT and put_short(o, c"C", PyBytes_AS_STRING(value), size)
    else:
        return False
    return True


def plain_call(dict known not None, function, tuple args not None):
    """The pickle of a task: `(None, the pickle of (function, *args, {}), None, None)`, where a function goes by its name and
    its arguments are numbers and short texts; None for others.

    `known` has, for a function, the names of its module and its own, and what a pickle begins with that has it.
    """
    cdef unsigned char first[FIRST_BYTES]
    cdef Out out
    cdef tuple entry
    cdef Py_ssize_t size, i
    cdef bint fine
    cdef bytes head
    found = known.get(function)
    if found is None:
        return None
    entry = <tuple>found
    modules = _sys.get("modules")
    module = (<dict>modules).get(entry[0]) if type(modules) is dict else None
    if type(module) is not _MODULE or getattr(module, <str>entry[1], None) is not function:
        return None
    begin(&out, first)
    memcpy(out.p, b"\x80\x05(NB", 5)
    out.n = 9
    head = <bytes>entry[2]
    fine = put(&out, PyBytes_AS_STRING(<PyObject*>head), PyBytes_GET_SIZE(<PyObject*>head))
    for i in range(PyTuple_GET_SIZE(<PyObject*>args)):
        if not fine:
            break
        fine = put_pickled(&out, PyTuple_GET_ITEM(<PyObject*>args, i))
    size = out.n + 3 - 9
    if not fine or size > MOST_QUICK_BYTES or not put(&out, b"}t.NNt.", 7):
        Py_XDECREF(out.held)
        PyErr_Clear()
        return None
    put32_low(out.p + 5, <uint32_t>size)
    return given(finished(&out))


def plain_task(bytes task not None):
    """The function and the arguments of a task that `plain_call` has made, whatever stands behind it; None for any other."""
    cdef const unsigned char* p = <const unsigned char*>PyBytes_AS_STRING(<PyObject*>task)
    cdef Py_ssize_t n = PyBytes_GET_SIZE(<PyObject*>task), i, end
    cdef PyObject* made
    if n < 24 or memcmp(p, b"\x80\x05(NB", 5) != 0 or memcmp(p + 9, b"\x80\x05(\x8c", 4) != 0:
        return None
    end = 9 + <Py_ssize_t>(p[5] | p[6] << 8 | p[7] << 16 | <uint32_t>p[8] << 24)
    if end > n - 4 or memcmp(p + end, b"NNt.", 4) != 0:
        return None
    i = 14 + p[13]
    if i + 2 > end or p[i] != 0x8C or i + 2 + p[i + 1] >= end or p[i + 2 + p[i + 1]] != 0x93:
        return None
    modules = _sys.get("modules")
    if type(modules) is not dict:
        return None
    module = (<dict>modules).get(name_at(p + 13))
    if type(module) is not _MODULE:
        return None
    function = vars(module).get(name_at(p + i + 1))
    if function is None:
        return None
    i += 3 + p[i + 1]
    args = []
    while i < end and p[i] != c"}":
        made = read_pickled(p, &i, end)
        if made == NULL:
            return None
        args.append(given(made))
    return (function, args) if end - i == 3 and memcmp(p + i, b"}t.", 3) == 0 else None


cdef object name_at(const unsigned char* p):
    """A length of one byte, and a name; None where it is no text."""
    try:
        return given(PyUnicode_DecodeUTF8(<const char*>p + 1, p[0], NULL))
    except UnicodeDecodeError:
        return None


cdef PyObject* read_pickled(const unsigned char* p, Py_ssize_t* at, Py_ssize_t end) noexcept:
    """One of the values that `put_pickled` writes; NULL, and no exception, for anything else. `at` is behind it then."""
    cdef Py_ssize_t i = at[0] + 1, size
    cdef int tag = p[at[0]]
    cdef uint64_t bits
    cdef double number
    cdef PyObject* made = NULL
    if tag == c"N":
        Py_INCREF(Py_None)
        made = Py_None
    elif tag == 0x88 or tag == 0x89:
        made = PyBool_FromLong(tag == 0x88)
    elif tag == c"K" and i < end:
        made = small_integer(p[i])
        i += 1
    elif tag == c"J" and i + 4 <= end:
        made = PyLong_FromLong(<int32_t>(p[i] | p[i + 1] << 8 | p[i + 2] << 16 | <uint32_t>p[i + 3] << 24))
        i += 4
    elif tag == c"G" and i + 8 <= end:
        bits = u64(p + i)
        memcpy(&number, &bits, 8)
        made = PyFloat_FromDouble(number)
        i += 8
    elif tag == 0x8C or tag == c"C" or tag == c"X" or tag == c"B":
        if tag == 0x8C or tag == c"C":
            if i >= end:
                return NULL
            size = p[i]
            i += 1
        else:
            if i + 4 > end:
                return NULL
            size = <Py_ssize_t>(p[i] | p[i + 1] << 8 | p[i + 2] << 16 | <uint32_t>p[i + 3] << 24)
            i += 4
        if size > end - i:
            return NULL
        if tag == c"C" or tag == c"B":
            made = PyBytes_FromStringAndSize(<const char*>p + i, size)
        else:
            made = PyUnicode_DecodeUTF8(<const char*>p + i, size, NULL)
        i += size
    if made == NULL:
        PyErr_Clear()
    at[0] = i
    return made


def plain_result(value):
    """The answer that has a number, a truth value, None, or a short text or bytes: "R" and its pickle; None for others."""
    cdef unsigned char first[FIRST_BYTES]
    cdef Out out
    begin(&out, first)
    memcpy(out.p, b"R\x80\x05", 3)
    out.n = 3
    if not put_pickled(&out, <PyObject*>value) or not put_tag(&out, c"."):
        Py_XDECREF(out.held)
        PyErr_Clear()
        return None
    return given(finished(&out))
