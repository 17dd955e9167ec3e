# Which function a frame calls, from its first bytes, and whether that is what it was when it was called before.

cdef enum:
    RETURN_REF = 8
    OWN_FLAGS = -1
    LANE_FLAGS = 6175       # those that calls of the common kind may have: bits 0 to 4, and which atom is None

cdef dict _sys = vars(__import__("sys"))


cdef class Known:
    """A callable, found by the bytes of its frame from the module's atom to the function's."""

    cdef bytes head
    cdef int flags              # of the call, OWN_FLAGS for those of the server
    cdef tuple key
    cdef object holder
    cdef dict names             # of the holder
    cdef object first           # the attribute's name in it
    cdef object value           # what the attribute must be
    cdef object found


cdef struct Head:
    long long id
    Py_ssize_t start            # of the module's atom
    Py_ssize_t names            # of the two atoms that name the callable
    Py_ssize_t stop             # behind them
    int flags


cdef bint read_head(const unsigned char* p, Py_ssize_t size, bint plain, Head* head) noexcept:
    """Fill in what a frame says up to the names; False for what is not the start of a call of the common kind."""
    cdef Py_ssize_t i, function
    if p[0] != VERSION or p[1] != SMALL_TUPLE or p[2] != 5:
        return False
    if (p[3] == SMALL_ATOM_UTF8 or p[3] == SMALL_ATOM) and p[4] == 1 and p[5] == c"C":
        i = 6
    elif (p[3] == ATOM or p[3] == ATOM_UTF8) and p[4] == 0 and p[5] == 1 and p[6] == c"C":
        i = 7
    else:
        return False
    if p[i] == SMALL_INTEGER:
        head.id = p[i + 1]
        i += 2
    elif p[i] == INTEGER:
        head.id = <int32_t>u32(p + i + 1)
        i += 5
    elif p[i] == SMALL_BIG and 4 <= p[i + 1] < 8 and p[i + 2] == 0:
        head.id = <long long>(low64(p + i + 3) & <uint64_t>0xFFFFFFFFFFFFFFFF >> (64 - 8 * p[i + 1]))
        i += 3 + p[i + 1]
    else:
        return False
    head.start = head.names = i
    head.flags = OWN_FLAGS
    function = after_atom(p, i, size)
    i = after_atom(p, function, size)
    if i < 0:
        return False
    if (
        not plain
        and i - function >= 6 and memcmp(p + i - 4, b"call", 4) == 0
        and function - head.start >= 19 and memcmp(p + function - 17, b"erl.calls.objects", 17) == 0
        and atom_size(p, head.start) == 17 and atom_size(p, function) == 4
    ):
        if (
            size - i < 10 or p[i] != LIST or u32(p + i + 1) != 5
            or (p[i + 5] != SMALL_INTEGER and p[i + 5] != INTEGER)
        ):
            return False
        head.flags = p[i + 6] if p[i + 5] == SMALL_INTEGER else <int32_t>u32(p + i + 6)
        if head.flags & ~LANE_FLAGS or head.flags & RETURN_REF or head.flags & NONE_FLAGS == NONE_FLAGS:
            return False
        head.names = i + (7 if p[i + 5] == SMALL_INTEGER else 10)
        i = after_atom(p, after_atom(p, head.names, size), size)
        if i < 0:
            return False
    head.stop = i
    return True


cdef inline Py_ssize_t after_atom(const unsigned char* p, Py_ssize_t i, Py_ssize_t size) noexcept:
    """Where the atom at `i` ends, with a byte to follow; -1 where there is none, or `i` is -1."""
    if i < 0 or size - i < 4:
        return -1
    if p[i] == SMALL_ATOM_UTF8 or p[i] == SMALL_ATOM:
        i += 2 + p[i + 1]
    elif p[i] == ATOM or p[i] == ATOM_UTF8:
        i += 3 + u16(p + i + 1)
    else:
        return -1
    return i if i < size else -1


cdef inline Py_ssize_t atom_size(const unsigned char* p, Py_ssize_t i) noexcept:
    return p[i + 1] if p[i] == SMALL_ATOM_UTF8 or p[i] == SMALL_ATOM else u16(p + i + 1)


cdef inline uint32_t hash_of(const unsigned char* p, Py_ssize_t size) noexcept:
    """Of four bytes or more."""
    cdef uint64_t hash = <uint64_t>size, word
    cdef Ends ends
    while size > 16:
        memcpy(&word, p, 8)
        hash = (hash ^ word) * <uint64_t>0x9E3779B97F4A7C15
        hash ^= hash >> 32
        p += 8
        size -= 8
    ends = ends_of(p, size)
    return hashed(&ends, <Py_ssize_t>(hash & 0x7FFFFFFF))


cdef inline bint is_current(Known known) except -1:
    """Whether the module is the same and has the same attribute, as `erl.names.lookup` asks."""
    modules = _sys.get("modules")
    if type(modules) is not dict:
        return False
    name = known.names.get("__name__")
    return (
        type(name) is str and (<dict>modules).get(name) is known.holder and known.names.get(known.first) is known.value
    )
