/* SPDX-License-Identifier: MIT
 * Only directories that nobody else could have made are looked into: ours, mode 0700.
 */
#include "deploy/banyan/proxies.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "protocol/addresses.h"
#include "protocol/base/mem.h"
#include "protocol/link.h"

static const char SYSTEM_PATH[] = "/run/banyan/control.sock";
static const char SOCKET_NAME[] = "control.sock";

void proxies_init(struct proxies *p)
{
    *p = (struct proxies){0};
}

void proxies_fini(struct proxies *p)
{
    for (size_t i = 0; i < p->count; i++)
        mem_free(&p->addresses[i]);
    p->count = 0;
}

static bool add_address(struct proxies *p, struct slice path)
{
    static const char scheme[] = "unix:";
    if (path.len > sizeof scheme - 1 &&
        memcmp(path.ptr, scheme, sizeof scheme - 1) == 0)
        path = slice_of(path.ptr + sizeof scheme - 1, path.len - (sizeof scheme - 1));
    if (path.len == 0)
        return true;
    if (p->count == PROXIES_MAX)
        return false;
    p->addresses[p->count++] = mem_printf("%.*s", SLICE_FMT(path));
    return true;
}

bool proxies_add(struct proxies *p, const char *text)
{
    for (;;) {
        size_t length = strcspn(text, ",");
        if (!add_address(p, slice_of(text, length)))
            return false;
        if (text[length] == '\0')
            return true;
        text += length + 1;
    }
}

int proxies_connect(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    memcpy(address.sun_path, path, strlen(path));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    if (connect(fd, (const struct sockaddr *)&address, sizeof address) != 0) {
        int error = errno;
        (void)close(fd);
        errno = error;
        return -1;
    }
    (void)fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}

/* ---- those that run ---- */

static bool answers(const char *path)
{
    int fd = proxies_connect(path);
    if (fd >= 0)
        (void)close(fd);
    return fd >= 0;
}

static bool is_ours(const char *directory)
{
    struct stat st;
    return lstat(directory, &st) == 0 && S_ISDIR(st.st_mode) &&
           st.st_uid == geteuid() && (st.st_mode & 07777) == 0700;
}

static bool is_known(const struct proxies *p, const char *path)
{
    for (size_t i = 0; i < p->count; i++)
        if (strcmp(p->addresses[i], path) == 0)
            return true;
    return false;
}

/* The run directories of `banyan serve` below `base`. */
static void look_below(struct proxies *p, const char *base)
{
    DIR *list = base == NULL || base[0] != '/' ? NULL : opendir(base);
    const struct dirent *entry;
    if (list == NULL)
        return;
    while ((entry = readdir(list)) != NULL) {
        if (strncmp(entry->d_name, "banyan-", 7) != 0)
            continue;
        own(mem) char *directory = mem_printf("%s/%s", base, entry->d_name);
        own(mem) char *path = mem_printf("%s/%s", directory, SOCKET_NAME);
        if (is_ours(directory) && !is_known(p, path) && answers(path))
            (void)add_address(p, slice_from(path));
    }
    (void)closedir(list);
}

static bool find(struct proxies *p, struct buf *ret_message)
{
    const char *given = getenv("BANYAN_PROXY");
    if (p->count == 0 && given != NULL && !proxies_add(p, given)) {
        buf_addf(ret_message, "BANYAN_PROXY names more than %d proxies", PROXIES_MAX);
        return false;
    }
    if (p->count > 0)
        return true;
    if (answers(SYSTEM_PATH))
        return add_address(p, slice_from(SYSTEM_PATH));
    look_below(p, getenv("XDG_RUNTIME_DIR"));
    look_below(p, getenv("TMPDIR"));
    look_below(p, "/tmp");
    if (p->count == 1)
        return true;
    if (p->count == 0) {
        buf_addf(ret_message,
                 "no proxy of this user runs here; start one with `banyan serve "
                 "MODULE:APP`, or name its control endpoint with --proxy PATH or "
                 "BANYAN_PROXY (banyan-proxy: --control PATH)");
        return false;
    }
    buf_addf(ret_message,
             "several proxies run; name the one that you mean with --proxy:");
    for (size_t i = 0; i < p->count; i++)
        buf_addf(ret_message, "\n  %s", p->addresses[i]);
    return false;
}

/* ---- tcp:// ---- */

bool proxies_is_remote(const char *address)
{
    static const char scheme[] = "tcp://";
    return strncmp(address, scheme, sizeof scheme - 1) == 0;
}

/* `given` becomes one proxy for each address behind its name. */
static bool add_all(struct proxies *p, const char *given, struct buf *message)
{
    struct addresses found;
    const char *why;
    if (link_check_endpoint(given, LINK_INSECURE) != ERR_NONE) {
        buf_addf(message, "%s is no address of a proxy; expected tcp://HOST:PORT",
                 given);
        return false;
    }
    if (!addresses_resolve(given, &found, &why)) {
        buf_addf(message, "%s: %s", given, why);
        return false;
    }
    for (size_t i = 0; i < found.count; i++) {
        if (is_known(p, found.items[i]))
            continue;
        if (!add_address(p, slice_from(found.items[i]))) {
            buf_addf(message, "%s: there are more than %d proxies", given, PROXIES_MAX);
            return false;
        }
    }
    return true;
}

bool proxies_find(struct proxies *p, struct buf *ret_message)
{
    if (!find(p, ret_message))
        return false;
    struct proxies given = *p;
    bool ok = true;
    proxies_init(p);
    for (size_t i = 0; ok && i < given.count; i++)
        ok = proxies_is_remote(given.addresses[i])
                 ? add_all(p, given.addresses[i], ret_message)
                 : add_address(p, slice_from(given.addresses[i]));
    proxies_fini(&given);
    return ok;
}
