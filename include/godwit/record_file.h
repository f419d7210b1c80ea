/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Small files of a state directory, replaced as a whole: after a crash at any moment one reads
 * the old bytes or the new, never a mixture. Handover records are kept so; what the bytes mean is
 * not this header's business.
 *
 * Memory: the caller's; nothing is kept between calls. Blocks: put and clear wait until the
 * file and its directory are on stable storage (nothing, on a tmpfs). Threads: any, one per name
 * at a time. Errors: GW_HOST with errno, GW_LIMIT, GW_ARGUMENT; the old file is then still there.
 */
#ifndef GODWIT_RECORD_FILE_H
#define GODWIT_RECORD_FILE_H

#include <stdbool.h>
#include <stddef.h>

#include "godwit/status.h"

enum { GW_RECORD_FILE_NAME_MAX = 80 }; /* longest name, without a slash and without the NUL */

/* GW_OK: a directory of this user that no one else may write to; else GW_ARGUMENT with what it is,
 * or GW_HOST. */
GW_MUST_USE enum gw_status gw_state_directory_check(const char *path, struct gw_fault *fault);

/* Makes the directory, and parents that are missing, durably and with mode 0700. One that is there
 * must be a directory of this user that no one else may write to, else GW_ARGUMENT. */
GW_MUST_USE enum gw_status gw_state_directory_open(const char *path, struct gw_fault *fault);

/* Replaces the file `name` in `directory` by `size` bytes: writes a temporary file beside it,
 * syncs it, renames it, syncs the directory. On GW_OK the new bytes are durable. On an error
 * after the rename the new bytes may be there but may not survive a crash of the host: the caller
 * must count it as failed. */
GW_MUST_USE enum gw_status gw_record_file_put(const char *directory, const char *name,
                                              const void *bytes, size_t size,
                                              struct gw_fault *fault);

/* Reads the file whole. *is_found is false, and *size 0, when there is none (GW_OK). GW_LIMIT
 * when it is larger than size_max: nothing is cut off in silence. */
GW_MUST_USE enum gw_status gw_record_file_get(const char *directory, const char *name, void *bytes,
                                              size_t size_max, size_t *size, bool *is_found,
                                              struct gw_fault *fault);

/* Holds the file `name`, made if need be, until *fd and all its duplicates, in whatever process,
 * are closed. GW_REFUSED: somebody else holds it. Never waits; needs no storage to be stable. */
GW_MUST_USE enum gw_status gw_record_file_lock(const char *directory, const char *name, int *fd,
                                               struct gw_fault *fault);

/* Removes the file durably; GW_OK when there is none. */
GW_MUST_USE enum gw_status gw_record_file_clear(const char *directory, const char *name,
                                                struct gw_fault *fault);

#endif
