/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A thread whose stack is static storage with a guard page before it: a stack overflow is a
 * fault at once, and no memory is mapped when a thread starts.
 *
 * Owner: the caller's static storage; it must outlive the thread. Blocks: join only.
 */
#ifndef GODWIT_THREAD_H
#define GODWIT_THREAD_H

#include <pthread.h>
#include <stdalign.h>
#include <stdint.h>

#include "godwit/limits.h"
#include "godwit/status.h"

enum { GW_THREAD_GUARD_BYTES = 65536 }; /* one page of the largest page size */

/* Sanitizers widen every frame and keep their own data on each stack: test builds give more. */
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define GW_THREAD_STACK_BYTES (GW_STACK_BYTES + (2 << 20))
#else
#define GW_THREAD_STACK_BYTES GW_STACK_BYTES
#endif

struct gw_thread {
    alignas(GW_THREAD_GUARD_BYTES) uint8_t guard[GW_THREAD_GUARD_BYTES];
    uint8_t stack[GW_THREAD_STACK_BYTES];
    pthread_t id;
    void (*function)(void *context);
    void *context;
    char name[16]; /* as the kernel keeps it: prctl(2), PR_SET_NAME */
    bool is_started;
};

/* Starts `function(context)` under a name of up to 15 characters. All signals are blocked in the
 * new thread. GW_HOST when the kernel refuses. */
GW_MUST_USE enum gw_status gw_thread_start(struct gw_thread *thread, const char *name,
                                           void (*function)(void *), void *context,
                                           struct gw_fault *fault);

/* What the calling thread is to the scheduler (sched_setattr(2)). Nobody gets more time in all.
 * Where its policy is not the ordinary one, or it is not permitted, nothing changes. */
enum gw_thread_part {
    /* Mostly waits, and is waited for: runs GW_THREAD_BRIEF_NS at a time, so that it gets the CPU
     * soon when woken. From Linux 6.12 on; the default is about 3 ms. */
    GW_THREAD_BRIEF,
    /* Carries much: when woken it waits for its turn, and takes the CPU from nobody (SCHED_BATCH).
     */
    GW_THREAD_BULK,
};
#define GW_THREAD_BRIEF_NS UINT64_C(100000)
void gw_thread_set_part(enum gw_thread_part part);

/* Keeps the calling thread to these CPUs, a bit each from CPU 0 on: to those of them that it may
 * run on anyway. 0, or none of them: nothing changes. */
void gw_thread_keep_to(uint64_t cpus);

/* Waits for the end of a started thread; returns at once when it was never started or was joined
 * before. The storage may be used again afterwards. */
void gw_thread_join(struct gw_thread *thread);

#endif
