/* SPDX-License-Identifier: MIT
 * Who this app server is on tcp://, and which proxies it lets in. Logs what is wrong.
 */
#ifndef APPSERVER_IDENTITY_H
#define APPSERVER_IDENTITY_H

#include "appserver/options.h"
#include "protocol/keys.h"

/* *ret_keys is NULL when there is no --key. The paths are those of the present
 * directory. False: there are mistakes. */
MUST_CHECK bool identity_open(const struct app_options *options,
                              struct keys **ret_keys);
/* Reads the files again; does nothing without keys. False: there are mistakes, and all
 * is as before. */
MUST_CHECK bool identity_reread(struct keys *keys);

#endif
