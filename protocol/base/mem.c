/* SPDX-License-Identifier: MIT
 * Allocation that succeeds or ends the process. */
#include "protocol/base/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

NO_RETURN static void die(size_t bytes)
{
    (void)dprintf(STDERR_FILENO, "banyan: out of memory (asked for %zu bytes)\n",
                  bytes);
    abort();
}

void *mem_alloc(size_t bytes)
{
    void *p = malloc(bytes == 0 ? 1 : bytes);
    if (p == NULL)
        die(bytes);
    return p;
}

void *mem_zalloc(size_t bytes)
{
    void *p = calloc(1, bytes == 0 ? 1 : bytes);
    if (p == NULL)
        die(bytes);
    return p;
}

void *mem_realloc(void *old, size_t bytes)
{
    void *p = realloc(old, bytes == 0 ? 1 : bytes);
    if (p == NULL)
        die(bytes);
    return p;
}

char *mem_strdup(const char *text)
{
    size_t bytes = strlen(text) + 1;
    char *copy = mem_alloc(bytes);
    memcpy(copy, text, bytes);
    return copy;
}

char *mem_printf(const char *format, ...)
{
    va_list args;
    char *text = NULL;

    va_start(args, format);
    int length = vasprintf(&text, format, args);
    va_end(args);
    if (length < 0)
        die(strlen(format));
    return text;
}

void mem_free(void *pointer_to_pointer)
{
    /* Copied in and out: the argument is a T ** of any T, which may not alias void *.
     */
    void *p;
    memcpy(&p, pointer_to_pointer, sizeof p);
    free(p);
    p = NULL;
    memcpy(pointer_to_pointer, &p, sizeof p);
}
