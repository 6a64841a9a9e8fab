/* SPDX-License-Identifier: MIT
 * Keys come from libzmq, which asks libsodium; their files are small texts. */
#include "protocol/key.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zmq.h>

#include "protocol/base/mem.h"

enum { MAX_TEXT = 1024 * 1024 };

static bool read_all(int fd, const char *path, struct buf *to, struct buf *message);
static bool check_mode(const char *path, const struct stat *st, struct buf *message);
static bool read_line(const char *path,
                      unsigned number,
                      struct slice line,
                      struct key_pair *pair,
                      struct buf *message);
static bool is_mounted_secret(const char *path);

bool key_pair_make(struct key_pair *ret_pair)
{
    return zmq_curve_keypair(ret_pair->public_key, ret_pair->secret_key) == 0;
}

void key_pair_wipe(struct key_pair *pair)
{
    explicit_bzero(pair, sizeof *pair);
}

bool key_is_text(struct slice text)
{
    char copy[KEY_TEXT] = {0};
    uint8_t bytes[KEY_BYTES];
    if (text.len != KEY_TEXT - 1 || memchr(text.ptr, '\0', text.len) != NULL)
        return false;
    memcpy(copy, text.ptr, text.len);
    for (const char *c = copy; *c != '\0'; c++)
        if ((unsigned char)*c < ' ' || (unsigned char)*c > '~')
            return false;
    return zmq_z85_decode(bytes, copy) != NULL;
}

void key_from_bytes(const uint8_t bytes[KEY_BYTES], char ret_key[KEY_TEXT])
{
    ASSERT(zmq_z85_encode(ret_key, bytes, KEY_BYTES) != NULL);
}

/* ---- the file of a pair ---- */

bool key_file_read(const char *path, struct key_pair *ret_pair, struct buf *ret_message)
{
    struct buf text;
    struct stat st;
    struct key_pair pair = {0};
    unsigned number = 0;
    char derived[KEY_TEXT];
    bool ok;

    buf_init(&text, 0);
    ok = key_text_read(path, &text, ret_message);
    struct slice rest = buf_slice(&text);
    while (ok && rest.len > 0) {
        const char *end = memchr(rest.ptr, '\n', rest.len);
        size_t length = end == NULL ? rest.len : (size_t)(end - rest.ptr);
        ok = read_line(path, ++number, slice_of(rest.ptr, length), &pair, ret_message);
        length += end != NULL;
        rest = slice_of(rest.ptr + length, rest.len - length);
    }
    if (text.data != NULL)
        explicit_bzero(text.data, text.cap);
    buf_fini(&text);
    if (ok && (pair.public_key[0] == '\0' || pair.secret_key[0] == '\0')) {
        buf_addf(ret_message,
                 "%s: the line `%s KEY` is missing; `banyan keygen` makes such files",
                 path, pair.public_key[0] == '\0' ? "public" : "secret");
        ok = false;
    }
    if (ok && (zmq_curve_public(derived, pair.secret_key) != 0 ||
               strcmp(derived, pair.public_key) != 0)) {
        buf_addf(ret_message, "%s: the two keys do not belong together", path);
        ok = false;
    }
    if (ok && stat(path, &st) == 0 && S_ISREG(st.st_mode) &&
        (st.st_mode & S_IROTH) != 0 && !is_mounted_secret(path))
        buf_addf(ret_message,
                 "%s: everybody here may read this secret key: chmod o-r %s", path,
                 path);
    if (ok)
        *ret_pair = pair;
    key_pair_wipe(&pair);
    return ok;
}

static struct slice next_word(struct slice *rest)
{
    while (rest->len > 0 && strchr(" \t\r", rest->ptr[0]) != NULL)
        *rest = slice_of(rest->ptr + 1, rest->len - 1);
    size_t length = 0;
    while (length < rest->len && strchr(" \t\r", rest->ptr[length]) == NULL)
        length++;
    struct slice word = slice_of(rest->ptr, length);
    *rest = slice_of(rest->ptr + length, rest->len - length);
    return word;
}

static bool read_line(const char *path,
                      unsigned number,
                      struct slice line,
                      struct key_pair *pair,
                      struct buf *message)
{
    struct slice what = next_word(&line), key = next_word(&line),
                 more = next_word(&line);
    char *to = slice_eq(what, SLICE("public"))   ? pair->public_key
               : slice_eq(what, SLICE("secret")) ? pair->secret_key
                                                 : NULL;
    if (what.len == 0 || what.ptr[0] == '#')
        return true;
    /* What stands there may be a secret: it is not repeated. */
    if (to == NULL)
        buf_addf(message, "%s:%u: expected `public KEY` or `secret KEY`", path, number);
    else if (!key_is_text(key) || more.len > 0)
        buf_addf(message, "%s:%u: this is no key; expected 40 characters of Z85", path,
                 number);
    else if (to[0] != '\0')
        buf_addf(message, "%s:%u: there are two lines `%.*s`", path, number,
                 SLICE_FMT(what));
    else
        memcpy(to, key.ptr, key.len);
    return buf_len(message) == 0;
}

/* Docker and Podman mount secrets there, with mode 0444 and in the container alone. */
static bool is_mounted_secret(const char *path)
{
    return strncmp(path, "/run/secrets/", 13) == 0 ||
           strncmp(path, "/var/run/secrets/", 17) == 0;
}

bool key_file_write(const char *path,
                    const struct key_pair *pair,
                    bool may_replace,
                    struct buf *ret_message)
{
    char text[160];
    int length = snprintf(text, sizeof text,
                          "# A Banyan key pair. This file is secret.\n"
                          "public %s\nsecret %s\n",
                          pair->public_key, pair->secret_key);
    struct slice whole = slice_of(text, (size_t)length);
    bool ok;
    if (may_replace) {
        ok = key_text_replace(path, whole, S_IRUSR | S_IWUSR, ret_message);
    } else {
        int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, S_IRUSR | S_IWUSR);
        ok = fd >= 0 && write(fd, text, whole.len) == (ssize_t)whole.len &&
             fsync(fd) == 0;
        int failure = errno;
        if (fd >= 0)
            (void)close(fd);
        if (fd < 0 && failure == EEXIST)
            buf_addf(ret_message, "%s exists; --force replaces it", path);
        else if (!ok)
            buf_addf(ret_message, "cannot write %s: %s", path, strerror(failure));
        if (!ok && fd >= 0)
            (void)unlink(path);
    }
    explicit_bzero(text, sizeof text);
    return ok;
}

/* ---- small text files ---- */

bool key_text_read(const char *path, struct buf *ret_text, struct buf *ret_message)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0) {
        buf_addf(ret_message, "cannot read %s: %s", path, strerror(errno));
        if (fd >= 0)
            (void)close(fd);
        return false;
    }
    bool ok =
        check_mode(path, &st, ret_message) && read_all(fd, path, ret_text, ret_message);
    (void)close(fd);
    return ok;
}

static bool check_mode(const char *path, const struct stat *st, struct buf *message)
{
    if (!S_ISREG(st->st_mode) || (st->st_mode & (S_IWGRP | S_IWOTH)) == 0)
        return true;
    buf_addf(message, "%s: others than its owner may write it: chmod go-w %s", path,
             path);
    return false;
}

static bool read_all(int fd, const char *path, struct buf *to, struct buf *message)
{
    for (;;) {
        ASSERT(buf_reserve(to, 4096));
        ssize_t got = read(fd, buf_tail(to), buf_room(to));
        if (got == 0)
            return true;
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            buf_addf(message, "cannot read %s: %s", path, strerror(errno));
            return false;
        }
        buf_commit(to, (size_t)got);
        if (buf_len(to) > MAX_TEXT) {
            buf_addf(message, "%s is longer than %d bytes", path, (int)MAX_TEXT);
            return false;
        }
    }
}

static bool write_all(int fd, struct slice text)
{
    while (text.len > 0) {
        ssize_t wrote = write(fd, text.ptr, text.len);
        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote <= 0)
            return false;
        text = slice_of(text.ptr + wrote, text.len - (size_t)wrote);
    }
    return true;
}

/* Or the rename may be forgotten. */
static bool sync_directory(const char *path)
{
    const char *slash = strrchr(path, '/');
    own(mem) char *directory =
        slash == NULL
            ? mem_strdup(".")
            : mem_printf("%.*s", slash == path ? 1 : (int)(slash - path), path);
    int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool ok = fd >= 0 && fsync(fd) == 0;
    if (fd >= 0)
        (void)close(fd);
    return ok;
}

bool key_text_replace(const char *path,
                      struct slice text,
                      unsigned mode,
                      struct buf *ret_message)
{
    own(mem) char *beside = mem_printf("%s.XXXXXX", path);
    struct stat st;
    int fd = mkostemp(beside, O_CLOEXEC);
    bool is_made = fd >= 0, ok = is_made;
    if (ok && stat(path, &st) == 0 && st.st_uid != geteuid())
        ok = fchown(fd, st.st_uid, st.st_gid) == 0;
    ok = ok && fchmod(fd, (mode_t)mode) == 0 && write_all(fd, text) && fsync(fd) == 0 &&
         rename(beside, path) == 0;
    int failure = errno;
    if (is_made)
        (void)close(fd);
    if (ok && !sync_directory(path)) {
        failure = errno;
        ok = false;
    } else if (is_made && !ok) {
        (void)unlink(beside);
    }
    if (!ok)
        buf_addf(ret_message, "cannot write %s: %s", path, strerror(failure));
    return ok;
}
