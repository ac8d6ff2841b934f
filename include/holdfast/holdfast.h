/* SPDX-License-Identifier: MIT */
/* All of Holdfast. */
#ifndef HOLDFAST_HOLDFAST_H
#define HOLDFAST_HOLDFAST_H

#include "holdfast/barrier.h"
#include "holdfast/check.h"
#include "holdfast/condition.h"
#include "holdfast/error.h"
#include "holdfast/event.h"
#include "holdfast/file_lock.h"
#include "holdfast/guard.h"
#include "holdfast/heap.h"
#include "holdfast/latch.h"
#include "holdfast/lock_order.h"
#include "holdfast/lockable.h"
#include "holdfast/memory.h"
#include "holdfast/mutex.h"
#include "holdfast/named.h"
#include "holdfast/object.h"
#include "holdfast/once.h"
#include "holdfast/pipe.h"
#include "holdfast/recursive_mutex.h"
#include "holdfast/region.h"
#include "holdfast/rwlock.h"
#include "holdfast/segment.h"
#include "holdfast/semaphore.h"
#include "holdfast/time.h"
#include "holdfast/tx.h"
#include "holdfast/version.h"

#endif
