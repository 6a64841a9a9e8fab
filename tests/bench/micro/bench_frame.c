/* SPDX-License-Identifier: MIT
 * What a frame costs: a browser's request with twelve headers and a small answer,
 * packed and unpacked. Prints nanoseconds of CPU per operation, the median of seven
 * runs. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "protocol/frame.h"
#include "protocol/header_names.h"

enum { ROUNDS = 200000, RUNS = 7 };

static const struct {
    const char *name, *value;
} HEADERS[] = {
    {"host", "www.example.org"},
    {"user-agent",
     "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"},
    {"accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"},
    {"accept-language", "en-US,en;q=0.5"},
    {"accept-encoding", "gzip, deflate, br"},
    {"referer", "https://www.example.org/articles/"},
    {"cookie", "sessionid=0123456789abcdef0123456789abcdef; csrftoken=abcdefghijkl"},
    {"upgrade-insecure-requests", "1"},
    {"sec-fetch-dest", "document"},
    {"sec-fetch-mode", "navigate"},
    {"x-forwarded-for", "192.0.2.10"},
    {"x-request-id", "0123456789abcdef"},
};

enum { HEADER_ROWS = sizeof HEADERS / sizeof HEADERS[0] };

static struct frame_request request;
static struct buf headers, packed_request, answer_headers, packed_answer, scratch;
static volatile size_t sink;

static void number_names(void)
{
    size_t sum = 0;
    for (int i = 0; i < ROUNDS; i++)
        for (size_t h = 0; h < HEADER_ROWS; h++)
            sum += header_number(slice_from(HEADERS[h].name));
    sink = sum;
}

static void pack_headers(struct buf *to)
{
    struct header_writer w;
    header_begin(&w, to);
    for (size_t h = 0; h < HEADER_ROWS; h++) {
        struct slice name = slice_from(HEADERS[h].name);
        header_put(&w, header_number(name), name, slice_from(HEADERS[h].value));
    }
    header_end(&w);
}

static void pack_header_lists(void)
{
    for (int i = 0; i < ROUNDS; i++) {
        buf_clear(&scratch);
        pack_headers(&scratch);
    }
}

static void pack_requests(void)
{
    for (int i = 0; i < ROUNDS; i++) {
        buf_clear(&scratch);
        frame_pack_request(&scratch, (uint32_t)i, &request, buf_slice(&headers));
    }
}

static void unpack(const struct buf *packed)
{
    size_t sum = 0;
    for (int i = 0; i < ROUNDS; i++) {
        struct slice rest = buf_slice(packed);
        struct frame f;
        enum err err;
        ASSERT(frame_unpack(&rest, &f, &err) == STEP_DONE);
        sum += f.stream;
    }
    sink = sum;
}

static void unpack_requests(void)
{
    unpack(&packed_request);
}

static void walk_requests(void)
{
    size_t sum = 0;
    for (int i = 0; i < ROUNDS; i++) {
        struct slice rest = buf_slice(&packed_request);
        struct frame f;
        struct header h;
        enum err err;
        ASSERT(frame_unpack(&rest, &f, &err) == STEP_DONE);
        while (header_next(&f.request.headers, &h))
            sum += h.number + h.value.len;
    }
    sink = sum;
}

static void pack_answers(void)
{
    for (int i = 0; i < ROUNDS; i++) {
        buf_clear(&scratch);
        frame_pack_response(&scratch, (uint32_t)i, 200, SLICE(""),
                            buf_slice(&answer_headers), SLICE("Hello, world!\n"));
    }
}

static void unpack_answers(void)
{
    unpack(&packed_answer);
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double cpu_seconds(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void measure(const char *what, void (*body)(void), double per_round)
{
    double times[RUNS];
    for (int run = 0; run < RUNS; run++) {
        double start = cpu_seconds();
        body();
        times[run] = (cpu_seconds() - start) / ROUNDS / per_round * 1e9;
    }
    qsort(times, RUNS, sizeof times[0], compare);
    printf("%-42s %7.1f ns\n", what, times[RUNS / 2]);
}

int main(void)
{
    request =
        (struct frame_request){.method = SLICE("GET"),
                               .target = SLICE("/articles/2026/11?page=2&sort=new"),
                               .minor = 1,
                               .scheme = SLICE("http"),
                               .client_addr = SLICE("192.0.2.10"),
                               .client_port = 52144,
                               .server_addr = SLICE("198.51.100.1"),
                               .server_port = 80,
                               .deadline_us = 121000000,
                               .queued_us = 61000500,
                               .id = SLICE("0123456789abcdef")};
    pack_headers(&headers);
    frame_pack_request(&packed_request, 1, &request, buf_slice(&headers));
    struct header_writer w;
    header_begin(&w, &answer_headers);
    header_put(&w, HEADER_CONTENT_TYPE, slice_of("", 0), SLICE("text/plain"));
    header_put(&w, HEADER_CONTENT_LENGTH, slice_of("", 0), SLICE("14"));
    header_end(&w);
    frame_pack_response(&packed_answer, 1, 200, SLICE(""), buf_slice(&answer_headers),
                        SLICE("Hello, world!\n"));

    printf("REQUEST of %zu bytes, RESPONSE of %zu\n", buf_len(&packed_request),
           buf_len(&packed_answer));
    measure("number a header name", number_names, HEADER_ROWS);
    measure("number and pack 12 headers", pack_header_lists, 1);
    measure("pack a REQUEST (headers packed already)", pack_requests, 1);
    measure("unpack a REQUEST", unpack_requests, 1);
    measure("unpack a REQUEST, walk its headers", walk_requests, 1);
    measure("pack a RESPONSE", pack_answers, 1);
    measure("unpack a RESPONSE", unpack_answers, 1);
    return 0;
}
