/* SPDX-License-Identifier: Apache-2.0 */
/* Threads on static stacks. The contract: godwit/thread.h. */
#include "godwit/thread.h"

#include <errno.h>
#include <linux/sched/types.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static void *run(void *argument)
{
    struct gw_thread *thread = argument;
    (void)prctl(PR_SET_NAME, thread->name);
    thread->function(thread->context);
    return NULL;
}

/* The new thread inherits the mask of its maker: all signals are blocked around its making, so
 * that there is no moment in which it could take one. */
static int create_blocked(struct gw_thread *thread, const pthread_attr_t *attributes)
{
    sigset_t all;
    sigset_t before;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&thread->id, attributes, run, thread);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error;
}

static int create_on_own_stack(struct gw_thread *thread)
{
    pthread_attr_t attributes;
    int error = pthread_attr_init(&attributes);
    if (error != 0) {
        return error;
    }
    error = pthread_attr_setstack(&attributes, thread->stack, sizeof(thread->stack));
    if (error == 0) {
        error = create_blocked(thread, &attributes);
    }
    (void)pthread_attr_destroy(&attributes);
    return error;
}

enum gw_status gw_thread_start(struct gw_thread *thread, const char *name, void (*function)(void *),
                               void *context, struct gw_fault *fault)
{
    GW_ASSERT(!thread->is_started);
    thread->function = function;
    thread->context = context;
    (void)snprintf(thread->name, sizeof(thread->name), "%s", name);
    /* With a stack of one's own pthreads makes no guard page: this is it. */
    if (mprotect(thread->guard, sizeof(thread->guard), PROT_NONE) != 0) {
        return gw_fault_set_os(fault, errno, "guard page of thread %s", name);
    }
    int error = create_on_own_stack(thread);
    if (error != 0) {
        (void)mprotect(thread->guard, sizeof(thread->guard), PROT_READ | PROT_WRITE);
        return gw_fault_set_os(fault, error, "starting thread %s", name);
    }
    thread->is_started = true;
    return GW_OK;
}

void gw_thread_set_part(enum gw_thread_part part)
{
    struct sched_attr attributes = {.size = sizeof(attributes)};
    if (syscall(SYS_sched_getattr, 0, &attributes, sizeof(attributes), 0) == 0 &&
        attributes.sched_policy == SCHED_OTHER) {
        if (part == GW_THREAD_BULK) {
            attributes.sched_policy = SCHED_BATCH;
            attributes.sched_runtime = 0; /* the default */
        } else {
            attributes.sched_runtime = GW_THREAD_BRIEF_NS;
        }
        (void)syscall(SYS_sched_setattr, 0, &attributes, 0);
    }
}

void gw_thread_keep_to(uint64_t cpus)
{
    cpu_set_t allowed;
    CPU_ZERO(&allowed);
    if (sched_getaffinity(0, sizeof(allowed), &allowed) != 0) {
        return;
    }
    for (size_t i = 0; i < CPU_SETSIZE; i++) {
        if (i >= 64 || (cpus >> i & 1) == 0) {
            CPU_CLR(i, &allowed);
        }
    }
    (void)sched_setaffinity(0, sizeof(allowed), &allowed); /* of none: refused */
}

void gw_thread_join(struct gw_thread *thread)
{
    if (!thread->is_started) {
        return;
    }
    int error = pthread_join(thread->id, NULL);
    GW_ASSERT(error == 0); /* else: a thread joining itself */
    thread->is_started = false;
    (void)mprotect(thread->guard, sizeof(thread->guard), PROT_READ | PROT_WRITE);
}
