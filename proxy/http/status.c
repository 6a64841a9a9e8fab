/* SPDX-License-Identifier: MIT
 * The fixed texts of responses: reason phrases (IANA's registry) and the date. */
#include "proxy/http/respond.h"

static const struct {
    int status;
    struct slice reason;
} phrases[] = {
#define PHRASE(status, text)                                                           \
    {                                                                                  \
        status,                                                                        \
        {                                                                              \
            text, sizeof(text) - 1                                                     \
        }                                                                              \
    }
    PHRASE(100, "Continue"),
    PHRASE(101, "Switching Protocols"),
    PHRASE(102, "Processing"),
    PHRASE(103, "Early Hints"),
    PHRASE(200, "OK"),
    PHRASE(201, "Created"),
    PHRASE(202, "Accepted"),
    PHRASE(203, "Non-Authoritative Information"),
    PHRASE(204, "No Content"),
    PHRASE(205, "Reset Content"),
    PHRASE(206, "Partial Content"),
    PHRASE(207, "Multi-Status"),
    PHRASE(208, "Already Reported"),
    PHRASE(226, "IM Used"),
    PHRASE(300, "Multiple Choices"),
    PHRASE(301, "Moved Permanently"),
    PHRASE(302, "Found"),
    PHRASE(303, "See Other"),
    PHRASE(304, "Not Modified"),
    PHRASE(305, "Use Proxy"),
    PHRASE(307, "Temporary Redirect"),
    PHRASE(308, "Permanent Redirect"),
    PHRASE(400, "Bad Request"),
    PHRASE(401, "Unauthorized"),
    PHRASE(402, "Payment Required"),
    PHRASE(403, "Forbidden"),
    PHRASE(404, "Not Found"),
    PHRASE(405, "Method Not Allowed"),
    PHRASE(406, "Not Acceptable"),
    PHRASE(407, "Proxy Authentication Required"),
    PHRASE(408, "Request Timeout"),
    PHRASE(409, "Conflict"),
    PHRASE(410, "Gone"),
    PHRASE(411, "Length Required"),
    PHRASE(412, "Precondition Failed"),
    PHRASE(413, "Content Too Large"),
    PHRASE(414, "URI Too Long"),
    PHRASE(415, "Unsupported Media Type"),
    PHRASE(416, "Range Not Satisfiable"),
    PHRASE(417, "Expectation Failed"),
    PHRASE(418, "I'm a Teapot"),
    PHRASE(421, "Misdirected Request"),
    PHRASE(422, "Unprocessable Content"),
    PHRASE(423, "Locked"),
    PHRASE(424, "Failed Dependency"),
    PHRASE(425, "Too Early"),
    PHRASE(426, "Upgrade Required"),
    PHRASE(428, "Precondition Required"),
    PHRASE(429, "Too Many Requests"),
    PHRASE(431, "Request Header Fields Too Large"),
    PHRASE(451, "Unavailable For Legal Reasons"),
    PHRASE(499, "Client Closed Request"),
    PHRASE(500, "Internal Server Error"),
    PHRASE(501, "Not Implemented"),
    PHRASE(502, "Bad Gateway"),
    PHRASE(503, "Service Unavailable"),
    PHRASE(504, "Gateway Timeout"),
    PHRASE(505, "HTTP Version Not Supported"),
    PHRASE(506, "Variant Also Negotiates"),
    PHRASE(507, "Insufficient Storage"),
    PHRASE(508, "Loop Detected"),
    PHRASE(511, "Network Authentication Required"),
#undef PHRASE
};

struct slice status_reason(int status)
{
    size_t low = 0, high = sizeof(phrases) / sizeof(phrases[0]);

    if (status == 200)
        return SLICE("OK");
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (phrases[middle].status == status)
            return phrases[middle].reason;
        if (phrases[middle].status < status)
            low = middle + 1;
        else
            high = middle;
    }
    return SLICE("Unknown");
}

/* Year, month and day of a day of the proleptic Gregorian calendar, counted from
 * 0000-03-01: years that begin in March have their leap day last. */
static void date_of_day(int64_t day, int64_t *ret_year, int *ret_month, int *ret_day)
{
    int64_t era = day / 146097, in_era = day % 146097;
    int64_t year = (in_era - in_era / 1460 + in_era / 36524 - in_era / 146096) / 365;
    int64_t in_year = in_era - (365 * year + year / 4 - year / 100);
    int64_t month = (5 * in_year + 2) / 153; /* from March */

    *ret_day = (int)(in_year - (153 * month + 2) / 5) + 1;
    *ret_month = (int)(month < 10 ? month + 2 : month - 10);
    *ret_year = era * 400 + year + (*ret_month < 2);
}

static void put_digits(char *to, int digits, int64_t value)
{
    while (digits-- > 0) {
        to[digits] = (char)('0' + value % 10);
        value /= 10;
    }
}

void http_date(int64_t unix_seconds, char ret_text[30])
{
    static const char days[] = "ThuFriSatSunMonTueWed";
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    const int64_t before_epoch = 719468;        /* days from 0000-03-01 to 1970-01-01 */
    const int64_t last = INT64_C(253402300799); /* the end of the year 9999 */
    int64_t now = unix_seconds < 0 ? 0 : unix_seconds > last ? last : unix_seconds;
    int64_t days_since = now / 86400, second = now % 86400, year;
    int month, day;

    date_of_day(days_since + before_epoch, &year, &month, &day);
    memcpy(ret_text, "Thu, 01 Jan 1970 00:00:00 GMT", 30);
    memcpy(ret_text, days + 3 * (days_since % 7), 3);
    put_digits(ret_text + 5, 2, day);
    memcpy(ret_text + 8, months + 3 * month, 3);
    put_digits(ret_text + 12, 4, year);
    put_digits(ret_text + 17, 2, second / 3600);
    put_digits(ret_text + 20, 2, second / 60 % 60);
    put_digits(ret_text + 23, 2, second % 60);
}
