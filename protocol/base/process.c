/* SPDX-License-Identifier: MIT
 * How children end and when they are started again. */
#include "protocol/base/process.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

void process_reason(int status, char ret_text[PROCESS_REASON_BYTES])
{
    if (!WIFSIGNALED(status)) {
        (void)snprintf(ret_text, PROCESS_REASON_BYTES, "exited with code %d",
                       WEXITSTATUS(status));
        return;
    }
    int number = WTERMSIG(status);
    const char *name = sigabbrev_np(number);
    const char *core = WCOREDUMP(status) ? " (core dumped)" : "";
    if (name != NULL)
        (void)snprintf(ret_text, PROCESS_REASON_BYTES, "was killed by SIG%s%s", name,
                       core);
    else
        (void)snprintf(ret_text, PROCESS_REASON_BYTES, "was killed by signal %d%s",
                       number, core);
}

bool process_reap(pid_t child, int *ret_status)
{
    pid_t got;
    int status = 0;

    do {
        got = waitpid(child, &status, WNOHANG);
    } while (got < 0 && errno == EINTR);
    if (got == 0)
        return false;
    *ret_status = got == child ? status : 0;
    return true;
}

pid_t process_reap_any(int *ret_status)
{
    pid_t got;

    do {
        got = waitpid(-1, ret_status, WNOHANG);
    } while (got < 0 && errno == EINTR);
    return got > 0 ? got : 0;
}

bool process_die_with(pid_t parent, int signal_number)
{
    if (prctl(PR_SET_PDEATHSIG, signal_number) != 0)
        return false;
    /* It may have ended before prctl. */
    return getppid() == parent;
}

uint64_t backoff_next(struct backoff *b, uint64_t alive_us)
{
    if (alive_us >= BACKOFF_RESET_US)
        b->deaths = 0;
    uint32_t deaths = b->deaths++;
    if (deaths == 0)
        return 0;
    uint32_t doublings = deaths - 1;
    if (doublings >= 6)
        return BACKOFF_LAST_US;
    return (uint64_t)BACKOFF_FIRST_US << doublings;
}
