/* SPDX-License-Identifier: MIT
 * --bind is one word for many processes; this is where it becomes many. */
#include "appserver/endpoint.h"

#include <stdlib.h>
#include <string.h>

#include "protocol/base/buf.h"
#include "protocol/base/mem.h"

static char *count_port(char *endpoint, uint32_t number);

char *endpoint_expand(const char *bind, uint32_t number, uint32_t generation)
{
    struct buf text;
    bool numbered = false;

    buf_init(&text, 0);
    while (*bind != '\0') {
        if (strncmp(bind, "{n}", 3) == 0) {
            buf_addf(&text, "%u", number);
            numbered = true;
            bind += 3;
        } else if (strncmp(bind, "{g}", 3) == 0) {
            buf_addf(&text, "%u", generation);
            bind += 3;
        } else {
            buf_add(&text, slice_of(bind, 1));
            bind++;
        }
    }
    char *endpoint = mem_printf("%.*s", SLICE_FMT(buf_slice(&text)));
    buf_fini(&text);
    if (numbered || number == 0 || strncmp(endpoint, "tcp://", 6) != 0)
        return endpoint;
    return count_port(endpoint, number);
}

bool endpoint_has_generation(const char *bind)
{
    return strstr(bind, "{g}") != NULL;
}

const char *endpoint_path(const char *endpoint)
{
    return strncmp(endpoint, "ipc://", 6) == 0 ? endpoint + 6 : NULL;
}

/* Takes `endpoint`. A port that is no number is left for whoever binds to refuse. */
static char *count_port(char *endpoint, uint32_t number)
{
    own(mem) char *old = endpoint;
    char *colon = strrchr(old, ':');
    char *end = NULL;
    unsigned long port = strtoul(colon + 1, &end, 10);

    if (end == colon + 1 || *end != '\0')
        return take(old);
    if (port + number > 65535)
        return NULL;
    return mem_printf("%.*s:%lu", (int)(colon - old), old, port + number);
}
