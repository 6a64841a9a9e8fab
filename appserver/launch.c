/* SPDX-License-Identifier: MIT
 * Finding an interpreter and our package without starting either. */
#include "appserver/launch.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "protocol/base/mem.h"
#include "protocol/base/program.h"

char *launch_find_python(const char *asked, struct buf *ret_message)
{
    if (asked != NULL) {
        char *found =
            strchr(asked, '/') == NULL ? program_find(asked) : mem_strdup(asked);
        if (found != NULL && program_is(found))
            return found;
        mem_free(&found);
        buf_addf(ret_message, "--python %s: no such program", asked);
        return NULL;
    }
    const char *environment = getenv("VIRTUAL_ENV");
    if (environment != NULL && environment[0] != '\0') {
        own(mem) char *python = mem_printf("%s/bin/python", environment);
        if (program_is(python))
            return take(python);
    }
    char *found = program_find("python3");
    if (found == NULL)
        buf_addf(ret_message,
                 "no python3 on PATH; name an interpreter with --python, or use the "
                 "one this program was linked with: --embedded");
    return found;
}

char *launch_find_package(struct buf *ret_message)
{
    static const char *const PLACES[] = {"../pkg", BANYAN_PKG_FROM_BIN};
    own(mem) char *directory = program_directory();

    for (size_t i = 0; i < sizeof PLACES / sizeof PLACES[0]; i++) {
        own(mem) char *place = mem_printf("%s/%s", directory, PLACES[i]);
        own(mem) char *package = mem_printf("%s/banyan/__init__.py", place);
        if (access(package, R_OK) == 0) {
            char *real = realpath(place, NULL);
            return real != NULL ? real : take(place);
        }
    }
    buf_addf(ret_message,
             "the Python package banyan is neither in %s/../pkg nor in %s/%s; build or "
             "install the whole project",
             directory, directory, BANYAN_PKG_FROM_BIN);
    return NULL;
}
