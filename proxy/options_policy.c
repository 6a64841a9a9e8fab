/* SPDX-License-Identifier: MIT
 * What the options say about queues and app servers of a pool. */
#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "proxy/options_priv.h"

bool options_pick_word(const char *option,
                       const char *given,
                       const struct option_word *words,
                       size_t count,
                       int *ret_value,
                       struct buf *message)
{
    for (size_t i = 0; i < count; i++) {
        if (strcasecmp(given, words[i].text) != 0)
            continue;
        *ret_value = words[i].value;
        return true;
    }
    buf_addf(message, "--%s: \"%s\" is not accepted; expected ", option, given);
    for (size_t i = 0; i < count; i++)
        buf_addf(message, "%s%s", words[i].text,
                 i + 2 < count    ? ", "
                 : i + 2 == count ? " or "
                                  : "");
    return false;
}

/* A token of RFC 9110 section 5.6.2 that fits. */
static bool is_token(const char *text, size_t size)
{
    return *text != '\0' && strlen(text) < size &&
           strcspn(text, " \t\"(),/:;<=>?@[\\]{}") == strlen(text);
}

bool proxy_hash_by_parse(const char *text, struct hash_by *ret_by)
{
    static const struct option_word kinds[] = {{"header:", HASH_HEADER},
                                               {"cookie:", HASH_COOKIE}};
    struct hash_by by = {.source = HASH_ADDRESS};
    if (strcasecmp(text, "address") == 0) {
        *ret_by = by;
        return true;
    }
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        size_t length = strlen(kinds[i].text);
        if (strncasecmp(text, kinds[i].text, length) != 0)
            continue;
        const char *name = text + length;
        if (!is_token(name, sizeof by.name))
            return false;
        by.source = (enum hash_source)kinds[i].value;
        memcpy(by.name, name, strlen(name));
        *ret_by = by;
        return true;
    }
    return false;
}

/* What goes to an application as a request must be one. */
static bool set_check(struct proxy_options *o, struct buf *message)
{
    struct pool_policy *to = &o->policy;
    size_t host = strlen(o->check_host), path = 0;
    if (o->check_path != NULL)
        path = strlen(o->check_path);
    bool is_good = host < sizeof to->check_host && path < sizeof to->check_path &&
                   (path == 0 || o->check_path[0] == '/');
    for (size_t i = 0; i < host; i++)
        is_good = is_good && isgraph((unsigned char)o->check_host[i]);
    for (size_t i = 0; i < path; i++)
        is_good = is_good && isgraph((unsigned char)o->check_path[i]);
    if (!is_good) {
        buf_addf(
            message,
            "--check-path: \"%s\" at --check-host \"%s\" is not accepted; expected a "
            "path such as /health, up to 255 characters without spaces",
            o->check_path == NULL ? "" : o->check_path, o->check_host);
        return false;
    }
    memcpy(to->check_host, o->check_host, host);
    if (path > 0)
        memcpy(to->check_path, o->check_path, path);
    return true;
}

static uint64_t to_us(double seconds)
{
    return (uint64_t)(seconds * 1e6);
}

static bool set_sticky(struct proxy_options *o, struct buf *message)
{
    static const struct option_word words[] = {
        {"lax", SAME_SITE_LAX}, {"strict", SAME_SITE_STRICT}, {"none", SAME_SITE_NONE}};
    struct sticky *to = &o->policy.sticky;
    int same_site;
    if (!options_pick_word("sticky-same-site", o->sticky_same_site, words,
                           sizeof words / sizeof words[0], &same_site, message))
        return false;
    to->same_site = (enum same_site)same_site;
    to->wait_us = to_us(o->sticky_wait_s);
    to->max_age_s = (uint64_t)o->sticky_ttl_s;
    if (o->sticky == NULL)
        return true;
    if (!is_token(o->sticky, sizeof to->name)) {
        buf_addf(message,
                 "--sticky: \"%s\" is not accepted; expected the name of a cookie, up "
                 "to 63 token characters",
                 o->sticky);
        return false;
    }
    memcpy(to->name, o->sticky, strlen(o->sticky));
    return true;
}

bool options_fill_policy(struct proxy_options *o, struct buf *ret_message)
{
    struct hash_by by;
    if (!proxy_hash_by_parse(o->hash_by, &by)) {
        buf_addf(ret_message,
                 "--hash-by: \"%s\" is not accepted; expected address, header:NAME or "
                 "cookie:NAME, the name of up to 63 token characters",
                 o->hash_by);
        return false;
    }
    o->policy = (struct pool_policy){
        .hash = by,
        .queue_target_us = to_us(o->queue_target_s),
        .queue_interval_us = to_us(o->queue_interval_s),
        .check_interval_us = to_us(o->check_interval_s),
        .check_timeout_us = to_us(o->check_timeout_s),
        .check_rise = (uint32_t)o->check_rise,
        .check_fall = (uint32_t)o->check_fall,
        .slow_start_us = to_us(o->slow_start_s),
        .eject_after = (uint32_t)o->eject_after,
        .eject_rate_percent = (uint32_t)o->eject_rate,
        .eject_most_percent = (uint32_t)o->eject_most,
        .eject_us = to_us(o->eject_time_s),
        .panic_percent = (uint32_t)o->panic_threshold,
    };
    if (!set_check(o, ret_message) || !set_sticky(o, ret_message))
        return false;
    return true;
}
