/* SPDX-License-Identifier: MIT
 * Two words of the command line, or of the environment. */
#include "deploy/banyan/identity.h"

#include <stdlib.h>
#include <string.h>

#include "deploy/banyan/channel.h"
#include "protocol/base/slice.h"

static const char BLANKS[] = " \t\r\n";

static const char *given(const char *word, const char *variable)
{
    const char *text = word != NULL ? word : getenv(variable);
    return text == NULL || text[0] == '\0' ? NULL : text;
}

static void add(struct identity *identity, struct slice word)
{
    if (identity->count == IDENTITY_PROXIES || !key_is_text(word))
        return;
    char *key = identity->proxies[identity->count++];
    memcpy(key, word.ptr, word.len);
    key[word.len] = '\0';
}

/* Comments have no keys, whatever stands in them. */
static void add_words(struct identity *identity, struct slice text)
{
    const char *at = text.ptr, *end = text.ptr + text.len;
    while (at < end) {
        size_t length = 0;
        while (at + length < end && strchr(BLANKS, at[length]) == NULL)
            length++;
        if (length > 0 && *at == '#') {
            const char *line = memchr(at, '\n', (size_t)(end - at));
            at = line == NULL ? end : line;
            continue;
        }
        add(identity, slice_of(at, length));
        at += length + 1;
    }
}

static bool
read_proxies(struct identity *identity, const char *proxy_key, struct buf *message)
{
    struct buf text;
    if (key_is_text(slice_from(proxy_key))) {
        add(identity, slice_from(proxy_key));
        return true;
    }
    buf_init(&text, 0);
    bool ok = key_text_read(proxy_key, &text, message);
    if (ok) {
        buf_add(&text, slice_of("", 1)); /* strchr finds it among the blanks */
        add_words(identity, buf_slice(&text));
        ok = identity->count > 0;
        if (!ok)
            buf_addf(message, "--proxy-key %s: there is no public key in it",
                     proxy_key);
    }
    buf_fini(&text);
    return ok;
}

bool identity_read(struct identity *identity,
                   const char *key,
                   const char *proxy_key,
                   struct buf *ret_message)
{
    *identity = (struct identity){0};
    key = given(key, "BANYAN_KEY");
    proxy_key = given(proxy_key, "BANYAN_PROXY_KEY");
    if (key == NULL && proxy_key == NULL)
        return true;
    if (key == NULL || proxy_key == NULL) {
        buf_addf(ret_message, "%s is needed with %s: %s",
                 key == NULL ? "--key" : "--proxy-key",
                 key == NULL ? "--proxy-key" : "--key",
                 key == NULL ? "a file that `banyan keygen FILE` makes"
                             : "the proxy's public key, or a file with it");
        return false;
    }
    if (!key_file_read(key, &identity->own, ret_message) ||
        !read_proxies(identity, proxy_key, ret_message)) {
        identity_wipe(identity);
        return false;
    }
    identity->is_there = true;
    return true;
}

bool identity_take(struct identity *identity,
                   const struct proxies *proxies,
                   const char *key,
                   const char *proxy_key,
                   struct buf *ret_message)
{
    bool is_remote = false;
    for (size_t i = 0; i < proxies->count; i++)
        is_remote |= proxies_is_remote(proxies->addresses[i]);
    if (!is_remote)
        return true; /* the variables may be another program's */
    if (!identity_read(identity, key, proxy_key, ret_message))
        return false;
    channel_use(identity);
    return true;
}

void identity_wipe(struct identity *identity)
{
    key_pair_wipe(&identity->own);
    identity->is_there = false;
    identity->count = 0;
}
