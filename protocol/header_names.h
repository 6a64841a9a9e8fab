/* SPDX-License-Identifier: MIT
 * The numbered header names (header_names.def). Pure. */
#ifndef PROTOCOL_HEADER_NAMES_H
#define PROTOCOL_HEADER_NAMES_H

#include <stdint.h>

#include "protocol/base/slice.h"

enum {
    HEADER_NONE = 0,  /* not a numbered name */
    HEADER_COUNT = 96 /* numbers are below it */
};

/* Constants of the names the code itself looks at. */
enum header_name {
    HEADER_ACCEPT = 1,
    HEADER_AUTHORIZATION = 16,
    HEADER_CACHE_CONTROL = 17,
    HEADER_CONNECTION = 18,
    HEADER_CONTENT_LENGTH = 22,
    HEADER_CONTENT_TYPE = 26,
    HEADER_COOKIE = 27,
    HEADER_DATE = 29,
    HEADER_EXPECT = 32,
    HEADER_FORWARDED = 34,
    HEADER_HOST = 36,
    HEADER_KEEP_ALIVE = 42,
    HEADER_PROXY_CONNECTION = 51,
    HEADER_REFERER = 53,
    HEADER_RETRY_AFTER = 55,
    HEADER_SEC_WEBSOCKET_ACCEPT = 63,
    HEADER_SEC_WEBSOCKET_EXTENSIONS = 64,
    HEADER_SEC_WEBSOCKET_KEY = 65,
    HEADER_SEC_WEBSOCKET_PROTOCOL = 66,
    HEADER_SEC_WEBSOCKET_VERSION = 67,
    HEADER_SERVER = 68,
    HEADER_SET_COOKIE = 70,
    HEADER_TE = 72,
    HEADER_TRAILER = 75,
    HEADER_TRANSFER_ENCODING = 76,
    HEADER_UPGRADE = 77,
    HEADER_USER_AGENT = 79,
    HEADER_X_ACCEL_BUFFERING = 84,
    HEADER_X_FORWARDED_FOR = 87,
    HEADER_X_FORWARDED_HOST = 88,
    HEADER_X_FORWARDED_PORT = 89,
    HEADER_X_FORWARDED_PROTO = 90,
    HEADER_X_REAL_IP = 92,
    HEADER_X_REQUEST_ID = 93,
    HEADER_X_REQUEST_START = 94,
};

/* The number of a name in any case, or HEADER_NONE. Constant time in the table's size.
 */
uint8_t header_number(struct slice name);
/* "content-type" / "Content-Type"; empty slice for a number not in the table. */
struct slice header_lower(uint8_t number);
struct slice header_canonical(uint8_t number);

#endif
