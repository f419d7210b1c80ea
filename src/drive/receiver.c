/* SPDX-License-Identifier: Apache-2.0 */
/* A receiver: one of the target's bulk channels, or its urgent one, into guest RAM. The contract:
 * godwit/receiver.h. */
#include "godwit/receiver.h"

#include <inttypes.h>

#include "drive/exchange.h"
#include "drive/framing.h"
#include "drive/receiver_internal.h"
#include "godwit/clock.h"
#include "godwit/crc32c.h"
#include "godwit/page_map.h"
#include "godwit/ram_io.h"

static enum gw_status read_bytes(struct gw_receiver *receiver, void *bytes, size_t count,
                                 struct gw_fault *fault)
{
    return gw_exchange_read(receiver->connection, bytes, count, fault);
}

/* ---- Introduction ---- */

static_assert(GW_FRAME_HEADER_BYTES + (uint64_t)GW_PAGE_MAP_BYTES_MAX <= GW_BATCH_BYTES_MAX,
              "a map with its header fits the staging memory");

/* Nobody places a page now: the source sends none before it has read this. */
static enum gw_status send_received(struct gw_receiver *receiver, struct gw_fault *fault)
{
    uint8_t *payload = receiver->staging + GW_FRAME_HEADER_BYTES;
    uint64_t page_count = receiver->ram->page_count;
    pthread_mutex_lock(receiver->lock);
    gw_page_map_encode(gw_target_received(receiver->target), page_count, payload);
    pthread_mutex_unlock(receiver->lock);
    struct gw_frame_header header = {
        .version = GW_PROTOCOL_VERSION,
        .type = GW_FRAME_RECEIVED,
        .payload_bytes = gw_page_map_bytes(page_count),
        .payload_crc = gw_crc32c(0, payload, gw_page_map_bytes(page_count)),
        .generation = receiver->generation,
    };
    gw_frame_encode_header(&header, receiver->staging);
    return gw_exchange_write(receiver->connection, receiver->staging,
                             GW_FRAME_HEADER_BYTES + header.payload_bytes, fault);
}

static enum gw_status welcome(struct gw_receiver *receiver, struct gw_fault *fault)
{
    enum gw_status status =
        gw_exchange_send(receiver->connection, &receiver->welcome, receiver->generation, 0, fault);
    return status == GW_OK && receiver->has_map ? send_received(receiver, fault) : status;
}

/* ---- BATCH ---- */

static enum gw_status may_place(struct gw_receiver *receiver, uint64_t sequence,
                                const struct gw_batch_table *table, enum gw_placing *placing,
                                struct gw_fault *fault)
{
    pthread_mutex_lock(receiver->lock);
    enum gw_status status =
        gw_target_may_place(receiver->target, receiver->channel, sequence, placing, fault);
    if (status == GW_OK && table != NULL) {
        status = gw_target_check_pages(receiver->target, receiver->channel, table, fault);
    }
    pthread_mutex_unlock(receiver->lock);
    return status;
}

/* MISSING and VERIFY are about memory that the guest does not use yet. */
static enum gw_status may_tell(struct gw_receiver *receiver, const struct gw_frame_header *header,
                               struct gw_fault *fault)
{
    enum gw_placing placing;
    enum gw_status status = may_place(receiver, header->sequence, NULL, &placing, fault);
    if (status == GW_OK && placing != GW_PLACE_DIRECT) {
        return gw_fault_set(fault, GW_PROTOCOL,
                            "the source sent %s %" PRIu64 " when its guest ran here already",
                            gw_frame_type_name(header->type), header->sequence);
    }
    return status;
}

static enum gw_status read_table(struct gw_receiver *receiver, const struct gw_frame_header *header,
                                 struct gw_receiving *batch, struct gw_fault *fault)
{
    uint32_t *table_bytes = &batch->table_bytes;
    *batch = (struct gw_receiving){.header = header,
                                   .is_packed = (header->flags & GW_FRAME_PACKED) != 0};
    if (header->payload_bytes < GW_BATCH_TABLE_HEADER_BYTES) {
        return gw_fault_set(fault, GW_PROTOCOL,
                            "batch %" PRIu64 " has %u bytes, wanted at least %d", header->sequence,
                            header->payload_bytes, GW_BATCH_TABLE_HEADER_BYTES);
    }
    enum gw_status status =
        read_bytes(receiver, receiver->table, GW_BATCH_TABLE_HEADER_BYTES, fault);
    if (status == GW_OK) {
        status = gw_batch_table_bytes(receiver->table, header->payload_bytes, table_bytes, fault);
    }
    if (status == GW_OK) {
        status = read_bytes(receiver, receiver->table + GW_BATCH_TABLE_HEADER_BYTES,
                            *table_bytes - GW_BATCH_TABLE_HEADER_BYTES, fault);
    }
    if (status == GW_OK) {
        status = gw_batch_decode_table(&receiver->records, receiver->table, *table_bytes,
                                       header->payload_bytes, batch->is_packed,
                                       receiver->ram->page_bytes, receiver->ram->page_count, fault);
    }
    batch->body_bytes = header->payload_bytes - *table_bytes;
    return status;
}

int gw_receiver_gather(struct gw_receiver *receiver)
{
    const struct gw_ram *ram = receiver->ram;
    int count = 0;
    for (uint32_t i = 0; i < receiver->records.record_count; i++) {
        const struct gw_record *record = &receiver->records.record[i];
        if (record->kind != GW_RECORD_RAW) {
            continue;
        }
        uint64_t end = record->page + record->count;
        for (uint64_t page = record->page; page < end;) {
            uint64_t here = gw_ram_contiguous(ram, page);
            here = here < end - page ? here : end - page;
            GW_ASSERT(count < (int)(sizeof(receiver->part) / sizeof(receiver->part[0])));
            receiver->part[count].iov_base = gw_ram_page(ram, page);
            receiver->part[count].iov_len = here * ram->page_bytes;
            count++;
            page += here;
        }
    }
    return count;
}

uint32_t gw_receiver_crc(const struct gw_receiver *receiver, int count, uint32_t table_bytes)
{
    uint32_t crc = gw_crc32c(0, receiver->table, table_bytes);
    for (int i = 0; i < count; i++) {
        crc = gw_crc32c(crc, receiver->part[i].iov_base, receiver->part[i].iov_len);
    }
    return crc;
}

/* Of batches that come faster than this, on all channels together, several are acknowledged at
 * once: on a fast link each acknowledgement costs more than the batch's sum. The last of them waits
 * for another: not for long while a round may wait for it, but in postcopy nobody does. */
enum { ACK_MS = 20, ACK_PATIENCE_MS = 1, ACK_PATIENCE_PULLING_MS = ACK_MS };

/* The owner has nothing to do for a page that only its guest waited for: whichever bulk channel
 * owes an acknowledgement sees to that itself (catch_up), for several batches at once. */
static void tell(struct gw_receiver *receiver, struct gw_target_event *event)
{
    pthread_mutex_lock(receiver->lock);
    event->now_ns = gw_clock_now_ns();
    (void)!gw_target_handle(receiver->target, event, NULL);
    bool has_action = gw_target_has_action(receiver->target);
    bool is_soon =
        !receiver->is_stopped && event->now_ns - *receiver->woken_ns < ACK_MS * GW_NS_PER_MS;
    bool may_wait = (is_soon || receiver->is_urgent) && gw_target_may_wait(receiver->target);
    bool is_waking = has_action && !may_wait;
    receiver->is_owing = has_action && may_wait && !receiver->is_urgent;
    *receiver->woken_ns = is_waking ? event->now_ns : *receiver->woken_ns;
    pthread_mutex_unlock(receiver->lock);
    if (is_waking) {
        gw_notify_signal(receiver->wake);
    }
}

/* Before this thread sleeps for long for want of bytes, what it has placed is acknowledged. True:
 * there are bytes. */
static bool catch_up(struct gw_receiver *receiver)
{
    if (!receiver->is_owing) {
        return false;
    }
    int patience_ms = receiver->is_pulling ? ACK_PATIENCE_PULLING_MS : ACK_PATIENCE_MS;
    if (gw_exchange_is_readable(receiver->connection, patience_ms)) {
        return true;
    }
    receiver->is_owing = false;
    gw_notify_signal(receiver->wake);
    return false;
}

/* The sum is of what now lies in RAM: the guest does not run, so nobody has written there since. */
static enum gw_status read_direct(struct gw_receiver *receiver, const struct gw_receiving *batch,
                                  uint32_t *crc, struct gw_fault *fault)
{
    int count = gw_receiver_gather(receiver);
    enum gw_status status =
        count > 0 ? gw_connection_read_all(receiver->connection, receiver->part, count, fault)
                  : GW_OK;
    if (status == GW_OK) { /* read_all may have moved the parts' starts on */
        *crc = gw_receiver_crc(receiver, gw_receiver_gather(receiver), batch->table_bytes);
    }
    return status;
}

/* As it comes, into RAM: the guest does not run, so nobody reads there before it is checked. What
 * is packed is checked before it is unpacked: one that is damaged is suspect, as any, and not
 * unpacked; one that is whole and no block is a lie. */
static enum gw_status receive_direct(struct gw_receiver *receiver, const struct gw_receiving *batch,
                                     uint32_t *crc, struct gw_fault *fault)
{
    enum gw_status status = gw_receiver_place_zeros(receiver, fault);
    if (status != GW_OK) {
        return status;
    }
    gw_receiver_make_pages(receiver, batch->header);
    status = batch->is_packed ? gw_receiver_read_packed(receiver, batch, crc, fault)
                              : read_direct(receiver, batch, crc, fault);
    if (status != GW_OK || *crc != batch->header->payload_crc) {
        return status;
    }
    status = batch->is_packed ? gw_receiver_unpack_direct(receiver, batch, fault) : GW_OK;
    if (status == GW_OK && receiver->records.repeat_pages > 0) {
        gw_receiver_repeat_direct(receiver);
    }
    return status;
}

enum gw_status gw_receiver_refuse_damaged(const struct gw_receiver *receiver,
                                          const struct gw_frame_header *header,
                                          struct gw_fault *fault)
{
    return gw_fault_set(fault, GW_CORRUPT,
                        "%.120s: batch %" PRIu64 " arrived damaged, and no guest was writing",
                        receiver->connection->peer, header->sequence);
}

static enum gw_status place_staged(struct gw_receiver *receiver, const uint8_t *bytes,
                                   struct gw_fault *fault)
{
    const uint8_t *first = bytes;
    enum gw_status status = GW_OK;
    for (uint32_t i = 0; i < receiver->records.record_count && status == GW_OK; i++) {
        const struct gw_record *record = &receiver->records.record[i];
        if (record->kind == GW_RECORD_RAW) {
            status = gw_missing_place(&receiver->faults->missing, record->page, record->count,
                                      bytes, fault);
            bytes += (size_t)record->count * receiver->ram->page_bytes;
        } else if (record->kind == GW_RECORD_ZERO) {
            status = gw_missing_place_zero(&receiver->faults->missing, record->page, record->count,
                                           fault);
        } else if (record->kind != GW_RECORD_GONE) {
            status = gw_receiver_repeat_staged(receiver, record, first, fault);
        }
    }
    return status;
}

/* A page that came with its header is taken from where it lies. */
static enum gw_status read_staged(struct gw_receiver *receiver, const struct gw_receiving *batch,
                                  const uint8_t **bytes, uint32_t *crc, struct gw_fault *fault)
{
    *bytes = receiver->staging;
    if (batch->is_packed) {
        return gw_receiver_read_packed(receiver, batch, crc, fault);
    }
    const uint8_t *here = gw_connection_take_ahead(receiver->connection, batch->body_bytes);
    enum gw_status status = GW_OK;
    if (here != NULL) {
        *bytes = here;
    } else {
        status = read_bytes(receiver, receiver->staging, batch->body_bytes, fault);
    }
    *crc = gw_crc32c(gw_crc32c(0, receiver->table, batch->table_bytes), *bytes, batch->body_bytes);
    return status;
}

/* The guest runs: only what is whole and checked becomes its memory. */
static enum gw_status receive_staged(struct gw_receiver *receiver, const struct gw_receiving *batch,
                                     enum gw_placing placing, struct gw_fault *fault)
{
    const uint8_t *bytes = NULL;
    uint32_t crc = 0;
    enum gw_status status = read_staged(receiver, batch, &bytes, &crc, fault);
    if (status != GW_OK) {
        return status;
    }
    if (crc != batch->header->payload_crc) {
        return gw_receiver_refuse_damaged(receiver, batch->header, fault);
    }
    if (placing != GW_PLACE_STAGED) {
        return GW_OK;
    }
    status =
        batch->is_packed ? gw_receiver_unpack(receiver, batch, receiver->staging, fault) : GW_OK;
    return status == GW_OK ? place_staged(receiver, bytes, fault) : status;
}

static enum gw_status receive_placed(struct gw_receiver *receiver, const struct gw_receiving *batch,
                                     enum gw_placing placing, struct gw_run *whole,
                                     struct gw_fault *fault)
{
    if (placing == GW_PLACE_STAGED && receiver->ram->unit_pages > 1) {
        return gw_receiver_take_part(receiver, batch, whole, fault);
    }
    return receive_staged(receiver, batch, placing, fault);
}

/* What somebody waits for is not held up by being packed. */
static enum gw_status check_flags(const struct gw_receiver *receiver,
                                  const struct gw_frame_header *header, struct gw_fault *fault)
{
    if (receiver->is_urgent && (header->flags & GW_FRAME_PACKED) != 0) {
        return gw_fault_set(fault, GW_PROTOCOL,
                            "%.120s: batch %" PRIu64
                            " on the urgent channel is packed: none may be",
                            receiver->connection->peer, header->sequence);
    }
    return GW_OK;
}

static enum gw_status receive_batch(struct gw_receiver *receiver,
                                    const struct gw_frame_header *header, struct gw_fault *fault)
{
    struct gw_receiving batch;
    uint32_t crc = header->payload_crc;
    enum gw_placing placing;
    struct gw_run whole = {.count = 0};
    receiver->data = (struct gw_ram_data){0}; /* a batch makes holes */
    enum gw_status status = check_flags(receiver, header, fault);
    if (status == GW_OK) {
        status = read_table(receiver, header, &batch, fault);
    }
    if (status == GW_OK) {
        status = may_place(receiver, header->sequence, &receiver->records, &placing, fault);
    }
    if (status == GW_OK) {
        status = placing == GW_PLACE_DIRECT
                     ? receive_direct(receiver, &batch, &crc, fault)
                     : receive_placed(receiver, &batch, placing, &whole, fault);
    }
    if (status != GW_OK) {
        return status;
    }
    receiver->is_pulling = placing != GW_PLACE_DIRECT;
    receiver->is_stopped = !receiver->is_pulling && (header->flags & GW_FRAME_STOPPED) != 0;
    bool is_suspect = crc != header->payload_crc;
    if (is_suspect && (header->flags & GW_FRAME_STOPPED) != 0) {
        return gw_receiver_refuse_damaged(receiver, header, fault);
    }
    struct gw_target_event event = {
        .type = GW_TARGET_EV_BATCH,
        .placed = {.is_urgent = receiver->is_urgent,
                   .channel = receiver->channel,
                   .sequence = header->sequence,
                   .starved_us = (uint32_t)(receiver->connection->starved_ns / GW_NS_PER_US),
                   .is_suspect = is_suspect,
                   .table = &receiver->records,
                   .whole = whole},
    };
    tell(receiver, &event);
    if (whole.count > 0) { /* zeros: src/host/missing.c says why */
        gw_missing_wake(&receiver->faults->missing, whole.page, whole.count);
    }
    bool is_answer = receiver->is_urgent && gw_target_is_answer(receiver->target, &event.placed);
    receiver->answered += is_answer ? 1 : 0;
    return GW_OK;
}

/* ---- MISSING ---- */

static enum gw_status check_length(const struct gw_frame_header *header, uint32_t wanted,
                                   struct gw_fault *fault)
{
    return header->payload_bytes == wanted
               ? GW_OK
               : gw_fault_set(fault, GW_PROTOCOL, "%s %" PRIu64 " has %u bytes, wanted %u",
                              gw_frame_type_name(header->type), header->sequence,
                              header->payload_bytes, wanted);
}

static enum gw_status check_missing(struct gw_receiver *receiver, struct gw_fault *fault)
{
    pthread_mutex_lock(receiver->lock);
    enum gw_status status = gw_target_check_missing(receiver->target, receiver->map, fault);
    pthread_mutex_unlock(receiver->lock);
    return status;
}

static enum gw_status receive_map(struct gw_receiver *receiver,
                                  const struct gw_frame_header *header, struct gw_fault *fault)
{
    struct gw_target_event event = {
        .type = GW_TARGET_EV_MAP,
        .map = {.sequence = header->sequence, .missing = receiver->map},
    };
    uint32_t wanted = gw_page_map_bytes(receiver->ram->page_count);
    enum gw_status status = check_length(header, wanted, fault);
    if (status == GW_OK) {
        status = read_bytes(receiver, receiver->staging, wanted, fault);
    }
    if (status == GW_OK) {
        status =
            gw_framing_check_payload(header, receiver->staging, receiver->connection->peer, fault);
    }
    if (status == GW_OK) {
        status = gw_page_map_decode(receiver->map, receiver->ram->page_count, receiver->staging,
                                    wanted, fault);
    }
    if (status == GW_OK) {
        status = may_tell(receiver, header, fault);
    }
    if (status == GW_OK) {
        status = check_missing(receiver, fault);
    }
    if (status == GW_OK) {
        receiver->is_stopped = true;
        tell(receiver, &event);
    }
    return status;
}

/* ---- VERIFY ---- */

static enum gw_status receive_verify(struct gw_receiver *receiver,
                                     const struct gw_frame_header *header, struct gw_fault *fault)
{
    uint8_t bytes[GW_VERIFY_BYTES];
    struct gw_target_event event = {
        .type = GW_TARGET_EV_VERIFIED,
        .verified = {.channel = receiver->channel, .sequence = header->sequence},
    };
    struct gw_verify *theirs = &event.verified.theirs;
    enum gw_status status = check_length(header, sizeof(bytes), fault);
    if (status == GW_OK) {
        status = read_bytes(receiver, bytes, sizeof(bytes), fault);
    }
    if (status == GW_OK) {
        status = gw_framing_check_payload(header, bytes, receiver->connection->peer, fault);
    }
    if (status == GW_OK) {
        status = gw_verify_decode(theirs, bytes, sizeof(bytes), receiver->ram->page_count, fault);
    }
    if (status == GW_OK) {
        status = may_tell(receiver, header, fault);
    }
    if (status == GW_OK) {
        event.verified.digest_ours =
            gw_ram_io_digest(receiver->ram, &receiver->data, theirs->page, theirs->count);
        tell(receiver, &event);
    }
    return status;
}

/* ---- Frames ---- */

static enum gw_status wait_for_frame(struct gw_receiver *receiver, struct gw_fault *fault)
{
    if (receiver->is_urgent) {
        return gw_faults_await(receiver->faults, receiver->connection, receiver->answered, fault);
    }
    return catch_up(receiver) ? GW_OK : gw_exchange_wait(receiver->connection, fault);
}

static enum gw_status receive_frame(struct gw_receiver *receiver, struct gw_fault *fault)
{
    struct gw_frame_header header;
    enum gw_status status = wait_for_frame(receiver, fault);
    if (status == GW_OK) {
        status = gw_exchange_read_header(receiver->connection, &header, fault);
    }
    if (status == GW_OK) {
        status = gw_exchange_check_generation(receiver->connection, &header, receiver->generation,
                                              fault);
    }
    if (status != GW_OK) {
        return status;
    }
    if (header.type == GW_FRAME_BATCH) {
        return receive_batch(receiver, &header, fault);
    }
    if (header.type == GW_FRAME_VERIFY && !receiver->is_urgent) {
        return receive_verify(receiver, &header, fault);
    }
    if (header.type == GW_FRAME_MISSING && receiver->channel == 0) {
        return receive_map(receiver, &header, fault);
    }
    return gw_fault_set(fault, GW_PROTOCOL,
                        "%.120s: a frame %s (type %u) has no place on %s channel",
                        receiver->connection->peer, gw_frame_type_name(header.type), header.type,
                        receiver->is_urgent ? "an urgent" : "a bulk");
}

/* A frame that is half here: others may touch pages meanwhile that need no answer. */
static void leave_faults(void *context)
{
    const struct gw_receiver *receiver = context;
    gw_faults_leave(receiver->faults, receiver->connection);
}

static void run(void *context)
{
    struct gw_receiver *receiver = context;
    struct gw_fault fault = {.status = GW_OK};
    gw_thread_set_part(receiver->is_urgent ? GW_THREAD_BRIEF : GW_THREAD_BULK);
    if (!receiver->is_urgent) {
        gw_thread_keep_to(GW_CHANNEL_CPUS);
    }
    enum gw_status status = welcome(receiver, &fault);
    if (status == GW_OK && receiver->is_urgent) {
        gw_faults_attach(receiver->faults, receiver->connection, receiver->generation);
        gw_connection_on_stall(receiver->connection, leave_faults, receiver);
    }
    while (status == GW_OK) {
        status = receive_frame(receiver, &fault);
    }
    if (receiver->is_urgent) {
        leave_faults(receiver);
    }
    pthread_mutex_lock(receiver->lock);
    receiver->fault = fault;
    receiver->has_ended = true;
    pthread_mutex_unlock(receiver->lock);
    gw_notify_signal(receiver->wake);
}

/* ---- The owner ---- */

enum gw_status gw_receiver_start(struct gw_receiver *receiver, struct gw_connection *connection,
                                 const struct gw_message *message, bool has_map,
                                 uint32_t generation, struct gw_fault *fault)
{
    receiver->connection = connection;
    receiver->welcome = *message;
    receiver->has_map = has_map;
    receiver->generation = generation;
    receiver->has_ended = false;
    receiver->assembly = (struct gw_assembly){.aside = 0}; /* what was half there never came */
    receiver->answered = 0;
    receiver->is_owing = false;
    receiver->huge_wait = 0;
    receiver->stretch_seen = UINT64_MAX;
    receiver->is_huge = false;
    gw_connection_read_ahead(connection, receiver->ahead, sizeof(receiver->ahead));
    gw_fault_clear(&receiver->fault);
    return gw_thread_start(&receiver->thread, receiver->is_urgent ? "gw-urgent" : "gw-receiver",
                           run, receiver, fault);
}

void gw_receiver_interrupt(struct gw_receiver *receiver)
{
    if (receiver->thread.is_started) {
        gw_connection_interrupt(receiver->connection);
    }
}

bool gw_receiver_has_ended(struct gw_receiver *receiver, struct gw_fault *fault)
{
    pthread_mutex_lock(receiver->lock);
    bool has_ended = receiver->has_ended;
    *fault = receiver->fault;
    pthread_mutex_unlock(receiver->lock);
    return has_ended;
}

void gw_receiver_join(struct gw_receiver *receiver)
{
    gw_thread_join(&receiver->thread);
}
