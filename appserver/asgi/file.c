/* SPDX-License-Identifier: MIT */
#include <Python.h>

#include "appserver/asgi/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "appserver/interp/gil.h"
#include "appserver/interp/own.h"

enum { FILE_PIECE_BYTES = 128 * 1024 };

/* Calling it reads the next piece. */
struct file {
    PyObject_HEAD int fd;
    uint64_t at, length, device, inode;
};

static PyTypeObject *file_type;

static PyObject *file_call(PyObject *self, PyObject *args, PyObject *keywords)
{
    (void)args;
    (void)keywords;
    return file_read(self);
}

static void file_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);

    (void)close(((struct file *)self)->fd);
    PyObject_Free(self);
    Py_DECREF(type);
}

bool file_init(void)
{
    static PyType_Slot slots[] = {
        {Py_tp_dealloc, (void *)file_dealloc},
        {Py_tp_call, (void *)file_call},
        {0, NULL},
    };
    static PyType_Spec spec = {
        .name = "banyan._core.File",
        .basicsize = sizeof(struct file),
        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION |
                 Py_TPFLAGS_IMMUTABLETYPE,
        .slots = slots,
    };

    if (file_type == NULL)
        file_type = (PyTypeObject *)PyType_FromSpec(&spec);
    return file_type != NULL;
}

PyObject *file_open(PyObject *path)
{
    py_own PyObject *name = NULL;
    struct stat st;

    if (PyUnicode_FSConverter(path, &name) == 0)
        return NULL;
    int fd = open(PyBytes_AS_STRING(name), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return PyErr_SetFromErrnoWithFilenameObject(PyExc_OSError, path);
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        (void)close(fd);
        return PyErr_Format(PyExc_OSError, "%R is not a regular file", path);
    }
    struct file *file = PyObject_New(struct file, file_type);
    if (file == NULL) {
        (void)close(fd);
        return NULL;
    }
    file->fd = fd;
    file->at = 0;
    file->length = (uint64_t)st.st_size;
    file->device = st.st_dev;
    file->inode = st.st_ino;
    return (PyObject *)file;
}

uint64_t file_length(PyObject *file)
{
    return ((struct file *)file)->length;
}

bool file_is_at_end(PyObject *file)
{
    return ((struct file *)file)->at >= ((struct file *)file)->length;
}

/* The path is what the kernel says the descriptor is. */
bool file_frame(PyObject *file,
                char *path_buffer,
                size_t bytes,
                struct frame_file *ret_frame)
{
    const struct file *f = (struct file *)file;
    char link[40];

    (void)snprintf(link, sizeof link, "/proc/self/fd/%d", f->fd);
    ssize_t n = readlink(link, path_buffer, bytes);
    if (n <= 0 || (size_t)n == bytes || path_buffer[0] != '/')
        return false;
    *ret_frame = (struct frame_file){
        .path = slice_of(path_buffer, (size_t)n),
        .device = f->device,
        .inode = f->inode,
        .length = f->length,
    };
    return true;
}

PyObject *file_read(PyObject *self)
{
    struct file *f = (struct file *)self;
    uint64_t left = f->length - f->at;
    size_t want = left < FILE_PIECE_BYTES ? (size_t)left : FILE_PIECE_BYTES;
    py_own PyObject *piece = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)want);
    ssize_t n = 0;

    if (piece == NULL || want == 0)
        return py_take(piece);
    char *to = PyBytes_AS_STRING(piece);
    {
        GIL_YIELD;
        do
            n = pread(f->fd, to, want, (off_t)f->at);
        while (n < 0 && errno == EINTR);
    }
    if (n < 0)
        return PyErr_SetFromErrno(PyExc_OSError);
    f->at += (uint64_t)n;
    if ((size_t)n < want)
        (void)_PyBytes_Resize(&piece, n);
    return py_take(piece);
}

PyObject *file_read_later(PyObject *file, PyObject *loop)
{
    return PyObject_CallMethod(loop, "run_in_executor", "OO", Py_None, file);
}
