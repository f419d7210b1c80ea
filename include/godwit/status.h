/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Statuses and faults: how every part of godwit says that something did not work.
 *
 * A status groups errors by what the caller does about them. A fault is a status with the
 * sentence a person reads: it names the thing, the value found and the value wanted. The first
 * fault set sticks until gw_fault_clear(), so the operator sees the cause and not its echo.
 *
 * Memory: the caller's. Blocks: never. Threads: a fault belongs to whoever owns its storage.
 */
#ifndef GODWIT_STATUS_H
#define GODWIT_STATUS_H

#include <stdarg.h>
#include <stdbool.h>

#define GW_MUST_USE            __attribute__((warn_unused_result))
#define GW_PRINTF(text, first) __attribute__((format(printf, text, first)))

enum gw_status {
    GW_OK = 0,
    GW_AGAIN,     /* nothing to do now: come back when an event says so */
    GW_ARGUMENT,  /* the operator or the embedder asked for something that makes no sense */
    GW_LIMIT,     /* larger than this board's fixed memory allows */
    GW_PROTOCOL,  /* the peer said something the protocol does not allow here */
    GW_LINK,      /* the connection broke, or the peer fell silent */
    GW_HOST,      /* the kernel or the machine refused; see os_error */
    GW_CORRUPT,   /* bytes do not match their checksum, or a record is damaged */
    GW_REFUSED,   /* the peer understood and said no */
    GW_CANCELLED, /* the operator cancelled */
};

enum { GW_FAULT_TEXT_BYTES = 240 };

struct gw_fault {
    enum gw_status status;          /* GW_OK: no fault */
    int os_error;                   /* errno where the kernel said no, else 0 */
    char text[GW_FAULT_TEXT_BYTES]; /* one sentence without a full stop; NUL-terminated */
};

/* A short word for a status ("link", "limit"), for logs. Never NULL. */
const char *gw_status_name(enum gw_status status);

void gw_fault_clear(struct gw_fault *fault);

/* Sets the fault if none is set yet. Returns the status of the fault that now stands, so that
 * `return gw_fault_set(fault, GW_LIMIT, ...)` reads well. `fault` may be NULL: the status alone
 * is returned then. Text that does not fit is cut. */
enum gw_status gw_fault_set(struct gw_fault *fault, enum gw_status status, const char *format, ...)
    GW_PRINTF(3, 4);

/* The same with GW_HOST, an errno value, and ": <strerror>" appended. */
enum gw_status gw_fault_set_os(struct gw_fault *fault, int os_error, const char *format, ...)
    GW_PRINTF(3, 4);

/* An assertion for godwit's own bugs: always on, without side effects in its condition. Says
 * where on stderr, then aborts. (Not what: the texts of all conditions would be 3 KiB.) */
#define GW_ASSERT(condition) ((condition) ? (void)0 : gw_assert_failed(__FILE_NAME__, __LINE__))
_Noreturn void gw_assert_failed(const char *file, int line);

#endif
