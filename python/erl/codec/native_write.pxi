# Values of the built-in types, written: what the first half of `erl.codec.writer` does, with the same depths. Numbers
# are spelled as Erlang spells them. Each function returns False where an exception is set.

cdef enum:
    MAX_STRING = 65535
    MAX_ATOM = 255
    MAX_INT_BYTES = 11      # of a term: 64 bits, their sign, their count and the tag
    SHARED = 1024           # of them, that large bytes stay in shared memory
    SHARED_BYTES = 65536

ctypedef bint (*slow_write)(Out*, PyObject*, int) noexcept


cdef bint write_value(Out* o, PyObject* value, int depth) noexcept:
    """The term of any value in a container at `depth`."""
    cdef int done
    cdef PyTypeObject* kind = Py_TYPE(value)
    if o.mode.fast:
        done = write_leaf(o, value, kind)
        if done != 0:
            return done > 0
        if kind == &PyTuple_Type:
            return write_tuple(o, value, depth)
        if kind == &PyList_Type:
            return write_list(o, value, depth)
        if kind == &PyDict_Type:
            return write_dict(o, value, depth)
    return (<slow_write>write_other)(o, value, depth)


cdef bint write_none(Out* o) noexcept:
    if o.none == 0:
        return write_name(o, "undefined", 9)
    if o.none == 1:
        return write_name(o, "nil", 3)
    return write_name(o, "none", 4)


cdef int write_leaf(Out* o, PyObject* value, PyTypeObject* kind) noexcept:
    """1 if the value is one of the common leaves and was written, 0 if not, -1 where an exception is set.

    Runs no code but its own.
    """
    if kind == &PyLong_Type:
        return 1 if write_int(o, value) else -1
    if kind == &PyUnicode_Type:
        return 1 if write_str(o, value) else -1
    if kind == &PyFloat_Type:
        return 1 if write_float(o, value) else -1
    if kind == atom_type:
        return 1 if write_atom(o, value) else -1
    if kind == &PyBytes_Type:
        if o.mode.forms & SHARED and PyBytes_GET_SIZE(value) >= SHARED_BYTES:
            return 0
        return 1 if write_bytes(o, value) else -1
    if kind == erlport_atom_type and all_ascii(<const unsigned char*>PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value)):
        return 1 if write_name(o, PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value)) else -1
    if value == Py_None:
        return 1 if write_none(o) else -1
    if kind == &PyBool_Type:
        if value == Py_True:
            return 1 if write_name(o, "true", 4) else -1
        return 1 if write_name(o, "false", 5) else -1
    return 0


cdef bint write_int(Out* o, PyObject* value) noexcept:
    cdef int overflow = 0
    cdef long long number
    cdef bint done
    if not is_short_int(value, &number):
        number = PyLong_AsLongLongAndOverflow(value, &overflow)
    if overflow:
        Py_INCREF(value)    # the list that it is in may change: making objects may collect garbage
        done = (<slow_write>write_big)(o, value, 0)
        Py_DECREF(value)
        return done
    if not fits(o, MAX_INT_BYTES):
        return False
    o.n += spell_int(o.p + o.n, number)
    return True


cdef inline Py_ssize_t spell_int(unsigned char* p, long long number) noexcept:
    """The term of an integer of 64 bits at `p`; returns its size."""
    cdef uint64_t magnitude
    cdef Py_ssize_t size = 0
    if 0 <= number <= 255:
        p[0] = SMALL_INTEGER
        p[1] = <unsigned char>number
        return 2
    if -0x80000000LL <= number <= 0x7FFFFFFF:
        p[0] = INTEGER
        put32(p + 1, <uint32_t>number)
        return 5
    magnitude = <uint64_t>number if number > 0 else 0 - <uint64_t>number
    while magnitude:
        p[3 + size] = <unsigned char>magnitude
        magnitude >>= 8
        size += 1
    p[0] = SMALL_BIG
    p[1] = <unsigned char>size
    p[2] = number < 0
    return 3 + size


cdef bint write_float(Out* o, PyObject* value) noexcept:
    cdef double number = PyFloat_AS_DOUBLE(value)
    cdef uint64_t bits
    memcpy(&bits, &number, 8)
    if (bits >> 52) & 0x7FF == 0x7FF:
        if bits << 12:
            return write_name(o, "nan", 3)
        if bits >> 63:
            return write_name(o, "-infinity", 9)
        return write_name(o, "infinity", 8)
    if not fits(o, 9):
        return False
    o.p[o.n] = NEW_FLOAT
    put64(o.p + o.n + 1, bits)
    o.n += 9
    return True


cdef bint write_bytes(Out* o, PyObject* value) noexcept:
    cdef Py_ssize_t size = PyBytes_GET_SIZE(value)
    return fits(o, size + 5) and put_head(o, BINARY, size) and put(o, PyBytes_AS_STRING(value), size)


cdef bint write_name(Out* o, const char* name, Py_ssize_t size) noexcept:
    """An atom of ASCII, as short as the mapping has it: ErlPort writes ATOM_EXT."""
    if not fits(o, size + 3):
        return False
    if o.mode.tagged:
        o.p[o.n] = SMALL_ATOM_UTF8
        o.p[o.n + 1] = <unsigned char>size
        o.n += 2
    else:
        put_tag16(o, ATOM, <uint32_t>size)
    memcpy(o.p + o.n, name, size)
    o.n += size
    return True


cdef bint write_atom(Out* o, PyObject* value) noexcept:
    cdef Py_ssize_t size = PyUnicode_GET_LENGTH(value), encoded
    if size > MAX_ATOM:
        PyErr_Format(encode_error, "an atom of %zd characters: %d is the most", size, <int>MAX_ATOM)
        return False
    if PyUnicode_IS_ASCII(value):
        return write_name(o, <const char*>PyUnicode_DATA(value), size)
    if PyUnicode_KIND(value) == 1 and not o.mode.tagged:
        return put_tag16(o, ATOM, <uint32_t>size) and put(o, PyUnicode_DATA(value), size)
    encoded = utf8_size(value)
    if encoded < 0:
        PyErr_Format(encode_error, "the atom %R has a lone surrogate", value)
        return False
    if encoded > 255:
        return put_tag16(o, ATOM_UTF8, <uint32_t>encoded) and put_utf8(o, value, encoded)
    return put_tag(o, SMALL_ATOM_UTF8) and put_tag(o, <int>encoded) and put_utf8(o, value, encoded)


cdef bint deeper(int depth, int levels) noexcept:
    """Whether there may be containers inside one another so deep; False where an exception is set."""
    if depth + levels > max_depth:
        PyErr_Format(encode_error, "nested more than %d deep (a cycle?)", max_depth)
        return False
    return True


cdef bint changed() noexcept:
    PyErr_Format(encode_error, "a list or a dict was changed while it was encoded")
    return False


cdef bint write_tuple(Out* o, PyObject* value, int depth) noexcept:
    cdef Py_ssize_t n = PyTuple_GET_SIZE(value), k
    if not deeper(depth, 1):
        return False
    if n > 255:
        if not put_head(o, LARGE_TUPLE, n):
            return False
    elif not (put_tag(o, SMALL_TUPLE) and put_tag(o, <int>n)):
        return False
    for k in range(n):
        if not write_value(o, PyTuple_GET_ITEM(value, k), depth + 1):
            return False
    return True


cdef bint write_list(Out* o, PyObject* value, int depth) noexcept:
    """A list. Up to its first element that is no leaf, none of which runs foreign code, it is read where it is."""
    cdef Py_ssize_t n = PyList_GET_SIZE(value), k = 0
    cdef PyObject* item
    cdef int done
    if not deeper(depth, 1):
        return False
    if n == 0:
        return put_tag(o, NIL)
    if o.mode.fast and n <= MAX_STRING:
        k = put_bytes_of(o, value, n)
        if k < 0:
            return False
        if k == n:
            return True
    if k == 0 and not put_head(o, LIST, n):
        return False
    while k < n:
        if PyList_GET_SIZE(value) != n:
            return changed()
        item = PyList_GET_ITEM(value, k)
        if o.mode.fast and Py_TYPE(item) == &PyLong_Type:
            k = put_integers_of(o, value, k, n)
            if k < 0:
                return False
            if k == n:
                break
            item = PyList_GET_ITEM(value, k)
        elif o.mode.fast and Py_TYPE(item) == &PyFloat_Type:
            k = put_floats_of(o, value, k, n)
            if k < 0:
                return False
            if k == n:
                break
            item = PyList_GET_ITEM(value, k)
        done = write_leaf(o, item, Py_TYPE(item)) if o.mode.fast else 0
        if done < 0:
            return False
        if done == 0:
            return write_rest(o, value, k, n, depth + 1)
        k += 1
    return put_tag(o, NIL)


cdef Py_ssize_t put_bytes_of(Out* o, PyObject* value, Py_ssize_t n) noexcept:
    """The list as STRING_EXT, if it is one of integers from 0 to 255.

    If it is one only in the beginning, the head of a LIST_EXT and that beginning. Returns how many elements were
    written, -1 where an exception is set.
    """
    cdef Py_ssize_t k = 0, j
    cdef PyObject* item
    cdef long long number
    cdef unsigned char* p
    if Py_TYPE(PyList_GET_ITEM(value, 0)) != &PyLong_Type:
        return 0
    if not fits(o, n + 8):
        return -1
    p = o.p + o.n
    while k < n:
        item = PyList_GET_ITEM(value, k)
        if Py_TYPE(item) != &PyLong_Type:
            break
        if not is_short_int(item, &number):
            break
        if not 0 <= number <= 255:
            break
        p[3 + k] = <unsigned char>number
        k += 1
    if k == n:
        p[0] = STRING
        put16(p + 1, <uint32_t>n)
        o.n += 3 + n
        return n
    if k == 0:
        return 0
    o.n += 3 + k            # what is there moves with the buffer
    if not fits(o, 2 + k):
        return -1
    o.n -= 3 + k
    p = o.p + o.n
    for j in range(k - 1, -1, -1):
        p[6 + 2 * j] = p[3 + j]
        p[5 + 2 * j] = SMALL_INTEGER
    put_head(o, LIST, n)
    o.n += 2 * k
    return k


cdef Py_ssize_t put_integers_of(Out* o, PyObject* value, Py_ssize_t k, Py_ssize_t n) noexcept:
    """Write elements of the list from `k` on while they are integers of 64 bits. Returns where that ends, -1 where an
    exception is set. Runs no code but its own.

    The list goes on as it begins, mostly: room is made once, for four bytes each.
    """
    cdef PyObject* item
    cdef long long number
    cdef int overflow
    cdef unsigned char* p
    cdef unsigned char* last
    if not fits(o, 5 * (n - k) + MAX_INT_BYTES):
        return -1
    while k < n:
        if not fits(o, MAX_INT_BYTES):
            return -1
        p = o.p + o.n
        last = o.p + o.room - MAX_INT_BYTES
        while k < n and p <= last:
            item = PyList_GET_ITEM(value, k)
            if Py_TYPE(item) != &PyLong_Type:
                break
            if not is_short_int(item, &number):
                number = PyLong_AsLongLongAndOverflow(item, &overflow)
                if overflow:
                    break
            p += spell_int(p, number)
            k += 1
        o.n = p - o.p
        if p <= last:
            break
    return k


cdef Py_ssize_t put_floats_of(Out* o, PyObject* value, Py_ssize_t k, Py_ssize_t n) noexcept:
    """The same with finite floats."""
    cdef PyObject* item
    cdef double number
    cdef uint64_t bits
    cdef unsigned char* p
    if not fits(o, 9 * (n - k)):
        return -1
    p = o.p + o.n
    while k < n:
        item = PyList_GET_ITEM(value, k)
        if Py_TYPE(item) != &PyFloat_Type:
            break
        number = PyFloat_AS_DOUBLE(item)
        memcpy(&bits, &number, 8)
        if (bits >> 52) & 0x7FF == 0x7FF:
            break
        p[0] = NEW_FLOAT
        put64(p + 1, bits)
        p += 9
        k += 1
    o.n = p - o.p
    return k


cdef bint write_rest(Out* o, PyObject* value, Py_ssize_t k, Py_ssize_t n, int depth) noexcept:
    """The elements of a list from `k`: as they are now, whatever an encoder does to the list meanwhile."""
    cdef PyObject** items
    cdef Py_ssize_t j
    cdef bint done = True
    if PyList_GET_SIZE(value) != n:
        return changed()
    n -= k
    items = <PyObject**>PyMem_Malloc(n * sizeof(PyObject*))
    if items == NULL:
        PyErr_NoMemory()
        return False
    for j in range(n):
        items[j] = PyList_GET_ITEM(value, k + j)
        Py_INCREF(items[j])
    for j in range(n):
        if not write_value(o, items[j], depth):
            done = False
            break
    for j in range(n):
        Py_DECREF(items[j])
    PyMem_Free(items)
    return done and put_tag(o, NIL)


cdef bint write_dict(Out* o, PyObject* value, int depth) noexcept:
    """A dict: as a map, or as `{"dict", [{Key, Value}]}`, which is three containers."""
    cdef Py_ssize_t n = PyDict_Size(value)
    if o.mode.dicts_map:
        return write_map(o, value, depth)
    if not put(o, b"h\x02k\x00\x04dict", 9):
        return False
    if n == 0:
        return deeper(depth, 1) and put_tag(o, NIL)
    return (
        deeper(depth, 3) and put_head(o, LIST, n) and write_pairs(o, value, n, True, depth + 3) and put_tag(o, NIL)
    )


cdef bint write_map(Out* o, PyObject* value, int depth) noexcept:
    cdef Py_ssize_t n = PyDict_Size(value)
    if not deeper(depth, 1):
        return False
    if not (o.mode.fast and has_distinct_keys(value)):
        return (<slow_write>write_distinct)(o, value, depth + 1)
    return put_head(o, MAP, n) and write_pairs(o, value, n, False, depth + 1)


cdef bint has_distinct_keys(PyObject* value) noexcept:
    """Whether the keys are all of one type whose unequal values are unequal terms."""
    cdef Py_ssize_t at = 0
    cdef PyObject* key
    cdef PyObject* item
    cdef PyTypeObject* kind = NULL
    while PyDict_Next(value, &at, &key, &item):
        if kind == NULL:
            kind = Py_TYPE(key)
            if (
                kind != &PyUnicode_Type and kind != &PyLong_Type and kind != &PyBytes_Type and kind != atom_type
                and kind != erlport_atom_type
            ):
                return False
        elif Py_TYPE(key) != kind:
            return False
    return True


cdef bint write_pairs(Out* o, PyObject* value, Py_ssize_t n, bint tuples, int depth) noexcept:
    """Keys and values by turns, in 2-tuples or not. Like a list, a dict of leaves is read where it is."""
    cdef Py_ssize_t at = 0, before = 0, written = 0
    cdef PyObject* key
    cdef PyObject* item
    cdef int done
    while o.mode.fast:
        before = at
        if not PyDict_Next(value, &at, &key, &item):
            return written == n or changed()
        if tuples and not put(o, b"h\x02", 2):
            return False
        done = write_leaf(o, key, Py_TYPE(key))
        if done > 0:
            done = write_leaf(o, item, Py_TYPE(item))
            if done == 0:
                return write_rest_of_dict(o, value, n - written, before, tuples, True, depth)
        elif done == 0:
            return write_rest_of_dict(o, value, n - written, before, tuples, False, depth)
        if done < 0:
            return False
        written += 1
        if written > n:
            return changed()
    return write_rest_of_dict(o, value, n - written, at, tuples, False, depth)


cdef bint write_rest_of_dict(
    Out* o, PyObject* value, Py_ssize_t n, Py_ssize_t at, bint tuples, bint key_written, int depth
) noexcept:
    """The pairs from `at`, as they are now, `n` of them; of the first one the beginning may be written already."""
    cdef PyObject** items = <PyObject**>PyMem_Malloc(2 * n * sizeof(PyObject*))
    cdef PyObject* key
    cdef PyObject* item
    cdef Py_ssize_t found = 0, j
    cdef bint done = True, begun = o.mode.fast
    if items == NULL:
        PyErr_NoMemory()
        return False
    while found < 2 * n and PyDict_Next(value, &at, &key, &item):
        items[found] = key
        items[found + 1] = item
        Py_INCREF(key)
        Py_INCREF(item)
        found += 2
    if found != 2 * n:
        done = changed()
    for j in range(found if done else 0):
        if j & 1 == 0:
            if j == 0 and begun:
                if key_written:
                    continue
            elif tuples and not put(o, b"h\x02", 2):
                done = False
                break
        if not write_value(o, items[j], depth):
            done = False
            break
    for j in range(found):
        Py_DECREF(items[j])
    PyMem_Free(items)
    return done


cdef int write_distinct(Out* o, dict value, int depth) except 0:
    """A map whose keys, unequal in Python, may be one term (with strings as binaries: 'a' and b'a')."""
    cdef dict seen = {}
    cdef Py_ssize_t start
    cdef tuple items = tuple(value.items())
    if not put_head(o, MAP, len(items)):
        given(NULL)
    for key, item in items:
        start = o.n
        if not write_value(o, <PyObject*>key, depth):
            given(NULL)
        spelled = o.p[start:o.n]
        if spelled in seen:
            both = f"{callout.shown(seen[spelled])} and {callout.shown(key)}"
            raise errors.EncodeError(f"the keys {both} of a dict are the same term")
        seen[spelled] = key
        if not write_value(o, <PyObject*>item, depth):
            given(NULL)
    return 1
