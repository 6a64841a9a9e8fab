/* SPDX-License-Identifier: MIT
 * PATH, and /proc/self/exe. */
#include "protocol/base/program.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "protocol/base/mem.h"

bool program_is(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, X_OK) == 0;
}

char *program_find(const char *name)
{
    const char *path = getenv("PATH");

    if (path == NULL)
        path = "/usr/local/bin:/usr/bin:/bin";
    for (bool more = true; more;) {
        size_t length = strcspn(path, ":");
        /* An empty element is the working directory (environ(7)). */
        own(mem) char *candidate = length == 0
                                       ? mem_printf("./%s", name)
                                       : mem_printf("%.*s/%s", (int)length, path, name);
        if (program_is(candidate))
            return take(candidate);
        path += length;
        more = *path == ':';
        path += more;
    }
    return NULL;
}

char *program_directory(void)
{
    char path[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);

    if (length <= 0)
        return mem_strdup(".");
    path[length] = '\0';
    char *slash = strrchr(path, '/');
    if (slash == NULL || slash == path)
        return mem_strdup("/");
    *slash = '\0';
    return mem_strdup(path);
}
