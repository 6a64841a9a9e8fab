/* SPDX-License-Identifier: MIT
 * What the core costs: an app server of C handlers in a process of its own, and a proxy
 * made of a link and the codec that keeps K requests outstanding, all it has in hand as
 * one message. Prints, per number of worker threads and of outstanding requests, the
 * app server's CPU per request (all its threads, ZeroMQ's too, in ticks of 10 ms),
 * requests per message each way, context switches, and the rate.
 *
 *     bench_core [hello | spin=US | sleep=US] [seconds per row] [threads] [outstanding]
 *     bench_core at=ENDPOINT PID TARGET [seconds per row]
 *
 * Handlers: hello answers at once, spin computes, sleep waits. The second form drives
 * an app server that runs already, PID being its worker process. */
#include <dirent.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "appserver/core/core.h"
#include "protocol/base/buf.h"
#include "protocol/base/clock.h"
#include "protocol/frame.h"
#include "protocol/header_names.h"
#include "protocol/link.h"

enum { MAX_THREADS = 512, MAX_OUTSTANDING = 1024 };

enum mode { MODE_HELLO, MODE_SPIN, MODE_SLEEP };
static enum mode mode;
static unsigned mode_us;
static char endpoint[128];

static const char *target = "/hello";

struct usage {
    uint64_t cpu_us, switches;
};

static struct core *core;
static struct buf answer_headers;

static void handle(struct request *r)
{
    if (mode == MODE_SPIN)
        for (uint64_t end = clock_now_us() + mode_us; clock_now_us() < end;)
            continue;
    if (mode == MODE_SLEEP)
        (void)usleep(mode_us);
    if (request_respond(r, 200, SLICE(""), buf_slice(&answer_headers),
                        SLICE("Hello, world!\n")) != ERR_NONE)
        return;
}

static void *work(void *arg)
{
    struct worker *w = core_worker_enter(core, 0);
    struct request *r;

    (void)arg;
    while ((r = core_next(w)) != NULL)
        handle(r);
    core_worker_leave(&w);
    return NULL;
}

/* Of a process with all its threads. */
static struct usage measure(pid_t pid)
{
    char path[64], text[512];
    unsigned long user = 0, system = 0, more = 0;
    struct usage u = {0, 0};

    (void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    FILE *f = fopen(path, "r");
    if (f != NULL && fgets(text, sizeof(text), f) != NULL)
        (void)sscanf(strrchr(text, ')'),
                     ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user,
                     &system);
    if (f != NULL)
        (void)fclose(f);
    u.cpu_us = (user + system) * 1000000 / (unsigned long)sysconf(_SC_CLK_TCK);

    (void)snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
    DIR *tasks = opendir(path);
    for (struct dirent *d; tasks != NULL && (d = readdir(tasks)) != NULL;) {
        (void)snprintf(text, sizeof(text), "/proc/%d/task/%.20s/status", (int)pid,
                       d->d_name);
        f = fopen(text, "r");
        while (f != NULL && fgets(text, sizeof(text), f) != NULL)
            if (sscanf(text, "voluntary_ctxt_switches: %lu", &more) == 1 ||
                sscanf(text, "nonvoluntary_ctxt_switches: %lu", &more) == 1)
                u.switches += more;
        if (f != NULL)
            (void)fclose(f);
    }
    if (tasks != NULL)
        (void)closedir(tasks);
    return u;
}

/* The app server's process: serves until the other end of `alive` is closed. */
static void serve(unsigned threads, int alive)
{
    struct core_options options = {
        .endpoint = endpoint,
        .pool = "default",
        .interface = "wsgi",
        .threads = threads,
        .threads_max = threads,
    };
    struct core_events events = {.arg = NULL};
    pthread_t ids[MAX_THREADS];
    struct header_writer w;
    char byte;

    buf_init(&answer_headers, 0);
    header_begin(&w, &answer_headers);
    header_put(&w, HEADER_CONTENT_TYPE, SLICE("content-type"), SLICE("text/plain"));
    header_put(&w, HEADER_CONTENT_LENGTH, SLICE("content-length"), SLICE("14"));
    header_end(&w);
    if (core_new(&options, &events, &core) != ERR_NONE)
        exit(1);
    for (unsigned i = 0; i < threads; i++)
        (void)pthread_create(&ids[i], NULL, work, NULL);
    while (read(alive, &byte, 1) == 1)
        continue;
    core_drain(core);
    if (!core_wait_drained(core, 2000000))
        exit(1);
    for (unsigned i = 0; i < threads; i++)
        (void)pthread_join(ids[i], NULL);
    core_free(&core);
    exit(0);
}

struct driver {
    struct link *link;
    uint64_t epoch;
    struct buf out, request; /* the latter packed once */
    uint32_t next, window, inside, wanted;
    uint64_t done, latency_us, worst_us, messages_in, messages_out;
    uint64_t sent_us[4096]; /* by stream modulo */
    bool greeted;
};

static void pack_request(struct driver *d)
{
    static const char *const fields[][2] = {
        {"host", "www.example.org"},
        {"user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101"},
        {"accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"},
        {"accept-language", "en-US,en;q=0.5"},
        {"accept-encoding", "gzip, deflate, br"},
        {"cookie", "sessionid=0123456789abcdef0123456789abcdef"},
        {"sec-fetch-dest", "document"},
        {"sec-fetch-mode", "navigate"},
    };
    struct frame_request r = {
        .method = SLICE("GET"),
        .target = slice_from(target),
        .minor = 1,
        .scheme = SLICE("http"),
        .client_addr = SLICE("127.0.0.1"),
        .client_port = 4321,
        .server_addr = SLICE("127.0.0.1"),
        .server_port = 8000,
        .id = SLICE("0123456789abcdef"),
    };
    struct buf headers;
    struct header_writer w;

    buf_init(&headers, 0);
    buf_init(&d->request, 0);
    header_begin(&w, &headers);
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
        header_put(&w, header_number(slice_from(fields[i][0])),
                   slice_from(fields[i][0]), slice_from(fields[i][1]));
    header_end(&w);
    frame_pack_request(&d->request, 1, &r, buf_slice(&headers));
    buf_fini(&headers);
}

static void take_frames(struct driver *d, struct slice rest, uint64_t now)
{
    struct frame f;
    enum err e;

    while (frame_unpack(&rest, &f, &e) == STEP_DONE) {
        switch (f.kind) {
        case FRAME_RESPONSE:
            d->done++;
            d->inside--;
            d->latency_us += now - d->sent_us[f.stream % 4096];
            if (now - d->sent_us[f.stream % 4096] > d->worst_us)
                d->worst_us = now - d->sent_us[f.stream % 4096];
            break;
        case FRAME_RETURN:
            d->inside--;
            break;
        case FRAME_GRANT:
            d->window = f.window;
            break;
        default:
            break;
        }
    }
}

static void turn(struct driver *d)
{
    struct link_message m;
    uint64_t now = clock_now_us();

    while (link_recv(d->link, &m) == STEP_DONE) {
        d->messages_in++;
        take_frames(d, m.frames, now);
        link_message_done(&m);
    }
    uint32_t limit = d->window < d->wanted ? d->window : d->wanted;
    while (d->inside < limit) {
        size_t at = d->out.end;
        buf_add(&d->out, buf_slice(&d->request));
        frame_set_stream(d->out.data + at, ++d->next);
        d->sent_us[d->next % 4096] = now;
        d->inside++;
        if (buf_len(&d->out) >= FRAME_BATCH_BYTES || d->inside == limit) {
            (void)!link_send(d->link, 0, buf_slice(&d->out), SLICE(""));
            d->messages_out++;
            buf_clear(&d->out);
        }
    }
    if (!link_has_input(d->link)) {
        struct pollfd fd = {.fd = link_fd(d->link), .events = POLLIN};
        (void)poll(&fd, 1, 100);
    }
}

static void drive_for(struct driver *d, uint64_t us)
{
    for (uint64_t end = clock_now_us() + us; clock_now_us() < end;)
        turn(d);
}

static void greet(struct driver *d)
{
    struct link_event event = {.kind = LINK_DOWN};
    struct frame_hello h = {
        .version = PROTOCOL_VERSION,
        .role = SLICE("proxy"),
        .instance = 1,
        .clock_us = clock_now_us(),
        .window_bytes = FRAME_DEFAULT_WINDOW,
        .inline_bytes = FRAME_MAX_INLINE_BODY,
    };

    while (!link_next_event(d->link, &event) || event.kind != LINK_UP)
        (void)usleep(1000);
    frame_pack_hello(&d->out, d->epoch, &h);
    (void)!link_send(d->link, 0, buf_slice(&d->out), SLICE(""));
    buf_clear(&d->out);
    while (d->window == 0)
        turn(d);
}

static void measure_row(struct driver *d, pid_t pid, const char *label, double seconds)
{
    drive_for(d, 200000);
    struct driver before = *d;
    struct usage a = measure(pid);
    uint64_t start = clock_now_us();
    d->worst_us = 0;
    drive_for(d, (uint64_t)(seconds * 1e6));
    double took = (double)(clock_now_us() - start);
    struct usage b = measure(pid);
    double n = (double)(d->done - before.done);
    printf("%8s %12u %10.2f %10.1f %10.1f %10.3f %10.0f %10.0f %10.0f\n", label,
           d->wanted, (double)(b.cpu_us - a.cpu_us) / n,
           n / (double)(d->messages_out - before.messages_out),
           n / (double)(d->messages_in - before.messages_in),
           (double)(b.switches - a.switches) / n, n * 1e6 / took,
           (double)(d->latency_us - before.latency_us) / n, (double)d->worst_us);
    (void)fflush(stdout);
}

static void drive(pid_t pid,
                  const char *label,
                  const unsigned *outstanding,
                  size_t rows,
                  double seconds)
{
    struct link_context *context = link_context_new(4);
    struct driver *d = calloc(1, sizeof(*d));

    d->epoch = (uint64_t)getpid();
    buf_init(&d->out, 0);
    pack_request(d);
    if (link_connect(context, endpoint, LINK_LOCAL_ONLY, &d->link) != ERR_NONE)
        exit(1);
    greet(d);
    for (size_t i = 0; i < rows; i++) {
        d->wanted = outstanding[i];
        measure_row(d, pid, label, seconds);
    }
    link_free(&d->link);
    link_context_free(&context);
    buf_fini(&d->out);
    buf_fini(&d->request);
    free(d);
}

static void
run(unsigned threads, const unsigned *outstanding, size_t rows, double seconds)
{
    int alive[2];
    char label[16];

    if (pipe(alive) != 0)
        exit(1);
    (void)fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        (void)close(alive[1]);
        serve(threads, alive[0]);
    }
    (void)close(alive[0]);
    while (access(endpoint + 6, F_OK) != 0)
        (void)usleep(1000);
    (void)snprintf(label, sizeof(label), "%u", threads);
    drive(pid, label, outstanding, rows, seconds);
    (void)close(alive[1]);
    (void)waitpid(pid, NULL, 0);
}

static const unsigned OUTSTANDING[] = {1, 4, 16, 64, 256};
enum { ROWS = sizeof(OUTSTANDING) / sizeof(OUTSTANDING[0]) };

static void print_head(void)
{
    printf("%8s %12s %10s %10s %10s %10s %10s %10s %10s\n", "threads", "outstanding",
           "cpu us/req", "req/msg in", "out", "switches", "req/s", "latency us",
           "worst us");
}

int main(int argc, char **argv)
{
    static const unsigned threads[] = {1, 16, 256};
    char directory[] = "/tmp/bench-core-XXXXXX";
    double seconds = argc > 2 ? atof(argv[2]) : 1.0;

    if (argc > 3 && strncmp(argv[1], "at=", 3) == 0) {
        (void)snprintf(endpoint, sizeof(endpoint), "%s", argv[1] + 3);
        target = argv[3];
        print_head();
        drive((pid_t)atoi(argv[2]), "-", OUTSTANDING, ROWS,
              argc > 4 ? atof(argv[4]) : 1.0);
        return 0;
    }
    if (argc > 1 && sscanf(argv[1], "spin=%u", &mode_us) == 1)
        mode = MODE_SPIN;
    else if (argc > 1 && sscanf(argv[1], "sleep=%u", &mode_us) == 1)
        mode = MODE_SLEEP;
    if (mkdtemp(directory) == NULL)
        return 1;
    (void)snprintf(endpoint, sizeof(endpoint), "ipc://%s/app", directory);
    print_head();
    for (size_t i = 0; i < sizeof(threads) / sizeof(threads[0]); i++) {
        unsigned only_threads = argc > 3 ? (unsigned)atoi(argv[3]) : threads[i];
        unsigned only_outstanding = argc > 4 ? (unsigned)atoi(argv[4]) : 0;
        if (threads[i] != only_threads)
            continue;
        if (only_outstanding > 0)
            run(threads[i], &only_outstanding, 1, seconds);
        else
            run(threads[i], OUTSTANDING, ROWS, seconds);
    }
    (void)rmdir(directory);
    return 0;
}
