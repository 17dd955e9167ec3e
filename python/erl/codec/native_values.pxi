# Values of every other type, written: what the second half of `erl.codec.writer` does. A way is found by exact type and
# remembered until an encoder is registered. Each function returns 1, or 0 with an exception.

cdef enum:
    DATETIME_BYTES = 64     # the most of the form of a datetime, but its zone
    MAX_WAYS = 4096
    SURELY_SHORT_BYTES = 65536

cdef enum:
    BUILT_IN_WAY
    BYTES_ATOM_WAY
    LIST_WAY
    TAG_WAY
    MAP_WAY
    ERLPORT_MAP_WAY
    ERLPORT_OPAQUE_WAY
    IMPROPER_WAY
    BITS_WAY
    HANDLE_WAY
    OPAQUE_ERLANG_WAY
    ENCODER_WAY
    FORM_WAY
    DATETIME_WAY
    FOREIGN_WAY
    REFERENCE_WAY
    PICKLE_WAY


cdef class Way:
    """How values of a type are written."""

    cdef int code
    cdef object function

    def __cinit__(self, int code, function=None):
        self.code = code
        self.function = function


cdef dict _built_in_ways = {
    **{kind: Way(BUILT_IN_WAY) for kind in (type(None), bool, int, float, str, bytes, list, tuple, dict, terms.Atom)},
    plain.Atom: Way(BYTES_ATOM_WAY),
    plain.List: Way(LIST_WAY),
    plain.Map: Way(ERLPORT_MAP_WAY),
    plain.ImproperList: Way(IMPROPER_WAY),
    plain.OpaqueObject: Way(ERLPORT_OPAQUE_WAY),
    terms.Tag: Way(TAG_WAY),
    terms.Map: Way(MAP_WAY),
    terms.ImproperList: Way(IMPROPER_WAY),
    terms.BitString: Way(BITS_WAY),
    terms.OpaqueErlang: Way(OPAQUE_ERLANG_WAY),
    terms.Pid: Way(HANDLE_WAY),
    terms.Port: Way(HANDLE_WAY),
    terms.Reference: Way(HANDLE_WAY),
    terms.Fun: Way(HANDLE_WAY),
}
cdef Way _pickle_way = Way(PICKLE_WAY)
cdef Way _reference_way = Way(REFERENCE_WAY)
cdef Way _foreign_way = Way(FOREIGN_WAY)
cdef frozenset _bound = frozenset((("builtins", "module"), ("builtins", "code"), ("builtins", "memoryview")))

def _find_way(kind, encoders, tagged, forms_flags):
    """The rules, first to last: a registered encoder, what the codec knows, a form, a reference, a pickle."""
    if tagged:
        encoder = encoders.lookup(kind)
        if encoder is not None:
            return Way(ENCODER_WAY, encoder)
    way = _built_in_ways.get(kind)
    if way is not None:
        return way
    if tagged:
        from erl.codec import simplify, standard

        simplifier = simplify.of_type(kind, forms_flags)
        if simplifier is not None:
            return Way(DATETIME_WAY if simplifier is standard.datetime else FORM_WAY, simplifier)
    if kind.__module__ == "erlang":
        return _foreign_way
    # What has a place or a state in this process that a copy would not share.
    if hasattr(kind, "__next__") or (kind.__module__, kind.__qualname__) in _bound:
        return _reference_way
    return _pickle_way


cdef Way way_of(kind, Out* o):
    cdef Mode* mode = o.mode
    cdef Tables tables = <Tables>o.tables
    cdef dict ways = <dict>tables.ways[mode.index]
    way = ways.get(kind)
    if way is None:
        what = f"finding out how to encode a {kind.__name__}"
        flags = mode.forms | STRINGS_BINARY if mode.strings_binary else mode.forms
        way = callout.run(errors.EncodeError, what, _find_way, kind, tables.encoders, mode.tagged, flags)
        if len(ways) >= MAX_WAYS:
            ways.clear()
        ways[kind] = way
    return way


cdef int write_other(Out* o, value, int depth) except 0:
    cdef Way way = way_of(type(value), o)
    cdef int code = way.code
    if code == BUILT_IN_WAY:
        return write_built_in(o, value, depth)
    if code == DATETIME_WAY and o.mode.fast:
        return write_datetime(o, value, depth)
    if code == FORM_WAY or code == DATETIME_WAY:
        from erl.codec.standard import NO_FORM

        simpler = way.function(value)
        return write_pickle(o, value, depth) if simpler is NO_FORM else wrote(write_value(o, <PyObject*>simpler, depth))
    if code == TAG_WAY:
        return wrote(string_ready(<PyObject*>value) == 0 and write_points(o, <PyObject*>value))
    if code == MAP_WAY:
        content = value.content
        return wrote(write_map(o, <PyObject*>content, depth))
    if code == ERLPORT_MAP_WAY:
        return wrote(write_map(o, <PyObject*>value, depth))
    if code == BYTES_ATOM_WAY:
        name = bytes(value).decode("latin-1")
        return wrote(write_atom(o, <PyObject*>name))
    if code == LIST_WAY:
        return wrote(write_list(o, <PyObject*>value, depth))
    if code == HANDLE_WAY:
        return write_raw(o, value.external)
    if code == ENCODER_WAY:
        what = f"the encoder of {type(value).__name__}"
        simpler = callout.run(errors.EncodeError, what, way.function, value)
        return wrote(deeper(depth, 1) and write_value(o, <PyObject*>simpler, depth + 1))
    if code == IMPROPER_WAY:
        return write_improper(o, value, depth)
    if code == BITS_WAY:
        wrote(put_head(o, BIT_BINARY, len(value.data)) and put_tag(o, <int>value.bits))
        return write_raw(o, value.data)
    if code == OPAQUE_ERLANG_WAY:
        wrote(deeper(depth, 1))
        if not o.mode.tagged:
            from erl.codec.leaves import unwrapped

            return write_raw(o, unwrapped(value.external))
        return write_opaque(o, "erlang", 6, value.external)
    if code == ERLPORT_OPAQUE_WAY:
        return write_opaque_object(o, bytes(value.language), value.data, depth)
    if code == FOREIGN_WAY:
        return write_foreign(o, value, depth)
    if code == REFERENCE_WAY:
        return write_reference(o, value, depth)
    return write_pickle(o, value, depth)


# The zone that was written last, and its bytes: those of a column's values are one object.
cdef tuple _last_zone = (None, None)


cdef int write_datetime(Out* o, value, int depth) except 0:
    """`{"datetime", {Y, Mo, D, H, Mi, S, Us, Tz}}`: what `erl.codec.standard` says, without the tuples."""
    cdef unsigned char* p
    cdef tuple known = _last_zone
    zone = <object>PyDateTime_DATE_GET_TZINFO(value)
    simple = None
    if zone is not None and zone is not known[0]:
        from erl.codec import standard

        simple = standard.zone(zone)
        if simple is standard.NO_FORM:
            return write_pickle(o, value, depth)
    if PyDateTime_DATE_GET_FOLD(value):
        return write_pickle(o, value, depth)
    # A zone is one tuple more.
    wrote(deeper(depth, 3 if zone is not None else 2) and fits(o, DATETIME_BYTES))
    p = o.p + o.n
    memcpy(p, b"h\x02k\x00\x08datetimeh\x08", 15)
    p += 15
    p += spell_int(p, PyDateTime_GET_YEAR(value))
    p += spell_int(p, PyDateTime_GET_MONTH(value))
    p += spell_int(p, PyDateTime_GET_DAY(value))
    p += spell_int(p, PyDateTime_DATE_GET_HOUR(value))
    p += spell_int(p, PyDateTime_DATE_GET_MINUTE(value))
    p += spell_int(p, PyDateTime_DATE_GET_SECOND(value))
    p += spell_int(p, PyDateTime_DATE_GET_MICROSECOND(value))
    o.n = p - o.p
    if zone is None:
        return wrote(write_value(o, <PyObject*>zone, depth + 2))
    if simple is None:
        return write_raw(o, known[1])
    return write_zone(o, zone, simple, depth)


cdef int write_zone(Out* o, zone, simple, int depth) except 0:
    """The zone of a datetime in its form, the next time at once: what has a form is of the standard library and stays what it is."""
    global _last_zone
    cdef Py_ssize_t start = o.n
    wrote(write_value(o, <PyObject*>simple, depth + 2))
    _last_zone = (zone, (<char*>o.p)[start : o.n])
    return 1


cdef inline int wrote(bint done) except 0:
    """From the one convention to the other."""
    if not done:
        given(NULL)
    return 1


cdef int write_built_in(Out* o, value, int depth) except 0:
    """A value of the codec's own types, while an encoder is registered for another of them; or large bytes to be shared."""
    if type(value) is tuple:
        return wrote(write_tuple(o, <PyObject*>value, depth))
    if type(value) is list:
        return wrote(write_list(o, <PyObject*>value, depth))
    if type(value) is dict:
        return wrote(write_dict(o, <PyObject*>value, depth))
    if type(value) is bytes and o.mode.forms & SHARED and len(value) >= SHARED_BYTES:
        from erl.codec import shared

        simpler = shared.of_bytes(value)
        if simpler is None:
            return wrote(write_bytes(o, <PyObject*>value))
        return wrote(write_value(o, <PyObject*>simpler, depth))
    return wrote(write_leaf(o, <PyObject*>value, Py_TYPE(<PyObject*>value)) > 0)


cdef int write_big(Out* o, value, int depth) except 0:
    """An integer of more than 64 bits."""
    cdef Py_ssize_t width = value.bit_length()
    cdef Py_ssize_t size = (width + 7) // 8
    if size > SURELY_SHORT_BYTES:
        from erl.codec.writer import MAX_INTEGER_BYTES

        if size > <Py_ssize_t>MAX_INTEGER_BYTES:
            raise errors.EncodeError(f"an int of {size} bytes: Erlang's have at most {MAX_INTEGER_BYTES}")
    cdef bint negative = value < 0
    digits = (-value if negative else value).to_bytes(size, "little")
    if size > 255:
        wrote(put_head(o, LARGE_BIG, size))
    else:
        wrote(put_tag(o, SMALL_BIG) and put_tag(o, <int>size))
    wrote(put_tag(o, negative))
    return write_raw(o, digits)


cdef int write_raw(Out* o, bytes content) except 0:
    return wrote(put(o, PyBytes_AS_STRING(<PyObject*>content), len(content)))


cdef int write_improper(Out* o, value, int depth) except 0:
    cdef tuple items = tuple(value)
    if not items:
        raise errors.EncodeError("an improper list has lost its elements")
    tail = value.tail
    wrote(deeper(depth, 1) and put_head(o, LIST, len(items)))
    for item in items:
        wrote(write_value(o, <PyObject*>item, depth + 1))
    return wrote(write_value(o, <PyObject*>tail, depth + 1))


cdef int write_opaque(Out* o, const char* language, Py_ssize_t size, bytes content) except 0:
    wrote(
        put(o, b"h\x03", 2)
        and write_name(o, "$erlport.opaque", 15)
        and write_name(o, language, size)
        and put_head(o, BINARY, len(content))
    )
    return write_raw(o, content)


cdef int write_opaque_object(Out* o, bytes language, bytes data, int depth) except 0:
    """An object of ErlPort's API, of any language."""
    wrote(deeper(depth, 1))
    if language == b"erlang" and not o.mode.tagged:
        from erl.codec.leaves import unwrapped

        return write_raw(o, unwrapped(data))
    name = language.decode("latin-1")
    wrote(put(o, b"h\x03", 2) and write_name(o, "$erlport.opaque", 15) and write_atom(o, <PyObject*>name))
    wrote(put_head(o, BINARY, len(data)))
    return write_raw(o, data)


cdef int write_pickle(Out* o, value, int depth) except 0:
    """As a pickle; what can't be pickled, as a reference."""
    wrote(deeper(depth, 1))
    try:
        pickled = (<Tables>o.tables).pickles.dumps(value, 5 if o.mode.tagged else 2)
    except errors.NotPicklableError:
        return write_reference(o, value, depth)
    return write_opaque(o, "python", 6, pickled)


cdef int write_reference(Out* o, value, int depth) except 0:
    term = (<Tables>o.tables).references.hold(value)
    return wrote(write_value(o, <PyObject*>term, depth))


cdef int write_foreign(Out* o, value, int depth) except 0:
    """An object of erlang-py's own classes; checked, because erlang-py does not."""
    from struct import error

    from erl.codec.extents import end_of_term
    from erl.codec.leaves import external_of

    external = external_of(value)
    if external is None:
        return write_pickle(o, value, depth)
    try:
        whole = end_of_term(external, 0) == len(external)
    except (errors.DecodeError, IndexError, error):
        whole = False
    if not whole:
        raise errors.EncodeError(f"{callout.shown(value)} is not a term")
    return write_raw(o, external)
