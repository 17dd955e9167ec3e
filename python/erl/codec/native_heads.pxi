# What the first bytes of a frame say: whose answer it is, or which of the messages that can't wait for a turn.


cdef bint answer_id(const unsigned char* p, Py_ssize_t size, long long* id_) noexcept:
    """Whether a frame is `{r, Id, _}` or `{e, Id, _}`, and its id."""
    cdef Py_ssize_t i, k, count
    cdef uint64_t number = 0
    if size < 9 or p[0] != VERSION or p[1] != SMALL_TUPLE or p[2] != 3:
        return False
    if (p[3] == SMALL_ATOM_UTF8 or p[3] == SMALL_ATOM) and p[4] == 1:
        i = 5
    elif (p[3] == ATOM or p[3] == ATOM_UTF8) and p[4] == 0 and p[5] == 1:
        i = 6
    else:
        return False
    if p[i] != c"r" and p[i] != c"e":
        return False
    i += 1
    if p[i] == SMALL_INTEGER:
        id_[0] = p[i + 1]
        return True
    if p[i] == INTEGER and size - i > 5:
        id_[0] = <int32_t>u32(p + i + 1)
        return True
    if p[i] == SMALL_BIG and 0 < p[i + 1] < 8 and size - i > 3 + p[i + 1] and p[i + 2] <= 1:
        count = p[i + 1]
        for k in range(count):
            number |= <uint64_t>p[i + 3 + k] << (8 * k)
        id_[0] = -<long long>number if p[i + 2] else <long long>number
        return True
    return False


cdef bint is_unwanted(const unsigned char* p, Py_ssize_t size) noexcept:
    """Whether a frame is `{X, Id}` as the application writes it."""
    return size == 12 and memcmp(p, b"\x83h\x02d\x00\x01Xb", 8) == 0


cdef bint is_taken(const unsigned char* p, Py_ssize_t size) noexcept:
    """Whether a frame is `{T, Number}` as the application writes it."""
    return size == 18 and memcmp(p, b"\x83h\x02d\x00\x01Tn\x08\x00", 10) == 0


cdef inline uint64_t little64(const unsigned char* p) noexcept:
    """An integer as SMALL_BIG_EXT has it, the least byte first."""
    cdef uint64_t number = 0
    cdef int i
    for i in range(8):
        number |= <uint64_t>p[i] << (8 * i)
    return number


cdef bint is_call(frame) noexcept:
    """Whether a frame is a call as the application writes it."""
    return (
        PyBytes_GET_SIZE(<PyObject*>frame) > 7
        and memcmp(PyBytes_AS_STRING(<PyObject*>frame), b"\x83h\x05d\x00\x01C", 7) == 0
    )
