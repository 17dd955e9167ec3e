# The walk over a term, from bytes to values: what `erl.codec.walk` does, with the same depths.

cdef struct Walk:
    const unsigned char* p  # the bytes
    Py_ssize_t i            # where the next term begins; after a refusal it means nothing
    PyObject* data          # the object that owns the bytes
    PyObject* tables        # of the conversation
    bint text               # a binary is a `str`
    bint tagged             # tagged forms stand for something
    bint haystack           # and so do Haystack's
    int atoms               # how they are mapped

cdef struct Pair:
    PyObject* key
    PyObject* value
    Py_ssize_t start        # of the key

cdef extern from *:
    """
    /* A list of another type, made of the elements of one that nobody else holds and that is empty then. */
    static CYTHON_INLINE PyObject *erl_list_as(PyObject *kind, PyObject *list) {
        PyListObject *from = (PyListObject *)list;
        PyListObject *to = (PyListObject *)((PyTypeObject *)kind)->tp_alloc((PyTypeObject *)kind, 0);
        if (to == NULL) return NULL;
        to->ob_item = from->ob_item;
        to->allocated = from->allocated;
        Py_SET_SIZE(to, Py_SIZE(from));
        from->ob_item = NULL;
        from->allocated = 0;
        Py_SET_SIZE(from, 0);
        return (PyObject *)to;
    }

    static CYTHON_INLINE PyObject *erl_new_dict(PyObject *kind, PyObject *nothing) {
        return PyDict_Type.tp_new((PyTypeObject *)kind, nothing, NULL);
    }
    """
    PyObject* list_as "erl_list_as" (PyObject*, PyObject*) noexcept
    PyObject* new_dict "erl_new_dict" (PyObject*, PyObject*) noexcept

cdef object _List = plain.List
cdef object _Map = plain.Map
cdef tuple _nothing = ()

ctypedef PyObject* (*slow_read)(Walk*, Py_ssize_t, int) noexcept
ctypedef PyObject* (*slow_tail)(Walk*, PyObject*, Py_ssize_t, int) noexcept
ctypedef PyObject* (*slow_pairs)(Pair*, Py_ssize_t) noexcept
ctypedef PyObject* (*slow_text)(PyObject*) noexcept

cdef object _int_from_bytes = int.from_bytes


cdef PyObject* truncated() noexcept:
    return PyErr_Format(decode_error, "truncated: the term ends beyond the frame")


cdef PyObject* too_deep() noexcept:
    return PyErr_Format(decode_error, "nested more than %d deep", max_depth)


cdef PyObject* read_term(Walk* w, Py_ssize_t limit, int depth, bint key) noexcept:
    """The term at `w.i`, which must end at `limit` or before, in a container at `depth`.

    Where a key stands, a STRING_EXT is a `str`.
    """
    cdef const unsigned char* p = w.p + w.i
    cdef Py_ssize_t room = limit - w.i, n
    cdef int tag
    if room < 1:
        return truncated()
    tag = p[0]
    if room < 2 and tag != NIL:     # the one term of a single byte
        return (<slow_read>refuse_tag)(w, limit, depth)
    if tag == SMALL_INTEGER:
        w.i += 2
        return small_integer(p[1])
    elif tag == INTEGER:
        if room < 5:
            return truncated()
        w.i += 5
        return int32(<int32_t>u32(p + 1))
    elif tag == NEW_FLOAT:
        return read_float(w, p, room)
    elif tag == SMALL_ATOM_UTF8 or tag == SMALL_ATOM:
        n = p[1]
        if n > room - 2:
            return truncated()
        w.i += 2 + n
        if w.haystack and is_float_name(p + 2, n):
            return float_named(p[2])
        return atom(p + 2, n, tag == SMALL_ATOM, w.atoms)
    elif tag == STRING:
        return read_string(w, p, room, key)
    elif tag == BINARY:
        if room < 5:
            return truncated()
        n = u32(p + 1)
        if n > room - 5:
            return truncated()
        w.i += 5 + n
        if not w.text:
            return PyBytes_FromStringAndSize(<const char*>p + 5, n)
        if key:
            return key_string(p + 5, n, False)
        return PyUnicode_DecodeUTF8(<const char*>p + 5, n, NULL)
    elif tag == SMALL_TUPLE:
        w.i += 2
        return read_tuple(w, p[1], limit, depth + 1)
    elif tag == NIL:
        w.i += 1
        return as_mapped(w, PyList_New(0))
    elif tag == LIST:
        return read_list(w, limit, depth + 1)
    elif tag == MAP:
        return read_map(w, limit, depth + 1)
    elif tag == ATOM or tag == ATOM_UTF8:
        if room < 3:
            return truncated()
        n = u16(p + 1)
        if n > room - 3:
            return truncated()
        w.i += 3 + n
        if w.haystack and is_float_name(p + 3, n):
            return float_named(p[3])
        return atom(p + 3, n, tag == ATOM, w.atoms)
    elif tag == LARGE_TUPLE:
        if room < 5:
            return truncated()
        w.i += 5
        return read_tuple(w, u32(p + 1), limit, depth + 1)
    elif tag == SMALL_BIG or tag == LARGE_BIG:
        return read_big(w, p, room)
    return (<slow_read>read_rare)(w, limit, depth)


cdef object refuse_tag(Walk* w, Py_ssize_t limit, int depth):
    """Raise what there is to say of the last byte."""
    tag = w.p[w.i]
    known = {value for value in vars(tags).values() if type(value) is int}
    if tag in known - {VERSION, COMPRESSED}:
        given(truncated())
    raise errors.DecodeError(f"unknown tag {tag} at byte {w.i}")


cdef PyObject* read_float(Walk* w, const unsigned char* p, Py_ssize_t room) noexcept:
    cdef uint64_t bits
    cdef double number
    if room < 9:
        return truncated()
    bits = u64(p + 1)
    if (bits >> 52) & 0x7FF == 0x7FF:
        return PyErr_Format(decode_error, "the float at byte %zd is not finite", w.i)
    memcpy(&number, &bits, 8)
    w.i += 9
    return PyFloat_FromDouble(number)


cdef PyObject* read_string(Walk* w, const unsigned char* p, Py_ssize_t room, bint key) noexcept:
    cdef Py_ssize_t n, k
    cdef PyObject* made
    if room < 3:
        return truncated()
    n = u16(p + 1)
    if n > room - 3:
        return truncated()
    w.i += 3 + n
    p += 3
    if key:
        return key_string(p, n, True)
    made = PyList_New(n)
    if made != NULL:
        for k in range(n):
            PyList_SET_ITEM(made, k, small_integer(p[k]))
    return as_mapped(w, made)


cdef inline PyObject* as_mapped(Walk* w, PyObject* made) noexcept:
    """A list or a dict that is whole, or what it is for ErlPort; NULL stays NULL."""
    cdef PyObject* mapped
    if w.tagged or made == NULL:
        return made
    if Py_TYPE(made) == &PyList_Type:
        mapped = list_as(<PyObject*>_List, made)
    elif Py_TYPE(made) == &PyDict_Type:     # one whose keys were not the common ones
        mapped = (<slow_text>map_of_erlport)(made)
    else:
        return made
    Py_DECREF(made)
    return mapped


cdef object map_of_erlport(content):
    return plain.map_of(content)


cdef PyObject* read_big(Walk* w, const unsigned char* p, Py_ssize_t room) noexcept:
    """SMALL_BIG_EXT and LARGE_BIG_EXT: size, sign, digits of eight bits with the lowest first."""
    cdef Py_ssize_t n, k, head = 3 if p[0] == SMALL_BIG else 6
    cdef PyObject* made
    cdef PyObject* negative
    cdef uint64_t magnitude = 0
    if room < head:
        return truncated()
    n = p[1] if head == 3 else <Py_ssize_t>u32(p + 1)
    if n > room - head:
        return truncated()
    w.i += head + n
    if n <= 8:
        if room >= head + 8 and n:
            magnitude = low64(p + head) & <uint64_t>0xFFFFFFFFFFFFFFFF >> (64 - 8 * n)
        else:
            for k in range(n - 1, -1, -1):
                magnitude = magnitude << 8 | p[head + k]
        if magnitude <= <uint64_t>0x7FFFFFFFFFFFFFFF:
            return PyLong_FromLongLong(-<long long>magnitude if p[head - 1] else <long long>magnitude)
        made = PyLong_FromUnsignedLongLong(magnitude)
    else:
        made = int_from_digits(p + head, n, <PyObject* (*)(const unsigned char*, Py_ssize_t) noexcept>big_of_digits)
    if made == NULL or p[head - 1] == 0:
        return made
    negative = PyNumber_Negative(made)
    Py_DECREF(made)
    return negative


cdef object big_of_digits(const unsigned char* digits, Py_ssize_t n):
    return _int_from_bytes(given(PyBytes_FromStringAndSize(<const char*>digits, n)), "little")


cdef PyObject* read_list(Walk* w, Py_ssize_t limit, int depth) noexcept:
    """LIST_EXT. Runs of numbers are read without leaving the loop."""
    cdef const unsigned char* p = w.p
    cdef Py_ssize_t n, k = 0, i = w.i + 5
    cdef PyObject* made
    cdef PyObject* item
    cdef uint64_t bits
    cdef double number
    if depth > max_depth:
        return too_deep()
    if i > limit:
        return truncated()
    n = u32(p + i - 4)
    if n >= limit - i:
        return truncated()
    made = PyList_New(n)
    if made == NULL:
        return NULL
    limit -= n              # from here on: where the k-th element must end, less k
    w.i = i
    while k < n:
        i = w.i
        while k < n and p[i] == INTEGER and limit + k - i >= 5:
            item = int32(<int32_t>u32(p + i + 1))
            if item == NULL:
                Py_DECREF(made)
                return NULL
            PyList_SET_ITEM(made, k, item)
            k += 1
            i += 5
        while k < n and p[i] == SMALL_INTEGER and limit + k - i >= 2:
            PyList_SET_ITEM(made, k, small_integer(p[i + 1]))
            k += 1
            i += 2
        while k < n and p[i] == NEW_FLOAT and limit + k - i >= 9:
            bits = u64(p + i + 1)
            if (bits >> 52) & 0x7FF == 0x7FF:
                break
            memcpy(&number, &bits, 8)
            item = PyFloat_FromDouble(number)
            if item == NULL:
                Py_DECREF(made)
                return NULL
            PyList_SET_ITEM(made, k, item)
            k += 1
            i += 9
        w.i = i
        if k == n:
            break
        item = read_term(w, limit + k, depth, False)
        if item == NULL:
            Py_DECREF(made)
            return NULL
        PyList_SET_ITEM(made, k, item)
        k += 1
    limit += n
    if p[w.i] == NIL:
        w.i += 1
        return as_mapped(w, made)
    item = (<slow_tail>list_with_tail)(w, made, limit, depth)
    Py_DECREF(made)
    return item


cdef object list_with_tail(Walk* w, list items, Py_ssize_t limit, int depth):
    """The list of these elements and what follows them, to its end. (A tail may be a list again.)"""
    cdef Py_ssize_t n
    while True:
        if w.i >= limit:
            given(truncated())
        tag = w.p[w.i]
        if tag == NIL:
            w.i += 1
            return items if w.tagged else plain.list_of(items)
        if tag == LIST:
            w.i += 5
            if w.i > limit:
                given(truncated())
            n = u32(w.p + w.i - 4)
            if n >= limit - w.i:
                given(truncated())
            items += <list>given(read_elements(w, n, limit - 1, depth))
        elif tag == STRING:
            items += <list>given(read_term(w, limit, depth, False))
            return items if w.tagged else plain.list_of(items)
        else:
            tail = given(read_term(w, limit, depth, False))
            if not items:
                return tail
            if isinstance(tail, list):
                raise errors.DecodeError("the tail of an improper list is a Python list")
            return terms.ImproperList(items, tail) if w.tagged else plain.ImproperList(items, tail)


cdef PyObject* read_elements(Walk* w, Py_ssize_t n, Py_ssize_t limit, int depth) noexcept:
    """A list of the next `n` terms, in a container at `depth`."""
    cdef PyObject* made
    cdef PyObject* item
    cdef Py_ssize_t k
    if n > limit - w.i:
        return truncated()
    made = PyList_New(n)
    if made == NULL:
        return NULL
    limit -= n
    for k in range(n):
        item = read_term(w, limit + k + 1, depth, False)
        if item == NULL:
            Py_DECREF(made)
            return NULL
        PyList_SET_ITEM(made, k, item)
    return made


cdef PyObject* read_tuple(Walk* w, Py_ssize_t n, Py_ssize_t limit, int depth) noexcept:
    """A tuple of `n` elements that begin at `w.i`, or what it stands for."""
    if depth > max_depth:
        return too_deep()
    if n > limit - w.i:
        return truncated()
    if 2 <= n <= 4 and is_head(w.p[w.i]):
        return read_headed(w, n, limit, depth)
    return read_plain_tuple(w, n, limit, depth)


cdef PyObject* read_plain_tuple(Walk* w, Py_ssize_t n, Py_ssize_t limit, int depth) noexcept:
    cdef PyObject* made = PyTuple_New(n)
    cdef PyObject* item
    cdef Py_ssize_t k
    if made == NULL:
        return NULL
    limit -= n
    for k in range(n):
        item = read_term(w, limit + k + 1, depth, False)
        if item == NULL:
            Py_DECREF(made)
            return NULL
        PyTuple_SET_ITEM(made, k, item)
    return made


cdef object read_rare(Walk* w, Py_ssize_t limit, int depth):
    """A term of one of the rarer tags."""
    cdef const unsigned char* p = w.p + w.i
    cdef Py_ssize_t room = limit - w.i
    cdef int tag = p[0]
    if tag == FLOAT:
        return read_printed_float(w, limit)
    if tag == BIT_BINARY:
        if room < 6 or <Py_ssize_t>u32(p + 1) > room - 6:
            given(truncated())
        content = block(w, w.i + 6, u32(p + 1))
        return bits(w, content, p[5])
    if tag == COMPRESSED:
        raise errors.DecodeError(f"compressed data inside a term, at byte {w.i}")
    from erl.codec import leaves

    if tag not in leaves.ALL:
        raise errors.DecodeError(f"unknown tag {tag} at byte {w.i}")
    leaf, end = leaves.read(<bytes>w.data, w.i)
    if end > limit:
        given(truncated())
    w.i = end
    return leaf


cdef object read_printed_float(Walk* w, Py_ssize_t limit):
    from erl.codec.walk import _FLOAT_EXT_BYTES, _float_of_text

    if limit - w.i < 1 + <Py_ssize_t>_FLOAT_EXT_BYTES:
        given(truncated())
    return _float_of_text(block(w, w.i + 1, _FLOAT_EXT_BYTES))


cdef object bits(Walk* w, bytes content, int last):
    if (last == 8 and content) or (last == 0 and not content):
        return content.decode() if w.text else content
    if not content or not 1 <= last <= 7:
        raise errors.DecodeError(f"a bit string of {len(content)} bytes with {last} bits in the last")
    return terms.BitString(content, last)


cdef bytes block(Walk* w, Py_ssize_t start, Py_ssize_t size):
    """`size` bytes from `start`, known to be there; leaves the walk after them."""
    w.i = start + size
    return <bytes>given(PyBytes_FromStringAndSize(<const char*>w.p + start, size))
