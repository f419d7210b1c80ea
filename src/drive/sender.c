/* SPDX-License-Identifier: Apache-2.0 */
/* A sender: its jobs, as their owner sees them, and the thread. The contract: godwit/sender.h. */
#include "godwit/sender.h"

#include <inttypes.h>
#include <time.h>

#include "drive/exchange.h"
#include "drive/framing.h"
#include "drive/pages_frame.h"
#include "godwit/clock.h"
#include "godwit/crc32c.h"
#include "godwit/page_map.h"
#include "godwit/ram_io.h"

/* ---- The thread: batches ---- */

/* Also while the guest stands still: it may go on here, and be looked at anew. */
static enum gw_status arm(struct gw_sender *sender, struct gw_fault *fault)
{
    struct gw_arming *arming = &sender->arming;
    const struct gw_tracker_operations *operations = sender->tracker->operations;
    uint64_t page = 0;
    enum gw_status status = GW_OK;
    while (status == GW_OK && gw_arming_lacks(arming, &sender->batch, &page)) {
        pthread_mutex_lock(sender->lock);
        gw_arming_plan(arming, page, &sender->batch, gw_source_missing(sender->source), sender->ram,
                       gw_source_channels(sender->source));
        pthread_mutex_unlock(sender->lock);
        page = arming->end;
        status = operations->rearm(sender->tracker, arming->first, arming->end - arming->first,
                                   arming->bits, fault);
    }
    gw_arming_take(arming, &sender->batch);
    return status;
}

static void fill(struct gw_sender *sender)
{
    const struct gw_batch *batch = &sender->batch;
    /* What the guest left behind nobody writes any more. */
    bool is_copied = batch->kind != GW_BATCH_PUSH || batch->packing != GW_PACKING_NONE;
    gw_batch_begin(&sender->builder, is_copied ? sender->pages : NULL, sender->ram->page_bytes);
    for (uint32_t i = 0; i < batch->run_count; i++) {
        if (batch->kind == GW_BATCH_HOLES) {
            gw_batch_add_zero(&sender->builder, batch->run[i].page, batch->run[i].count);
        } else {
            gw_ram_io_read(sender->ram, &sender->data, &batch->run[i], &sender->builder);
        }
    }
}

/* So that the target may make a huge page of it, and hold no more than is held here. Where most of
 * what was read is zero, the rest may be, too: a hole at the target. */
static bool is_stretch_whole(const struct gw_sender *sender)
{
    uint64_t stretch_pages = GW_STRETCH_BYTES / sender->ram->page_bytes;
    uint64_t page = sender->batch.run[0].page;
    uint64_t first = page - page % stretch_pages;
    const struct gw_batch_table *table = &sender->builder.table;
    uint64_t filled_pages = table->raw_pages + table->repeat_pages;
    return sender->data.first <= first && sender->data.end >= first + stretch_pages &&
           filled_pages >= sender->builder.zero_pages;
}

static enum gw_status send_pages(struct gw_sender *sender, struct gw_batch_sent *sent,
                                 struct gw_fault *fault)
{
    struct gw_pages_frame frame = {.generation = sender->intro.generation,
                                   .sequence = sender->batch.sequence,
                                   .is_stopped = sender->batch.is_stopped,
                                   .table = sender->table,
                                   .packing = sender->batch.packing,
                                   .packer = &sender->packer,
                                   .packed = sender->packed};
    enum gw_status status = sender->batch.kind == GW_BATCH_PAGES ? arm(sender, fault) : GW_OK;
    if (status != GW_OK) {
        return status;
    }
    fill(sender);
    frame.is_whole = is_stretch_whole(sender);
    return gw_pages_frame_send(&sender->bulk, &frame, &sender->builder, sent, fault);
}

/* A whole frame that is no BATCH: its payload stands behind the room for the header. */
static enum gw_status send_frame(struct gw_sender *sender, enum gw_frame_type type, uint8_t *bytes,
                                 uint32_t payload_bytes, struct gw_batch_sent *sent,
                                 struct gw_fault *fault)
{
    const struct gw_frame_header header = {
        .version = GW_PROTOCOL_VERSION,
        .type = (uint8_t)type,
        .flags = sender->batch.is_stopped ? GW_FRAME_STOPPED : 0,
        .payload_bytes = payload_bytes,
        .payload_crc = gw_crc32c(0, bytes + GW_FRAME_HEADER_BYTES, payload_bytes),
        .generation = sender->intro.generation,
        .sequence = sender->batch.sequence,
    };
    gw_frame_encode_header(&header, bytes);
    sent->wire_bytes = GW_FRAME_HEADER_BYTES + payload_bytes;
    return gw_exchange_write(&sender->bulk, bytes, sent->wire_bytes, fault);
}

static enum gw_status send_digest(struct gw_sender *sender, struct gw_batch_sent *sent,
                                  struct gw_fault *fault)
{
    const struct gw_run *run = &sender->batch.run[0];
    struct gw_verify verify = {
        .page = run->page,
        .count = run->count,
        .digest = gw_ram_io_digest(sender->ram, &sender->data, run->page, run->count),
    };
    uint8_t bytes[GW_FRAME_HEADER_BYTES + GW_VERIFY_BYTES];
    gw_verify_encode(&verify, bytes + GW_FRAME_HEADER_BYTES);
    return send_frame(sender, GW_FRAME_VERIFY, bytes, GW_VERIFY_BYTES, sent, fault);
}

static_assert(GW_FRAME_HEADER_BYTES + (uint64_t)GW_PAGE_MAP_BYTES_MAX <= GW_BATCH_BYTES_MAX,
              "a map with its header fits the memory of a batch");

static enum gw_status send_map(struct gw_sender *sender, struct gw_batch_sent *sent,
                               struct gw_fault *fault)
{
    uint64_t page_count = sender->ram->page_count;
    pthread_mutex_lock(sender->lock);
    gw_page_map_encode(gw_source_missing(sender->source), page_count,
                       sender->pages + GW_FRAME_HEADER_BYTES);
    pthread_mutex_unlock(sender->lock);
    return send_frame(sender, GW_FRAME_MISSING, sender->pages, gw_page_map_bytes(page_count), sent,
                      fault);
}

static enum gw_status send_batch(struct gw_sender *sender, struct gw_batch_sent *sent,
                                 struct gw_fault *fault)
{
    switch (sender->batch.kind) {
    case GW_BATCH_VERIFY:
        return send_digest(sender, sent, fault);
    case GW_BATCH_MAP:
        return send_map(sender, sent, fault);
    case GW_BATCH_PAGES:
    case GW_BATCH_HOLES:
    case GW_BATCH_PUSH:
    case GW_BATCH_GONE: /* an answer, never here */
        break;
    }
    return send_pages(sender, sent, fault);
}

/* Waits, with the lock, until something was told or retry_ns has come. The condition's clock is
 * the kernel's monotonic one, which pthreads know; ours runs on through a suspension of the host,
 * so a wait across one is longer than asked for, and nothing else. */
static void wait_for_kick(struct gw_sender *sender, uint64_t now_ns, uint64_t retry_ns)
{
    if (retry_ns == UINT64_MAX) {
        (void)pthread_cond_wait(sender->kicked, sender->lock);
        return;
    }
    struct timespec until;
    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    uint64_t left_ns = retry_ns > now_ns ? retry_ns - now_ns : 0;
    uint64_t ns = (uint64_t)until.tv_nsec + left_ns % GW_NS_PER_S;
    until.tv_sec += (time_t)(left_ns / GW_NS_PER_S + ns / GW_NS_PER_S);
    until.tv_nsec = (long)(ns % GW_NS_PER_S);
    (void)pthread_cond_timedwait(sender->kicked, sender->lock, &until);
}

/* False when the job was interrupted. */
static bool next_batch(struct gw_sender *sender)
{
    bool has_batch = false;
    pthread_mutex_lock(sender->lock);
    while (!sender->is_interrupted) {
        uint64_t now_ns = gw_clock_now_ns();
        uint64_t retry_ns = UINT64_MAX;
        if (gw_source_next_batch(sender->source, sender->channel, now_ns, &sender->batch,
                                 &retry_ns) == GW_OK) {
            gw_arming_begin(&sender->arming, gw_source_collects(sender->source));
            has_batch = true;
            break;
        }
        wait_for_kick(sender, now_ns, retry_ns);
        sender->paced_ns += retry_ns == UINT64_MAX ? 0 : gw_clock_now_ns() - now_ns;
    }
    pthread_mutex_unlock(sender->lock);
    return has_batch;
}

static void tell_sent(struct gw_sender *sender, const struct gw_batch_sent *sent)
{
    struct gw_source_event event = {.type = GW_SOURCE_EV_BATCH_SENT, .sent = *sent};
    pthread_mutex_lock(sender->lock);
    event.now_ns = gw_clock_now_ns();
    (void)!gw_source_handle(sender->source, &event, NULL);
    bool has_action = gw_source_has_action(sender->source);
    pthread_mutex_unlock(sender->lock);
    if (has_action) {
        gw_notify_signal(sender->wake);
    }
}

/* What is no packing, writing or waiting is work. The operator's limit was waited for before. */
static void count_cost(struct gw_sender *sender, struct gw_batch_cost *cost, uint64_t took_ns)
{
    cost->work_ns = took_ns - cost->pack_ns - cost->write_ns - cost->wait_ns;
    cost->paced_ns = sender->paced_ns;
    sender->paced_ns = 0;
}

static enum gw_status send_batches(struct gw_sender *sender, struct gw_fault *fault)
{
    while (next_batch(sender)) {
        struct gw_batch_sent sent = {.channel = sender->channel,
                                     .sequence = sender->batch.sequence};
        uint64_t start_ns = gw_clock_now_ns();
        enum gw_status status = send_batch(sender, &sent, fault);
        if (status != GW_OK) {
            return status;
        }
        count_cost(sender, &sent.cost, gw_clock_now_ns() - start_ns);
        tell_sent(sender, &sent);
    }
    return gw_fault_set(fault, GW_CANCELLED, "%.120s: interrupted", sender->bulk.peer);
}

/* ---- The thread: jobs ---- */

static void set_phase(struct gw_sender *sender, enum gw_sender_phase phase,
                      const struct gw_fault *fault)
{
    pthread_mutex_lock(sender->lock);
    sender->phase = phase;
    if (fault != NULL) {
        sender->fault = *fault;
    }
    pthread_mutex_unlock(sender->lock);
    gw_notify_signal(sender->wake);
}

static void run_connect(void *context)
{
    struct gw_sender *sender = context;
    struct gw_fault fault = {.status = GW_OK};
    (void)!gw_connection_connect(sender->connecting, sender->uri, sender->options, &fault);
    set_phase(sender, GW_SENDER_ENDED, &fault);
}

/* What the target has of a guest that runs there: the rest is to be sent. */
static enum gw_status read_map(struct gw_sender *sender, struct gw_fault *fault)
{
    struct gw_frame_header header;
    uint32_t wanted = gw_page_map_bytes(sender->ram->page_count);
    enum gw_status status =
        gw_exchange_read(&sender->bulk, sender->table, GW_FRAME_HEADER_BYTES, fault);
    if (status == GW_OK) {
        status = gw_frame_decode_header(&header, sender->table, fault);
    }
    if (status == GW_OK && (header.type != GW_FRAME_RECEIVED || header.payload_bytes != wanted ||
                            header.sequence != 0)) {
        status = gw_fault_set(fault, GW_PROTOCOL,
                              "%.120s: %s number %" PRIu64
                              " of %u bytes, where RECEIVED number 0 of %u bytes is wanted",
                              sender->bulk.peer, gw_frame_type_name(header.type), header.sequence,
                              header.payload_bytes, wanted);
    }
    if (status == GW_OK) {
        status =
            gw_exchange_check_generation(&sender->bulk, &header, sender->intro.generation, fault);
    }
    if (status == GW_OK) {
        status = gw_exchange_read(&sender->bulk, sender->pages, wanted, fault);
    }
    if (status == GW_OK) {
        status = gw_framing_check_payload(&header, sender->pages, sender->bulk.peer, fault);
    }
    return status == GW_OK ? gw_page_map_decode(sender->map, sender->ram->page_count, sender->pages,
                                                wanted, fault)
                           : status;
}

static enum gw_status reconcile(struct gw_sender *sender, struct gw_fault *fault)
{
    enum gw_status status = read_map(sender, fault);
    if (status != GW_OK) {
        return status;
    }
    struct gw_source_event event = {.type = GW_SOURCE_EV_RECONCILED, .bitmap = sender->map};
    pthread_mutex_lock(sender->lock);
    event.now_ns = gw_clock_now_ns();
    (void)!gw_source_handle(sender->source, &event, NULL);
    pthread_mutex_unlock(sender->lock);
    return GW_OK;
}

static void run_send(void *context)
{
    struct gw_sender *sender = context;
    struct gw_fault fault = {.status = GW_OK};
    gw_thread_set_part(GW_THREAD_BULK);
    gw_thread_keep_to(GW_CHANNEL_CPUS);
    enum gw_status status =
        gw_exchange_join(&sender->bulk, sender->uri, sender->options, &sender->intro, &fault);
    if (status == GW_OK && sender->has_map) {
        status = reconcile(sender, &fault);
    }
    if (status == GW_OK) {
        set_phase(sender, GW_SENDER_UP, NULL);
        (void)!send_batches(sender, &fault);
    }
    set_phase(sender, GW_SENDER_ENDED, &fault);
}

/* ---- The owner ---- */

static enum gw_status start(struct gw_sender *sender, struct gw_connection *connection,
                            void (*job)(void *), struct gw_fault *fault)
{
    GW_ASSERT(sender->phase == GW_SENDER_IDLE);
    sender->connecting = connection;
    sender->is_interrupted = false;
    sender->phase = GW_SENDER_CONNECTING;
    gw_fault_clear(&sender->fault);
    enum gw_status status = gw_thread_start(&sender->thread, "gw-sender", job, sender, fault);
    if (status != GW_OK) {
        sender->phase = GW_SENDER_IDLE;
    }
    return status;
}

enum gw_status gw_sender_connect(struct gw_sender *sender, struct gw_connection *connection,
                                 struct gw_fault *fault)
{
    return start(sender, connection, run_connect, fault);
}

enum gw_status gw_sender_send(struct gw_sender *sender, const struct gw_intro *intro, bool has_map,
                              struct gw_fault *fault)
{
    sender->intro = *intro;
    sender->has_map = has_map;
    sender->data = (struct gw_ram_data){0};
    sender->paced_ns = 0;
    gw_arming_reset(&sender->arming);
    return start(sender, &sender->bulk, run_send, fault);
}

void gw_sender_interrupt(struct gw_sender *sender)
{
    if (!sender->thread.is_started) {
        return;
    }
    pthread_mutex_lock(sender->lock);
    sender->is_interrupted = true;
    pthread_cond_broadcast(sender->kicked);
    pthread_mutex_unlock(sender->lock);
    gw_connection_interrupt(sender->connecting);
}

enum gw_sender_phase gw_sender_get_phase(struct gw_sender *sender, struct gw_fault *fault)
{
    pthread_mutex_lock(sender->lock);
    enum gw_sender_phase phase = sender->phase;
    *fault = sender->fault;
    pthread_mutex_unlock(sender->lock);
    return phase;
}

void gw_sender_join(struct gw_sender *sender)
{
    gw_thread_join(&sender->thread);
    sender->phase = GW_SENDER_IDLE;
}
