/* SPDX-License-Identifier: MIT
 * The HTTP check of an app server: now and then an ordinary request, through its link,
 * its queue and its application. It needs credit like any other; an app server that has
 * none left is at work, and is asked when there is room. */
#ifndef UPSTREAM_CHECK_H
#define UPSTREAM_CHECK_H

#include <stdbool.h>
#include <stdint.h>

#include "protocol/base/check.h"

struct backend;
struct check;

MUST_CHECK struct check *check_new(struct backend *b);
/* After the backend is settled. */
void check_free(struct check **check_p);

/* It has failed so often in a row that the app server is to get nothing. */
bool check_has_failed(const struct check *c);
/* Another process answers: it is asked at once, and innocent until then. */
void check_renew(struct check *c);
/* About every 100 ms. */
void check_tick(struct check *c, uint64_t now_us);

#endif
