/* SPDX-License-Identifier: Apache-2.0 */
/* The storage itself, and its budget. */
#include "run/storage.h"

#include "godwit/arena.h"
#include "godwit/run.h"
#include "godwit/tls.h"

#define GW_TLS_BYTES (GW_TLS_SESSION_BYTES * GW_TLS_SESSIONS_MAX + GW_TLS_COMMON_BYTES)

struct gw_run_storage gw_run_storage;

static_assert(sizeof(struct gw_run_storage) + GW_ARENA_BYTES + GW_TLS_BYTES <=
                  GW_BOARD_STATIC_BYTES_MAX,
              "the board's board.h says how much memory the monitor may take beside guest RAM");

size_t gw_run_budget(const struct gw_budget_item **items)
{
    static const struct gw_budget_item budget[] = {
#define ITEM(type, member, purpose) {.name = purpose, .bytes_each = sizeof(type), .count = 1},
        GW_RUN_STORAGE(ITEM)
#undef ITEM
            {.name = "arena for libraries", .bytes_each = GW_ARENA_BYTES, .count = 1},
        {.name = "TLS: connections",
         .bytes_each = GW_TLS_SESSION_BYTES,
         .count = GW_TLS_SESSIONS_MAX},
        {.name = "TLS: keys", .bytes_each = GW_TLS_COMMON_BYTES, .count = 1},
    };
    *items = budget;
    return sizeof(budget) / sizeof(budget[0]);
}
