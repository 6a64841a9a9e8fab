/* SPDX-License-Identifier: MIT
 * When one end has keys and the other has none, whoever reads the other's greeting
 * first ends the connection, perhaps before its own has left. */
#include "protocol/link_refusals.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

static const char *text_of(struct link_refusals *r,
                           const struct link_event *event,
                           bool has_keys,
                           uint64_t now_us);
static bool
is_broken_often(struct link_refusals *r, const char *address, uint64_t now_us);

void link_refusals_init(struct link_refusals *r)
{
    *r = (struct link_refusals){.broken = 0};
    quiet_init(&r->quiet, LINK_REFUSALS_PERIOD_US);
}

const char *link_refusals_note(struct link_refusals *r,
                               const struct link_event *event,
                               bool has_keys,
                               uint64_t now_us)
{
    uint32_t kept_back;
    const char *text = text_of(r, event, has_keys, now_us);
    if (text == NULL || !quiet_permits(&r->quiet, event->address, now_us, &kept_back))
        return NULL;
    return text;
}

const char *link_refusals_address(const struct link_event *event)
{
    return event->address[0] == '\0' ? "an unknown address" : event->address;
}

static const char *text_of(struct link_refusals *r,
                           const struct link_event *event,
                           bool has_keys,
                           uint64_t now_us)
{
    switch (event->refusal) {
    case REFUSAL_MECHANISM:
        return has_keys ? "it has no keys, and --key demands them here"
                        : "it demands keys, and there is no --key here";
    case REFUSAL_KEY:
        return "it takes us for somebody else: our public key is in no line of its "
               "--authorized-keys";
    case REFUSAL_BROKEN:
        if (!is_broken_often(r, event->address, now_us))
            return NULL;
        return has_keys ? "it ends each handshake: perhaps it has no keys, and --key "
                          "demands them here"
                        : "it ends each handshake: perhaps it demands keys, and there "
                          "is no --key here";
    case REFUSAL_DENIED:
        break;
    }
    return NULL;
}

/* An address that is not known may be any. */
static bool
is_broken_often(struct link_refusals *r, const char *address, uint64_t now_us)
{
    bool is_other =
        address[0] != '\0' && r->address[0] != '\0' && strcmp(r->address, address) != 0;
    if (is_other || now_us - r->since_us >= LINK_REFUSALS_PERIOD_US) {
        r->address[0] = '\0';
        r->since_us = now_us;
        r->broken = 0;
    }
    if (r->address[0] == '\0')
        (void)snprintf(r->address, sizeof r->address, "%s", address);
    return ++r->broken >= LINK_REFUSALS_BROKEN;
}
