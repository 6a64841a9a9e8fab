/* SPDX-License-Identifier: MIT */
#include "proxy/http/ws_handshake.h"

#include <openssl/evp.h>
#include <string.h>

#include "proxy/http/chars.h"

enum { KEY_BYTES = 24, SHA1_BYTES = 20 };

void ws_accept_key(struct slice key, char ret_accept[WS_ACCEPT_BYTES])
{
    static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    char text[KEY_BYTES + sizeof guid - 1];
    unsigned char digest[EVP_MAX_MD_SIZE], encoded[WS_ACCEPT_BYTES + 1];
    unsigned length = 0;

    ASSERT(key.len == KEY_BYTES);
    memcpy(text, key.ptr, KEY_BYTES);
    memcpy(text + KEY_BYTES, guid, sizeof guid - 1);
    int good = EVP_Digest(text, sizeof text, digest, &length, EVP_sha1(), NULL);
    ASSERT(good == 1 && length == SHA1_BYTES);
    int written = EVP_EncodeBlock(encoded, digest, SHA1_BYTES);
    ASSERT(written == WS_ACCEPT_BYTES);
    memcpy(ret_accept, encoded, WS_ACCEPT_BYTES);
}

bool ws_handshake_answer(const struct frame_ws *accept,
                         struct slice key,
                         const struct ws_terms *terms,
                         const struct response_to *to,
                         struct buf *out,
                         struct response_failure *ret_failure)
{
    char digest[WS_ACCEPT_BYTES];
    struct buf fields;

    if (accept->data.len > 0 && !chars_are(accept->data, CHAR_TOKEN)) {
        *ret_failure = (struct response_failure){ERR_BAD_RESPONSE, "bad value of",
                                                 SLICE("Sec-WebSocket-Protocol")};
        return false;
    }
    ws_accept_key(key, digest);
    buf_init(&fields, 0);
    buf_add(&fields, SLICE("Upgrade: websocket\r\nConnection: Upgrade\r\n"
                           "Sec-WebSocket-Accept: "));
    buf_add(&fields, slice_of(digest, sizeof digest));
    if (accept->data.len > 0) {
        buf_add(&fields, SLICE("\r\nSec-WebSocket-Protocol: "));
        buf_add(&fields, accept->data);
    }
    if (terms->has_deflate) {
        buf_add(&fields, SLICE("\r\nSec-WebSocket-Extensions: "));
        ws_deflate_answer(terms, &fields);
    }
    buf_add(&fields, SLICE("\r\n"));
    bool good =
        respond_switch(accept->headers, buf_slice(&fields), to, out, ret_failure);
    buf_fini(&fields);
    return good;
}
