/* SPDX-License-Identifier: MIT
 * Socket addresses as the text and number that a request carries. */
#ifndef HTTP_ADDRESS_H
#define HTTP_ADDRESS_H

#include <stdint.h>

#include "protocol/base/slice.h"

struct sockaddr_storage;

enum { ADDRESS_TEXT = 48 };

/* "192.0.2.1" (also for ::ffff:192.0.2.1), "2001:db8::1"; empty, port 0 for anything
 * else. */
struct slice address_text(const struct sockaddr_storage *address,
                          char text[ADDRESS_TEXT],
                          uint16_t *ret_port);

#endif
