# What headed tuples stand for: what `erl.codec.tagged` does. A tuple that does not fit its form stays a tuple.

from erl.values import payloads

cdef object NOT_FIT = payloads.NOT_FIT

ctypedef PyObject* (*slow_find)(Walk*, bint, const unsigned char*, Py_ssize_t) noexcept
ctypedef PyObject* (*slow_triple)(Walk*, const unsigned char*, Py_ssize_t, Py_ssize_t, int) noexcept
ctypedef PyObject* (*slow_form)(Walk*, PyObject*, Py_ssize_t, Py_ssize_t, int) noexcept
ctypedef PyObject* (*slow_build)(PyObject*, PyObject*) noexcept
ctypedef PyObject* (*slow_unfit)(Walk*, Pair*, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t, int) noexcept
cdef enum:
    TOLD_APART = 2

ctypedef int (*slow_compare)(Walk*, Pair*, Py_ssize_t) noexcept


cdef inline dict table_of(Walk* w, bint string):
    """What stands for something when it heads a 2-tuple."""
    cdef Tables tables = <Tables>w.tables
    if w.haystack:
        return tables.haystack_string_forms if string else tables.haystack_atom_forms
    return tables.string_forms if string else tables.atom_forms


cdef inline bint is_head(int tag) noexcept:
    return tag == STRING or tag == SMALL_ATOM_UTF8 or tag == ATOM or tag == SMALL_ATOM or tag == ATOM_UTF8


cdef inline bint is_name(const unsigned char* p, Py_ssize_t size, const char* name, Py_ssize_t expected) noexcept:
    return size == expected and memcmp(p, name, expected) == 0


cdef inline uint64_t lengths_of(Walk* w, int table, const unsigned char* name, Py_ssize_t size) noexcept:
    return (<Tables>w.tables).form_lengths[table][name[0] if size else 0]


cdef PyObject* read_headed(Walk* w, Py_ssize_t n, Py_ssize_t limit, int depth) noexcept:
    """A tuple of 2 to 4 elements whose first one is a string or an atom."""
    cdef Py_ssize_t head = w.i, start, size
    cdef const unsigned char* p = w.p
    cdef bint string = p[head] == STRING, latin1
    cdef PyObject* form
    cdef PyObject* made
    if p[head] == SMALL_ATOM_UTF8 or p[head] == SMALL_ATOM:
        start = head + 2
        if start > limit:
            return truncated()
        size = p[head + 1]
    else:
        start = head + 3
        if start > limit:
            return truncated()
        size = u16(p + head + 1)
    if size > limit - start:
        return truncated()
    p += start
    if n == 2:
        latin1 = (w.p[head] == ATOM or w.p[head] == SMALL_ATOM) and not all_ascii(p, size)
        if w.tagged and (latin1 or lengths_of(w, string + 2 * w.haystack, p, size) & length_bit(size)):
            form = (<slow_find>form_of_latin1)(w, string, p, size) if latin1 else found_form(w, string, p, size)
            if form == NULL:
                return NULL
            if form != Py_None:
                w.i = start + size
                if (<Form>form).kind == DICT_FORM:
                    made = read_dict_form(w, form, head, limit, depth)
                else:
                    made = (<slow_form>read_other_form)(w, form, head, limit, depth)
                Py_DECREF(form)
                return made
            Py_DECREF(form)
    elif string:
        if n == 4 and w.tagged and is_name(p, size, "timedelta", 9):
            return (<slow_read>read_flat_timedelta)(w, limit, depth)
    elif n == 3:
        if is_name(p, size, "$erlport.opaque", 15):
            w.i = start + size
            return (<slow_read>read_opaque)(w, limit, depth)
        if w.haystack and lengths_of(w, 4, p, size) & length_bit(size):
            return (<slow_triple>read_triple)(w, p, size, limit, depth)
    elif w.tagged and is_name(p, size, "$py.ref", 7):
        return (<slow_read>read_reference)(w, limit, depth)
    elif w.haystack and is_name(p, size, "matrix", 6):
        return (<slow_read>read_matrix)(w, limit, depth)
    return read_plain_tuple(w, n, limit, depth)


cdef PyObject* found_form(Walk* w, bint string, const unsigned char* name, Py_ssize_t size) noexcept:
    """The form, or None."""
    if string and is_name(name, size, "dict", 4):
        Py_INCREF(<PyObject*>(<Tables>w.tables).dict_form)
        return <PyObject*>(<Tables>w.tables).dict_form
    return (<slow_find>form_of)(w, string, name, size)


cdef object form_of(Walk* w, bint string, const unsigned char* name, Py_ssize_t size):
    return table_of(w, string).get(name[:size])


cdef object form_of_latin1(Walk* w, bint string, const unsigned char* name, Py_ssize_t size):
    """The form of an atom that came in Latin-1 and is not ASCII; the table has names in UTF-8."""
    return (<Tables>w.tables).atom_forms.get(name[:size].decode("latin-1").encode())


cdef PyObject* read_dict_form(Walk* w, PyObject* form, Py_ssize_t head, Py_ssize_t limit, int depth) noexcept:
    """The payload is a list of pairs, and so are its 2-tuples, whatever heads them: `{"date", X}` is a key and its
    value here.
    """
    cdef const unsigned char* p = w.p
    cdef Py_ssize_t count = 0, read = 0, bound
    cdef Pair* pairs = NULL
    cdef PyObject* made
    cdef PyObject* built
    cdef int same = 1
    if w.i >= limit:
        return truncated()
    if p[w.i] == NIL:
        made = PyDict_New()
    elif p[w.i] != LIST:
        return (<slow_form>read_unfit)(w, form, head, limit, depth)
    else:
        w.i += 5
        if w.i > limit:
            return truncated()
        count = u32(p + w.i - 4)
        if depth + (2 if count else 1) > max_depth:
            return too_deep()
        if count >= limit - w.i:
            return truncated()
        # A pair has at least four bytes, and the walk ends early before what is no pair.
        bound = (limit - w.i) // 4 + 1
        pairs = <Pair*>PyMem_Malloc((count if count < bound else bound) * sizeof(Pair))
        if pairs == NULL:
            return PyErr_NoMemory()
        while read < count:
            bound = limit - (count - read)
            if p[w.i] != SMALL_TUPLE or p[w.i + 1] != 2:    # the byte after the last one of the data is a zero
                break
            if bound - w.i < 4:
                release(pairs, read)
                return truncated()
            w.i += 2
            if not read_pair(w, &pairs[read], bound - 1, bound, depth + 2):
                release(pairs, read)
                return NULL
            read += 1
        made = NULL
        if read == count and p[w.i] == NIL:
            made = dict_of(pairs, count, True)
            if made == NULL:
                release(pairs, read)
                return NULL
            if made != Py_None and PyDict_Size(made) != count:
                same = (<slow_compare>same_spelling)(w, pairs, count)
                if same == TOLD_APART:
                    Py_DECREF(made)
                    made = dict_of(pairs, count, True)
                    if made == NULL:
                        release(pairs, read)
                        return NULL
                    same = 1
            if made == Py_None or same != 1:
                Py_DECREF(made)
                made = NULL
        if made == NULL:
            if same >= 0:
                made = (<slow_unfit>unfit_pairs)(w, pairs, read, count, head, limit, depth)
            release(pairs, read)
            return made
        release(pairs, read)
    w.i += 1
    if made == NULL or (<Form>form).plain:
        return made
    built = (<slow_build>build)(form, made)
    Py_DECREF(made)
    return built


cdef object build(form, content):
    return (<Form>form).builder(content)


cdef object unfit_pairs(
    Walk* w, Pair* pairs, Py_ssize_t read, Py_ssize_t count, Py_ssize_t head, Py_ssize_t limit, int depth
):
    """The tuple whose payload began with these pairs of a dict, and is after all the list of something else."""
    cdef Py_ssize_t k
    cdef list items = [
        reconsidered(w, pairs[k].start, limit, <object>pairs[k].key, <object>pairs[k].value) for k in range(read)
    ]
    items += <list>given(read_elements(w, count - read, limit - 1, depth + 1))
    return head_of(w, head, limit), list_with_tail(w, items, limit, depth + 1)


cdef object reconsidered(Walk* w, Py_ssize_t start, Py_ssize_t limit, key, value):
    """A 2-tuple whose first element, at `start`, was read as a key: after all no pair of a dict."""
    cdef Form form
    if is_head(w.p[start]):
        key = head_of(w, start, limit)
        form = table_of(w, w.p[start] == STRING).get(name_of(w, start))
        if form is not None:
            made = built(form, name_of(w, start), value)
            if made is not NOT_FIT:
                return made
    return key, value


cdef object head_of(Walk* w, Py_ssize_t start, Py_ssize_t limit):
    """The value of the string or atom at `start`; the walk stays where it is."""
    cdef Py_ssize_t after = w.i
    w.i = start
    head = given(read_term(w, limit, 0, False))
    w.i = after
    return head


cdef bytes name_of(Walk* w, Py_ssize_t start):
    """The name of the string (in Latin-1) or atom (in UTF-8) at `start`, which was read before."""
    cdef const unsigned char* p = w.p + start
    cdef bytes name
    if p[0] == SMALL_ATOM_UTF8 or p[0] == SMALL_ATOM:
        name = p[2 : 2 + p[1]]
    else:
        name = p[3 : 3 + u16(p + 1)]
    if (p[0] == ATOM or p[0] == SMALL_ATOM) and not name.isascii():
        return name.decode("latin-1").encode()
    return name


cdef object built(Form form, bytes name, content):
    """What a form makes of a payload that was read like any term."""
    if form.kind == USER_FORM:
        what = f"the decoder of {name.decode('utf-8', 'replace')!r}"
        return callout.run(errors.DecodeError, what, form.builder, content)
    if form.kind == LEAF_FORM or form.kind == DATETIME_FORM:
        return form.builder(content)
    if form.kind == BYTES_FORM:
        if type(content) is str:
            content = content.encode()
        return form.builder(content) if type(content) is bytes else NOT_FIT
    if form.kind == ARRAY_FORM:
        if type(content) is not tuple or len(content) != 3:
            return NOT_FIT
        dtype, shape, elements = content
        return form.builder(dtype, shape, elements.encode() if type(elements) is str else elements)
    if type(content) is not list:
        return NOT_FIT
    if form.kind == SET_FORM:
        keys = values = content
    elif all([type(pair) is tuple and len(pair) == 2 for pair in content]):
        keys, values = [pair[0] for pair in content], [pair[1] for pair in content]
    else:
        return NOT_FIT
    members = forms.dict_of(keys, values)
    return form.builder(members) if members is not None and len(members) == len(content) else NOT_FIT


cdef int same_spelling(Walk* w, Pair* pairs, Py_ssize_t n) except -1:
    """Whether keys that are equal in Python are the same term as well (1 and true, say, are not); TOLD_APART where they are
    not, and are not equal any more.
    """
    cdef Py_ssize_t k
    cdef list keys = [<object>pairs[k].key for k in range(n)], starts = [pairs[k].start for k in range(n)]
    if same_terms(w, keys, starts):
        return 1
    apart = forms.told_apart(keys, starts, <bytes>w.data, raw_term)
    if apart is None:
        return 0
    for k in range(n):
        Py_INCREF(<PyObject*>apart[k])
        Py_DECREF(pairs[k].key)
        pairs[k].key = <PyObject*>apart[k]
    return TOLD_APART


def raw_term(data):
    """A whole term, binaries as `bytes`."""
    from erl.codec.options import BINARIES_BYTES, Options

    return decode(data, Options.from_flags(BINARIES_BYTES))


cdef bint same_terms(Walk* w, list keys, list starts) except -1:
    from erl.codec.extents import end_of_term

    cdef bytes data = <bytes>w.data
    cdef dict first = {}
    for key, start in zip(forms.hashables(keys), starts, strict=True):
        other = first.setdefault(key, start)
        if other != start and data[start : end_of_term(data, start)] != data[other : end_of_term(data, other)]:
            return False
    return True


cdef object read_unfit(Walk* w, form, Py_ssize_t head, Py_ssize_t limit, int depth):
    content = given(read_term(w, limit, depth, False))
    return head_of(w, head, limit), content


cdef object read_other_form(Walk* w, known, Py_ssize_t head, Py_ssize_t limit, int depth):
    """`{Tag, Payload}`, the walk at the payload: its value, or the tuple where the payload does not fit."""
    cdef Form form = <Form>known
    cdef const unsigned char* p = w.p + w.i
    cdef Py_ssize_t room = limit - w.i
    if room < 1:
        given(truncated())
    if form.kind == SET_FORM and p[0] == LIST:
        return read_set(w, form, head, limit, depth)
    if form.kind == BYTES_FORM and p[0] == BINARY:
        return form.builder(binary(w, limit))
    if form.kind == ARRAY_FORM and p[0] == SMALL_TUPLE and room >= 3 and p[1] == 3:
        if p[2] == STRING or p[2] == BINARY or p[2] == LIST:
            return read_array(w, form, head, limit, depth)
    if form.kind == DATETIME_FORM and p[0] == SMALL_TUPLE and room >= 2 and p[1] == 8:
        return read_datetime(w, form, head, limit, depth)
    content = given(read_term(w, limit, depth, False))
    if form.kind == ARRAY_FORM:     # of the right payload, the binary was read as bytes
        made = NOT_FIT
    elif form.kind == SET_FORM:
        made = form.builder(content) if p[0] == NIL or p[0] == STRING else NOT_FIT
    else:
        made = built(form, name_of(w, head), content)
    return made if made is not NOT_FIT else (head_of(w, head, limit), content)


cdef object read_datetime(Walk* w, Form form, Py_ssize_t head, Py_ssize_t limit, int depth):
    """`{"datetime", {Y, Mo, D, H, Mi, S, Us, Tz}}`, the walk at the payload: what `erl.codec.forms` makes of it."""
    cdef const unsigned char* p = w.p
    cdef Py_ssize_t i = w.i + 2
    cdef int parts[7]
    cdef int k
    for k in range(7):
        if limit - i >= 2 and p[i] == SMALL_INTEGER:
            parts[k] = p[i + 1]
            i += 2
        elif limit - i >= 5 and p[i] == INTEGER:
            parts[k] = <int32_t>u32(p + i + 1)
            i += 5
        else:
            content = given(read_term(w, limit, depth, False))
            made = form.builder(content)
            return made if made is not NOT_FIT else (head_of(w, head, limit), content)
    if depth + 1 > max_depth:
        given(too_deep())
    w.i = i
    zone = given(read_term(w, limit, depth + 1, False))
    if not datetime_ready():
        given(NULL)
    if zone is None or is_zone(zone):
        try:
            return given(new_datetime(parts, <PyObject*>zone))
        except (ValueError, OverflowError):
            pass
    content = (parts[0], parts[1], parts[2], parts[3], parts[4], parts[5], parts[6], zone)
    made = form.builder(content)    # also the names of zones
    return made if made is not NOT_FIT else (head_of(w, head, limit), content)


cdef bytes binary(Walk* w, Py_ssize_t limit):
    """The bytes of the BINARY_EXT at the walk."""
    cdef Py_ssize_t room = limit - w.i
    if room < 5 or <Py_ssize_t>u32(w.p + w.i + 1) > room - 5:
        given(truncated())
    return block(w, w.i + 5, u32(w.p + w.i + 1))


cdef object read_set(Walk* w, Form form, Py_ssize_t head, Py_ssize_t limit, int depth):
    cdef Py_ssize_t count, k
    cdef list elements = [], starts = []
    w.i += 5
    if w.i > limit:
        given(truncated())
    count = u32(w.p + w.i - 4)
    if depth + 1 > max_depth:
        given(too_deep())
    if count >= limit - w.i:
        given(truncated())
    for k in range(count):
        starts.append(w.i)
        elements.append(given(read_term(w, limit - (count - k), depth + 1, True)))
    if w.p[w.i] == NIL:
        members = forms.dict_of(elements, elements)
        if members is not None and len(members) != count and not same_terms(w, elements, starts):
            apart = forms.told_apart(elements, starts, <bytes>w.data, raw_term)
            members = None if apart is None else forms.dict_of(apart, apart)
        if members is not None:
            w.i += 1
            return form.builder(members)
    for k in range(count):
        if w.p[<Py_ssize_t>starts[k]] == STRING:
            elements[k] = list(elements[k].encode("latin-1"))
    return head_of(w, head, limit), list_with_tail(w, elements, limit, depth + 1)


cdef object read_flat_timedelta(Walk* w, Py_ssize_t limit, int depth):
    """`{"timedelta", Days, Seconds, Microseconds}`, as earlier bridges wrote it."""
    parts = given(read_plain_tuple(w, 4, limit, depth))
    made = forms.timedelta(parts[1:])
    return parts if made is NOT_FIT else made


cdef object read_reference(Walk* w, Py_ssize_t limit, int depth):
    """`{'$py.ref', Worker, Incarnation, Id}`: the object itself."""
    parts = given(read_plain_tuple(w, 4, limit, depth))
    _, worker, incarnation, number = parts
    if type(worker) is terms.Pid and type(incarnation) is int and type(number) is int:
        return (<Tables>w.tables).references.resolve(worker, incarnation, number)
    return parts


cdef object read_opaque(Walk* w, Py_ssize_t limit, int depth):
    """`{'$erlport.opaque', Language, Bytes}`, the walk at the language."""
    language = given(read_term(w, limit - 1, depth, False))
    if not w.tagged:
        return read_opaque_of_erlport(w, language, limit, depth)
    if w.p[w.i] == BINARY and type(language) is terms.Atom and language in ("python", "erlang"):
        content = binary(w, limit)
        if language == "erlang":
            return terms.OpaqueErlang(content)
        return (<Tables>w.tables).pickles.loads(content)
    return terms.Atom("$erlport.opaque"), language, given(read_term(w, limit, depth, False))


cdef object read_opaque_of_erlport(Walk* w, language, Py_ssize_t limit, int depth):
    if w.p[w.i] == BINARY and type(language) is plain.Atom:
        content = binary(w, limit)
        if language == b"python":
            return (<Tables>w.tables).pickles.loads(content, unsigned=True)
        return plain.OpaqueObject(content, language)
    return plain.OpaqueObject.marker, language, given(read_term(w, limit, depth, False))


cdef object read_triple(Walk* w, const unsigned char* name, Py_ssize_t size, Py_ssize_t limit, int depth):
    """`{Name, First, Second}`, where Haystack's forms are on; the walk at the name."""
    parts = given(read_plain_tuple(w, 3, limit, depth))
    builder = (<Tables>w.tables).triples.get(name[:size])
    made = NOT_FIT if builder is None else builder(parts[1], parts[2])
    return parts if made is NOT_FIT else made


cdef object read_array(Walk* w, Form form, Py_ssize_t head, Py_ssize_t limit, int depth):
    """`{"ndarray", {Dtype, Shape, Binary}}`, the walk at the payload."""
    if depth + 1 > max_depth:
        given(too_deep())
    w.i += 2
    if 3 > limit - w.i:
        given(truncated())
    dtype = given(read_term(w, limit - 2, depth + 1, False))
    shape = given(read_term(w, limit - 1, depth + 1, False))
    made, last = with_bytes(w, form.builder, dtype, shape, limit, depth + 1)
    return made if made is not NOT_FIT else (head_of(w, head, limit), (dtype, shape, last))


cdef object read_matrix(Walk* w, Py_ssize_t limit, int depth):
    """`{matrix, Rows, Cols, Binary}`, the walk at the head."""
    head = given(read_term(w, limit - 3, depth, False))
    rows = given(read_term(w, limit - 2, depth, False))
    columns = given(read_term(w, limit - 1, depth, False))
    made, last = with_bytes(w, (<Tables>w.tables).matrix, rows, columns, limit, depth)
    return made if made is not NOT_FIT else (head, rows, columns, last)


cdef tuple with_bytes(Walk* w, builder, first, second, Py_ssize_t limit, int depth):
    """What a builder makes of two terms and the next one, which is read as bytes if it is a binary; that one as well where
    the builder makes nothing.
    """
    if w.p[w.i] == BINARY:
        content = binary(w, limit)
        made = builder(first, second, content)
        if made is not NOT_FIT:
            return made, None
        return made, content.decode() if w.text else content
    return NOT_FIT, given(read_term(w, limit, depth, False))
