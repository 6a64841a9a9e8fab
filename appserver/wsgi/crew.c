/* SPDX-License-Identifier: MIT
 * Each member is a threading.Thread, so that thread-locals, names and profilers work as
 * everywhere; what it runs is C from its first line. */
#include <Python.h>

#include "appserver/wsgi/crew.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "appserver/interp/failure.h"
#include "appserver/interp/gil.h"
#include "appserver/interp/own.h"
#include "appserver/wsgi/call.h"
#include "protocol/base/log.h"
#include "protocol/base/mem.h"
#include "protocol/base/queue.h"

enum { CREW_MAGIC = 0x63726577, ID_BYTES = 72 };

enum note_kind { NOTE_GROW, NOTE_INTERRUPT, NOTE_END };

/* What the keeper is asked; one write(2), so whole. */
struct note {
    enum note_kind kind;
    uint64_t thread_tag;
    char request_id[ID_BYTES];
};

struct crew {
    uint32_t magic;
    struct crew_options options;
    struct core *core; /* borrowed */
    PyObject *app;     /* owned */
    PyObject *threads; /* owned list of threading.Thread */
    uint32_t started;  /* members, for their names */
    int notes[2];      /* pipe to the keeper */
    atomic_ullong served;
    /* Guards `members`. Held for the list's few pointers only, never while waiting, so
     * it may be taken under the GIL. */
    pthread_mutex_t lock;
    struct list members;
};

struct member {
    struct node node;
    uint64_t thread_tag;
    struct call *call;
    struct worker *worker;
};

static bool start_thread(struct crew *crew, PyMethodDef *run, const char *name);
static bool start_member(struct crew *crew);
static PyObject *member_run(PyObject *self, PyObject *unused);
static void member_serve(struct crew *crew, struct member *m);
static void count_request(struct crew *crew);
static PyObject *keeper_run(PyObject *self, PyObject *unused);
static bool read_note(struct crew *crew, struct note *ret_note);
static void send_note(struct crew *crew, const struct note *note);
static void interrupt_member(struct crew *crew, const struct note *note);

static PyMethodDef member_method = {"banyan_worker", member_run, METH_NOARGS, NULL};
static PyMethodDef keeper_method = {"banyan_keeper", keeper_run, METH_NOARGS, NULL};

struct crew *crew_new(PyObject *app, const struct crew_options *options)
{
    struct crew *crew = mem_zalloc(sizeof *crew);

    crew->magic = CREW_MAGIC;
    crew->options = *options;
    crew->app = Py_NewRef(app);
    crew->notes[0] = crew->notes[1] = -1;
    list_init(&crew->members);
    (void)pthread_mutex_init(&crew->lock, NULL);
    crew->threads = PyList_New(0);
    if (crew->threads != NULL && pipe2(crew->notes, O_CLOEXEC) != 0)
        PyErr_SetFromErrno(PyExc_OSError);
    /* Only the writing end: who writes must never wait. */
    else if (crew->threads != NULL)
        (void)fcntl(crew->notes[1], F_SETFL, O_NONBLOCK);
    if (PyErr_Occurred())
        crew_free(&crew);
    return crew;
}

void crew_free(struct crew **crew_p)
{
    struct crew *crew = take(*crew_p);

    if (crew == NULL)
        return;
    CHECK_OBJ(crew, CREW_MAGIC);
    ASSERT(list_is_empty(&crew->members));
    crew->magic = 0;
    for (int i = 0; i < 2; i++)
        if (crew->notes[i] >= 0)
            (void)close(crew->notes[i]);
    Py_CLEAR(crew->threads);
    Py_CLEAR(crew->app);
    (void)pthread_mutex_destroy(&crew->lock);
    mem_free(&crew);
}

bool crew_start(struct crew *crew, struct core *core)
{
    crew->core = core;
    if (!start_thread(crew, &keeper_method, "banyan-keeper"))
        return false;
    for (uint32_t i = 0; i < crew->options.threads; i++)
        if (!start_member(crew))
            return false;
    return true;
}

bool crew_join(struct crew *crew, double timeout_s)
{
    send_note(crew, &(struct note){.kind = NOTE_END});
    py_own PyObject *host = PyImport_ImportModule("banyan._host");
    py_own PyObject *all =
        host == NULL
            ? NULL
            : PyObject_CallMethod(host, "join_threads", "Od", crew->threads, timeout_s);
    if (all == NULL)
        (void)failure_report(NULL, "ending the threads");
    return all == Py_True;
}

void crew_grow(void *arg)
{
    struct crew *crew = CAST_OBJ(arg, struct crew, CREW_MAGIC);

    send_note(crew, &(struct note){.kind = NOTE_GROW});
}

void crew_interrupt(void *arg, uint64_t thread_tag, const char *request_id)
{
    struct crew *crew = CAST_OBJ(arg, struct crew, CREW_MAGIC);
    struct note note = {.kind = NOTE_INTERRUPT, .thread_tag = thread_tag};

    (void)snprintf(note.request_id, sizeof note.request_id, "%s", request_id);
    send_note(crew, &note);
}

/* ---- starting ---- */

/* False: an exception is set. */
static bool start_thread(struct crew *crew, PyMethodDef *run, const char *name)
{
    py_own PyObject *self = PyCapsule_New(crew, NULL, NULL);
    py_own PyObject *target = self == NULL ? NULL : PyCFunction_New(run, self);
    py_own PyObject *host = PyImport_ImportModule("banyan._host");
    if (target == NULL || host == NULL)
        return false;
    py_own PyObject *thread =
        PyObject_CallMethod(host, "start_thread", "Os", target, name);
    return thread != NULL && PyList_Append(crew->threads, thread) == 0;
}

static bool start_member(struct crew *crew)
{
    char name[32];

    (void)snprintf(name, sizeof name, "banyan-%u", crew->started);
    crew->started++;
    return start_thread(crew, &member_method, name);
}

/* ---- a member ---- */

static PyObject *member_run(PyObject *self, PyObject *unused)
{
    struct crew *crew =
        CAST_OBJ(PyCapsule_GetPointer(self, NULL), struct crew, CREW_MAGIC);
    struct member m = {.thread_tag = PyThread_get_thread_ident()};

    (void)unused;
    m.call = call_new(crew->app, &crew->options.environ);
    if (m.call == NULL)
        return NULL;
    (void)pthread_mutex_lock(&crew->lock);
    list_push_back(&crew->members, &m.node);
    (void)pthread_mutex_unlock(&crew->lock);
    member_serve(crew, &m);
    (void)pthread_mutex_lock(&crew->lock);
    node_leave(&m.node);
    (void)pthread_mutex_unlock(&crew->lock);
    call_free(&m.call);
    return Py_NewRef(Py_None);
}

static void member_serve(struct crew *crew, struct member *m)
{
    {
        GIL_YIELD;
        m->worker = core_worker_enter(crew->core, m->thread_tag);
    }
    for (;;) {
        struct request *r;
        {
            GIL_YIELD;
            call_flush(m->call);
            r = core_next(m->worker);
        }
        if (r == NULL)
            break;
        call_run(m->call, r);
        count_request(crew);
    }
    GIL_YIELD;
    core_worker_leave(&m->worker);
}

static void count_request(struct crew *crew)
{
    if (crew->options.max_requests == 0)
        return;
    if (atomic_fetch_add(&crew->served, 1) + 1 == crew->options.max_requests)
        crew->options.on_served_out();
}

/* ---- the keeper ---- */

static PyObject *keeper_run(PyObject *self, PyObject *unused)
{
    struct crew *crew =
        CAST_OBJ(PyCapsule_GetPointer(self, NULL), struct crew, CREW_MAGIC);
    struct note note;

    (void)unused;
    while (read_note(crew, &note) && note.kind != NOTE_END) {
        if (note.kind == NOTE_INTERRUPT)
            interrupt_member(crew, &note);
        else if (!start_member(crew))
            (void)failure_report(NULL, "starting a thread");
    }
    return Py_NewRef(Py_None);
}

static bool read_note(struct crew *crew, struct note *ret_note)
{
    ssize_t n;

    GIL_YIELD;
    do
        n = read(crew->notes[0], ret_note, sizeof *ret_note);
    while (n < 0 && errno == EINTR);
    return n == (ssize_t)sizeof *ret_note;
}

/* A full pipe means that the keeper cannot get the GIL; what it was not told about is
 * not lost, the core sees it again as a request that is still stuck. */
static void send_note(struct crew *crew, const struct note *note)
{
    static_assert(sizeof *note <= 512, "PIPE_BUF: a note is written whole");

    if (write(crew->notes[1], note, sizeof *note) != (ssize_t)sizeof *note)
        log_warn(NULL, "the keeper does not listen: %s", strerror(errno));
}

static struct member *find_member(struct crew *crew, uint64_t thread_tag)
{
    LIST_FOREACH(&crew->members, n) {
        struct member *m = NODE_OF(n, struct member, node);
        if (m->thread_tag == thread_tag)
            return m;
    }
    return NULL;
}

static void interrupt_member(struct crew *crew, const struct note *note)
{
    unsigned long thread = (unsigned long)note->thread_tag;

    failure_log_stack(note->request_id, thread);
    (void)pthread_mutex_lock(&crew->lock);
    struct member *m = find_member(crew, note->thread_tag);
    if (m != NULL)
        call_interrupt(m->call, thread, note->request_id);
    (void)pthread_mutex_unlock(&crew->lock);
}
