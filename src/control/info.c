/* SPDX-License-Identifier: Apache-2.0 */
/* QMP's words for godwit's states. Static data; any thread. */
#include "godwit/info.h"

#include <string.h>

#define NAME(name, text, ...) [GW_INFO_RUN_##name] = text,
static const char *const run_state_names[] = {GW_INFO_RUN_STATES(NAME)};
#undef NAME
#define RUNS(name, text, is_running) [GW_INFO_RUN_##name] = is_running,
static const bool run_state_runs[] = {GW_INFO_RUN_STATES(RUNS)};
#undef RUNS
#define NAME(name, text) [GW_INFO_MIGRATION_##name] = text,
static const char *const migration_names[] = {GW_INFO_MIGRATIONS(NAME)};
#undef NAME
#define NAME(name, text, ...) [GW_INFO_CAPABILITY_##name] = text,
static const char *const capability_names[] = {GW_INFO_CAPABILITIES(NAME)};
#undef NAME
#define IS_ON(name, text, is_on, is_free) [GW_INFO_CAPABILITY_##name] = is_on,
static const bool capability_defaults[] = {GW_INFO_CAPABILITIES(IS_ON)};
#undef IS_ON
#define IS_FREE(name, text, is_on, is_free) [GW_INFO_CAPABILITY_##name] = is_free,
static const bool capability_is_free[] = {GW_INFO_CAPABILITIES(IS_FREE)};
#undef IS_FREE
#define NAME(name, text) [GW_INFO_VERIFY_##name] = text,
static const char *const verify_names[] = {GW_INFO_VERIFIES(NAME)};
#undef NAME

#define NAME(name, text) [GW_INFO_COMPRESS_##name] = text,
static const char *const compress_names[] = {GW_INFO_COMPRESSIONS(NAME)};
#undef NAME
static const char *const packing_names[] = {
    [GW_INFO_PACKING_NONE] = "none", [GW_INFO_PACKING_LZ4] = "lz4"};

const char *gw_info_run_state_name(enum gw_info_run_state state)
{
    GW_ASSERT(state < GW_INFO_RUN_STATE_COUNT);
    return run_state_names[state];
}

bool gw_info_run_state_is_running(enum gw_info_run_state state)
{
    GW_ASSERT(state < GW_INFO_RUN_STATE_COUNT);
    return run_state_runs[state];
}

const char *gw_info_migration_name(enum gw_info_migration migration)
{
    GW_ASSERT(migration < GW_INFO_MIGRATION_COUNT);
    return migration_names[migration];
}

const char *gw_info_verify_name(enum gw_info_verify verify)
{
    GW_ASSERT(verify < GW_INFO_VERIFY_COUNT);
    return verify_names[verify];
}

const char *gw_info_compress_name(enum gw_info_compress compress)
{
    GW_ASSERT(compress < GW_INFO_COMPRESS_COUNT);
    return compress_names[compress];
}

enum gw_info_compress gw_info_compress_of(const char *name)
{
    enum gw_info_compress compress = GW_INFO_COMPRESS_AUTO;
    while (compress < GW_INFO_COMPRESS_COUNT && strcmp(name, compress_names[compress]) != 0) {
        compress++;
    }
    return compress;
}

const char *gw_info_packing_name(enum gw_info_packing packing)
{
    GW_ASSERT(packing < GW_INFO_PACKING_COUNT);
    return packing_names[packing];
}

const char *gw_info_capability_name(enum gw_info_capability capability)
{
    GW_ASSERT(capability < GW_INFO_CAPABILITY_COUNT);
    return capability_names[capability];
}

bool gw_info_capability_default(enum gw_info_capability capability)
{
    GW_ASSERT(capability < GW_INFO_CAPABILITY_COUNT);
    return capability_defaults[capability];
}

bool gw_info_capability_is_free(enum gw_info_capability capability)
{
    GW_ASSERT(capability < GW_INFO_CAPABILITY_COUNT);
    return capability_is_free[capability];
}

const char *gw_info_dirty_mode_name(bool is_by_ring)
{
    return is_by_ring ? "dirty-ring" : "dirty-bitmap";
}

bool gw_info_migration_is_final(enum gw_info_migration migration)
{
    return migration == GW_INFO_MIGRATION_COMPLETED || migration == GW_INFO_MIGRATION_FAILED ||
           migration == GW_INFO_MIGRATION_CANCELLED;
}
