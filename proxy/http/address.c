/* SPDX-License-Identifier: MIT
 * IPv4 is shown as IPv4 also where it comes mapped into IPv6. */
#include "proxy/http/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

struct slice address_text(const struct sockaddr_storage *address,
                          char text[ADDRESS_TEXT],
                          uint16_t *ret_port)
{
    const char *shown = NULL;
    *ret_port = 0;
    if (address->ss_family == AF_INET) {
        const struct sockaddr_in *in = (const void *)address;
        shown = inet_ntop(AF_INET, &in->sin_addr, text, ADDRESS_TEXT);
        *ret_port = ntohs(in->sin_port);
    } else if (address->ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const void *)address;
        if (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr))
            shown = inet_ntop(AF_INET, &in6->sin6_addr.s6_addr[12], text, ADDRESS_TEXT);
        else
            shown = inet_ntop(AF_INET6, &in6->sin6_addr, text, ADDRESS_TEXT);
        *ret_port = ntohs(in6->sin6_port);
    }
    return slice_from(shown == NULL ? "" : shown);
}
