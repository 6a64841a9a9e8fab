/* SPDX-License-Identifier: MIT
 * proxy/control.c in a process of its own: start, signals, exit codes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka.h needs the four above
#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proxy/control.h"

struct proxy {
    pid_t pid;
    FILE *log; /* its standard error */
};

static struct proxy start(const char *bind)
{
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    struct proxy p = {.pid = fork()};
    assert_true(p.pid >= 0);
    if (p.pid == 0) {
        char program[] = "banyan-proxy", address[128], backend[] = "--backend=ipc:///x",
             threads[] = "--threads=2";
        snprintf(address, sizeof address, "--bind=%s", bind);
        char *argv[] = {program, address, backend, threads, NULL};
        struct config *config;
        struct buf message;
        buf_init(&message, 0);
        (void)dup2(fds[1], STDERR_FILENO);
        if (config_load(4, argv, &config, &message) != ERR_NONE)
            _exit(99);
        _exit(control_run(&config));
    }
    (void)close(fds[1]);
    p.log = fdopen(fds[0], "r");
    assert_non_null(p.log);
    return p;
}

/* Reads its log until a line holds `say`; false: the log ended without. */
static bool wait_for(struct proxy *p, const char *say)
{
    char line[512];
    while (fgets(line, sizeof line, p->log) != NULL)
        if (strstr(line, say) != NULL)
            return true;
    return false;
}

static int finish(struct proxy *p)
{
    int status;
    (void)wait_for(p, "there is no such line");
    (void)fclose(p->log);
    assert_int_equal(waitpid(p->pid, &status, 0), p->pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void it_says_where_it_listens_and_ends_on_a_signal(void **state)
{
    static const int signals[] = {SIGTERM, SIGINT};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct proxy p = start("127.0.0.1:0");
        assert_true(wait_for(&p, "listening on http://127.0.0.1:"));
        assert_int_equal(kill(p.pid, SIGUSR1), 0); /* nothing to reopen */
        assert_int_equal(kill(p.pid, signals[i]), 0);
        assert_int_equal(finish(&p), 0);
    }
}

static void an_address_it_cannot_have_is_an_error_of_its_own(void **state)
{
    (void)state;
    struct proxy p = start("192.0.2.1:80");
    assert_true(wait_for(&p, "cannot listen on http://192.0.2.1:80"));
    assert_int_equal(finish(&p), 1);
}

static void a_unix_socket_is_gone_after_the_end(void **state)
{
    (void)state;
    char dir[] = "/tmp/banyan-test-XXXXXX", bind[64];
    assert_non_null(mkdtemp(dir));
    snprintf(bind, sizeof bind, "unix:%s/web.sock", dir);
    struct proxy p = start(bind);
    assert_true(wait_for(&p, "listening on unix:"));
    assert_int_equal(access(bind + 5, F_OK), 0);
    assert_int_equal(kill(p.pid, SIGTERM), 0);
    assert_int_equal(finish(&p), 0);
    assert_int_equal(rmdir(dir), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_says_where_it_listens_and_ends_on_a_signal),
        cmocka_unit_test(an_address_it_cannot_have_is_an_error_of_its_own),
        cmocka_unit_test(a_unix_socket_is_gone_after_the_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
