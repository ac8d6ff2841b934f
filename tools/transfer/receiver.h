/* SPDX-License-Identifier: MIT */
/* The server's end of one connection. */
#ifndef TRANSFER_RECEIVER_H
#define TRANSFER_RECEIVER_H

#include <stdbool.h>

#include "report.h"
#include "transfer/rendezvous.h"
#include "transfer/target.h"

/*
 * Receives until the client ends, dies, or breaks the protocol, or until *stop; drops what is
 * unfinished then. Returns 0 at the client's orderly end, or why it ended.
 */
int receiver_run(struct connection *c, const struct target_directory *top, struct report *report,
                 const _Atomic bool *stop);

#endif
