/* SPDX-License-Identifier: MIT
 * protocol/base/service.c, with the test in place of the service manager. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka.h needs the four above
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "protocol/base/clock.h"
#include "protocol/base/service.h"

enum { START_US = 1000 * 1000, WATCHDOG_US = 4 * 1000 * 1000 };

static struct sockaddr_un at = {.sun_family = AF_UNIX};
static char directory[] = "/tmp/banyan-test-service-XXXXXX";
static int manager;

static int begin(void **state)
{
    char pid[16];
    (void)state;
    assert_non_null(mkdtemp(directory));
    (void)snprintf(at.sun_path, sizeof at.sun_path, "%s/s", directory);
    manager = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(manager, (void *)&at, sizeof at), 0);
    setenv("NOTIFY_SOCKET", at.sun_path, 1);
    setenv("WATCHDOG_USEC", "4000000", 1);
    (void)snprintf(pid, sizeof pid, "%d", (int)getpid());
    setenv("WATCHDOG_PID", pid, 1);
    clock_set(START_US);
    return 0;
}

static int end(void **state)
{
    (void)state;
    clock_release();
    (void)close(manager);
    (void)unlink(at.sun_path);
    return rmdir(directory);
}

/* The step says exactly this; NULL: nothing more. */
static void assert_says(const char *want)
{
    char text[200];
    ssize_t length = recv(manager, text, sizeof text - 1, 0);
    text[length < 0 ? 0 : length] = '\0';
    assert_string_equal(text, want == NULL ? "" : want);
}

static void it_says_what_has_changed(void **state)
{
    (void)state;
    struct service s = {0};
    struct service_view view = {.all = 2};
    service_begin(&s, SERVICE_SILENT);
    assert_true(service_next_us(&s) == UINT64_MAX);
    service_step(&s, &view);
    assert_says(NULL);
    view.ready = 1;
    service_step(&s, &view);
    assert_says("STATUS=workers ready: 1 of 2");
    view.can_serve = true;
    service_step(&s, &view);
    assert_says("READY=1\nSTATUS=workers ready: 1 of 2");
    service_step(&s, &view);
    assert_says(NULL);
    view.ready = 2;
    service_step(&s, &view);
    assert_says("STATUS=workers ready: 2 of 2");
    view.is_reloading = true;
    view.ready = 1;
    service_step(&s, &view);
    assert_says("RELOADING=1\nMONOTONIC_USEC=1000000");
    assert_says("STATUS=workers ready: 1 of 2");
    view.is_reloading = false;
    view.ready = 2;
    service_step(&s, &view);
    assert_says("READY=1\nSTATUS=workers ready: 2 of 2");
    view.is_stopping = true;
    service_step(&s, &view);
    assert_says("STOPPING=1\nSTATUS=finishing what runs");
    view.ready = 0;
    service_step(&s, &view);
    assert_says(NULL);
}

static void the_watchdog_hears_of_it_at_half_its_time(void **state)
{
    (void)state;
    struct service s = {0};
    struct service_view view = {.all = 1};
    clock_set(START_US);
    service_begin(&s, SERVICE_PINGS);
    assert_true(service_next_us(&s) == START_US);
    service_step(&s, &view);
    assert_says("WATCHDOG=1");
    assert_true(service_next_us(&s) == START_US + WATCHDOG_US / 2);
    clock_set(START_US + WATCHDOG_US / 2 - 1);
    service_step(&s, &view);
    assert_says(NULL);
    clock_set(START_US + WATCHDOG_US / 2);
    service_step(&s, &view);
    assert_says("WATCHDOG=1");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_says_what_has_changed),
        cmocka_unit_test(the_watchdog_hears_of_it_at_half_its_time),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
