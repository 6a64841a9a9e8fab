/* SPDX-License-Identifier: MIT
 * A '#' opens a comment where a word would begin, except at the key's place: Z85 has
 * that character, too. */
#include "protocol/allow_list.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "protocol/base/mem.h"

enum { MAX_MISTAKES = 10 };

static const char *const role_names[] = {
    [KEY_PROXY] = "proxy",       [KEY_APP] = "app",     [KEY_VIEWER] = "viewer",
    [KEY_OPERATOR] = "operator", [KEY_ADMIN] = "admin",
};

struct parser {
    const char *place;
    unsigned line, mistakes;
    struct allow_list *list;
    size_t room;
    struct buf *message;
};

static void parse_line(struct parser *p, struct slice line);
static void add_user(struct parser *p, const struct key_user *user);

const char *key_role_name(enum key_role role)
{
    ASSERT(role < KEY_ROLE_COUNT);
    return role_names[role];
}

bool key_role_parse(struct slice name, enum key_role *ret_role)
{
    for (unsigned i = 0; i < KEY_ROLE_COUNT; i++) {
        if (!slice_eq(name, slice_from(role_names[i])))
            continue;
        *ret_role = (enum key_role)i;
        return true;
    }
    return false;
}

bool key_name_check(struct slice name)
{
    if (name.len == 0 || name.len >= KEY_NAME)
        return false;
    for (size_t i = 0; i < name.len; i++)
        if (!isalnum((unsigned char)name.ptr[i]) &&
            memchr("._-@", name.ptr[i], 4) == NULL)
            return false;
    return true;
}

bool allow_list_parse(struct slice text,
                      const char *place,
                      struct allow_list *ret_list,
                      struct buf *ret_message)
{
    *ret_list = (struct allow_list){0};
    struct parser p = {.place = place, .list = ret_list, .message = ret_message};
    while (text.len > 0) {
        const char *end = memchr(text.ptr, '\n', text.len);
        size_t length = end == NULL ? text.len : (size_t)(end - text.ptr);
        p.line++;
        parse_line(&p, slice_of(text.ptr, length));
        length += end != NULL;
        text = slice_of(text.ptr + length, text.len - length);
    }
    if (p.mistakes == 0)
        return true;
    allow_list_fini(ret_list);
    return false;
}

bool allow_list_read(const char *path,
                     struct allow_list *ret_list,
                     struct buf *ret_message)
{
    struct buf text;
    *ret_list = (struct allow_list){0};
    buf_init(&text, 0);
    bool ok = key_text_read(path, &text, ret_message) &&
              allow_list_parse(buf_slice(&text), path, ret_list, ret_message);
    buf_fini(&text);
    return ok;
}

void allow_list_fini(struct allow_list *list)
{
    mem_free(&list->users);
    mem_free(&list->lines);
    list->count = 0;
}

const struct key_user *allow_list_find(const struct allow_list *list, const char *key)
{
    for (size_t i = 0; i < list->count; i++)
        if (strcmp(list->users[i].key, key) == 0)
            return &list->users[i];
    return NULL;
}

/* ---- a line ---- */

__attribute__((format(printf, 2, 3))) static void
complain(struct parser *p, const char *format, ...)
{
    char text[256];
    va_list arguments;
    if (p->mistakes++ >= MAX_MISTAKES)
        return;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    buf_addf(p->message, "%s%s:%u: %s", buf_len(p->message) == 0 ? "" : "\n", p->place,
             p->line, text);
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

static struct slice next_word(struct slice *rest)
{
    while (rest->len > 0 && is_blank(rest->ptr[0]))
        *rest = slice_of(rest->ptr + 1, rest->len - 1);
    size_t length = 0;
    while (length < rest->len && !is_blank(rest->ptr[length]))
        length++;
    struct slice word = slice_of(rest->ptr, length);
    *rest = slice_of(rest->ptr + length, rest->len - length);
    return word;
}

static bool ends_here(struct slice word)
{
    return word.len == 0 || word.ptr[0] == '#';
}

static void parse_line(struct parser *p, struct slice line)
{
    struct key_user user = {0};
    struct slice role = next_word(&line);
    if (ends_here(role))
        return;
    struct slice key = next_word(&line), name = next_word(&line);
    if (!key_role_parse(role, &user.role)) {
        complain(p,
                 "\"%.*s\" is no role; expected proxy, app, viewer, operator or admin",
                 role.len > 40 ? 40 : (int)role.len, role.ptr);
        return;
    }
    if (!key_is_text(key)) {
        complain(p,
                 "expected a public key behind `%s`: 40 characters of Z85, as `banyan "
                 "keygen` prints it",
                 role_names[user.role]);
        return;
    }
    memcpy(user.key, key.ptr, key.len);
    memcpy(user.name, key.ptr, KEY_SHOWN);
    if (!ends_here(name)) {
        if (!key_name_check(name)) {
            complain(p,
                     "\"%.*s\" is no name; expected up to 63 letters, digits, '.', "
                     "'_', '-', '@'",
                     name.len > 80 ? 80 : (int)name.len, name.ptr);
            return;
        }
        memset(user.name, 0, sizeof user.name);
        memcpy(user.name, name.ptr, name.len);
        struct slice more = next_word(&line);
        if (!ends_here(more)) {
            complain(p, "\"%.*s\" is too much; expected ROLE KEY [NAME]",
                     more.len > 40 ? 40 : (int)more.len, more.ptr);
            return;
        }
    }
    add_user(p, &user);
}

static void add_user(struct parser *p, const struct key_user *user)
{
    struct allow_list *list = p->list;
    const struct key_user *same = allow_list_find(list, user->key);
    if (same != NULL) {
        complain(p, "this key is on line %u already, as %s; a key has one role",
                 list->lines[same - list->users], role_names[same->role]);
        return;
    }
    if (list->count == ALLOW_LIST_MAX) {
        complain(p, "there are more than %d keys", ALLOW_LIST_MAX);
        return;
    }
    if (list->count == p->room) {
        p->room = p->room == 0 ? 16 : 2 * p->room;
        list->users = mem_realloc(list->users, p->room * sizeof *list->users);
        list->lines = mem_realloc(list->lines, p->room * sizeof *list->lines);
    }
    list->lines[list->count] = p->line;
    list->users[list->count++] = *user;
}
