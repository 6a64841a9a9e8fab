/* SPDX-License-Identifier: MIT
 * Lines are added and taken out; comments and everything else stay as they were. */
#include "deploy/banyan/keys.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "protocol/allow_list.h"
#include "protocol/base/mem.h"

enum { EXIT_DONE, EXIT_REFUSED, EXIT_USAGE };

static const char usage[] =
    "Usage: banyan keys FILE\n"
    "       banyan keys add FILE ROLE PUBLIC-KEY [NAME]\n"
    "       banyan keys remove FILE PUBLIC-KEY|NAME\n\n"
    "Lists a file of --authorized-keys and its mistakes, or changes it as a whole. "
    "ROLE "
    "is proxy, app,\nviewer, operator or admin. Who has read the file reads it again "
    "at "
    "`banyan reload` (banyan-proxy)\nor SIGHUP (banyan-proxy, banyan-app).\n";

static int list(const char *path);
static int change(int argc, char **argv);

int keys_main(int argc, char **argv)
{
    bool is_change =
        argc > 2 && (strcmp(argv[1], "add") == 0 || strcmp(argv[1], "remove") == 0);
    if (argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
        (void)fputs(usage, stdout);
        return EXIT_DONE;
    }
    if (is_change)
        return change(argc, argv);
    if (argc == 2 && argv[1][0] != '-')
        return list(argv[1]);
    (void)fputs(usage, stderr);
    return EXIT_USAGE;
}

static int refuse(struct buf *message, int code)
{
    (void)fprintf(stderr, "banyan keys: %.*s\n", SLICE_FMT(buf_slice(message)));
    buf_fini(message);
    return code;
}

static int list(const char *path)
{
    struct allow_list all;
    struct buf message;
    buf_init(&message, 0);
    if (!allow_list_read(path, &all, &message))
        return refuse(&message, EXIT_REFUSED);
    buf_fini(&message);
    int width = 4;
    for (size_t i = 0; i < all.count; i++)
        if ((int)strlen(all.users[i].name) > width)
            width = (int)strlen(all.users[i].name);
    (void)printf("LINE  ROLE      %-*s  PUBLIC KEY\n", width, "NAME");
    for (size_t i = 0; i < all.count; i++)
        (void)printf("%-5u %-9s %-*s  %s\n", all.lines[i],
                     key_role_name(all.users[i].role), width, all.users[i].name,
                     all.users[i].key);
    allow_list_fini(&all);
    return fflush(stdout) == 0 ? EXIT_DONE : EXIT_REFUSED;
}

/* ---- changes ---- */

bool keys_text_add(struct buf *text,
                   const char *role,
                   const char *key,
                   const char *name,
                   struct buf *ret_message)
{
    struct allow_list all;
    if (!allow_list_parse(buf_slice(text), "the file", &all, ret_message))
        return false;
    const struct key_user *same = allow_list_find(&all, key);
    bool is_there = same != NULL && strcmp(key_role_name(same->role), role) == 0 &&
                    (name == NULL || strcmp(same->name, name) == 0);
    allow_list_fini(&all);
    if (is_there) {
        buf_addf(ret_message, "unchanged: the line is there already");
        return true;
    }
    size_t before = text->end;
    struct slice old = buf_slice(text);
    if (old.len > 0 && old.ptr[old.len - 1] != '\n')
        buf_add(text, SLICE("\n"));
    buf_addf(text, "%s %s%s%s\n", role, key, name == NULL ? "" : " ",
             name == NULL ? "" : name);
    bool ok = allow_list_parse(buf_slice(text), "the new line", &all, ret_message);
    /* A word with a line end in it would be more than one line. */
    ok = ok && strpbrk(key, "\n") == NULL && (name == NULL || !strpbrk(name, "\n"));
    allow_list_fini(&all);
    if (!ok)
        text->end = before;
    return ok;
}

/* Of the line with this number, from 1, with its end. */
static struct slice line_at(struct slice text, unsigned number)
{
    for (;;) {
        const char *end = memchr(text.ptr, '\n', text.len);
        size_t length = end == NULL ? text.len : (size_t)(end - text.ptr) + 1;
        if (--number == 0)
            return slice_of(text.ptr, length);
        text = slice_of(text.ptr + length, text.len - length);
    }
}

bool keys_text_remove(struct buf *text,
                      const char *key_or_name,
                      struct buf *ret_message)
{
    struct allow_list all;
    unsigned found = 0, line = 0;
    if (!allow_list_parse(buf_slice(text), "the file", &all, ret_message))
        return false;
    for (size_t i = 0; i < all.count; i++) {
        if (strcmp(all.users[i].key, key_or_name) != 0 &&
            strcmp(all.users[i].name, key_or_name) != 0)
            continue;
        found++;
        line = all.lines[i];
    }
    allow_list_fini(&all);
    if (found != 1) {
        buf_addf(ret_message,
                 found == 0 ? "no line has the key or name \"%.80s\""
                            : "several lines have the name \"%.80s\": say which by its "
                              "key",
                 key_or_name);
        return false;
    }
    struct slice whole = buf_slice(text), gone = line_at(whole, line);
    size_t head = (size_t)(gone.ptr - whole.ptr);
    memmove(text->data + text->start + head, text->data + text->start + head + gone.len,
            whole.len - head - gone.len);
    text->end -= gone.len;
    return true;
}

static int change(int argc, char **argv)
{
    struct buf text, message;
    struct stat st;
    const char *path = argv[2];
    bool is_add = strcmp(argv[1], "add") == 0;
    if (is_add ? argc < 5 || argc > 6 : argc != 4) {
        (void)fputs(usage, stderr);
        return EXIT_USAGE;
    }
    buf_init(&text, 0);
    buf_init(&message, 0);
    bool is_new = is_add && access(path, F_OK) != 0;
    bool ok = is_new || key_text_read(path, &text, &message);
    if (ok)
        ok = is_add ? keys_text_add(&text, argv[3], argv[4], argc == 6 ? argv[5] : NULL,
                                    &message)
                    : keys_text_remove(&text, argv[3], &message);
    bool is_unchanged = ok && buf_len(&message) > 0;
    unsigned mode = is_new || stat(path, &st) != 0 ? 0644u : st.st_mode & 0777u;
    if (ok && !is_unchanged)
        ok = key_text_replace(path, buf_slice(&text), mode, &message);
    buf_fini(&text);
    if (!ok)
        return refuse(&message, EXIT_REFUSED);
    if (is_unchanged)
        (void)printf("%.*s\n", SLICE_FMT(buf_slice(&message)));
    buf_fini(&message);
    return EXIT_DONE;
}
