/* SPDX-License-Identifier: MIT
 * Both files are read and judged before anything is replaced. */
#include "protocol/keys.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "protocol/base/mem.h"

enum { KEYS_MAGIC = 0x4b455953 };

struct keys {
    uint32_t magic;
    char *key_path, *list_path; /* absolute */
    _Atomic uint64_t version;
    pthread_mutex_t lock;
    /* under the lock */
    struct key_pair own;
    struct allow_list list;
};

static char *absolute(const char *path);
static bool read_both(const struct keys *k,
                      struct key_pair *ret_own,
                      struct allow_list *ret_list,
                      struct buf *message);
static bool tell_changes(struct keys *k,
                         const struct key_pair *own,
                         const struct allow_list *list,
                         struct buf *report);

struct keys *
keys_open(const char *key_path, const char *list_path, struct buf *ret_message)
{
    struct keys *k = mem_zalloc(sizeof *k);
    k->magic = KEYS_MAGIC;
    k->key_path = absolute(key_path);
    k->list_path = absolute(list_path);
    k->version = 1;
    ASSERT(pthread_mutex_init(&k->lock, NULL) == 0);
    if (!read_both(k, &k->own, &k->list, ret_message))
        keys_free(&k);
    return k;
}

void keys_free(struct keys **keys_p)
{
    struct keys *k = *keys_p;
    if (k == NULL)
        return;
    *keys_p = NULL;
    CHECK_OBJ(k, KEYS_MAGIC);
    key_pair_wipe(&k->own);
    allow_list_fini(&k->list);
    (void)pthread_mutex_destroy(&k->lock);
    mem_free(&k->key_path);
    mem_free(&k->list_path);
    k->magic = 0;
    mem_free(&k);
}

void keys_forked(struct keys *keys)
{
    CHECK_OBJ(keys, KEYS_MAGIC);
    ASSERT(pthread_mutex_init(&keys->lock, NULL) == 0);
}

static void lock(struct keys *k)
{
    CHECK_OBJ(k, KEYS_MAGIC);
    ASSERT(pthread_mutex_lock(&k->lock) == 0);
}

static void unlock(struct keys *k)
{
    ASSERT(pthread_mutex_unlock(&k->lock) == 0);
}

bool keys_reload(struct keys *keys, struct buf *ret_message)
{
    struct key_pair own = {0};
    struct allow_list list = {0};
    CHECK_OBJ(keys, KEYS_MAGIC);
    bool ok = read_both(keys, &own, &list, ret_message);
    if (ok) {
        buf_clear(ret_message); /* a warning was said when they were opened */
        lock(keys);
        bool has_changed = tell_changes(keys, &own, &list, ret_message);
        struct allow_list old = keys->list;
        keys->list = list;
        keys->own = own;
        list = old;
        unlock(keys);
        if (has_changed)
            atomic_fetch_add(&keys->version, 1);
    }
    allow_list_fini(&list);
    key_pair_wipe(&own);
    return ok;
}

bool keys_check(const struct keys *keys, struct buf *ret_message)
{
    struct key_pair own = {0};
    struct allow_list list = {0};
    CHECK_OBJ(keys, KEYS_MAGIC);
    bool ok = read_both(keys, &own, &list, ret_message);
    if (ok)
        buf_clear(ret_message);
    allow_list_fini(&list);
    key_pair_wipe(&own);
    return ok;
}

uint64_t keys_version(const struct keys *keys)
{
    CHECK_OBJ(keys, KEYS_MAGIC);
    return atomic_load(&keys->version);
}

void keys_own(struct keys *keys, struct key_pair *ret_pair)
{
    lock(keys);
    *ret_pair = keys->own;
    unlock(keys);
}

bool keys_find(struct keys *keys, const char *public_key, struct key_user *ret_user)
{
    lock(keys);
    const struct key_user *user = allow_list_find(&keys->list, public_key);
    if (user != NULL)
        *ret_user = *user;
    unlock(keys);
    return user != NULL;
}

bool keys_admit(struct keys *keys, const char *public_key, enum key_role role)
{
    struct key_user user;
    return keys_find(keys, public_key, &user) && user.role == role;
}

bool keys_nth(struct keys *keys,
              enum key_role role,
              size_t index,
              struct key_user *ret_user)
{
    bool found = false;
    lock(keys);
    for (size_t i = 0; !found && i < keys->list.count; i++) {
        if (keys->list.users[i].role != role || index-- > 0)
            continue;
        *ret_user = keys->list.users[i];
        found = true;
    }
    unlock(keys);
    return found;
}

/* ---- reading ---- */

/* Not resolved: what a link points to may be exchanged. */
static char *absolute(const char *path)
{
    own(mem) char *directory = path[0] == '/' ? NULL : get_current_dir_name();
    return directory == NULL ? mem_strdup(path) : mem_printf("%s/%s", directory, path);
}

static bool read_both(const struct keys *k,
                      struct key_pair *ret_own,
                      struct allow_list *ret_list,
                      struct buf *message)
{
    if (!key_file_read(k->key_path, ret_own, message))
        return false;
    struct buf mistakes;
    buf_init(&mistakes, 0);
    bool ok = allow_list_read(k->list_path, ret_list, &mistakes);
    if (ok && allow_list_find(ret_list, ret_own->secret_key) != NULL) {
        buf_addf(&mistakes,
                 "%s has the secret key of %s in it: it is known to others now; make "
                 "another one with `banyan keygen`",
                 k->list_path, k->key_path);
        allow_list_fini(ret_list);
        ok = false;
    }
    if (!ok) {
        buf_clear(message);
        buf_add(message, buf_slice(&mistakes));
        key_pair_wipe(ret_own);
    }
    buf_fini(&mistakes);
    return ok;
}

static void tell(struct buf *report, const char *what, const struct key_user *user)
{
    buf_addf(report, "%sauthorized-keys: %s %s (%s, %.*s...)",
             buf_len(report) == 0 ? "" : "\n", what, user->name,
             key_role_name(user->role), KEY_SHOWN, user->key);
}

static bool is_in(const struct allow_list *list, const struct key_user *user)
{
    const struct key_user *same = allow_list_find(list, user->key);
    return same != NULL && same->role == user->role &&
           strcmp(same->name, user->name) == 0;
}

/* True: there were some. */
static bool tell_changes(struct keys *k,
                         const struct key_pair *own,
                         const struct allow_list *list,
                         struct buf *report)
{
    if (strcmp(own->public_key, k->own.public_key) != 0)
        buf_addf(report, "key: another one, %.*s...", KEY_SHOWN, own->public_key);
    for (size_t i = 0; i < k->list.count; i++)
        if (!is_in(list, &k->list.users[i]))
            tell(report, "removed", &k->list.users[i]);
    for (size_t i = 0; i < list->count; i++)
        if (!is_in(&k->list, &list->users[i]))
            tell(report, "added", &list->users[i]);
    return buf_len(report) > 0;
}
