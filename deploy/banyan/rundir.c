/* SPDX-License-Identifier: MIT
 * A supervisor holds a lock in its directory while it lives, so that the next one can
 * tell what a killed one left behind from what is in use, in other PID namespaces too.
 * The lock is a file: the directory itself is what app servers lock while they bind. */
#include "deploy/banyan/rundir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "protocol/base/mem.h"

enum {
    RUNDIR_MAGIC = 0x2d1a7e55,
    SOCKET_PATH_BYTES = 107, /* of a Unix socket's address */
    NAME_BYTES = 16,         /* "/app-1023.sock" and the files beside it */
};

static const char LOCK_NAME[] = "lock";

struct rundir {
    uint32_t magic;
    int lock_fd; /* LOCK_NAME in it */
    char *path;
};

static struct rundir *make_below(const char *base);
static int make_lock(const char *path);
static void remove_stale(const char *base);
static bool is_abandoned(int base_fd, const char *name);
static void remove_tree(int base_fd, const char *name);

struct rundir *rundir_new(struct buf *ret_message)
{
    const char *bases[] = {getenv("XDG_RUNTIME_DIR"), getenv("TMPDIR"), "/tmp"};

    for (size_t i = 0; i < sizeof bases / sizeof bases[0]; i++) {
        if (bases[i] == NULL || bases[i][0] != '/')
            continue;
        remove_stale(bases[i]);
        struct rundir *dir = make_below(bases[i]);
        if (dir != NULL)
            return dir;
        if (errno != 0)
            buf_addf(ret_message, "%s%s: %s", buf_len(ret_message) == 0 ? "" : ", ",
                     bases[i], strerror(errno));
    }
    buf_addf(ret_message, "; a run directory needs one of $XDG_RUNTIME_DIR, $TMPDIR, "
                          "/tmp to be writable");
    return NULL;
}

void rundir_free(struct rundir **dir_p)
{
    struct rundir *dir = take(*dir_p);
    if (dir == NULL)
        return;
    CHECK_OBJ(dir, RUNDIR_MAGIC);
    remove_tree(AT_FDCWD, dir->path);
    (void)close(dir->lock_fd);
    dir->magic = 0;
    mem_free(&dir->path);
    mem_free(&dir);
}

const char *rundir_path(const struct rundir *dir)
{
    CHECK_OBJ(dir, RUNDIR_MAGIC);
    return dir->path;
}

/* NULL with errno, 0: the path would be too long. */
static struct rundir *make_below(const char *base)
{
    own(mem) char *path = mem_printf("%s/banyan-%d-XXXXXX", base, (int)getpid());

    errno = 0;
    if (strlen(path) + NAME_BYTES > SOCKET_PATH_BYTES)
        return NULL;
    if (mkdtemp(path) == NULL)
        return NULL;
    int fd = make_lock(path);
    if (fd < 0) {
        int error = errno;
        remove_tree(AT_FDCWD, path);
        errno = error;
        return NULL;
    }
    struct rundir *dir = mem_zalloc(sizeof *dir);
    dir->magic = RUNDIR_MAGIC;
    dir->lock_fd = fd;
    dir->path = take(path);
    return dir;
}

/* Its name appears when it is locked, so that nobody finds it free before. -1 with
 * errno. */
static int make_lock(const char *path)
{
    own(mem) char *name = mem_printf("%s/%s", path, LOCK_NAME);
    own(mem) char *nameless = mem_printf("%s.new", name);
    int fd = open(nameless, O_CREAT | O_RDWR | O_CLOEXEC, 0600);

    if (fd >= 0 && (flock(fd, LOCK_EX | LOCK_NB) != 0 || rename(nameless, name) != 0)) {
        int error = errno;
        (void)close(fd);
        errno = error;
        return -1;
    }
    return fd;
}

/* ---- what others left ---- */

/* "banyan-4242-XXXXXX" */
static bool is_our_name(const char *name)
{
    if (strncmp(name, "banyan-", 7) != 0)
        return false;
    size_t digits = strspn(name + 7, "0123456789");
    return digits > 0 && name[7 + digits] == '-' && strlen(name + 8 + digits) == 6;
}

static void remove_stale(const char *base)
{
    DIR *list = opendir(base);
    const struct dirent *entry;

    if (list == NULL)
        return;
    while ((entry = readdir(list)) != NULL) {
        if (is_our_name(entry->d_name) && is_abandoned(dirfd(list), entry->d_name))
            remove_tree(dirfd(list), entry->d_name);
    }
    (void)closedir(list);
}

static bool is_abandoned(int base_fd, const char *name)
{
    struct stat st;
    own(mem) char *path = mem_printf("%s/%s", name, LOCK_NAME);

    if (fstatat(base_fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISDIR(st.st_mode) ||
        st.st_uid != geteuid() || (st.st_mode & 07777) != 0700)
        return false;
    int fd = openat(base_fd, path, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return false;
    bool abandoned = flock(fd, LOCK_EX | LOCK_NB) == 0;
    (void)close(fd);
    return abandoned;
}

/* One level: we make no directories in it. */
static void remove_tree(int base_fd, const char *name)
{
    int fd = openat(base_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *list = fd < 0 ? NULL : fdopendir(fd);
    const struct dirent *entry;

    if (list == NULL) {
        if (fd >= 0)
            (void)close(fd);
        return;
    }
    while ((entry = readdir(list)) != NULL) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            (void)unlinkat(fd, entry->d_name, 0);
    }
    (void)closedir(list);
    (void)unlinkat(base_fd, name, AT_REMOVEDIR);
}
