/* SPDX-License-Identifier: MIT
 * The symbol that `import banyan._core` looks for in the shared object. */
#include <Python.h>

#include "appserver/interp/module.h"

PyMODINIT_FUNC PyInit__core(void); /* looked up by name */

PyMODINIT_FUNC PyInit__core(void)
{
    return PyModuleDef_Init(module_def());
}
