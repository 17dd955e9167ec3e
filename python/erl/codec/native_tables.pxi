# What the codec has found out for one conversation (`erl.values.scope`): what is registered there, as it looks it up, and
# how types are written.

from erl.codec import forms
from erl.values.scope import _entered as _scope_variable

cdef extern from "Python.h":
    int PyContextVar_Get(PyObject*, PyObject*, PyObject**)

cdef enum:
    LEAF_FORM
    DICT_FORM
    SET_FORM
    BYTES_FORM
    ARRAY_FORM
    DATETIME_FORM
    USER_FORM

cdef enum:
    STRINGS_BINARY = 1
    FORMS = 2016            # the flags that add forms: bits 5 to 10
    PLAIN_MODE = 256
    MODES = 257

cdef struct Mode:
    bint strings_binary
    bint dicts_map
    bint tagged
    bint fast               # no encoder is registered for a type of the codec's own
    int forms               # the flags that add forms
    int index


cdef class Form:
    cdef int kind
    cdef bint plain         # a dict's own form: nothing is left to build
    cdef object builder

    def __cinit__(self, int kind, builder):
        self.kind = kind
        self.builder = builder
        self.plain = kind == DICT_FORM and builder is forms.DICTS[b"dict"]


cdef class Tables:
    cdef object scope
    cdef object encoders
    cdef object decoders
    cdef object references
    cdef object pickles
    cdef list made              # what the main thread has made that Erlang does not know yet
    cdef list top_encoder       # empty, or a function that all goes through
    cdef list top_decoder
    cdef dict atom_forms
    cdef dict string_forms
    cdef dict haystack_atom_forms
    cdef dict haystack_string_forms
    cdef dict triples           # builders, of `{Atom, First, Second}`
    cdef object matrix
    cdef bint haystack_collected
    cdef Form dict_form         # what "dict" stands for, found without a look into the table
    # By table (of atoms, of strings, the same with Haystack's forms, triples) and first byte of the name, a bit for each
    # length (from 63 on they share one) that some form has.
    cdef uint64_t form_lengths[5][256]
    # By `strings_binary`, twice `dicts_map` and the forms' flags from 4 on; the last is ErlPort's.
    cdef Mode modes[MODES]
    cdef list ways              # by the index of the mode

    def __cinit__(self, scope):
        self.scope = scope
        self.encoders = scope.encoders
        self.decoders = scope.decoders
        self.references = scope.references
        self.pickles = scope.pickles
        self.made = scope.references.made
        self.top_encoder = scope.encoders.top
        self.top_decoder = scope.decoders.top
        self.atom_forms = {}
        self.string_forms = {}
        self.haystack_atom_forms = {}
        self.haystack_string_forms = {}
        self.triples = {}
        self.ways = [{} for _ in range(MODES)]
        self.collect()
        self.forget()
        self.decoders.watch(self.collect)
        self.encoders.watch(self.forget)

    def collect(self):
        """What stands for something when it heads a 2-tuple; a registered decoder hides a form of the codec's."""
        self.string_forms.clear()
        self.atom_forms.clear()
        kinds = (
            (LEAF_FORM, forms.LEAVES), (DICT_FORM, forms.DICTS), (SET_FORM, forms.SETS), (BYTES_FORM, forms.BYTES),
            (ARRAY_FORM, forms.ARRAYS),
        )
        for kind, table in kinds:
            for name, builder in table.items():
                self.string_forms[name] = Form(kind, builder)
        self.string_forms[b"datetime"] = Form(DATETIME_FORM, forms.LEAVES[b"datetime"])
        self.atom_forms[b"bytes"] = Form(BYTES_FORM, bytes)
        for name, builder in forms.ATOMS.items():
            self.atom_forms[name] = Form(LEAF_FORM, builder)
        for name, decoder in self.decoders.strings.items():
            self.string_forms[name] = Form(USER_FORM, decoder)
        for name, decoder in self.decoders.atoms.items():
            self.atom_forms[name] = Form(USER_FORM, decoder)
        self.dict_form = self.string_forms[b"dict"]
        self.measure(0, self.atom_forms)
        self.measure(1, self.string_forms)
        self.haystack_collected = False

    cdef int collect_haystack(self) except -1:
        """The tables with Haystack's forms; a registered decoder hides one of those, too."""
        from erl.codec import haystack
        from erl.values import arrays

        self.haystack_string_forms.clear()
        self.haystack_atom_forms.clear()
        for name, builder in haystack.LEAVES.items():
            self.haystack_atom_forms[name] = Form(LEAF_FORM, builder)
        self.haystack_string_forms.update(self.string_forms)
        self.haystack_atom_forms.update(self.atom_forms)
        self.triples.update(haystack.TRIPLES)
        self.matrix = arrays.matrix
        self.measure(2, self.haystack_atom_forms)
        self.measure(3, self.haystack_string_forms)
        self.measure(4, self.triples)
        self.haystack_collected = True
        return 0

    cdef int measure(self, int number, dict table) except -1:
        """Note which lengths the names of a table have."""
        cdef int first
        for first in range(256):
            self.form_lengths[number][first] = 0
        for name in table:
            first = name[0] if name else 0
            self.form_lengths[number][first] |= length_bit(len(name))
        return 0

    def forget(self):
        """How types are written is found anew: what is registered has changed."""
        cdef int index
        cdef bint untouched = not any(map(self.encoders.lookup, _built_in_ways))
        for index in range(MODES):
            (<dict>self.ways[index]).clear()
            self.modes[index].tagged = index != PLAIN_MODE
            self.modes[index].strings_binary = self.modes[index].tagged and index & 1
            self.modes[index].dicts_map = not self.modes[index].tagged or index & 2
            self.modes[index].forms = index << 3 & FORMS if self.modes[index].tagged else 0
            self.modes[index].fast = untouched or not self.modes[index].tagged
            self.modes[index].index = index


cdef inline uint64_t length_bit(Py_ssize_t size) noexcept:
    return <uint64_t>1 << (size if size < 63 else 63)


# Those that were asked for last, which keep their scope alive.
cdef PyObject* _last_scope = NULL
cdef Tables _last_tables = None


cdef Tables tables_of(scope):
    """Those of a conversation, made with its first term."""
    tables = scope.caches.get("erl.codec.native")
    if tables is None:
        tables = scope.caches["erl.codec.native"] = Tables(scope)
    return tables


cdef Tables current_tables():
    """Those of the conversation that this thread is part of."""
    global _last_scope, _last_tables
    cdef PyObject* scope = NULL
    if PyContextVar_Get(<PyObject*>_scope_variable, NULL, &scope) < 0:
        given(NULL)
    cdef Tables found = _last_tables, before = None
    if scope != _last_scope:
        found = tables_of(<object>scope)
        before = _last_tables   # kept: letting it go may run other code, which must find the two together
        _last_tables = found
        _last_scope = scope
    Py_DECREF(scope)
    return found
