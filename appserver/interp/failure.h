/* SPDX-License-Identifier: MIT
 * The one place where an exception of the application ends: it becomes log lines with
 * the request's id, and an enum err. All with the GIL; log lines are written without
 * it. */
#ifndef INTERP_FAILURE_H
#define INTERP_FAILURE_H

#include <Python.h>

#include <stdbool.h>

#include "protocol/base/check.h"
#include "protocol/base/error.h"

/* banyan.RequestTimeout and banyan.ClientDisconnected, once failure_init() found them.
 */
extern PyObject *failure_request_timeout;
extern PyObject *failure_client_gone;

/* Imports what reporting needs. Does nothing the second time. False: an exception is
 * set. */
MUST_CHECK bool failure_init(void);

/* Takes the pending exception and logs it with its traceback; `doing` ("GET /x") opens
 * the text, `request_id` may be NULL. ERR_REQUEST_TIMEOUT or ERR_CLIENT_GONE (one line,
 * no traceback) when the exception says so, else ERR_APP_FAILED. */
enum err failure_report(const char *request_id, const char *doing);

/* Takes the pending exception and prints it to stderr as Python would, without the form
 * of a log line: what a user sees whose application cannot be imported. */
void failure_print(void);

/* Takes a pending exception that is known to mean nothing. */
void failure_drop(void);

/* The stack of another thread (its Python id), logged at LOG_WARN. */
void failure_log_stack(const char *request_id, unsigned long thread);

#endif
