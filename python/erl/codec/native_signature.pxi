# Keyed BLAKE2b (RFC 7693), 32 bytes, for what is short: what `hashlib` gives, without its objects, and with the key's own block
# compressed once.

cdef extern from *:
    """
    static const uint64_t erl_blake_iv[8] = {
        0x6a09e667f3bcc908ULL, 0xbb67ae8584caa73bULL, 0x3c6ef372fe94f82bULL, 0xa54ff53a5f1d36f1ULL,
        0x510e527fade682d1ULL, 0x9b05688c2b3e6c1fULL, 0x1f83d9abfb41bd6bULL, 0x5be0cd19137e2179ULL};

    static const unsigned char erl_blake_order[10][16] = {
        {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3},
        {11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4}, {7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8},
        {9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13}, {2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9},
        {12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11}, {13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10},
        {6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5}, {10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0}};

    #define ERL_TURN(word, by) (((word) >> (by)) | ((word) << (64 - (by))))
    #define ERL_MIX(a, b, c, d, x, y) \\
        a += b + (x); d = ERL_TURN(d ^ a, 32); c += d; b = ERL_TURN(b ^ c, 24); \\
        a += b + (y); d = ERL_TURN(d ^ a, 16); c += d; b = ERL_TURN(b ^ c, 63);

    static uint64_t erl_low64(const unsigned char *p) {
        uint64_t word = 0;
        for (int i = 7; i >= 0; i--) word = word << 8 | p[i];
        return word;
    }

    /* One block; so many bytes there are with it. */
    static void erl_blake_block(uint64_t *h, const unsigned char *block, uint64_t bytes, int is_last) {
        uint64_t v[16], m[16];
        for (int i = 0; i < 16; i++) m[i] = erl_low64(block + 8 * i);
        for (int i = 0; i < 8; i++) { v[i] = h[i]; v[i + 8] = erl_blake_iv[i]; }
        v[12] ^= bytes;
        if (is_last) v[14] = ~v[14];
        for (int round = 0; round < 12; round++) {
            const unsigned char *s = erl_blake_order[round % 10];
            ERL_MIX(v[0], v[4], v[8], v[12], m[s[0]], m[s[1]])
            ERL_MIX(v[1], v[5], v[9], v[13], m[s[2]], m[s[3]])
            ERL_MIX(v[2], v[6], v[10], v[14], m[s[4]], m[s[5]])
            ERL_MIX(v[3], v[7], v[11], v[15], m[s[6]], m[s[7]])
            ERL_MIX(v[0], v[5], v[10], v[15], m[s[8]], m[s[9]])
            ERL_MIX(v[1], v[6], v[11], v[12], m[s[10]], m[s[11]])
            ERL_MIX(v[2], v[7], v[8], v[13], m[s[12]], m[s[13]])
            ERL_MIX(v[3], v[4], v[9], v[14], m[s[14]], m[s[15]])
        }
        for (int i = 0; i < 8; i++) h[i] ^= v[i] ^ v[i + 8];
    }

    /* What stands behind the key's block. There is data behind it, or this is none. */
    static void erl_blake_key(uint64_t *h, const unsigned char *key, size_t size) {
        unsigned char block[128] = {0};
        memcpy(block, key, size);
        memcpy(h, erl_blake_iv, sizeof(erl_blake_iv));
        h[0] ^= 0x01010000 ^ (size << 8) ^ 32;
        erl_blake_block(h, block, 128, 0);
    }

    static void erl_blake(unsigned char *to, const uint64_t *behind_key, const unsigned char *data, size_t size) {
        uint64_t h[8], bytes = 128;
        unsigned char last[128] = {0};
        memcpy(h, behind_key, sizeof(h));
        for (; size > 128; data += 128, size -= 128) erl_blake_block(h, data, bytes += 128, 0);
        memcpy(last, data, size);
        erl_blake_block(h, last, bytes + size, 1);
        for (int i = 0; i < 32; i++) to[i] = (unsigned char)(h[i / 8] >> 8 * (i % 8));
    }

    /* In a time that says nothing of where they differ. */
    static int erl_is_same(const unsigned char *one, const unsigned char *other) {
        unsigned char differs = 0;
        for (int i = 0; i < 32; i++) differs |= one[i] ^ other[i];
        return !differs;
    }
    """
    void blake_key "erl_blake_key" (uint64_t*, const unsigned char*, size_t) noexcept
    void blake "erl_blake" (unsigned char*, const uint64_t*, const unsigned char*, size_t) noexcept
    bint is_same "erl_is_same" (const unsigned char*, const unsigned char*) noexcept

cdef enum:
    SIGNATURE_BYTES = 32
    MOST_SIGNED_BYTES = 2048    # of more than that `hashlib` makes it in less time

cdef bytes _last_key = None
cdef uint64_t _behind_key[8]


cdef bint has_key(pickles) except -1:
    """Have the key at hand that pickles of this conversation are signed with; whether there is one."""
    global _last_key
    key = pickles._key
    if type(key) is not bytes or not 0 < PyBytes_GET_SIZE(<PyObject*>key) <= 64:
        return False
    if key is not _last_key:
        _last_key = None
        blake_key(_behind_key, <const unsigned char*>PyBytes_AS_STRING(<PyObject*>key), PyBytes_GET_SIZE(<PyObject*>key))
        _last_key = key
    return True


def signed(pickles, bytes data not None):
    """As `pickles.signed`, of `erl.values.opaque.Pickles`."""
    cdef Py_ssize_t size = PyBytes_GET_SIZE(<PyObject*>data)
    cdef unsigned char* p
    if size == 0 or size > MOST_SIGNED_BYTES or not has_key(pickles):
        return pickles.signed(data)
    made = given(PyBytes_FromStringAndSize(NULL, size + SIGNATURE_BYTES))
    p = <unsigned char*>PyBytes_AS_STRING(<PyObject*>made)
    memcpy(p, PyBytes_AS_STRING(<PyObject*>data), size)
    blake(p + size, _behind_key, p, size)
    return made


def verify(pickles, bytes data not None):
    """As `pickles.verify`."""
    cdef Py_ssize_t size = PyBytes_GET_SIZE(<PyObject*>data) - SIGNATURE_BYTES
    cdef unsigned char found[SIGNATURE_BYTES]
    cdef const unsigned char* p = <const unsigned char*>PyBytes_AS_STRING(<PyObject*>data)
    if 0 < size <= MOST_SIGNED_BYTES and has_key(pickles):
        blake(found, _behind_key, p, size)
        if is_same(found, p + size):
            return
    pickles.verify(data)    # which says what is wrong
