# Maps, and the pairs that a dict is made of, read: what `erl.codec.walk` and `erl.codec.forms` do.

cdef PyObject* read_map(Walk* w, Py_ssize_t limit, int depth) noexcept:
    """MAP_EXT: keys that a dict can't hold, or can't tell apart, are refused."""
    cdef Py_ssize_t n, k
    cdef Pair* pairs
    cdef PyObject* made
    if depth > max_depth:
        return too_deep()
    w.i += 5
    if w.i > limit:
        return truncated()
    n = u32(w.p + w.i - 4)
    if n > (limit - w.i) // 2:
        return truncated()
    pairs = <Pair*>PyMem_Malloc(n * sizeof(Pair))
    if pairs == NULL:
        return PyErr_NoMemory()
    limit -= 2 * n
    for k in range(n):
        if not read_pair(w, &pairs[k], limit + 2 * k + 1, limit + 2 * k + 2, depth):
            release(pairs, k)
            return NULL
    made = dict_of(pairs, n, w.tagged)
    if made != NULL and (made == Py_None or PyDict_Size(made) != n):
        Py_DECREF(made)
        made = (<slow_pairs>refuse_keys)(pairs, n)
    release(pairs, n)
    return as_mapped(w, made)


cdef object refuse_keys(Pair* pairs, Py_ssize_t n):
    """Raise what is wrong with the keys of a map."""
    cdef Py_ssize_t k
    cdef list keys = [<object>pairs[k].key for k in range(n)]
    from erl.codec.walk import equal_keys

    try:
        raise equal_keys(keys)
    except TypeError:
        raise errors.DecodeError("a key of a map can't be hashed in Python (it holds a list or a map)") from None


cdef bint read_pair(Walk* w, Pair* pair, Py_ssize_t key_limit, Py_ssize_t limit, int depth) noexcept:
    """Fill the pair; False where an exception is set."""
    pair.start = w.i
    pair.key = read_term(w, key_limit, depth, w.tagged)
    if pair.key == NULL:
        return False
    pair.value = read_term(w, limit, depth, False)
    if pair.value == NULL:
        Py_DECREF(pair.key)
        return False
    return True


cdef void release(Pair* pairs, Py_ssize_t n) noexcept:
    cdef Py_ssize_t k
    for k in range(n):
        Py_DECREF(pairs[k].key)
        Py_DECREF(pairs[k].value)
    PyMem_Free(pairs)


cdef PyObject* dict_of(Pair* pairs, Py_ssize_t n, bint tagged) noexcept:
    """A dict, its keys made hashable; None where one can't be. Keys equal in Python fall together."""
    cdef PyObject* made = PyDict_New() if tagged else new_dict(<PyObject*>_Map, <PyObject*>_nothing)
    cdef PyObject* key
    cdef PyTypeObject* kind
    cdef Py_ssize_t k
    cdef int failed
    if made == NULL:
        return NULL
    for k in range(n):
        key = pairs[k].key
        kind = Py_TYPE(key)
        if kind == &PyList_Type:
            key = (<slow_text>text_of)(key)
            if key == NULL or key == Py_None:
                Py_DECREF(made)
                return key
        elif (
            kind == &PyUnicode_Type or kind == atom_type or kind == &PyLong_Type or kind == &PyBytes_Type
            or kind == erlport_atom_type or key == Py_None or kind == &PyBool_Type or kind == &PyFloat_Type
        ):
            Py_INCREF(key)
        else:
            Py_DECREF(made)
            return (<slow_pairs>dict_of_others)(pairs, n)
        failed = PyDict_SetItem(made, key, pairs[k].value)
        Py_DECREF(key)
        if failed:
            Py_DECREF(made)
            return NULL
    return made


cdef object text_of(list points):
    return forms.text_of_code_points(points)


cdef object dict_of_others(Pair* pairs, Py_ssize_t n):
    cdef Py_ssize_t k
    return forms.dict_of([<object>pairs[k].key for k in range(n)], [<object>pairs[k].value for k in range(n)])
