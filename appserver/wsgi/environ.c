/* SPDX-License-Identifier: MIT
 * Request frame -> environ.
 *
 * The template holds every key that each request has, so that the copy is made with
 * room for the header fields and most of it is overwritten in place. A memo keeps the
 * last str of a value: clients repeat themselves, and comparing is cheaper than making.
 */
#include <Python.h>

#include "appserver/wsgi/environ.h"

#include "appserver/interp/names.h"
#include "appserver/interp/own.h"
#include "appserver/interp/text.h"
#include "appserver/wsgi/early_hints.h"
#include "appserver/wsgi/errors.h"
#include "appserver/wsgi/file_wrapper.h"
#include "appserver/wsgi/input.h"
#include "protocol/base/clock.h"
#include "protocol/base/mem.h"

enum {
    MEMO_BYTES = 512,      /* longer values are not kept */
    KEY_CACHE_SLOTS = 256, /* of fields without a number; a power of two */
    KEY_NAME_BYTES = 64,   /* longer names are not cached */
};

/* The environ key of a field without a number; direct-mapped by a hash of the name. */
struct key_slot {
    uint8_t length; /* 0: empty */
    char name[KEY_NAME_BYTES];
    PyObject *key; /* owned */
};

struct environ_maker {
    uint32_t magic;
    PyObject *template;
    PyObject *empty_input;
    /* memos, owned */
    PyObject *field[HEADER_COUNT];
    PyObject *path, *target, *query, *remote_addr, *remote_port;
    uint16_t remote_port_number;
    /* what SERVER_NAME and SERVER_PORT were made from, and the two; owned */
    PyObject *host, *server_name, *server_port;
    struct slice root;  /* --root-path */
    struct buf scratch; /* a decoded path, a key */
    struct key_slot keys[KEY_CACHE_SLOTS];
};

enum { ENVIRON_MAGIC = 0x656e7672 };

static bool fill_template(struct environ_maker *m, const struct environ_options *o);
static bool
set_target(struct environ_maker *m, PyObject *d, const struct frame_request *f);
static PyObject *decode_path(struct environ_maker *m, struct slice path);
static bool set_protocol(PyObject *d, const struct frame_request *f);
static bool
set_peer(struct environ_maker *m, PyObject *d, const struct frame_request *f);
static bool set_length(PyObject *d, const struct frame_request *f);
static bool
set_server(struct environ_maker *m, PyObject *d, const struct frame_request *f);
static bool update_server(struct environ_maker *m, PyObject *host);
static bool set_banyan(PyObject *d, const struct request *r);
static bool set_fields(struct environ_maker *m, PyObject *d, struct header_list fields);
static bool set_field(struct environ_maker *m, PyObject *d, const struct header *h);
static bool join_field(PyObject *d, PyObject *key, uint8_t number, PyObject *value);
static PyObject *find_key(struct environ_maker *m, struct slice name);
static PyObject *make_key(struct environ_maker *m, struct slice name);
static PyObject *memo_text(PyObject **memo, struct slice s);
static PyObject *number_text(uint32_t number);

struct environ_maker *environ_maker_new(const struct environ_options *options)
{
    struct environ_maker *m = mem_zalloc(sizeof *m);

    m->magic = ENVIRON_MAGIC;
    m->root = slice_from(options->root_path == NULL ? "" : options->root_path);
    buf_init(&m->scratch, 0);
    m->template = PyDict_New();
    m->empty_input = input_new();
    if (m->template == NULL || m->empty_input == NULL || !fill_template(m, options))
        environ_maker_free(&m);
    return m;
}

void environ_maker_free(struct environ_maker **maker_p)
{
    struct environ_maker *m = take(*maker_p);

    if (m == NULL)
        return;
    CHECK_OBJ(m, ENVIRON_MAGIC);
    m->magic = 0;
    for (size_t i = 0; i < HEADER_COUNT; i++)
        Py_CLEAR(m->field[i]);
    for (size_t i = 0; i < KEY_CACHE_SLOTS; i++)
        Py_CLEAR(m->keys[i].key);
    Py_CLEAR(m->path);
    Py_CLEAR(m->target);
    Py_CLEAR(m->query);
    Py_CLEAR(m->remote_addr);
    Py_CLEAR(m->remote_port);
    Py_CLEAR(m->host);
    Py_CLEAR(m->server_name);
    Py_CLEAR(m->server_port);
    Py_CLEAR(m->empty_input);
    Py_CLEAR(m->template);
    buf_fini(&m->scratch);
    mem_free(&m);
}

PyObject *
environ_make(struct environ_maker *m, const struct request *request, PyObject *input)
{
    const struct frame_request *f = request_frame(request);
    py_own PyObject *d = PyDict_Copy(m->template);

    if (d == NULL || !set_protocol(d, f) || !set_target(m, d, f) ||
        !set_peer(m, d, f) || !set_fields(m, d, f->headers) || !set_server(m, d, f) ||
        !set_banyan(d, request))
        return NULL;
    if (input != NULL &&
        (PyDict_SetItem(d, name_wsgi_input, input) < 0 || !set_length(d, f)))
        return NULL;
    return py_take(d);
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

static bool fill_template(struct environ_maker *m, const struct environ_options *o)
{
    PyObject *d = m->template;
    PyObject *const yes = Py_True, *const no = Py_False;

    /* These are overwritten by each request; here they only make room. */
    PyObject *const always[] = {
        name_REQUEST_METHOD,    name_PATH_INFO,   name_QUERY_STRING,
        name_REQUEST_URI,       name_RAW_URI,     name_SERVER_PROTOCOL,
        name_SERVER_NAME,       name_SERVER_PORT, name_REMOTE_ADDR,
        name_banyan_request_id,
    };
    for (size_t i = 0; i < sizeof always / sizeof always[0]; i++)
        if (PyDict_SetItem(d, always[i], name_empty) < 0)
            return false;
    return set_new(d, name_banyan_queue_time, PyFloat_FromDouble(0)) &&
           set_new(d, name_SERVER_SOFTWARE,
                   PyUnicode_FromString("banyan/" BANYAN_VERSION)) &&
           set_new(d, name_GATEWAY_INTERFACE, Py_NewRef(name_CGI_1_1)) &&
           set_new(d, name_SCRIPT_NAME, text_new(m->root)) &&
           set_new(d, name_wsgi_version, Py_BuildValue("(ii)", 1, 0)) &&
           set_new(d, name_wsgi_url_scheme, Py_NewRef(name_http)) &&
           set_new(d, name_wsgi_input, Py_NewRef(m->empty_input)) &&
           set_new(d, name_wsgi_input_terminated, Py_NewRef(yes)) &&
           set_new(d, name_wsgi_errors, errors_new()) &&
           set_new(d, name_wsgi_multithread, Py_NewRef(o->is_multithread ? yes : no)) &&
           set_new(d, name_wsgi_multiprocess,
                   Py_NewRef(o->is_multiprocess ? yes : no)) &&
           set_new(d, name_wsgi_run_once, Py_NewRef(no)) &&
           set_new(d, name_wsgi_file_wrapper, Py_NewRef(file_wrapper_type())) &&
           set_new(d, name_wsgi_early_hints, early_hints_new());
}

/* What the edge's route takes off goes to SCRIPT_NAME; else --root-path does, which the
 * path need not begin with: whoever is in front may have taken it off. */
static bool
set_mounted(struct environ_maker *m, PyObject *d, struct slice path, size_t root)
{
    if (root > 0) {
        struct slice rest = slice_of(path.ptr + root, path.len - root);
        return set_new(d, name_SCRIPT_NAME, decode_path(m, slice_of(path.ptr, root))) &&
               set_new(d, name_PATH_INFO, decode_path(m, rest));
    }
    buf_clear(&m->scratch);
    text_unquote(path, &m->scratch);
    path = buf_slice(&m->scratch);
    size_t length = m->root.len;
    if (path.len >= length && memcmp(path.ptr, m->root.ptr, length) == 0 &&
        (path.len == length || path.ptr[length] == '/'))
        path = slice_of(path.ptr + length, path.len - length);
    return set_new(d, name_PATH_INFO, text_new(path));
}

/* PATH_INFO is decoded once, QUERY_STRING and the whole stay as they came. */
static bool
set_target(struct environ_maker *m, PyObject *d, const struct frame_request *f)
{
    struct slice target = f->target, path = target, query = {"", 0};
    const char *mark = memchr(target.ptr, '?', target.len);

    if (mark != NULL) {
        path.len = (size_t)(mark - target.ptr);
        query = slice_of(mark + 1, target.len - path.len - 1);
    }
    py_own PyObject *whole = memo_text(&m->target, target);
    if (whole == NULL || PyDict_SetItem(d, name_REQUEST_URI, whole) < 0 ||
        PyDict_SetItem(d, name_RAW_URI, whole) < 0 ||
        !set_new(d, name_QUERY_STRING,
                 query.len == 0 ? Py_NewRef(name_empty) : memo_text(&m->query, query)))
        return false;
    if (f->root > 0 || m->root.len > 0)
        return set_mounted(m, d, path, f->root);
    bool is_plain = memchr(path.ptr, '%', path.len) == NULL;
    return set_new(d, name_PATH_INFO,
                   !is_plain      ? decode_path(m, path)
                   : mark == NULL ? Py_NewRef(whole)
                                  : memo_text(&m->path, path));
}

static PyObject *decode_path(struct environ_maker *m, struct slice path)
{
    buf_clear(&m->scratch);
    text_unquote(path, &m->scratch);
    return text_new(buf_slice(&m->scratch));
}

static bool set_protocol(PyObject *d, const struct frame_request *f)
{
    PyObject *const version = f->minor == 0   ? name_HTTP_1_0
                              : f->minor == 1 ? name_HTTP_1_1
                                              : name_HTTP_2_0;

    if (slice_eq(f->scheme, SLICE("https")) &&
        PyDict_SetItem(d, name_wsgi_url_scheme, name_https) < 0)
        return false;
    return set_new(d, name_REQUEST_METHOD, names_method(f->method)) &&
           PyDict_SetItem(d, name_SERVER_PROTOCOL, version) == 0;
}

static bool
set_peer(struct environ_maker *m, PyObject *d, const struct frame_request *f)
{
    if (!set_new(d, name_REMOTE_ADDR, memo_text(&m->remote_addr, f->client_addr)))
        return false;
    if (f->client_port == 0)
        return true;
    if (m->remote_port == NULL || m->remote_port_number != f->client_port) {
        py_replace(&m->remote_port, number_text(f->client_port));
        m->remote_port_number = f->client_port;
    }
    return m->remote_port != NULL &&
           PyDict_SetItem(d, name_REMOTE_PORT, m->remote_port) == 0;
}

/* A chunked body that the edge gathered has a length, though no field says so. */
static bool set_length(PyObject *d, const struct frame_request *f)
{
    char digits[24];

    if (f->body_form == BODY_UNKNOWN || PyDict_Contains(d, name_CONTENT_LENGTH) != 0)
        return !PyErr_Occurred();
    uint64_t length = f->body_form == BODY_INLINE ? f->body.len : f->body_length;
    int n = snprintf(digits, sizeof digits, "%llu", (unsigned long long)length);
    return set_new(d, name_CONTENT_LENGTH, text_new(slice_of(digits, (size_t)n)));
}

/* SERVER_NAME and SERVER_PORT: what the client called us, or, when it did not say, the
 * address it came in on. */
static bool
set_server(struct environ_maker *m, PyObject *d, const struct frame_request *f)
{
    py_own PyObject *host =
        Py_XNewRef(PyDict_GetItemWithError(d, name_field[HEADER_HOST]));

    if (host == NULL) {
        bool is_path = f->server_addr.len == 0 || f->server_addr.ptr[0] == '/';
        return set_new(d, name_SERVER_NAME,
                       is_path ? Py_NewRef(name_localhost)
                               : text_new(f->server_addr)) &&
               set_new(d, name_SERVER_PORT,
                       is_path ? Py_NewRef(name_port_80) : number_text(f->server_port));
    }
    if (host != m->host && !update_server(m, host))
        return false;
    return PyDict_SetItem(d, name_SERVER_NAME, m->server_name) == 0 &&
           PyDict_SetItem(d, name_SERVER_PORT,
                          m->server_port != NULL                ? m->server_port
                          : slice_eq(f->scheme, SLICE("https")) ? name_port_443
                                                                : name_port_80) == 0;
}

/* "example.com:8000", "[::1]:8000"; without a port it is the scheme's. */
static bool update_server(struct environ_maker *m, PyObject *host)
{
    struct slice text;

    if (!text_latin1(host, &text))
        text = slice_of("", 0);
    size_t colon = text.len;
    while (colon > 0 && text.ptr[colon - 1] >= '0' && text.ptr[colon - 1] <= '9')
        colon--;
    bool has_port = colon > 0 && text.ptr[colon - 1] == ':' && colon < text.len;
    size_t name_len = has_port ? colon - 1 : text.len;
    if (!has_port && name_len > 0 && text.ptr[name_len - 1] == ':')
        name_len--;
    py_replace(&m->host, NULL);
    py_replace(&m->server_port, NULL);
    py_replace(&m->server_name, text_new(slice_of(text.ptr, name_len)));
    if (m->server_name == NULL)
        return false;
    if (has_port) {
        m->server_port = text_new(slice_of(text.ptr + colon, text.len - colon));
        if (m->server_port == NULL)
            return false;
    }
    m->host = Py_NewRef(host);
    return true;
}

static bool set_banyan(PyObject *d, const struct request *r)
{
    uint64_t queued_us = request_queued_us(r), now_us = clock_now_us();
    double waited_s =
        queued_us == 0 || queued_us > now_us ? 0 : (double)(now_us - queued_us) / 1e6;

    return set_new(d, name_banyan_request_id, text_new(request_frame(r)->id)) &&
           set_new(d, name_banyan_queue_time, PyFloat_FromDouble(waited_s));
}

static bool is_twin(struct slice a, struct slice b)
{
    if (a.len != b.len || slice_eq_nocase(a, b))
        return false;
    for (size_t i = 0; i < a.len; i++) {
        char x = a.ptr[i] == '_' ? '-' : a.ptr[i], y = b.ptr[i] == '_' ? '-' : b.ptr[i];
        if (x != y && ((x ^ y) != 0x20 || (x | 0x20) < 'a' || (x | 0x20) > 'z'))
            return false;
    }
    return true;
}

/* Another field that would get the same key: which of them is meant? */
static bool has_twin(struct header_list fields, struct slice name)
{
    struct header h;

    while (header_next(&fields, &h))
        if (is_twin(h.name, name))
            return true;
    return false;
}

static bool set_fields(struct environ_maker *m, PyObject *d, struct header_list fields)
{
    struct header h;

    const struct header_list all = fields;

    while (header_next(&fields, &h)) {
        bool is_unsure = h.number == HEADER_NONE && h.name.len > 0 &&
                         memchr(h.name.ptr, '_', h.name.len) != NULL;
        if (is_unsure && has_twin(all, h.name))
            continue;
        if (!set_field(m, d, &h))
            return false;
    }
    return true;
}

/* Not kept longer than its request. */
static bool is_secret(uint8_t number)
{
    return number == HEADER_COOKIE || number == HEADER_AUTHORIZATION;
}

static bool set_field(struct environ_maker *m, PyObject *d, const struct header *h)
{
    bool is_numbered = h->number != HEADER_NONE;
    py_own PyObject *key =
        is_numbered ? Py_XNewRef(name_field[h->number]) : find_key(m, h->name);

    if (key == NULL)
        return !PyErr_Occurred(); /* a name that may not become a key */
    py_own PyObject *value = is_numbered && !is_secret(h->number)
                                 ? memo_text(&m->field[h->number], h->value)
                                 : text_new(h->value);
    if (value == NULL)
        return false;
    Py_ssize_t before = PyDict_GET_SIZE(d);
    if (PyDict_SetDefault(d, key, value) == NULL)
        return false;
    return PyDict_GET_SIZE(d) > before || join_field(d, key, h->number, value);
}

/* A field that came before: a list, by RFC 9110 section 5.3. */
static bool join_field(PyObject *d, PyObject *key, uint8_t number, PyObject *value)
{
    py_own PyObject *first = Py_XNewRef(PyDict_GetItemWithError(d, key));

    if (first == NULL || number == HEADER_CONTENT_LENGTH)
        return first != NULL;
    return set_new(d, key,
                   PyUnicode_FromFormat(number == HEADER_COOKIE ? "%U; %U" : "%U,%U",
                                        first, value));
}

/* New reference; NULL without an exception: the field is left out. */
static PyObject *find_key(struct environ_maker *m, struct slice name)
{
    uint32_t hash = 2166136261u;

    if (name.len == 0 || name.len > KEY_NAME_BYTES)
        return make_key(m, name);
    for (size_t i = 0; i < name.len; i++)
        hash = (hash ^ (unsigned char)name.ptr[i]) * 16777619u;
    struct key_slot *slot = &m->keys[(hash ^ hash >> 16) % KEY_CACHE_SLOTS];
    if (slot->length == name.len && memcmp(slot->name, name.ptr, name.len) == 0)
        return Py_NewRef(slot->key);
    PyObject *key = make_key(m, name);
    if (key != NULL) {
        slot->length = (uint8_t)name.len;
        memcpy(slot->name, name.ptr, name.len);
        py_replace(&slot->key, Py_NewRef(key));
    }
    return key;
}

/* Only letters, digits, "-" and "_" have a place in a key. Proxy would become
 * HTTP_PROXY, which programs take for their own configuration. */
static PyObject *make_key(struct environ_maker *m, struct slice name)
{
    if (name.len == 0 || slice_eq_nocase(name, SLICE("proxy")))
        return NULL;
    uint8_t number = header_number(name); /* a known name may come spelled out */
    if (number != HEADER_NONE)
        return Py_NewRef(name_field[number]);
    buf_clear(&m->scratch);
    buf_add(&m->scratch, SLICE("HTTP_"));
    if (!buf_reserve(&m->scratch, name.len))
        return PyErr_NoMemory();
    char *out = buf_tail(&m->scratch);
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];
        if (c >= 'a' && c <= 'z')
            c = (char)(c - 'a' + 'A');
        else if (c == '-')
            c = '_';
        else if (!((c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_'))
            return NULL;
        *out++ = c;
    }
    buf_commit(&m->scratch, name.len);
    return text_new(buf_slice(&m->scratch));
}

/* New reference. */
static PyObject *memo_text(PyObject **memo, struct slice s)
{
    if (*memo != NULL && (size_t)PyUnicode_GET_LENGTH(*memo) == s.len &&
        memcmp(PyUnicode_1BYTE_DATA(*memo), s.ptr, s.len) == 0)
        return Py_NewRef(*memo);
    PyObject *text = text_new(s);
    if (text != NULL && s.len <= MEMO_BYTES && s.len > 0)
        py_replace(memo, Py_NewRef(text));
    return text;
}

/* New reference. */
static PyObject *number_text(uint32_t number)
{
    char digits[12];
    size_t at = sizeof digits;

    do {
        digits[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    return text_new(slice_of(digits + at, sizeof digits - at));
}
