/* SPDX-License-Identifier: MIT
 * Taking and yielding the interpreter's lock, as scopes. The only file that says
 * PyEval_* or PyGILState_*.
 *
 *     {                                  under the GIL
 *         GIL_YIELD;
 *         r = core_next(worker);         without it: may wait, must not touch Python
 *     }                                  under the GIL again, however the scope was
 * left
 */
#ifndef INTERP_GIL_H
#define INTERP_GIL_H

#include <Python.h>

static inline void gil_restore(PyThreadState **saved)
{
    PyEval_RestoreThread(*saved);
}

static inline void gil_release(PyGILState_STATE *taken)
{
    PyGILState_Release(*taken);
}

/* Gives the lock away until the end of the scope. */
#define GIL_YIELD                                                                      \
    __attribute__((cleanup(gil_restore), unused)) PyThreadState *gil_saved_ =          \
        PyEval_SaveThread()

/* Takes the lock until the end of the scope, in a thread that does not hold it. */
#define GIL_TAKE                                                                       \
    __attribute__((cleanup(gil_release), unused)) PyGILState_STATE gil_taken_ =        \
        PyGILState_Ensure()

/* The two halves, for a caller whose waits do not nest (master_hooks). */
static inline PyThreadState *gil_save(void)
{
    return PyEval_SaveThread();
}

#endif
