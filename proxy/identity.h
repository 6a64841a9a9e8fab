/* SPDX-License-Identifier: MIT
 * Who this proxy is on tcp://, and whom it lets in: --key and --authorized-keys. */
#ifndef PROXY_IDENTITY_H
#define PROXY_IDENTITY_H

#include "protocol/keys.h"
#include "protocol/zap.h"
#include "proxy/options.h"

/* *ret_keys is NULL when there is no --key. False: ret_message names the file, the line
 * and the remedy. Warnings are logged. */
MUST_CHECK bool identity_open(const struct proxy_options *options,
                              struct keys **ret_keys,
                              struct buf *ret_message);
/* Logs who is refused. For link_context_use_keys. */
extern const struct zap_events identity_events;

#endif
