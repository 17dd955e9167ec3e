# Atoms and short strings, each made once: two tables of fixed size, where a newcomer takes the place of the one before.

from erl.codec import atoms as _atom_values

cdef enum:
    ATOM_SLOTS = 2048
    STRING_SLOTS = 1024
    STRING_BYTES = 32       # longer strings are not remembered

# The first and the last bytes of a name: with its size, all of it up to 16 bytes.
cdef struct Ends:
    uint64_t first
    uint64_t last

cdef struct AtomSlot:
    Ends ends
    PyObject* name          # bytes
    PyObject* value
    int kind                # 1: in Latin-1, plus twice the mapping

cdef struct StringSlot:
    Ends ends
    PyObject* string        # in ASCII

cdef AtomSlot atom_slots[ATOM_SLOTS]
cdef StringSlot string_slots[STRING_SLOTS]

cdef enum:
    NONE_FLAGS = 6144       # which atom is None: bits 11 and 12
    NONE_SHIFT = 11

cdef tuple _nones = ("undefined", "nil", "none")

ctypedef PyObject* (*slow_atom)(AtomSlot*, const unsigned char*, Py_ssize_t, int) noexcept


cdef inline Ends ends_of(const unsigned char* name, Py_ssize_t size) noexcept:
    cdef Ends ends
    cdef uint32_t four
    cdef uint16_t two
    ends.first = ends.last = 0
    if size >= 8:
        memcpy(&ends.first, name, 8)
        memcpy(&ends.last, name + size - 8, 8)
    elif size >= 4:
        memcpy(&four, name, 4)
        ends.first = four
        memcpy(&four, name + size - 4, 4)
        ends.last = four
    elif size >= 2:
        memcpy(&two, name, 2)
        ends.first = two
        memcpy(&two, name + size - 2, 2)
        ends.last = two
    elif size:
        ends.first = name[0]
    return ends


cdef inline uint32_t hashed(const Ends* ends, Py_ssize_t size) noexcept:
    cdef uint64_t hash = (ends.first ^ <uint64_t>size) * <uint64_t>0x9E3779B97F4A7C15
    hash = (hash ^ hash >> 32 ^ ends.last) * <uint64_t>0xC2B2AE3D27D4EB4F
    return <uint32_t>(hash >> 32)


cdef inline bint same_bytes(
    const Ends* one, const Ends* other, const void* here, const unsigned char* there, Py_ssize_t size
) noexcept:
    """Whether two names of the same size are equal."""
    if one.first != other.first or one.last != other.last:
        return False
    return size <= 16 or memcmp(here, there, size) == 0


cdef inline int atoms_of(int flags) noexcept:
    """How atoms are mapped: 1 as ErlPort's, else twice which of `_nones` is None."""
    return 1 if flags & 16 else (flags & NONE_FLAGS) >> NONE_SHIFT << 1


cdef PyObject* atom(const unsigned char* name, Py_ssize_t size, bint latin1, int mapping) noexcept:
    """The value of the atom: an `Atom` (that of `erl.values.plain` for ErlPort), or None, True, False. See `atoms_of`."""
    cdef Ends ends = ends_of(name, size)
    cdef int kind = latin1 + 2 * mapping
    cdef AtomSlot* slot = &atom_slots[(hashed(&ends, size) + kind) % ATOM_SLOTS]
    if (
        slot.name != NULL
        and slot.kind == kind
        and PyBytes_GET_SIZE(slot.name) == size
        and same_bytes(&slot.ends, &ends, PyBytes_AS_STRING(slot.name), name, size)
    ):
        Py_INCREF(slot.value)
        return slot.value
    return (<slow_atom>new_atom)(slot, name, size, kind)


cdef object new_atom(AtomSlot* slot, const unsigned char* name, Py_ssize_t size, int kind):
    spelled = given(PyBytes_FromStringAndSize(<const char*>name, size))
    value = _atom_values.meet(spelled, latin1=kind & 1, none=_nones[kind >> 2], erlport=kind >> 1 & 1)
    cdef PyObject* old_name = slot.name
    cdef PyObject* old_value = slot.value
    slot.ends = ends_of(name, size)
    slot.name = <PyObject*>spelled
    slot.value = <PyObject*>value
    slot.kind = kind
    Py_INCREF(slot.name)
    Py_INCREF(slot.value)
    Py_XDECREF(old_name)
    Py_XDECREF(old_value)
    return value


cdef inline bint is_ascii(const Ends* ends, const unsigned char* text, Py_ssize_t size) noexcept:
    cdef uint64_t word, seen = ends.first | ends.last
    while size > 16:
        text += 8
        size -= 8
        memcpy(&word, text, 8)
        seen |= word
    return (seen & <uint64_t>0x8080808080808080) == 0


cdef inline bint all_ascii(const unsigned char* text, Py_ssize_t size) noexcept:
    cdef Ends ends = ends_of(text, size)
    return is_ascii(&ends, text, size)


cdef PyObject* key_string(const unsigned char* text, Py_ssize_t size, bint latin1) noexcept:
    """A `str` in the place of a key: likely to come again, so a short one in ASCII is remembered with its hash."""
    cdef Ends ends = ends_of(text, size)
    cdef StringSlot* slot
    cdef PyObject* string
    if size > STRING_BYTES or not is_ascii(&ends, text, size):
        if latin1:
            return PyUnicode_DecodeLatin1(<const char*>text, size, NULL)
        return PyUnicode_DecodeUTF8(<const char*>text, size, NULL)
    slot = &string_slots[hashed(&ends, size) % STRING_SLOTS]
    string = slot.string
    if (
        string == NULL
        or PyUnicode_GET_LENGTH(string) != size
        or not same_bytes(&slot.ends, &ends, PyUnicode_DATA(string), text, size)
    ):
        string = PyUnicode_DecodeLatin1(<const char*>text, size, NULL)
        if string == NULL:
            return NULL
        Py_XDECREF(slot.string)
        slot.ends = ends
        slot.string = string
    Py_INCREF(string)
    return string


cdef object _nan = _atom_values.FLOATS["nan"]
cdef object _infinity = _atom_values.FLOATS["infinity"]
cdef object _minus_infinity = _atom_values.FLOATS["-infinity"]


cdef inline bint is_float_name(const unsigned char* name, Py_ssize_t size) noexcept:
    """Whether the atom is a number among Haystack's."""
    return is_name(name, size, "nan", 3) or is_name(name, size, "infinity", 8) or is_name(name, size, "-infinity", 9)


cdef PyObject* float_named(int first) noexcept:
    """The float of such an atom, by the first letter of its name."""
    cdef PyObject* value
    if first == 110:
        value = <PyObject*>_nan
    elif first == 105:
        value = <PyObject*>_infinity
    else:
        value = <PyObject*>_minus_infinity
    Py_INCREF(value)
    return value
