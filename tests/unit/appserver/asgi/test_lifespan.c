/* SPDX-License-Identifier: MIT
 * appserver/pkg/src/banyan/_asgi.py: the lifespan protocol, and the loop. */
#include <Python.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka.h needs the four above
#include <cmocka.h>

#include "appserver/interp/own.h"
#include "protocol/base/log.h"
#include "tests/support/fake_loop.h"
#include "tests/support/python.h"

#define SAY(what) "  await s({'type': 'lifespan." what "'})\n"

/* `app` for type lifespan, and what start() and stop() raised, and the state. */
static const struct row {
    const char *name, *source, *mode, *says;
} ROWS[] = {
    {"an application that knows it",
     "  log.append((await r())['type']); scope['state']['db'] = 1\n" SAY(
         "startup.complete") "  log.append((await r())['type'])\n" SAY("shutdown."
                                                                       "complete"),
     "auto", "None None {'db': 1} ['lifespan.startup', 'lifespan.shutdown']"},
    {"one that raises goes on without", "  raise RuntimeError('http only')\n", "auto",
     "None None {} []"},
    {"but not when it is on", "  raise RuntimeError('http only')\n", "on",
     "RuntimeError: http only None {} []"},
    {"one that returns goes on", "  return\n", "on", "None None {} []"},
    {"off does not ask", "  log.append('asked')\n", "off", "None None {} []"},
    {"failed startup says why",
     "  await r(); await s({'type': 'lifespan.startup.failed', 'message': 'no db'})\n",
     "auto", "StartupFailed: no db None {} []"},
    {"failed startup that raises, too",
     "  await r(); await s({'type': 'lifespan.startup.failed', 'message': 'no db'})\n"
     "  raise RuntimeError('no db')\n",
     "auto", "StartupFailed: no db None {} []"},
    {"failed shutdown is said",
     "  await r()\n" SAY(
         "startup.complete") "  await r()\n"
                             "  await s({'type': 'lifespan.shutdown.failed', "
                             "'message': 'stuck'})\n",
     "auto", "None RuntimeError: lifespan.shutdown.failed: stuck {} []"},
    {"an exception in shutdown is said",
     "  await r()\n" SAY("startup.complete") "  await r()\n  1/0\n", "auto",
     "None ZeroDivisionError: division by zero {} []"},
    {"shutdown does not wait for ever",
     "  await r()\n" SAY("startup.complete") "  await r()\n  await asyncio.sleep(60)\n",
     "auto", "None TimeoutError:  {} []"},
    {"wrong messages raise",
     "  await r()\n"
     "  try: await s({'type': 'lifespan.start'})\n"
     "  except RuntimeError: log.append('wrong')\n" SAY(
         "startup.complete") "  try: await s({'type': 'lifespan.startup.complete'})\n"
                             "  except RuntimeError: log.append('twice')\n"
                             "  await r()\n" SAY("shutdown.complete"),
     "auto", "None None {} ['wrong', 'twice']"},
};

static void follow_the_protocol(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof ROWS / sizeof ROWS[0]; i++) {
        struct buf source;
        buf_init(&source, 0);
        buf_addf(&source,
                 "import asyncio\nfrom banyan import _asgi\nlog = []\n"
                 "async def app(scope, r, s):\n"
                 " if scope['type'] == 'lifespan':\n"
                 "  assert scope['asgi'] == {'version': '3.0', 'spec_version': '2.0'}\n"
                 "%s"
                 "def said(f, *args):\n"
                 " try: f(*args)\n"
                 " except Exception as e: return f'{type(e).__name__}: {e}'\n"
                 "loop = _asgi.make_loop('asyncio')\n"
                 "l = _asgi.Lifespan(app, loop, '%s', False)\n"
                 "first = said(l.start)\nsecond = said(l.stop, %s)\n"
                 "_asgi.close_loop(loop, 0.05)\n",
                 ROWS[i].source, ROWS[i].mode,
                 strstr(ROWS[i].says, "TimeoutError") != NULL ? "0.05" : "30");
        buf_add(&source, slice_of("", 1));
        py_own PyObject *namespace = python_run(buf_slice(&source).ptr);
        char *got = python_eval(namespace, "f'{first} {second} {l.state} {log}'");
        if (strcmp(got, ROWS[i].says) != 0)
            fail_msg("%s: %s", ROWS[i].name, got);
        mem_free(&got);
        buf_fini(&source);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(follow_the_protocol),
    };

    return cmocka_run_group_tests(tests, python_setup, python_teardown);
}
