/* SPDX-License-Identifier: MIT
 * Descriptors and their names, in the order in which they came. */
#include "proxy/inherited.h"

#include <string.h>
#include <sys/socket.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "protocol/base/mem.h"

enum { INHERITED_MAGIC = 0x1e4e417d };

struct inherited {
    uint32_t magic;
    size_t count;
    char **names; /* owned; NULL: taken */
};

struct inherited *inherited_new(void)
{
    struct inherited *inherited = mem_zalloc(sizeof *inherited);
    inherited->magic = INHERITED_MAGIC;
    int count = sd_listen_fds_with_names(0, &inherited->names);
    if (count > 0)
        inherited->count = (size_t)count;
    return inherited;
}

static int fd_of(size_t index)
{
    return SD_LISTEN_FDS_START + (int)index;
}

void inherited_free(struct inherited **inherited_p)
{
    struct inherited *inherited = take(*inherited_p);
    if (inherited == NULL)
        return;
    inherited_close(inherited);
    mem_free(&inherited->names);
    inherited->magic = 0;
    mem_free(&inherited);
}

void inherited_close(struct inherited *inherited)
{
    CHECK_OBJ(inherited, INHERITED_MAGIC);
    for (size_t i = 0; i < inherited->count; i++) {
        if (inherited->names[i] != NULL)
            (void)close(fd_of(i));
        mem_free(&inherited->names[i]);
    }
}

size_t inherited_count(const struct inherited *inherited)
{
    size_t count = 0;
    CHECK_OBJ(inherited, INHERITED_MAGIC);
    for (size_t i = 0; i < inherited->count; i++)
        count += inherited->names[i] != NULL;
    return count;
}

int inherited_take(struct inherited *inherited, const char *name)
{
    CHECK_OBJ(inherited, INHERITED_MAGIC);
    for (size_t i = 0; i < inherited->count; i++) {
        if (inherited->names[i] == NULL || strcmp(inherited->names[i], name) != 0)
            continue;
        mem_free(&inherited->names[i]);
        return fd_of(i);
    }
    return -1;
}

/* A socket that listens at `at`; what else may be passed is none of ours. */
static bool listens_at(int fd, const struct bind_place *at)
{
    struct bind_place place;
    if (sd_is_socket(fd, at->any.sa_family, SOCK_STREAM, 1) <= 0 ||
        !bind_place_of(fd, &place))
        return false;
    if (at->any.sa_family != AF_UNIX && bind_place_port(at) == 0)
        bind_place_set_port(&place, 0);
    return bind_place_is_same(&place, at);
}

int inherited_take_at(struct inherited *inherited,
                      const struct bind_place *at,
                      const char *text,
                      char **ret_name)
{
    CHECK_OBJ(inherited, INHERITED_MAGIC);
    own(mem) char *opened = inherited_name_for(text);
    bool is_named = at->any.sa_family != AF_UNIX && bind_place_port(at) == 0;
    for (size_t i = 0; i < inherited->count; i++) {
        if (inherited->names[i] == NULL || !listens_at(fd_of(i), at) ||
            (is_named && strcmp(inherited->names[i], opened) != 0))
            continue;
        *ret_name = take(inherited->names[i]);
        return fd_of(i);
    }
    return -1;
}

char *inherited_name_for(const char *text)
{
    char *name = mem_printf(INHERITED_OPENED "%s", text);
    for (char *c = name; *c != '\0'; c++)
        if (*c == ':' || *c < ' ' || *c > '~') /* separate names, or may not be there */
            *c = '^';
    return name;
}
