/* SPDX-License-Identifier: MIT
 * One line per exchange in the combined log format, with what the edge knows beyond it:
 *
 *   192.0.2.1 - - [21/Nov/2026:07:32:01 +0000] "GET / HTTP/1.1" 200 13 "-" "curl/8.5"
 *   rt=0.001204 qt=0.000011 rx=0 pool=default backend=b1 id=5b1c9a3700000001
 *
 * (one line in the file), or as JSON, where what is unknown is left out:
 *
 *   {"time":"2026-11-21T07:32:01.123Z","type":"access","client":"192.0.2.1",
 *   "method":"GET","target":"/","version":"1.1","status":200,"sent":13,"received":0,
 *   "referer":"...","user_agent":"curl/8.5","request_s":0.001204,"queue_s":0.000011,
 *   "pool":"default","backend":"b1","id":"5b1c9a3700000001"}
 *
 * rt: seconds from the head's last byte to the answer's last;
 * qt: of them, waited in the queue; rx: bytes of the request's body. */
#ifndef HTTP_ACCESS_LOG_H
#define HTTP_ACCESS_LOG_H

#include <stdint.h>

#include "protocol/base/check.h"
#include "protocol/base/slice.h"

/* The file. Shared by the edge threads. */
struct access_log;
/* "-": standard output. NULL with errno when it cannot be opened. */
MUST_CHECK struct access_log *access_log_open(const char *path);
void access_log_free(struct access_log **log_p);
/* Opens the path anew, after the old file was moved away. Any thread, at any time.
 * False with errno: the old file stays in use. */
MUST_CHECK bool access_log_reopen(struct access_log *log);

struct access_entry { /* slices: empty is written "-" */
    struct slice client_addr;
    struct slice method, target;
    uint8_t minor;
    int status;
    uint64_t sent_bytes, received_bytes;
    struct slice referer, user_agent;
    uint64_t request_us, queue_us;
    struct slice pool, backend, id;
};

/* One thread's lines, written with one write(2) by access_writer_flush. */
struct access_writer;
MUST_CHECK struct access_writer *access_writer_new(struct access_log *log);
void access_writer_free(struct access_writer **writer_p); /* flushes */
void access_writer_add(struct access_writer *writer, const struct access_entry *entry);
void access_writer_flush(struct access_writer *writer);

#endif
