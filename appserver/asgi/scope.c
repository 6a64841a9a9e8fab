/* SPDX-License-Identifier: MIT
 * Request frame -> scope.
 *
 * A template holds every key that each request has, so that the copy has room and most
 * of it is overwritten in place. A memo keeps the last object made of a value: clients
 * repeat themselves, and comparing is cheaper than making. A header that came before is
 * the same (name, value) tuple again. */
#include <Python.h>

#include "appserver/asgi/scope.h"

#include <stdio.h>

#include "appserver/interp/names.h"
#include "appserver/interp/own.h"
#include "appserver/interp/text.h"
#include "protocol/base/clock.h"
#include "protocol/base/mem.h"

enum {
    SCOPE_MAGIC = 0x73636f70,
    MEMO_BYTES = 512,     /* longer values are not kept */
    NAME_SLOTS = 256,     /* of headers without a number; a power of two */
    NAME_SLOT_BYTES = 64, /* longer names are not cached */
};

enum scope_kind { SCOPE_HTTP, SCOPE_WEBSOCKET, SCOPE_KINDS };

/* A name without a number; direct-mapped by its hash. */
struct name_slot {
    uint8_t length; /* 0: empty */
    char text[NAME_SLOT_BYTES];
    PyObject *name; /* owned bytes */
};

struct scope_maker {
    uint32_t magic;
    PyObject *template[SCOPE_KINDS]; /* owned dicts */
    PyObject *asgi;                  /* owned dict; each scope has a copy */
    /* By kind and whether the client takes trailers. */
    PyObject *extensions[SCOPE_KINDS][2]; /* owned dicts; each scope has a copy */
    PyObject *name[HEADER_COUNT];         /* owned bytes */
    /* memos, owned */
    PyObject *pair[HEADER_COUNT];
    PyObject *path, *raw_path, *query, *client_addr, *server;
    PyObject *server_addr; /* str in `server` */
    uint16_t server_port;
    struct buf scratch; /* own: a decoded path */
    struct name_slot slots[NAME_SLOTS];
};

static bool fill(struct scope_maker *m, const char *root_path);
static bool
fill_template(struct scope_maker *m, enum scope_kind kind, PyObject *root_path);
static PyObject *make_extensions(enum scope_kind kind, bool takes_trailers);
static bool fill_names(struct scope_maker *m);
static bool
set_target(struct scope_maker *m, PyObject *d, const struct frame_request *f);
static PyObject *decode_path(struct scope_maker *m, struct slice path);
static bool
set_protocol(PyObject *d, const struct frame_request *f, enum scope_kind kind);
static bool
set_peers(struct scope_maker *m, PyObject *d, const struct frame_request *f);
static PyObject *server_of(struct scope_maker *m, const struct frame_request *f);
static PyObject *make_headers(struct scope_maker *m, struct header_list fields);
static PyObject *make_pair(struct scope_maker *m, const struct header *h);
static PyObject *find_name(struct scope_maker *m, struct slice name);
static PyObject *split_subprotocols(struct header_list fields);
static bool set_banyan(PyObject *d, const struct request *r, PyObject **ret_id);
static PyObject *memo_text(PyObject **memo, struct slice s);
static PyObject *memo_bytes(PyObject **memo, struct slice s);

struct scope_maker *scope_maker_new(const char *root_path)
{
    struct scope_maker *m = mem_zalloc(sizeof *m);

    m->magic = SCOPE_MAGIC;
    buf_init(&m->scratch, 0);
    if (!fill(m, root_path))
        scope_maker_free(&m);
    return m;
}

void scope_maker_free(struct scope_maker **maker_p)
{
    struct scope_maker *m = take(*maker_p);

    if (m == NULL)
        return;
    CHECK_OBJ(m, SCOPE_MAGIC);
    m->magic = 0;
    for (size_t i = 0; i < SCOPE_KINDS; i++) {
        Py_CLEAR(m->template[i]);
        Py_CLEAR(m->extensions[i][0]);
        Py_CLEAR(m->extensions[i][1]);
    }
    for (size_t i = 0; i < HEADER_COUNT; i++) {
        Py_CLEAR(m->name[i]);
        Py_CLEAR(m->pair[i]);
    }
    for (size_t i = 0; i < NAME_SLOTS; i++)
        Py_CLEAR(m->slots[i].name);
    Py_CLEAR(m->asgi);
    Py_CLEAR(m->path);
    Py_CLEAR(m->raw_path);
    Py_CLEAR(m->query);
    Py_CLEAR(m->client_addr);
    Py_CLEAR(m->server);
    Py_CLEAR(m->server_addr);
    buf_fini(&m->scratch);
    mem_free(&m);
}

/* `value` is taken; NULL: an exception is set. */
static bool set_new(PyObject *d, PyObject *key, PyObject *value)
{
    if (value == NULL)
        return false;
    int bad = PyDict_SetItem(d, key, value);
    Py_DECREF(value);
    return bad == 0;
}

PyObject *scope_make(struct scope_maker *m,
                     const struct request *request,
                     PyObject *state,
                     PyObject **ret_id)
{
    const struct frame_request *f = request_frame(request);
    enum scope_kind kind = request_is_websocket(request) ? SCOPE_WEBSOCKET : SCOPE_HTTP;
    bool takes_trailers = kind == SCOPE_HTTP && request_takes_trailers(request);
    py_own PyObject *d = PyDict_Copy(m->template[kind]);

    if (d == NULL || !set_new(d, name_asgi, PyDict_Copy(m->asgi)) ||
        !set_protocol(d, f, kind) || !set_target(m, d, f) || !set_peers(m, d, f) ||
        !set_new(d, name_headers, make_headers(m, f->headers)) ||
        !set_new(d, name_state, PyDict_Copy(state)) ||
        !set_new(d, name_extensions, PyDict_Copy(m->extensions[kind][takes_trailers])))
        return NULL;
    if (kind == SCOPE_WEBSOCKET &&
        !set_new(d, name_subprotocols, split_subprotocols(f->headers)))
        return NULL;
    return set_banyan(d, request, ret_id) ? py_take(d) : NULL;
}

void scope_describe(PyObject *scope, char *ret_text, size_t bytes)
{
    py_own PyObject *exception = py_raised();
    py_own PyObject *method =
        scope == NULL ? NULL : Py_XNewRef(PyDict_GetItemWithError(scope, name_method));
    py_own PyObject *path =
        scope == NULL ? NULL : Py_XNewRef(PyDict_GetItemWithError(scope, name_path));
    const char *what =
        method != NULL && PyUnicode_Check(method) ? PyUnicode_AsUTF8(method) : NULL;
    const char *where =
        path != NULL && PyUnicode_Check(path) ? PyUnicode_AsUTF8(path) : NULL;

    PyErr_Clear();
    (void)snprintf(ret_text, bytes, "%.32s %.150s", what == NULL ? "WebSocket" : what,
                   where == NULL ? "" : where);
    if (exception != NULL)
        PyErr_SetObject((PyObject *)Py_TYPE(exception), exception);
}

/* ---- what all have in common ---- */

static bool fill(struct scope_maker *m, const char *root_path)
{
    py_own PyObject *root = PyUnicode_DecodeFSDefault(root_path);

    m->asgi = PyDict_New();
    if (root == NULL || m->asgi == NULL ||
        PyDict_SetItem(m->asgi, name_version, name_asgi_3_0) < 0 ||
        PyDict_SetItem(m->asgi, name_spec_version, name_asgi_2_4) < 0)
        return false;
    for (enum scope_kind kind = 0; kind < SCOPE_KINDS; kind++) {
        if (!fill_template(m, kind, root))
            return false;
        for (int trailers = 0; trailers < 2; trailers++) {
            m->extensions[kind][trailers] = make_extensions(kind, trailers == 1);
            if (m->extensions[kind][trailers] == NULL)
                return false;
        }
    }
    return fill_names(m);
}

/* What is None here is overwritten by each request, and only makes room. */
static bool
fill_template(struct scope_maker *m, enum scope_kind kind, PyObject *root_path)
{
    bool is_http = kind == SCOPE_HTTP;
    PyObject *const none = Py_None;
    const struct {
        PyObject *key, *value;
    } rows[] = {
        {name_type, is_http ? name_http : name_websocket},
        {name_asgi, none},
        {name_http_version, name_http_1_1},
        {name_server, none},
        {name_client, none},
        {name_scheme, is_http ? name_http : name_ws},
        {is_http ? name_method : name_subprotocols, none},
        {name_root_path, root_path},
        {name_path, none},
        {name_raw_path, none},
        {name_query_string, none},
        {name_headers, none},
        {name_state, none},
        {name_extensions, none},
        {name_banyan_request_id, none},
        {name_banyan_queue_time, none},
    };
    PyObject *d = m->template[kind] = PyDict_New();

    for (size_t i = 0; d != NULL && i < sizeof rows / sizeof rows[0]; i++)
        if (PyDict_SetItem(d, rows[i].key, rows[i].value) < 0)
            return false;
    return d != NULL;
}

static PyObject *make_extensions(enum scope_kind kind, bool takes_trailers)
{
    py_own PyObject *d = PyDict_New();

    if (d == NULL)
        return NULL;
    if (kind == SCOPE_WEBSOCKET)
        return set_new(d, name_websocket_response, PyDict_New()) ? py_take(d) : NULL;
    return set_new(d, name_pathsend, PyDict_New()) &&
                   set_new(d, name_early_hint, PyDict_New()) &&
                   (!takes_trailers || set_new(d, name_response_trailers, PyDict_New()))
               ? py_take(d)
               : NULL;
}

static bool fill_names(struct scope_maker *m)
{
    for (uint8_t n = HEADER_NONE + 1; n < HEADER_COUNT; n++) {
        struct slice lower = header_lower(n);
        if (lower.len == 0)
            continue;
        m->name[n] = PyBytes_FromStringAndSize(lower.ptr, (Py_ssize_t)lower.len);
        if (m->name[n] == NULL)
            return false;
    }
    return true;
}

/* ---- one request ---- */

/* `path` is decoded, raw_path and query_string stay as they came. root_path is a
 * beginning of path: what the edge's route would take off, else --root-path. */
static bool
set_target(struct scope_maker *m, PyObject *d, const struct frame_request *f)
{
    struct slice target = f->target, path = target, query = {"", 0};
    const char *mark = memchr(target.ptr, '?', target.len);

    if (mark != NULL) {
        path.len = (size_t)(mark - target.ptr);
        query = slice_of(mark + 1, target.len - path.len - 1);
    }
    if (f->root > 0 &&
        !set_new(d, name_root_path, decode_path(m, slice_of(path.ptr, f->root))))
        return false;
    bool is_plain = memchr(path.ptr, '%', path.len) == NULL && text_is_ascii(path);
    return set_new(d, name_path,
                   is_plain ? memo_text(&m->path, path) : decode_path(m, path)) &&
           set_new(d, name_raw_path, memo_bytes(&m->raw_path, path)) &&
           set_new(d, name_query_string, memo_bytes(&m->query, query));
}

static PyObject *decode_path(struct scope_maker *m, struct slice path)
{
    buf_clear(&m->scratch);
    text_unquote(path, &m->scratch);
    struct slice s = buf_slice(&m->scratch);
    return PyUnicode_DecodeUTF8(s.ptr, (Py_ssize_t)s.len, "replace");
}

static bool
set_protocol(PyObject *d, const struct frame_request *f, enum scope_kind kind)
{
    bool is_secure = slice_eq(f->scheme, SLICE("https"));

    if (f->minor != 1 && PyDict_SetItem(d, name_http_version,
                                        f->minor == 0    ? name_http_1_0
                                        : f->minor == 20 ? name_http_2
                                                         : name_http_1_1) < 0)
        return false;
    if (is_secure &&
        PyDict_SetItem(d, name_scheme, kind == SCOPE_HTTP ? name_https : name_wss) < 0)
        return false;
    return kind != SCOPE_HTTP || set_new(d, name_method, names_method(f->method));
}

static bool set_peers(struct scope_maker *m, PyObject *d, const struct frame_request *f)
{
    if (!set_new(d, name_server, server_of(m, f)))
        return false;
    if (f->client_addr.len == 0) /* a Unix socket; None stands there */
        return true;
    py_own PyObject *host = memo_text(&m->client_addr, f->client_addr);
    py_own PyObject *port = host == NULL ? NULL : PyLong_FromLong(f->client_port);
    return port != NULL && set_new(d, name_client, PyTuple_Pack(2, host, port));
}

/* (host, port) or (path, None). New reference. */
static PyObject *server_of(struct scope_maker *m, const struct frame_request *f)
{
    bool is_path = f->server_addr.len > 0 && f->server_addr.ptr[0] == '/';
    PyObject *const before = m->server_addr;
    py_own PyObject *host = memo_text(&m->server_addr, f->server_addr);

    if (host == NULL)
        return NULL;
    if (m->server != NULL && host == before && m->server_port == f->server_port)
        return Py_NewRef(m->server);
    py_own PyObject *port =
        is_path ? Py_NewRef(Py_None) : PyLong_FromLong(f->server_port);
    PyObject *server = port == NULL ? NULL : PyTuple_Pack(2, host, port);
    if (server != NULL && host == m->server_addr) {
        py_replace(&m->server, Py_NewRef(server));
        m->server_port = f->server_port;
    }
    return server;
}

static PyObject *make_headers(struct scope_maker *m, struct header_list fields)
{
    py_own PyObject *list = PyList_New((Py_ssize_t)fields.count);
    struct header h;

    for (Py_ssize_t i = 0; list != NULL && header_next(&fields, &h); i++) {
        PyObject *pair = make_pair(m, &h);
        if (pair == NULL)
            return NULL;
        PyList_SET_ITEM(list, i, pair);
    }
    return py_take(list);
}

/* Not kept longer than its request. */
static bool is_secret(uint8_t number)
{
    return number == HEADER_COOKIE || number == HEADER_AUTHORIZATION;
}

static PyObject *make_pair(struct scope_maker *m, const struct header *h)
{
    uint8_t number = h->number;
    PyObject **memo = &m->pair[number];

    if (number != HEADER_NONE && *memo != NULL) {
        PyObject *const value = PyTuple_GET_ITEM(*memo, 1);
        if ((size_t)PyBytes_GET_SIZE(value) == h->value.len &&
            memcmp(PyBytes_AS_STRING(value), h->value.ptr, h->value.len) == 0)
            return Py_NewRef(*memo);
    }
    py_own PyObject *name =
        number != HEADER_NONE ? Py_NewRef(m->name[number]) : find_name(m, h->name);
    py_own PyObject *value =
        name == NULL
            ? NULL
            : PyBytes_FromStringAndSize(h->value.ptr, (Py_ssize_t)h->value.len);
    PyObject *pair = value == NULL ? NULL : PyTuple_Pack(2, name, value);
    if (pair != NULL && number != HEADER_NONE && !is_secret(number) &&
        h->value.len <= MEMO_BYTES)
        py_replace(memo, Py_NewRef(pair));
    return pair;
}

/* New reference to lower-case bytes. */
static PyObject *find_name(struct scope_maker *m, struct slice name)
{
    uint32_t hash = 2166136261u;

    for (size_t i = 0; i < name.len; i++)
        hash = (hash ^ (unsigned char)name.ptr[i]) * 16777619u;
    struct name_slot *slot = &m->slots[(hash ^ hash >> 16) % NAME_SLOTS];
    if (slot->length > 0 && slot->length == name.len &&
        memcmp(slot->text, name.ptr, name.len) == 0)
        return Py_NewRef(slot->name);
    PyObject *made = PyBytes_FromStringAndSize(name.ptr, (Py_ssize_t)name.len);
    if (made == NULL)
        return NULL;
    for (char *c = PyBytes_AS_STRING(made); *c != '\0'; c++)
        if (*c >= 'A' && *c <= 'Z')
            *c = (char)(*c + ('a' - 'A'));
    if (name.len > 0 && name.len <= NAME_SLOT_BYTES) {
        slot->length = (uint8_t)name.len;
        memcpy(slot->text, name.ptr, name.len);
        py_replace(&slot->name, Py_NewRef(made));
    }
    return made;
}

/* A list of str: Sec-WebSocket-Protocol, however many lines it came in. */
static PyObject *split_subprotocols(struct header_list fields)
{
    py_own PyObject *list = PyList_New(0);
    struct header h;

    while (list != NULL && header_next(&fields, &h)) {
        struct slice rest = h.value;
        if (!slice_eq_nocase(h.name, SLICE("sec-websocket-protocol")))
            continue;
        while (rest.len > 0) {
            const char *comma = memchr(rest.ptr, ',', rest.len);
            size_t len = comma == NULL ? rest.len : (size_t)(comma - rest.ptr);
            struct slice word = slice_of(rest.ptr, len);
            while (word.len > 0 && (*word.ptr == ' ' || *word.ptr == '\t')) {
                word.ptr++;
                word.len--;
            }
            while (word.len > 0 &&
                   (word.ptr[word.len - 1] == ' ' || word.ptr[word.len - 1] == '\t'))
                word.len--;
            py_own PyObject *text = word.len == 0 ? NULL : text_new(word);
            if (word.len > 0 && (text == NULL || PyList_Append(list, text) < 0))
                return NULL;
            rest.ptr += comma == NULL ? len : len + 1;
            rest.len -= comma == NULL ? len : len + 1;
        }
    }
    return py_take(list);
}

static bool set_banyan(PyObject *d, const struct request *r, PyObject **ret_id)
{
    uint64_t queued_us = request_queued_us(r), now_us = clock_now_us();
    double waited_s =
        queued_us == 0 || queued_us > now_us ? 0 : (double)(now_us - queued_us) / 1e6;
    py_own PyObject *id = text_new(request_frame(r)->id);

    if (id == NULL || PyDict_SetItem(d, name_banyan_request_id, id) < 0 ||
        !set_new(d, name_banyan_queue_time, PyFloat_FromDouble(waited_s)))
        return false;
    *ret_id = py_take(id);
    return true;
}

/* ---- memos ---- */

/* ASCII or latin-1. New reference. */
static PyObject *memo_text(PyObject **memo, struct slice s)
{
    if (*memo != NULL && (size_t)PyUnicode_GET_LENGTH(*memo) == s.len &&
        memcmp(PyUnicode_1BYTE_DATA(*memo), s.ptr, s.len) == 0)
        return Py_NewRef(*memo);
    PyObject *text = text_new(s);
    if (text != NULL && s.len <= MEMO_BYTES)
        py_replace(memo, Py_NewRef(text));
    return text;
}

/* New reference. */
static PyObject *memo_bytes(PyObject **memo, struct slice s)
{
    if (*memo != NULL && (size_t)PyBytes_GET_SIZE(*memo) == s.len &&
        memcmp(PyBytes_AS_STRING(*memo), s.ptr, s.len) == 0)
        return Py_NewRef(*memo);
    PyObject *bytes = PyBytes_FromStringAndSize(s.ptr, (Py_ssize_t)s.len);
    if (bytes != NULL && s.len <= MEMO_BYTES)
        py_replace(memo, Py_NewRef(bytes));
    return bytes;
}
