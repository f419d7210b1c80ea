/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The info structs as JSON and back. QEMU's names and units for what QEMU has; everything else
 * lies in one member "__org.godwit", so that no client of QEMU's trips over it. Both ways stand
 * here, side by side, so that they stay the same. Pure; any thread.
 */
#include "qmp_info.h"

#include <string.h>

#include "godwit/qmp.h"

static const char *const role_names[] = {[GW_INFO_SOURCE] = "source", [GW_INFO_TARGET] = "target"};

static void put_ram(struct gw_json *json, const struct gw_info_migrate *info)
{
    const struct gw_info_ram *ram = &info->ram;
    gw_json_open_object(json, "ram");
    gw_json_put_number(json, "transferred", ram->transferred_bytes);
    gw_json_put_number(json, "remaining", ram->remaining_bytes);
    gw_json_put_number(json, "total", ram->total_bytes);
    gw_json_put_number(json, "duplicate", ram->zero_pages);
    gw_json_put_number(json, "normal", ram->normal_pages);
    gw_json_put_number(json, "normal-bytes", ram->normal_pages * ram->page_bytes);
    gw_json_put_number(json, "dirty-pages-rate", ram->dirty_pages_per_second);
    gw_json_put_thousandths(json, "mbps", ram->acked_bits_per_second / 1000);
    gw_json_put_number(json, "dirty-sync-count", ram->rounds);
    gw_json_put_number(json, "pages-per-second", ram->pages_per_second);
    gw_json_put_number(json, "page-size", ram->page_bytes);
    gw_json_put_number(json, "downtime-bytes", ram->downtime_bytes);
    if (info->postcopy.is_on) {
        gw_json_put_number(json, "postcopy-requests", info->postcopy.demands);
        gw_json_put_number(json, "postcopy-bytes", info->postcopy.sent_bytes);
    }
    gw_json_close_object(json);
}

static void put_held(struct gw_json *json, const struct gw_info_held *held)
{
    gw_json_open_object(json, "held");
    gw_json_put_bool(json, "give-up", held->can_give_up);
    gw_json_put_bool(json, "run-token", held->can_run_with_token);
    gw_json_put_bool(json, "run-other-is-dead", held->can_run_other_is_dead);
    gw_json_put_number(json, "time", held->held_ms);
    gw_json_put_text(json, "text", held->text);
    gw_json_close_object(json);
}

static void put_postcopy(struct gw_json *json, const struct gw_info_migrate *info)
{
    const struct gw_info_postcopy *postcopy = &info->postcopy;
    gw_json_open_object(json, "postcopy");
    if (postcopy->is_lost)
        gw_json_put_bool(json, "lost", true);
    gw_json_put_number(json, "demands", postcopy->demands);
    gw_json_put_number(json, "recoveries", postcopy->recoveries);
    if (info->role == GW_INFO_TARGET)
        gw_json_put_number(json, "missing", postcopy->missing_bytes);
    else
        gw_json_put_number(json, "sent", postcopy->sent_bytes);
    if (postcopy->released_bytes)
        gw_json_put_number(json, "released", postcopy->released_bytes);
    if (info->role == GW_INFO_TARGET || postcopy->time_ms || postcopy->faults) {
        gw_json_put_number(json, "time", postcopy->time_ms);
        gw_json_put_number(json, "blocktime", postcopy->blocktime_ms);
        gw_json_put_number(json, "faults", postcopy->faults);
        gw_json_put_number(json, "min-us", postcopy->min_us);
        gw_json_put_number(json, "p50-us", postcopy->p50_us);
        gw_json_put_number(json, "p90-us", postcopy->p90_us);
        gw_json_put_number(json, "p99-us", postcopy->p99_us);
        gw_json_put_number(json, "max-us", postcopy->max_us);
    }
    gw_json_close_object(json);
}

/* Under QEMU's names, on the target as there. */
static void put_blocktime(struct gw_json *json, const struct gw_info_postcopy *postcopy)
{
    gw_json_put_number(json, "postcopy-blocktime", postcopy->blocktime_ms);
    gw_json_open_array(json, "postcopy-vcpu-blocktime");
    for (uint32_t i = 0; i < postcopy->vcpu_count && i < GW_INFO_VCPUS_MAX; i++)
        gw_json_put_number(json, NULL, postcopy->vcpu_ms[i]);
    gw_json_close_array(json);
}

static void put_rounds(struct gw_json *json, const struct gw_info_migrate *info)
{
    gw_json_open_array(json, "rounds");
    for (uint32_t i = 0; i < info->round_count && i < GW_INFO_ROUNDS_MAX; i++) {
        const struct gw_info_round *round = &info->round[i];
        gw_json_open_object(json, NULL);
        gw_json_put_number(json, "round", round->number);
        gw_json_put_number(json, "time", round->time_ms);
        gw_json_put_number(json, "sent", round->sent_bytes);
        gw_json_put_number(json, "dirtied", round->dirty_bytes);
        gw_json_put_number(json, "bandwidth", round->bandwidth);
        gw_json_put_number(json, "throttle", round->throttle_percent);
        gw_json_close_object(json);
    }
    gw_json_close_array(json);
}

static void put_compression(struct gw_json *json, const struct gw_info_compression *compression)
{
    gw_json_open_object(json, "compression");
    gw_json_put_text(json, "method", gw_info_packing_name(compression->packing));
    gw_json_put_number(json, "bytes", compression->raw_bytes);
    gw_json_put_number(json, "compressed", compression->packed_bytes);
    gw_json_close_object(json);
}

static void put_vendor(struct gw_json *json, const struct gw_info_migrate *info)
{
    gw_json_open_object(json, "__org.godwit");
    gw_json_put_text(json, "role", role_names[info->role]);
    gw_json_put_text(json, "peer", info->peer);
    gw_json_put_text(json, "session", info->session);
    if (info->channels > 0) {
        gw_json_put_number(json, "channels", info->channels);
        put_compression(json, &info->compression);
    }
    gw_json_put_number(json, "epoch", info->epoch);
    if (info->has_downtime)
        gw_json_put_number(json, "downtime-us", info->downtime_us);
    else if (info->expected_downtime_us)
        gw_json_put_number(json, "expected-downtime-us", info->expected_downtime_us);
    if (info->round_trip_us)
        gw_json_put_number(json, "round-trip-us", info->round_trip_us);
    if (info->threshold_bytes) {
        gw_json_put_number(json, "handover-us", info->handover_us);
        gw_json_put_number(json, "threshold", info->threshold_bytes);
    }
    if (info->round_count)
        put_rounds(json, info);
    gw_json_put_text(json, "verify", gw_info_verify_name(info->verify));
    if (info->verify != GW_INFO_VERIFY_OFF)
        gw_json_put_number(json, "verify-time", info->verify_ms);
    if (info->resumes) {
        gw_json_put_number(json, "resumes", info->resumes);
        gw_json_put_number(json, "resent-bytes", info->resent_bytes);
    }
    if (info->postcopy.is_on)
        put_postcopy(json, info);
    if (info->status == GW_INFO_MIGRATION_FAILED)
        gw_json_put_text(json, "reason", gw_status_name(info->reason));
    else if (info->is_link_lost)
        gw_json_put_text(json, "link-lost", info->error);
    else if (info->reason == GW_CANCELLED)
        gw_json_put_text(json, "cancelled", info->error);
    if (info->held.is_held)
        put_held(json, &info->held);
    gw_json_close_object(json);
}

/* QEMU counts downtime in milliseconds; a part of one counts as one. */
static uint64_t ms_from_us(uint64_t us)
{
    return us / 1000 + (us % 1000 != 0);
}

void gw_qmp_put_migrate(struct gw_json *json, const struct gw_info_migrate *info)
{
    if (info->blocked_count) {
        gw_json_open_array(json, "blocked-reasons");
        for (uint32_t i = 0; i < info->blocked_count && i < GW_INFO_BLOCKED_MAX; i++)
            gw_json_put_text(json, NULL, info->blocked[i]);
        gw_json_close_array(json);
    }
    if (info->status == GW_INFO_MIGRATION_NONE)
        return;
    gw_json_put_text(json, "status", gw_info_migration_name(info->status));
    gw_json_put_number(json, "total-time", info->total_ms);
    gw_json_put_number(json, "setup-time", info->setup_ms);
    if (info->has_downtime)
        gw_json_put_number(json, "downtime", ms_from_us(info->downtime_us));
    else if (info->expected_downtime_us)
        gw_json_put_number(json, "expected-downtime", ms_from_us(info->expected_downtime_us));
    if (info->has_ram)
        put_ram(json, info);
    if (info->throttle_percent)
        gw_json_put_number(json, "cpu-throttle-percentage", info->throttle_percent);
    if (info->postcopy.is_on && info->role == GW_INFO_TARGET)
        put_blocktime(json, &info->postcopy);
    if (info->status == GW_INFO_MIGRATION_FAILED)
        gw_json_put_text(json, "error-desc", info->error);
    put_vendor(json, info);
}

void gw_qmp_put_status(struct gw_json *json, const struct gw_info_status *status)
{
    gw_json_put_text(json, "name", status->name);
    gw_json_put_bool(json, "running", gw_info_run_state_is_running(status->state));
    gw_json_put_text(json, "status", gw_info_run_state_name(status->state));
    gw_json_put_number(json, "memory", status->memory_bytes);
    gw_json_put_number(json, "cpus", status->vcpu_count);
    gw_json_put_number(json, "pid", status->pid);
    gw_json_put_number(json, "up-time", status->up_ms);
    gw_json_put_text(json, "dirty-mode", gw_info_dirty_mode_name(status->dirty_ring_entries > 0));
    if (status->dirty_ring_entries) {
        gw_json_put_number(json, "dirty-ring-size", status->dirty_ring_entries);
        gw_json_put_number(json, "dirty-ring-full", status->dirty_ring_full);
    }
    if (status->incoming[0])
        gw_json_put_text(json, "incoming", status->incoming);
}

/* Reading back. What is missing or of another kind is left as it is (zero). */
struct reader {
    const struct gw_json_document *document;
    int object;
};

static int member(struct reader reader, const char *key)
{
    return gw_json_read_member(reader.document, reader.object, key);
}

static bool get_number(struct reader reader, const char *key, uint64_t *output)
{
    return gw_json_read_number(reader.document, member(reader, key), output);
}

static bool get_bool(struct reader reader, const char *key, bool *output)
{
    return gw_json_read_bool(reader.document, member(reader, key), output);
}

static bool get_text(struct reader reader, const char *key, char *output, size_t size)
{
    return gw_json_read_text(reader.document, member(reader, key), output, size);
}

/* The index of a member's word in a list of names; `count` when it is none of them. */
static unsigned int get_word(struct reader reader, const char *key,
                             const char *(*name)(unsigned int), unsigned int count)
{
    unsigned int i = 0;
    while (i < count && !gw_json_read_is_equal(reader.document, member(reader, key), name(i)))
        i++;
    return i;
}

static const char *migration_name(unsigned int i)
{
    return gw_info_migration_name((enum gw_info_migration)i);
}

static const char *verify_name(unsigned int i)
{
    return gw_info_verify_name((enum gw_info_verify)i);
}

static const char *run_state_name(unsigned int i)
{
    return gw_info_run_state_name((enum gw_info_run_state)i);
}

static const char *role_name(unsigned int i)
{
    return role_names[i];
}

static const char *reason_name(unsigned int i)
{
    return gw_status_name((enum gw_status)i);
}

/* A number with a fraction, in thousandths: what is smaller is dropped. */
static uint64_t get_thousandths(struct reader reader, const char *key)
{
    char text[32];
    gw_json_read_excerpt(reader.document, member(reader, key), text, sizeof(text));
    uint64_t value = 0;
    int decimals = -1; /* not past the point yet */
    for (const char *c = text; (*c == '.' || (*c >= '0' && *c <= '9')) && decimals < 3; c++) {
        if (*c == '.') {
            decimals = 0;
            continue;
        }
        value = value * 10 + (uint64_t)(*c - '0');
        decimals += decimals >= 0;
    }
    for (decimals = decimals < 0 ? 0 : decimals; decimals < 3; decimals++)
        value *= 10;
    return value;
}

static void get_ram(struct reader reader, struct gw_info_ram *ram)
{
    uint64_t page_bytes = 0;
    (void)get_number(reader, "transferred", &ram->transferred_bytes);
    (void)get_number(reader, "remaining", &ram->remaining_bytes);
    (void)get_number(reader, "total", &ram->total_bytes);
    (void)get_number(reader, "duplicate", &ram->zero_pages);
    (void)get_number(reader, "normal", &ram->normal_pages);
    (void)get_number(reader, "dirty-pages-rate", &ram->dirty_pages_per_second);
    (void)get_number(reader, "dirty-sync-count", &ram->rounds);
    (void)get_number(reader, "pages-per-second", &ram->pages_per_second);
    (void)get_number(reader, "page-size", &page_bytes);
    (void)get_number(reader, "downtime-bytes", &ram->downtime_bytes);
    ram->page_bytes = (uint32_t)page_bytes;
    ram->acked_bits_per_second = get_thousandths(reader, "mbps") * 1000;
}

static void get_held(struct reader reader, struct gw_info_held *held)
{
    held->is_held = gw_json_read_is_object(reader.document, reader.object);
    (void)get_bool(reader, "give-up", &held->can_give_up);
    (void)get_bool(reader, "run-token", &held->can_run_with_token);
    (void)get_bool(reader, "run-other-is-dead", &held->can_run_other_is_dead);
    (void)get_number(reader, "time", &held->held_ms);
    (void)get_text(reader, "text", held->text, sizeof(held->text));
}

static void get_postcopy(struct reader reader, struct gw_info_postcopy *postcopy)
{
    postcopy->is_on = gw_json_read_is_object(reader.document, reader.object);
    (void)get_bool(reader, "lost", &postcopy->is_lost);
    (void)get_number(reader, "demands", &postcopy->demands);
    (void)get_number(reader, "recoveries", &postcopy->recoveries);
    (void)get_number(reader, "sent", &postcopy->sent_bytes);
    (void)get_number(reader, "released", &postcopy->released_bytes);
    (void)get_number(reader, "missing", &postcopy->missing_bytes);
    (void)get_number(reader, "time", &postcopy->time_ms);
    (void)get_number(reader, "blocktime", &postcopy->blocktime_ms);
    (void)get_number(reader, "faults", &postcopy->faults);
    (void)get_number(reader, "min-us", &postcopy->min_us);
    (void)get_number(reader, "p50-us", &postcopy->p50_us);
    (void)get_number(reader, "p90-us", &postcopy->p90_us);
    (void)get_number(reader, "p99-us", &postcopy->p99_us);
    (void)get_number(reader, "max-us", &postcopy->max_us);
}

/* The array's numbers, as many as there is room for. */
static void get_blocktime(struct reader reader, struct gw_info_postcopy *postcopy)
{
    int array = member(reader, "postcopy-vcpu-blocktime");
    (void)get_number(reader, "postcopy-blocktime", &postcopy->blocktime_ms);
    for (int i = gw_json_read_first(reader.document, array);
         i >= 0 && postcopy->vcpu_count < GW_INFO_VCPUS_MAX;
         i = gw_json_read_next(reader.document, i))
        (void)gw_json_read_number(reader.document, i, &postcopy->vcpu_ms[postcopy->vcpu_count++]);
}

static void get_rounds(struct reader reader, struct gw_info_migrate *info)
{
    int array = member(reader, "rounds");
    for (int i = gw_json_read_first(reader.document, array);
         i >= 0 && info->round_count < GW_INFO_ROUNDS_MAX;
         i = gw_json_read_next(reader.document, i)) {
        struct gw_info_round *round = &info->round[info->round_count++];
        struct reader one = {reader.document, i};
        (void)get_number(one, "round", &round->number);
        (void)get_number(one, "time", &round->time_ms);
        (void)get_number(one, "sent", &round->sent_bytes);
        (void)get_number(one, "dirtied", &round->dirty_bytes);
        (void)get_number(one, "bandwidth", &round->bandwidth);
        (void)get_number(one, "throttle", &round->throttle_percent);
    }
}

static void get_blocked(struct reader reader, struct gw_info_migrate *info)
{
    int array = member(reader, "blocked-reasons");
    for (int i = gw_json_read_first(reader.document, array);
         i >= 0 && info->blocked_count < GW_INFO_BLOCKED_MAX;
         i = gw_json_read_next(reader.document, i))
        (void)gw_json_read_text(reader.document, i, info->blocked[info->blocked_count++],
                                GW_INFO_BLOCKED_BYTES);
}

static const char *packing_name(unsigned int packing)
{
    return gw_info_packing_name((enum gw_info_packing)packing);
}

static void get_compression(struct reader reader, struct gw_info_compression *compression)
{
    unsigned int packing = get_word(reader, "method", packing_name, GW_INFO_PACKING_COUNT);
    compression->packing =
        packing == GW_INFO_PACKING_COUNT ? GW_INFO_PACKING_NONE : (enum gw_info_packing)packing;
    (void)get_number(reader, "bytes", &compression->raw_bytes);
    (void)get_number(reader, "compressed", &compression->packed_bytes);
}

static void get_vendor(struct reader reader, struct gw_info_migrate *info)
{
    unsigned int role = get_word(reader, "role", role_name, 2);
    unsigned int verify = get_word(reader, "verify", verify_name, GW_INFO_VERIFY_COUNT);
    unsigned int reason = get_word(reader, "reason", reason_name, GW_CANCELLED + 1);
    info->role = role == GW_INFO_TARGET ? GW_INFO_TARGET : GW_INFO_SOURCE;
    info->verify =
        verify == GW_INFO_VERIFY_COUNT ? GW_INFO_VERIFY_OFF : (enum gw_info_verify)verify;
    info->reason = reason > GW_CANCELLED ? GW_OK : (enum gw_status)reason;
    (void)get_text(reader, "peer", info->peer, sizeof(info->peer));
    (void)get_text(reader, "session", info->session, sizeof(info->session));
    (void)get_number(reader, "channels", &info->channels);
    (void)get_number(reader, "epoch", &info->epoch);
    (void)get_number(reader, "verify-time", &info->verify_ms);
    (void)get_number(reader, "expected-downtime-us", &info->expected_downtime_us);
    (void)get_number(reader, "round-trip-us", &info->round_trip_us);
    (void)get_number(reader, "handover-us", &info->handover_us);
    (void)get_number(reader, "threshold", &info->threshold_bytes);
    get_rounds(reader, info);
    get_compression((struct reader){reader.document, member(reader, "compression")},
                    &info->compression);
    (void)get_number(reader, "resumes", &info->resumes);
    (void)get_number(reader, "resent-bytes", &info->resent_bytes);
    info->is_link_lost = get_text(reader, "link-lost", info->error, sizeof(info->error));
    if (get_text(reader, "cancelled", info->error, sizeof(info->error)))
        info->reason = GW_CANCELLED;
    info->has_downtime = get_number(reader, "downtime-us", &info->downtime_us);
    get_postcopy((struct reader){reader.document, member(reader, "postcopy")}, &info->postcopy);
    get_held((struct reader){reader.document, member(reader, "held")}, &info->held);
}

bool gw_qmp_decode_migrate(const struct gw_json_document *document, int value,
                           struct gw_info_migrate *info)
{
    struct reader reader = {document, value};
    memset(info, 0, sizeof(*info));
    if (!gw_json_read_is_object(document, value))
        return false;
    get_blocked(reader, info);
    if (member(reader, "status") < 0)
        return true; /* no migration yet */
    unsigned int status = get_word(reader, "status", migration_name, GW_INFO_MIGRATION_COUNT);
    if (status == GW_INFO_MIGRATION_COUNT)
        return false;
    info->status = (enum gw_info_migration)status;
    (void)get_number(reader, "total-time", &info->total_ms);
    (void)get_number(reader, "setup-time", &info->setup_ms);
    (void)get_number(reader, "cpu-throttle-percentage", &info->throttle_percent);
    (void)get_text(reader, "error-desc", info->error, sizeof(info->error));
    info->has_ram = member(reader, "ram") >= 0;
    get_ram((struct reader){document, member(reader, "ram")}, &info->ram);
    get_vendor((struct reader){document, member(reader, "__org.godwit")}, info);
    get_blocktime(reader, &info->postcopy);
    return true;
}

static const char *rate_name(unsigned int status)
{
    return status == GW_INFO_DIRTY_RATE_UNSTARTED   ? "unstarted"
           : status == GW_INFO_DIRTY_RATE_MEASURING ? "measuring"
                                                    : "measured";
}

bool gw_qmp_decode_dirty_rate(const struct gw_json_document *document, int value,
                              struct gw_info_dirty_rate *rate)
{
    struct reader reader = {document, value};
    memset(rate, 0, sizeof(*rate));
    if (!gw_json_read_is_object(document, value))
        return false;
    unsigned int status = get_word(reader, "status", rate_name, 3);
    if (status == 3)
        return false;
    rate->status = (enum gw_info_dirty_rate_status)status;
    (void)get_number(reader, "start-time", &rate->start_seconds);
    (void)get_number(reader, "calc-time", &rate->seconds);
    (void)get_number(reader, "__org.godwit_pages-per-second", &rate->pages_per_second);
    (void)get_number(reader, "__org.godwit_page-size", &rate->page_bytes);
    rate->is_by_ring = gw_json_read_is_equal(document, member(reader, "mode"), "dirty-ring");
    return true;
}

bool gw_qmp_decode_status(const struct gw_json_document *document, int value,
                          struct gw_info_status *status)
{
    struct reader reader = {document, value};
    memset(status, 0, sizeof(*status));
    unsigned int state = get_word(reader, "status", run_state_name, GW_INFO_RUN_STATE_COUNT);
    if (state == GW_INFO_RUN_STATE_COUNT)
        return false;
    uint64_t vcpus = 0;
    uint64_t pid = 0;
    status->state = (enum gw_info_run_state)state;
    (void)get_text(reader, "name", status->name, sizeof(status->name));
    (void)get_text(reader, "incoming", status->incoming, sizeof(status->incoming));
    (void)get_number(reader, "memory", &status->memory_bytes);
    (void)get_number(reader, "up-time", &status->up_ms);
    (void)get_number(reader, "cpus", &vcpus);
    (void)get_number(reader, "pid", &pid);
    (void)get_number(reader, "dirty-ring-size", &status->dirty_ring_entries);
    (void)get_number(reader, "dirty-ring-full", &status->dirty_ring_full);
    status->vcpu_count = (uint32_t)vcpus;
    status->pid = (uint32_t)pid;
    return true;
}

bool gw_qmp_decode_resolve(const struct gw_json_document *document, int value,
                           struct gw_info_resolve *result)
{
    struct reader reader = {document, value};
    memset(result, 0, sizeof(*result));
    (void)get_text(reader, "token", result->token, sizeof(result->token));
    return get_text(reader, "text", result->text, sizeof(result->text));
}
