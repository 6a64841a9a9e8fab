/* SPDX-License-Identifier: MIT
 * The shared page's file, host byte order throughout:
 *
 *   0     "BNYNPAGE"
 *   8     u32 version, 1
 *   12    u32 slots, 504
 *   16    u64 instance
 *   24    zero
 *   64    504 marks of 8 bytes: 1 << 32 | stream, or 0 before the first request
 *   4096
 *
 * The writer maps the file. A reader, who looks once per lost connection, reads it: a
 * mapping of a file that somebody else cuts short would end the reader's process. */
#include "protocol/page.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "protocol/base/mem.h"

enum { PAGE_MAGIC = 0x50414745, PAGE_VERSION = 1 };

struct page_file {
    char name[8];
    uint32_t version;
    uint32_t slots;
    uint64_t instance;
    char reserved[40];
    _Atomic uint64_t marks[PAGE_SLOTS];
};
static_assert(sizeof(struct page_file) == 4096, "a page");
static_assert(offsetof(struct page_file, instance) == 16, "layout");
static_assert(offsetof(struct page_file, marks) == 64, "layout");
static_assert(ATOMIC_LLONG_LOCK_FREE == 2, "marks are shared between processes");

static const char page_name[8] = {'B', 'N', 'Y', 'N', 'P', 'A', 'G', 'E'};
static const uint64_t has_mark = (uint64_t)1 << 32;

struct page {
    uint32_t magic;
    /* the writer's */
    char *path;
    dev_t device;
    ino_t inode;
    struct page_file *map;
    unsigned next_slot;
    bool is_claimed[PAGE_SLOTS];
    /* the reader's; -1: this is the writer */
    int fd;
};

static bool write_fresh(int fd, uint64_t instance);
static bool is_page_of(int fd, uint64_t instance);
static bool read_mark(const struct page *page, int slot, uint64_t *ret_mark);

enum err page_create(const char *path, uint64_t instance, struct page **ret_page)
{
    if (unlink(path) != 0 && errno != ENOENT)
        return ERR_SYSTEM;
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return ERR_SYSTEM;
    struct stat made;
    struct page_file *map = MAP_FAILED;
    if (fstat(fd, &made) == 0 && write_fresh(fd, instance))
        map = mmap(NULL, sizeof *map, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    int failure = errno;
    (void)close(fd);
    if (map == MAP_FAILED) {
        (void)unlink(path);
        errno = failure;
        return ERR_SYSTEM;
    }
    struct page *p = mem_zalloc(sizeof *p);
    p->magic = PAGE_MAGIC;
    p->path = mem_strdup(path);
    p->device = made.st_dev;
    p->inode = made.st_ino;
    p->map = map;
    p->fd = -1;
    *ret_page = p;
    return ERR_NONE;
}

enum err page_open(const char *path, uint64_t instance, struct page **ret_page)
{
    /* A peer chose the path: it may name anything, also what blocks when opened. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return ERR_SYSTEM;
    if (!is_page_of(fd, instance)) {
        (void)close(fd);
        return ERR_BAD_FRAME;
    }
    struct page *p = mem_zalloc(sizeof *p);
    p->magic = PAGE_MAGIC;
    p->fd = fd;
    *ret_page = p;
    return ERR_NONE;
}

void page_free(struct page **page_p)
{
    struct page *p = *page_p;
    if (p == NULL)
        return;
    *page_p = NULL;
    CHECK_OBJ(p, PAGE_MAGIC);
    struct stat now;
    if (p->path != NULL && lstat(p->path, &now) == 0 && now.st_dev == p->device &&
        now.st_ino == p->inode)
        (void)unlink(p->path);
    if (p->map != NULL)
        (void)munmap(p->map, sizeof *p->map);
    if (p->fd >= 0)
        (void)close(p->fd);
    mem_free(&p->path);
    p->magic = 0;
    mem_free(&p);
}

/* The slot that has been free for longest: a proxy may still read the mark of a link
 * that was released a moment ago. */
int page_claim(struct page *page)
{
    CHECK_OBJ(page, PAGE_MAGIC);
    ASSERT(page->map != NULL);
    for (unsigned i = 0; i < PAGE_SLOTS; i++) {
        unsigned slot = (page->next_slot + i) % PAGE_SLOTS;
        if (page->is_claimed[slot])
            continue;
        page->is_claimed[slot] = true;
        page->next_slot = slot + 1;
        atomic_store_explicit(&page->map->marks[slot], 0, memory_order_release);
        return (int)slot;
    }
    return -1;
}

void page_release(struct page *page, int slot)
{
    CHECK_OBJ(page, PAGE_MAGIC);
    ASSERT(slot >= 0 && slot < PAGE_SLOTS && page->is_claimed[slot]);
    page->is_claimed[slot] = false;
}

void page_mark(struct page *page, int slot, uint32_t stream)
{
    CHECK_OBJ(page, PAGE_MAGIC);
    ASSERT(slot >= 0 && slot < PAGE_SLOTS && page->map != NULL);
    _Atomic uint64_t *mark = &page->map->marks[slot];
    uint64_t old = atomic_load_explicit(mark, memory_order_relaxed);
    while (old == 0 || stream_after(stream, (uint32_t)old)) {
        if (atomic_compare_exchange_weak_explicit(mark, &old, has_mark | stream,
                                                  memory_order_release,
                                                  memory_order_relaxed))
            break;
    }
}

bool page_never_started(const struct page *page, int slot, uint32_t stream)
{
    CHECK_OBJ(page, PAGE_MAGIC);
    uint64_t mark;
    /* Whatever cannot be known counts as started. */
    if (slot < 0 || slot >= PAGE_SLOTS || !read_mark(page, slot, &mark))
        return false;
    if (mark == 0)
        return true;
    return mark >> 32 == has_mark >> 32 && stream_after(stream, (uint32_t)mark);
}

/* Written, not merely given a length: a store into a page without a block behind it
 * would end the process when the disk is full. */
static bool write_fresh(int fd, uint64_t instance)
{
    struct page_file fresh = {
        .version = PAGE_VERSION, .slots = PAGE_SLOTS, .instance = instance};
    memcpy(fresh.name, page_name, sizeof fresh.name);
    ssize_t written = pwrite(fd, &fresh, sizeof fresh, 0);
    if (written >= 0 && written != (ssize_t)sizeof fresh)
        errno = ENOSPC;
    return written == (ssize_t)sizeof fresh && fchmod(fd, 0600) == 0;
}

static bool is_page_of(int fd, uint64_t instance)
{
    struct stat there;
    struct page_file head;
    const size_t head_bytes = offsetof(struct page_file, reserved);
    return fstat(fd, &there) == 0 && S_ISREG(there.st_mode) &&
           there.st_size == (off_t)sizeof head &&
           pread(fd, &head, head_bytes, 0) == (ssize_t)head_bytes &&
           memcmp(head.name, page_name, sizeof page_name) == 0 &&
           head.version == PAGE_VERSION && head.slots == PAGE_SLOTS &&
           head.instance == instance;
}

static bool read_mark(const struct page *page, int slot, uint64_t *ret_mark)
{
    if (page->map != NULL) {
        *ret_mark = atomic_load_explicit(&page->map->marks[slot], memory_order_acquire);
        return true;
    }
    off_t at =
        (off_t)(offsetof(struct page_file, marks) + (size_t)slot * sizeof *ret_mark);
    return pread(page->fd, ret_mark, sizeof *ret_mark, at) == (ssize_t)sizeof *ret_mark;
}
