# Texts, written: as lists of code points, or as binaries in UTF-8. Each function returns False where an exception is set.

cdef bint write_str(Out* o, PyObject* value) noexcept:
    cdef Py_ssize_t size
    if string_ready(value) < 0:
        return False
    if not o.mode.strings_binary:
        return write_points(o, value)
    if PyUnicode_IS_ASCII(value):
        size = PyUnicode_GET_LENGTH(value)
        return fits(o, size + 5) and put_head(o, BINARY, size) and put(o, PyUnicode_DATA(value), size)
    size = utf8_size(value)
    if size < 0:
        return (<slow_write>refuse_surrogate)(o, value, 0)
    return put_head(o, BINARY, size) and put_utf8(o, value, size)


cdef int refuse_surrogate(Out* o, value, int depth) except 0:
    shown = callout.shown(value)
    raise errors.EncodeError(f"{shown} has a lone surrogate, so it can't be a binary in UTF-8")


cdef bint write_points(Out* o, PyObject* string) noexcept:
    """A list of code points."""
    cdef Py_ssize_t size = PyUnicode_GET_LENGTH(string), k
    cdef int kind = PyUnicode_KIND(string)
    cdef void* data = PyUnicode_DATA(string)
    cdef unsigned char* p
    cdef uint32_t point
    if size == 0:
        return put_tag(o, NIL)
    if kind == 1 and size <= MAX_STRING:
        return put_tag16(o, STRING, <uint32_t>size) and put(o, data, size)
    if not put_head(o, LIST, size) or not fits(o, 5 * size + 1):
        return False
    p = o.p + o.n
    for k in range(size):
        point = PyUnicode_READ(kind, data, k)
        if point <= 255:
            p[0] = SMALL_INTEGER
            p[1] = <unsigned char>point
            p += 2
        else:
            p[0] = INTEGER
            put32(p + 1, point)
            p += 5
    p[0] = NIL
    o.n = p + 1 - o.p
    return True


cdef Py_ssize_t utf8_size(PyObject* string) noexcept:
    """Bytes of the string in UTF-8; -1 for a lone surrogate."""
    cdef Py_ssize_t k, size = 0
    cdef int kind = PyUnicode_KIND(string)
    cdef void* data = PyUnicode_DATA(string)
    cdef uint32_t point
    for k in range(PyUnicode_GET_LENGTH(string)):
        point = PyUnicode_READ(kind, data, k)
        if point < 0x80:
            size += 1
        elif point < 0x800:
            size += 2
        elif point < 0x10000:
            if 0xD800 <= point <= 0xDFFF:
                return -1
            size += 3
        else:
            size += 4
    return size


cdef bint put_utf8(Out* o, PyObject* string, Py_ssize_t size) noexcept:
    """The string in UTF-8, known to be `size` bytes."""
    cdef Py_ssize_t k
    cdef int kind = PyUnicode_KIND(string)
    cdef void* data = PyUnicode_DATA(string)
    cdef uint32_t point
    cdef unsigned char* p
    if not fits(o, size):
        return False
    p = o.p + o.n
    for k in range(PyUnicode_GET_LENGTH(string)):
        point = PyUnicode_READ(kind, data, k)
        if point < 0x80:
            p[0] = <unsigned char>point
            p += 1
        elif point < 0x800:
            p[0] = <unsigned char>(0xC0 | point >> 6)
            p[1] = <unsigned char>(0x80 | point & 0x3F)
            p += 2
        elif point < 0x10000:
            p[0] = <unsigned char>(0xE0 | point >> 12)
            p[1] = <unsigned char>(0x80 | point >> 6 & 0x3F)
            p[2] = <unsigned char>(0x80 | point & 0x3F)
            p += 3
        else:
            p[0] = <unsigned char>(0xF0 | point >> 18)
            p[1] = <unsigned char>(0x80 | point >> 12 & 0x3F)
            p[2] = <unsigned char>(0x80 | point >> 6 & 0x3F)
            p[3] = <unsigned char>(0x80 | point & 0x3F)
            p += 4
    o.n += size
    return True
