/* SPDX-License-Identifier: MIT
 * Makes the interned strings of names.def and the environ keys of the numbered fields.
 */
#include <Python.h>

#include "appserver/interp/names.h"

#include <ctype.h>
#include <stdio.h>

#include "appserver/interp/text.h"

#define NAME(identifier, text) PyObject *name_##identifier;
#include "appserver/interp/names.def"
#undef NAME

PyObject *name_field[HEADER_COUNT];

static const struct {
    PyObject **place;
    const char *text;
} NAMES[] = {
#define NAME(identifier, text) {&name_##identifier, text},
#include "appserver/interp/names.def"
#undef NAME
};

static PyObject *make_field_key(uint8_t number, struct slice lower);

bool names_init(void)
{
    if (name_empty != NULL)
        return true;
    for (size_t i = 0; i < sizeof NAMES / sizeof NAMES[0]; i++) {
        *NAMES[i].place = PyUnicode_InternFromString(NAMES[i].text);
        if (*NAMES[i].place == NULL)
            return false;
    }
    for (uint8_t n = HEADER_NONE + 1; n < HEADER_COUNT; n++) {
        struct slice lower = header_lower(n);
        if (lower.len == 0)
            continue;
        name_field[n] = make_field_key(n, lower);
        if (name_field[n] == NULL)
            return false;
    }
    return true;
}

PyObject *names_method(struct slice method)
{
    switch (method.len) {
    case 3:
        if (memcmp(method.ptr, "GET", 3) == 0)
            return Py_NewRef(name_GET);
        if (memcmp(method.ptr, "PUT", 3) == 0)
            return Py_NewRef(name_PUT);
        break;
    case 4:
        if (memcmp(method.ptr, "POST", 4) == 0)
            return Py_NewRef(name_POST);
        if (memcmp(method.ptr, "HEAD", 4) == 0)
            return Py_NewRef(name_HEAD);
        break;
    case 5:
        if (memcmp(method.ptr, "PATCH", 5) == 0)
            return Py_NewRef(name_PATCH);
        break;
    case 6:
        if (memcmp(method.ptr, "DELETE", 6) == 0)
            return Py_NewRef(name_DELETE);
        break;
    case 7:
        if (memcmp(method.ptr, "OPTIONS", 7) == 0)
            return Py_NewRef(name_OPTIONS);
        break;
    default:
        break;
    }
    return text_new(method);
}

static PyObject *make_field_key(uint8_t number, struct slice lower)
{
    char key[80];
    const char *prefix =
        number == HEADER_CONTENT_TYPE || number == HEADER_CONTENT_LENGTH ? "" : "HTTP_";

    int length = snprintf(key, sizeof key, "%s%.*s", prefix, SLICE_FMT(lower));
    ASSERT(length > 0 && (size_t)length < sizeof key);
    for (char *c = key; *c != '\0'; c++)
        *c = *c == '-' ? '_' : (char)toupper((unsigned char)*c);
    return PyUnicode_InternFromString(key);
}
