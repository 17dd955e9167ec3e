# The C API of Python as pointers, the tags of the external term format, and numbers in network order.

from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport int32_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memmove

from erl import errors, terms
from erl.values import callout, plain
from erl.codec import options as _limits
from erl.codec import tags

cdef extern from *:
    """
    #if SIZEOF_VOID_P < 8
    #error "sizes of 32 bits have no room here: the codec in Python serves"
    #endif

    /* Leads from pointers, NULL for an exception, to Cython's objects. */
    static CYTHON_INLINE PyObject *erl_given(PyObject *made) { return made; }

    /* Strings that are made but not ready are a matter of Python 3.11 and earlier. */
    #if PY_VERSION_HEX < 0x030C0000
    #define erl_string_ready(string) PyUnicode_READY(string)
    #else
    #define erl_string_ready(string) 0
    #endif

    /* Whether an int has 60 bits at most, and its value: those have two digits. Where digits are others, it is asked for. */
    #include <stdint.h>
    #if PY_VERSION_HEX < 0x030B0000
    #include <longintrepr.h>
    #endif
    #if PYLONG_BITS_IN_DIGIT == 30 && PY_VERSION_HEX < 0x030F0000 && !defined(PYPY_VERSION) && !defined(Py_LIMITED_API)
    static CYTHON_INLINE int erl_is_short_int(PyObject *value, long long *number) {
    #if PY_VERSION_HEX >= 0x030C0000
        const uintptr_t tag = ((PyLongObject *)value)->long_value.lv_tag;   /* count << 3 | 2 for a negative one, 1 for zero */
        const digit *digits = ((PyLongObject *)value)->long_value.ob_digit;
        const uintptr_t count = tag >> 3;
        const int negative = (tag & 3) == 2;
    #else
        const Py_ssize_t size = Py_SIZE(value);
        const digit *digits = ((PyLongObject *)value)->ob_digit;
        const int negative = size < 0;
        const size_t count = (size_t)(negative ? -size : size);
    #endif
        long long magnitude;
        if (count == 0) {
            *number = 0;
            return 1;
        }
        if (count > 2) return 0;
        /* No branch: among numbers of 31 bits every other would be guessed wrong. */
        magnitude = ((long long)digits[count >> 1] << 30 & -(long long)(count >> 1)) | digits[0];
        *number = (magnitude ^ -(long long)negative) + negative;
        return 1;
    }

    /* An int of 32 bits: of two digits, of which the higher may not count. CPython has the smallest as they are; to count the
       digits of others, as it does, is to guess wrong with every other number of 31 bits. */
    static CYTHON_INLINE PyObject *erl_int32(int32_t number) {
        const uint32_t magnitude = number < 0 ? 0 - (uint32_t)number : (uint32_t)number;
        const unsigned count = 1 + (((magnitude >> 30) + 1) >> 1);     /* no branch; the quotient is 0, 1 or 2 */
        PyLongObject *made;
        if (magnitude <= 1024) return PyLong_FromLong(number);
        made = _PyLong_New(2);
        if (made == NULL) return NULL;
    #if PY_VERSION_HEX >= 0x030C0000
        made->long_value.ob_digit[0] = magnitude & 0x3FFFFFFF;
        made->long_value.ob_digit[1] = magnitude >> 30;
        made->long_value.lv_tag = (uintptr_t)count << 3 | (number < 0 ? 2 : 0);
    #else
        made->ob_digit[0] = magnitude & 0x3FFFFFFF;
        made->ob_digit[1] = magnitude >> 30;
        Py_SET_SIZE(made, number < 0 ? -(Py_ssize_t)count : (Py_ssize_t)count);
    #endif
        return (PyObject *)made;
    }
    #else
    #define erl_int32(number) PyLong_FromLong(number)
    static CYTHON_INLINE int erl_is_short_int(PyObject *value, long long *number) {
        int overflow;
        *number = PyLong_AsLongLongAndOverflow(value, &overflow);
        return !overflow;
    }
    #endif

    #if PY_VERSION_HEX >= 0x030D0000
    #define erl_int_from_digits(bytes, size, fallback) PyLong_FromUnsignedNativeBytes( \\
        bytes, size, Py_ASNATIVEBYTES_LITTLE_ENDIAN)
    #else
    #define erl_int_from_digits(bytes, size, fallback) (fallback)(bytes, size)
    #endif
    """
    object given "erl_given" (PyObject*)
    int string_ready "erl_string_ready" (PyObject*)
    bint is_short_int "erl_is_short_int" (PyObject*, long long*) noexcept
    PyObject* int32 "erl_int32" (int32_t) noexcept
    PyObject* int_from_digits "erl_int_from_digits" (const unsigned char*, Py_ssize_t,
        PyObject* (*)(const unsigned char*, Py_ssize_t))

cdef extern from "Python.h":
    ctypedef struct PyObject:
        pass
    ctypedef struct PyTypeObject:
        pass
    PyTypeObject PyLong_Type, PyFloat_Type, PyUnicode_Type, PyBytes_Type, PyBool_Type
    PyTypeObject PyList_Type, PyTuple_Type, PyDict_Type
    PyObject* Py_None
    PyObject* Py_True

    PyTypeObject* Py_TYPE(PyObject*)
    void Py_INCREF(PyObject*)
    void Py_DECREF(PyObject*)
    void Py_XDECREF(PyObject*)

    PyObject* PyLong_FromLong(long)
    PyObject* PyLong_FromLongLong(long long)
    PyObject* PyLong_FromUnsignedLongLong(unsigned long long)
    long long PyLong_AsLongLongAndOverflow(PyObject*, int*)
    PyObject* PyNumber_Negative(PyObject*)
    PyObject* PyFloat_FromDouble(double)
    double PyFloat_AS_DOUBLE(PyObject*)

    PyObject* PyBytes_FromStringAndSize(const char*, Py_ssize_t)
    char* PyBytes_AS_STRING(PyObject*)
    Py_ssize_t PyBytes_GET_SIZE(PyObject*)
    int _PyBytes_Resize(PyObject**, Py_ssize_t)

    PyObject* PyByteArray_FromStringAndSize(const char*, Py_ssize_t)
    char* PyByteArray_AS_STRING(PyObject*)

    PyObject* PyUnicode_DecodeUTF8(const char*, Py_ssize_t, const char*)
    PyObject* PyUnicode_DecodeLatin1(const char*, Py_ssize_t, const char*)
    PyObject* PyUnicode_FromKindAndData(int, const void*, Py_ssize_t)
    const char* PyUnicode_AsUTF8AndSize(PyObject*, Py_ssize_t*)
    Py_ssize_t PyUnicode_GET_LENGTH(PyObject*)
    bint PyUnicode_IS_ASCII(PyObject*)
    int PyUnicode_KIND(PyObject*)
    void* PyUnicode_DATA(PyObject*)
    uint32_t PyUnicode_READ(int, void*, Py_ssize_t)

    PyObject* PyList_New(Py_ssize_t)
    Py_ssize_t PyList_GET_SIZE(PyObject*)
    PyObject* PyList_GET_ITEM(PyObject*, Py_ssize_t)
    void PyList_SET_ITEM(PyObject*, Py_ssize_t, PyObject*)
    PyObject* PyTuple_New(Py_ssize_t)
    Py_ssize_t PyTuple_GET_SIZE(PyObject*)
    PyObject* PyTuple_GET_ITEM(PyObject*, Py_ssize_t)
    void PyTuple_SET_ITEM(PyObject*, Py_ssize_t, PyObject*)
    PyObject* PyDict_New()
    Py_ssize_t PyDict_Size(PyObject*)
    int PyDict_SetItem(PyObject*, PyObject*, PyObject*)
    int PyDict_Next(PyObject*, Py_ssize_t*, PyObject**, PyObject**)

    Py_ssize_t PySet_GET_SIZE(PyObject*)

    void* PyMem_Malloc(size_t)
    void PyMem_Free(void*)
    PyObject* PyErr_NoMemory()
    void PyErr_Clear()
    PyObject* PyBool_FromLong(long)
    PyObject* PyErr_Format(PyObject*, const char*, ...)
    int PyGC_Disable()
    int PyGC_Enable()

    cdef Py_ssize_t PY_SSIZE_T_MAX

cdef enum:
    VERSION = 131
    COMPRESSED = 80
    NEW_FLOAT = 70
    BIT_BINARY = 77
    SMALL_INTEGER = 97
    INTEGER = 98
    FLOAT = 99
    ATOM = 100
    SMALL_TUPLE = 104
    LARGE_TUPLE = 105
    NIL = 106
    STRING = 107
    LIST = 108
    BINARY = 109
    SMALL_BIG = 110
    LARGE_BIG = 111
    SMALL_ATOM = 115
    MAP = 116
    ATOM_UTF8 = 118
    SMALL_ATOM_UTF8 = 119

cdef int max_depth = _limits.MAX_DEPTH
cdef PyObject* decode_error = <PyObject*>errors.DecodeError
cdef PyObject* encode_error = <PyObject*>errors.EncodeError
cdef PyTypeObject* atom_type = <PyTypeObject*><PyObject*>terms.Atom
cdef PyTypeObject* erlport_atom_type = <PyTypeObject*><PyObject*>plain.Atom

cdef PyObject* small_integers[256]
cdef list _small_integers = list(range(256))    # owns them


cdef int _fill_small_integers():
    cdef int number
    for number in range(256):
        small_integers[number] = PyList_GET_ITEM(<PyObject*>_small_integers, number)
    return 0

_fill_small_integers()


cdef inline PyObject* small_integer(int number) noexcept:
    cdef PyObject* made = small_integers[number]
    Py_INCREF(made)
    return made


cdef inline uint16_t u16(const unsigned char* p) noexcept:
    return <uint16_t>((p[0] << 8) | p[1])


cdef inline uint32_t u32(const unsigned char* p) noexcept:
    return (<uint32_t>p[0] << 24) | (<uint32_t>p[1] << 16) | (<uint32_t>p[2] << 8) | p[3]


cdef inline uint64_t u64(const unsigned char* p) noexcept:
    return (<uint64_t>u32(p) << 32) | u32(p + 4)


cdef inline uint64_t low64(const unsigned char* p) noexcept:
    """Eight bytes with the lowest first."""
    return (
        p[0] | <uint64_t>p[1] << 8 | <uint64_t>p[2] << 16 | <uint64_t>p[3] << 24
        | <uint64_t>p[4] << 32 | <uint64_t>p[5] << 40 | <uint64_t>p[6] << 48 | <uint64_t>p[7] << 56
    )


cdef inline void put16(unsigned char* p, uint32_t number) noexcept:
    p[0] = <unsigned char>(number >> 8)
    p[1] = <unsigned char>number


cdef inline void put32(unsigned char* p, uint32_t number) noexcept:
    p[0] = <unsigned char>(number >> 24)
    p[1] = <unsigned char>(number >> 16)
    p[2] = <unsigned char>(number >> 8)
    p[3] = <unsigned char>number


cdef inline void put32_low(unsigned char* p, uint32_t number) noexcept:
    """Four bytes with the lowest first."""
    p[0] = <unsigned char>number
    p[1] = <unsigned char>(number >> 8)
    p[2] = <unsigned char>(number >> 16)
    p[3] = <unsigned char>(number >> 24)


cdef inline void put64(unsigned char* p, uint64_t number) noexcept:
    put32(p, <uint32_t>(number >> 32))
    put32(p + 4, <uint32_t>number)

cdef extern from *:
    """
    #include <datetime.h>

    /* The module is imported with the first datetime that arrives; the parts of one that is there are read without. */
    static int erl_datetime_ready(void) {
        if (PyDateTimeAPI == NULL) PyDateTime_IMPORT;
        return PyDateTimeAPI != NULL;
    }
    static int erl_is_zone(PyObject *zone) { return PyTZInfo_Check(zone); }
    static PyObject *erl_new_datetime(const int *parts, PyObject *zone) {
        return PyDateTimeAPI->DateTime_FromDateAndTime(parts[0], parts[1], parts[2], parts[3], parts[4], parts[5], parts[6],
            zone, PyDateTimeAPI->DateTimeType);
    }
    """
    bint datetime_ready "erl_datetime_ready" ()
    bint is_zone "erl_is_zone" (object)
    PyObject* new_datetime "erl_new_datetime" (const int*, PyObject*)
    int PyDateTime_GET_YEAR(object)
    int PyDateTime_GET_MONTH(object)
    int PyDateTime_GET_DAY(object)
    int PyDateTime_DATE_GET_HOUR(object)
    int PyDateTime_DATE_GET_MINUTE(object)
    int PyDateTime_DATE_GET_SECOND(object)
    int PyDateTime_DATE_GET_MICROSECOND(object)
    bint PyDateTime_DATE_GET_FOLD(object)
    PyObject* PyDateTime_DATE_GET_TZINFO(object)
