/* SPDX-License-Identifier: MIT
 * protocol/base/notify.c, with the test in place of the service manager. */
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
#include "protocol/base/notify.h"

static void it_says_it_where_the_environment_says(void **state)
{
    (void)state;
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    char directory[] = "/tmp/banyan-test-notify-XXXXXX", text[200], pid[16];
    assert_non_null(mkdtemp(directory));
    (void)snprintf(at.sun_path, sizeof at.sun_path, "%s/s", directory);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (void *)&at, sizeof at), 0);

    assert_false(notify_is_wanted());
    notify_say("READY=1"); /* nobody hears it */
    assert_int_equal(recv(fd, text, sizeof text, MSG_DONTWAIT), -1);
    setenv("NOTIFY_SOCKET", at.sun_path, 1);
    assert_true(notify_is_wanted());
    notify_say("READY=1\nSTATUS=up %d of %d", 2, 3);
    ssize_t length = recv(fd, text, sizeof text - 1, 0);
    assert_true(length > 0);
    text[length] = '\0';
    assert_string_equal(text, "READY=1\nSTATUS=up 2 of 3");

    clock_set(4711);
    notify_reloading();
    clock_release();
    length = recv(fd, text, sizeof text - 1, 0);
    text[length] = '\0';
    assert_string_equal(text, "RELOADING=1\nMONOTONIC_USEC=4711");

    assert_int_equal(notify_watchdog_us(), 0);
    setenv("WATCHDOG_USEC", "3000000", 1);
    (void)snprintf(pid, sizeof pid, "%d", (int)getpid());
    setenv("WATCHDOG_PID", pid, 1);
    assert_int_equal(notify_watchdog_us(), 3000000);
    setenv("WATCHDOG_PID", "1", 1); /* another process's */
    assert_int_equal(notify_watchdog_us(), 0);
    setenv("WATCHDOG_PID", pid, 1);

    notify_forget();
    assert_false(notify_is_wanted());
    assert_int_equal(notify_watchdog_us(), 0);
    (void)close(fd);
    assert_int_equal(unlink(at.sun_path), 0);
    assert_int_equal(rmdir(directory), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_says_it_where_the_environment_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
