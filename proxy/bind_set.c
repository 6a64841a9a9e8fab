/* SPDX-License-Identifier: MIT
 * A row for each address; of a change, those that are new stand behind those that were.
 */
#include "proxy/bind_set.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "protocol/base/mem.h"
#include "protocol/base/queue.h"
#include "proxy/bind.h"

enum { BIND_SET_MAGIC = 0x42494e44, BIND_ROW_MAGIC = 0x42494e45 };

struct bind_row {
    uint32_t magic;
    struct node node;
    struct bind_set *set;
    char *name, *text;
    char *passed_as; /* what its sockets are called when they are passed on */
    char *path;      /* of a Unix socket that is ours to remove; NULL: none */
    int file; /* O_PATH: while it is open no other file gets the inode's number */
    uint32_t number; /* in the order in which they were opened */
    uint32_t fd_count;
    int *fds;
    bool was_passed;
    bool is_new, is_wanted; /* while a change is prepared */
};

struct bind_set {
    uint32_t magic;
    uint32_t edges, count, numbers;
    struct inherited *inherited; /* borrowed */
    struct list rows;
};

static bool want(struct bind_set *set, const char *text, struct buf *message);
static bool want_inherited(struct bind_set *set,
                           const char *text,
                           const struct bind_address *address,
                           struct buf *message);
static bool want_tcp(struct bind_set *set,
                     const char *text,
                     const struct bind_address *address,
                     struct buf *message);
static bool want_unix(struct bind_set *set,
                      const char *text,
                      const struct bind_address *address,
                      struct buf *message);

/* ---- rows ---- */

static struct bind_row *new_row(struct bind_set *set, const char *text)
{
    struct bind_row *row = mem_zalloc(sizeof *row);
    row->magic = BIND_ROW_MAGIC;
    row->set = set;
    row->text = mem_strdup(text);
    row->file = -1;
    row->is_new = row->is_wanted = true;
    return row;
}

static void add_socket(struct bind_row *row, int fd)
{
    row->fds = mem_realloc(row->fds, (row->fd_count + 1) * sizeof *row->fds);
    row->fds[row->fd_count++] = fd;
}

static void close_sockets(struct bind_row *row)
{
    for (uint32_t i = 0; i < row->fd_count; i++)
        (void)close(row->fds[i]);
    row->fd_count = 0;
}

/* Whether the file that was bound still stands at its path. */
static bool is_ours(const struct bind_row *row)
{
    struct stat then, now;
    return fstat(row->file, &then) == 0 && lstat(row->path, &now) == 0 &&
           then.st_ino == now.st_ino && then.st_dev == now.st_dev;
}

static void free_row(struct bind_row **row_p)
{
    struct bind_row *row = take(*row_p);
    CHECK_OBJ(row, BIND_ROW_MAGIC);
    if (node_is_linked(&row->node))
        row->set->count--;
    node_leave(&row->node);
    close_sockets(row);
    if (row->path != NULL && is_ours(row))
        (void)unlink(row->path);
    if (row->file >= 0)
        (void)close(row->file);
    mem_free(&row->fds);
    mem_free(&row->name);
    mem_free(&row->text);
    mem_free(&row->passed_as);
    mem_free(&row->path);
    row->magic = 0;
    mem_free(&row);
}

const char *bind_row_name(const struct bind_row *row)
{
    CHECK_OBJ(row, BIND_ROW_MAGIC);
    return row->name;
}

const char *bind_row_text(const struct bind_row *row)
{
    CHECK_OBJ(row, BIND_ROW_MAGIC);
    return row->text;
}

bool bind_row_is_shared(const struct bind_row *row)
{
    CHECK_OBJ(row, BIND_ROW_MAGIC);
    return row->fd_count < row->set->edges;
}

/* Where there is one socket only, row after row has another edge accept. */
int bind_row_copy(const struct bind_row *row, uint32_t edge, uint32_t n)
{
    CHECK_OBJ(row, BIND_ROW_MAGIC);
    uint32_t edges = row->set->edges;
    ASSERT(edge < edges);
    uint32_t at = (edge + row->number) % edges + n * edges;
    if (at >= row->fd_count)
        return -1;
    int copy = fcntl(row->fds[at], F_DUPFD_CLOEXEC, 0);
    return copy < 0 ? -2 : copy;
}

/* ---- the set ---- */

struct bind_set *bind_set_new(uint32_t edges, struct inherited *inherited)
{
    struct bind_set *set = mem_zalloc(sizeof *set);
    set->magic = BIND_SET_MAGIC;
    set->edges = edges;
    set->inherited = inherited;
    list_init(&set->rows);
    return set;
}

void bind_set_free(struct bind_set **set_p)
{
    struct bind_set *set = take(*set_p);
    if (set == NULL)
        return;
    CHECK_OBJ(set, BIND_SET_MAGIC);
    LIST_FOREACH(&set->rows, n) {
        struct bind_row *row = NODE_OF(n, struct bind_row, node);
        free_row(&row);
    }
    set->magic = 0;
    mem_free(&set);
}

uint32_t bind_set_count(const struct bind_set *set)
{
    CHECK_OBJ(set, BIND_SET_MAGIC);
    return set->count;
}

struct bind_row *bind_set_first(struct bind_set *set)
{
    CHECK_OBJ(set, BIND_SET_MAGIC);
    struct node *n = set->rows.head.next;
    return n == &set->rows.head ? NULL : NODE_OF(n, struct bind_row, node);
}

struct bind_row *bind_set_next(const struct bind_set *set, const struct bind_row *row)
{
    struct node *n = row->node.next;
    return n == &set->rows.head ? NULL : NODE_OF(n, struct bind_row, node);
}

bool bind_set_prepare(struct bind_set *set,
                      const char *const *texts,
                      size_t count,
                      struct buf *ret_message)
{
    CHECK_OBJ(set, BIND_SET_MAGIC);
    LIST_FOREACH(&set->rows, n)
        NODE_OF(n, struct bind_row, node)->is_wanted = false;
    for (size_t i = 0; i < count; i++) {
        if (want(set, texts[i], ret_message))
            continue;
        bind_set_rollback(set);
        return false;
    }
    return true;
}

void bind_set_rollback(struct bind_set *set)
{
    CHECK_OBJ(set, BIND_SET_MAGIC);
    LIST_FOREACH(&set->rows, n) {
        struct bind_row *row = NODE_OF(n, struct bind_row, node);
        row->is_wanted = true;
        if (row->is_new)
            free_row(&row);
    }
}

void bind_set_commit(struct bind_set *set,
                     void (*tell)(void *arg,
                                  enum bind_change change,
                                  const struct bind_row *row),
                     void *arg)
{
    CHECK_OBJ(set, BIND_SET_MAGIC);
    LIST_FOREACH(&set->rows, n) {
        struct bind_row *row = NODE_OF(n, struct bind_row, node);
        bool is_new = row->is_new;
        row->is_new = false;
        if (!row->is_wanted) {
            tell(arg, BIND_CLOSED, row);
            free_row(&row);
        } else if (is_new) {
            tell(arg, BIND_OPENED, row);
        }
    }
}

void bind_set_tell_sockets(struct bind_set *set,
                           void (*tell)(void *arg, int fd, const char *name),
                           void *arg)
{
    for (const struct bind_row *row = bind_set_first(set); row != NULL;
         row = bind_set_next(set, row))
        for (uint32_t i = 0; i < row->fd_count; i++)
            tell(arg, row->fds[i], row->passed_as);
}

void bind_set_close(struct bind_set *set)
{
    CHECK_OBJ(set, BIND_SET_MAGIC);
    LIST_FOREACH(&set->rows, n)
        close_sockets(NODE_OF(n, struct bind_row, node));
}

void bind_set_abandon(struct bind_set *set)
{
    CHECK_OBJ(set, BIND_SET_MAGIC);
    LIST_FOREACH(&set->rows, n)
        mem_free(&NODE_OF(n, struct bind_row, node)->path);
}

void bind_set_give_back(struct bind_set *set)
{
    CHECK_OBJ(set, BIND_SET_MAGIC);
    LIST_FOREACH(&set->rows, n) {
        struct bind_row *row = NODE_OF(n, struct bind_row, node);
        if (row->was_passed)
            mem_free(&row->path);
    }
}

/* ---- preparing ---- */

static bool want(struct bind_set *set, const char *text, struct buf *message)
{
    struct bind_address address;
    bool is_there = false;
    LIST_FOREACH(&set->rows, n) {
        struct bind_row *row = NODE_OF(n, struct bind_row, node);
        if (strcmp(row->text, text) == 0)
            is_there = row->is_wanted = true;
    }
    if (is_there)
        return true;
    if (!bind_parse(text, &address, message))
        return false;
    switch (address.kind) {
    case BIND_INHERITED:
        return want_inherited(set, text, &address, message);
    case BIND_UNIX:
        return want_unix(set, text, &address, message);
    case BIND_TCP:
        break;
    }
    return want_tcp(set, text, &address, message);
}

/* Under another text; it has this one from here on. */
static bool is_open(struct bind_set *set, const char *name, const char *text)
{
    LIST_FOREACH(&set->rows, n) {
        struct bind_row *row = NODE_OF(n, struct bind_row, node);
        if (strcmp(row->name, name) != 0)
            continue;
        row->is_wanted = true;
        mem_free(&row->text);
        row->text = mem_strdup(text);
        return true;
    }
    return false;
}

static void add_row(struct bind_row *row, const char *name)
{
    struct bind_set *set = row->set;
    row->name = mem_strdup(name);
    if (row->passed_as == NULL)
        row->passed_as = inherited_name_for(row->text);
    row->number = set->numbers++;
    list_push_back(&set->rows, &row->node);
    set->count++;
}

static bool has_room(const struct bind_set *set, struct buf *message)
{
    if (set->count < BIND_MAX_ROWS)
        return true;
    buf_addf(message, "more than %d addresses to listen on", BIND_MAX_ROWS);
    return false;
}

/* ---- what was passed to this process ---- */

static void take_passed(struct bind_row *row, const struct bind_place *at)
{
    char *name;
    int fd;
    if (row->set->inherited == NULL)
        return;
    while ((fd = inherited_take_at(row->set->inherited, at, row->text, &name)) >= 0) {
        bind_adopt(fd);
        add_socket(row, fd);
        mem_free(&row->passed_as);
        row->passed_as = name;
    }
}

/* One of several sockets of that name joins those of its address. */
static bool take_named(struct bind_set *set,
                       const char *text,
                       const char *passed_as,
                       int fd,
                       struct buf *message)
{
    struct bind_place place;
    char name[BIND_MAX_NAME];
    int listens = 0;
    socklen_t size = sizeof listens;
    if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) != 0 || !listens ||
        !bind_place_of(fd, &place)) {
        (void)close(fd);
        buf_addf(message,
                 "%s: what was passed is no listening socket; see the socket "
                 "unit's ListenStream=",
                 text);
        return false;
    }
    bind_adopt(fd);
    bind_place_name(&place, name);
    LIST_FOREACH(&set->rows, n) {
        struct bind_row *row = NODE_OF(n, struct bind_row, node);
        if (!row->is_new || strcmp(row->name, name) != 0)
            continue;
        add_socket(row, fd);
        return true;
    }
    struct bind_row *row = new_row(set, text);
    row->passed_as = mem_strdup(passed_as);
    add_socket(row, fd);
    add_row(row, name);
    return true;
}

static bool want_inherited(struct bind_set *set,
                           const char *text,
                           const struct bind_address *address,
                           struct buf *message)
{
    const char *name = address->passed_as;
    int fd = set->inherited == NULL ? -1 : inherited_take(set->inherited, name);
    if (fd < 0) {
        buf_addf(message,
                 "cannot listen on %s: no socket of that name was passed at the start; "
                 "see FileDescriptorName= of the socket unit, or choose an address",
                 text);
        return false;
    }
    bool is_good = true;
    for (; is_good && fd >= 0; fd = inherited_take(set->inherited, name))
        is_good = take_named(set, text, name, fd, message) && has_room(set, message);
    return is_good;
}

/* ---- TCP ---- */

/* That nobody else has it. */
static bool is_free(const struct bind_place *at, bool is_every_address)
{
    int probe = bind_listen_tcp(at, BIND_ALONE, is_every_address);
    if (probe >= 0)
        (void)close(probe);
    return probe >= 0;
}

/* As many sockets as edges. False: errno. */
static bool fill_row(struct bind_row *row, struct bind_place *at, bool is_every_address)
{
    uint32_t edges = row->set->edges;
    bool was_passed = row->fd_count > 0;
    if (was_passed && !bind_is_shared(row->fds[0]))
        return true;
    enum bind_sharing sharing = edges > 1 ? BIND_SHARED : BIND_ALONE;
    if (!was_passed && edges > 1 && bind_place_port(at) != 0 &&
        !is_free(at, is_every_address))
        return false;
    while (row->fd_count < edges) {
        int fd = bind_listen_tcp(at, sharing, is_every_address);
        if (fd < 0)
            return was_passed; /* another user's: then they share what there is */
        add_socket(row, fd);
        if (bind_place_port(at) == 0 && !bind_place_of(fd, at))
            return false;
    }
    return true;
}

/* The port is filled in when it was 0. 0, or an errno; ret_name is what could not be
 * opened. */
static int want_one_tcp(struct bind_set *set,
                        const char *text,
                        struct bind_place *at,
                        bool is_every_address,
                        char ret_name[BIND_MAX_NAME])
{
    bind_place_name(at, ret_name);
    if (bind_place_port(at) != 0 && is_open(set, ret_name, text))
        return 0;
    if (set->count == BIND_MAX_ROWS)
        return EMFILE;
    struct bind_row *row = new_row(set, text);
    take_passed(row, at);
    bool is_good = (row->fd_count == 0 || bind_place_of(row->fds[0], at)) &&
                   fill_row(row, at, is_every_address);
    int error = errno;
    bind_place_name(at, ret_name);
    if (!is_good) {
        free_row(&row);
        return error;
    }
    add_row(row, ret_name);
    return 0;
}

static bool want_each_tcp(struct bind_set *set,
                          const char *text,
                          const struct bind_address *address,
                          const struct addrinfo *found,
                          struct buf *message)
{
    bool has_one = false;
    uint16_t port = address->port;
    for (const struct addrinfo *at = found; at != NULL; at = at->ai_next) {
        struct bind_place place;
        char name[BIND_MAX_NAME];
        bind_place_from(at, &place);
        bind_place_set_port(&place, port);
        int error = want_one_tcp(set, text, &place, address->host[0] == '\0', name);
        if (error == 0) {
            has_one = true;
            port = bind_place_port(&place);
            continue;
        }
        /* "localhost" has an IPv6 address even where IPv6 is switched off. */
        bool is_missing = error == EADDRNOTAVAIL || error == EAFNOSUPPORT;
        if (!is_missing || (!has_one && at->ai_next == NULL))
            return bind_explain(message, name, error);
    }
    return true;
}

static bool want_tcp(struct bind_set *set,
                     const char *text,
                     const struct bind_address *address,
                     struct buf *message)
{
    struct addrinfo *found = NULL;
    int failed = bind_resolve(address, &found);
    if (failed != 0) {
        buf_addf(message,
                 "cannot listen on %s:%u: %s; use an address of this machine, or "
                 ":PORT for all of them",
                 address->host, address->port, gai_strerror(failed));
        return false;
    }
    bool is_good = want_each_tcp(set, text, address, found, message);
    freeaddrinfo(found);
    return is_good;
}

/* ---- Unix ---- */

static bool want_unix(struct bind_set *set,
                      const char *text,
                      const struct bind_address *address,
                      struct buf *message)
{
    struct bind_place at;
    char name[BIND_MAX_NAME];
    bind_place_from_path(address->path, &at);
    bind_place_name(&at, name);
    if (is_open(set, name, text))
        return true;
    if (!has_room(set, message))
        return false;
    struct bind_row *row = new_row(set, text);
    take_passed(row, &at);
    bool is_ours_to_remove = true;
    if (row->fd_count == 0) {
        int fd = bind_listen_unix(&at, &row->file);
        int error = errno;
        if (fd < 0) {
            free_row(&row);
            return bind_explain(message, name, error);
        }
        add_socket(row, fd);
    } else {
        /* What systemd has opened, it removes. */
        row->was_passed = true;
        is_ours_to_remove =
            strncmp(row->passed_as, INHERITED_OPENED, sizeof INHERITED_OPENED - 1) == 0;
        row->file = open(address->path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    }
    if (is_ours_to_remove)
        row->path = mem_strdup(address->path);
    add_row(row, name);
    return true;
}
