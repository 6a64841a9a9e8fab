/* SPDX-License-Identifier: MIT
 * The shared page: a small file that an app server maps and the proxies of its host
 * read. It holds, per link, the stream id of the last request whose handler was about
 * to be entered. It survives kill -9 of the app server, so a proxy knows afterwards
 * which requests were never started (protocol/README.md, "The started rule").
 *
 * One process writes, any number reads. Requests of one link start in the order of
 * their stream ids, so one mark per link is enough. */
#ifndef PROTOCOL_PAGE_H
#define PROTOCOL_PAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "protocol/base/check.h"
#include "protocol/base/error.h"

enum { PAGE_SLOTS = 504 };

struct page;

/* App server: a new file at `path` (an old one is unlinked), mode 0600. page_free
 * unlinks. */
MUST_CHECK enum err
page_create(const char *path, uint64_t instance, struct page **ret_page);
/* Proxy: opens an existing one for reading (one descriptor; only for a peer of this
 * host). ERR_SYSTEM (errno) or ERR_BAD_FRAME when it is not a page of `instance`. It
 * stays readable after the file is unlinked. */
MUST_CHECK enum err
page_open(const char *path, uint64_t instance, struct page **ret_page);
void page_free(struct page **page_p);

/* A slot for a new link, its mark cleared; -1: none left. Writer only; not thread-safe.
 */
int page_claim(struct page *page);
void page_release(struct page *page, int slot);

/* The handler of `stream` is about to be entered. Any thread; one store. Only forward:
 * an older id does not move the mark back. */
void page_mark(struct page *page, int slot, uint32_t stream);
/* Whether `stream` lies behind the mark: true means its handler was never entered.
 * False for a slot that does not exist and a page that cannot be read any more. */
bool page_never_started(const struct page *page, int slot, uint32_t stream);

/* Stream ids compare as RFC 1982 serial numbers. */
static inline bool stream_after(uint32_t a, uint32_t b)
{
    return (int32_t)(a - b) > 0;
}

#endif
