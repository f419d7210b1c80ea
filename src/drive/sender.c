/* SPDX-License-Identifier: Apache-2.0 */
/* The sender: its jobs, as their owner sees them, and the thread. The contract: godwit/sender.h. */
#include "godwit/sender.h"

#include <inttypes.h>
#include <time.h>

#include "drive/framing.h"
#include "godwit/clock.h"
#include "godwit/crc32c.h"
#include "godwit/ram_io.h"

/* ---- The thread: introduction ---- */

static enum gw_status write_bytes(struct gw_sender *sender, void *bytes, size_t count,
                                  struct gw_fault *fault)
{
    struct iovec part = {.iov_base = bytes, .iov_len = count};
    return gw_connection_write_all(&sender->bulk, &part, 1, fault);
}

static enum gw_status read_bytes(struct gw_sender *sender, void *bytes, size_t count,
                                 struct gw_fault *fault)
{
    struct iovec part = {.iov_base = bytes, .iov_len = count};
    return gw_connection_read_all(&sender->bulk, &part, 1, fault);
}

static enum gw_status check_welcome(const struct gw_sender *sender,
                                    const struct gw_frame_header *header,
                                    const struct gw_message *message, struct gw_fault *fault)
{
    const char *peer = sender->bulk.peer;
    if (message->type == GW_FRAME_REFUSE) {
        return gw_fault_set(fault, GW_REFUSED, "%.100s refuses the bulk channel: %s", peer,
                            message->verdict.reason);
    }
    if (message->type != GW_FRAME_WELCOME || header->sequence != 0 ||
        header->generation != sender->intro.generation) {
        return gw_fault_set(fault, GW_PROTOCOL,
                            "%.100s: answers a bulk channel's INTRO with %s number %" PRIu64
                            " of generation %u, where WELCOME number 0 of generation %u is wanted",
                            peer, gw_frame_type_name(header->type), header->sequence,
                            header->generation, sender->intro.generation);
    }
    return GW_OK;
}

/* Frames around a bulk channel's introduction have the number 0: its batches count from 1. */
static enum gw_status introduce(struct gw_sender *sender, struct gw_fault *fault)
{
    uint8_t bytes[GW_FRAME_HEADER_BYTES + GW_MESSAGE_SMALL_BYTES];
    struct gw_message message = {.type = GW_FRAME_INTRO, .intro = sender->intro};
    uint32_t count = gw_framing_encode(&message, sender->intro.generation, 0, bytes, sizeof(bytes));
    enum gw_status status = write_bytes(sender, bytes, count, fault);
    if (status != GW_OK) {
        return status;
    }
    struct gw_frame_header header;
    status = read_bytes(sender, bytes, GW_FRAME_HEADER_BYTES, fault);
    if (status == GW_OK) {
        status = gw_frame_decode_header(&header, bytes, fault);
    }
    if (status == GW_OK) {
        status = gw_framing_check_length(&header, GW_MESSAGE_SMALL_BYTES, sender->bulk.peer, fault);
    }
    if (status == GW_OK) {
        status = read_bytes(sender, bytes, header.payload_bytes, fault);
    }
    if (status == GW_OK) {
        status = gw_framing_check_payload(&header, bytes, sender->bulk.peer, fault);
    }
    if (status == GW_OK) {
        status = gw_message_decode(&message, header.type, bytes, header.payload_bytes, fault);
    }
    return status != GW_OK ? status : check_welcome(sender, &header, &message, fault);
}

/* ---- The thread: batches ---- */

static struct gw_frame_header header_of(const struct gw_sender *sender, enum gw_frame_type type)
{
    return (struct gw_frame_header){
        .version = GW_PROTOCOL_VERSION,
        .type = (uint8_t)type,
        .flags = sender->batch.is_stopped ? GW_FRAME_STOPPED : 0,
        .generation = sender->intro.generation,
        .sequence = sender->batch.sequence,
    };
}

static enum gw_status fill(struct gw_sender *sender, struct gw_fault *fault)
{
    const struct gw_batch *batch = &sender->batch;
    gw_batch_begin(&sender->builder, sender->pages, sender->ram->page_bytes);
    for (uint32_t i = 0; i < batch->run_count; i++) {
        if (batch->kind == GW_BATCH_HOLES) {
            gw_batch_add_zero(&sender->builder, batch->run[i].page, batch->run[i].count);
            continue;
        }
        enum gw_status status = gw_ram_io_read(sender->ram, &sender->data, sender->tracker,
                                               &batch->run[i], &sender->builder, fault);
        if (status != GW_OK) {
            return status;
        }
    }
    return GW_OK;
}

static enum gw_status send_pages(struct gw_sender *sender, struct gw_batch_sent *sent,
                                 struct gw_fault *fault)
{
    enum gw_status status = fill(sender, fault);
    if (status != GW_OK) {
        return status;
    }
    struct gw_frame_header header = header_of(sender, GW_FRAME_BATCH);
    uint32_t table_bytes = gw_batch_finish(&sender->builder, sender->table + GW_FRAME_HEADER_BYTES,
                                           &header.payload_crc);
    size_t page_bytes = (size_t)sender->builder.table.raw_pages * sender->ram->page_bytes;
    header.payload_bytes = table_bytes + (uint32_t)page_bytes;
    gw_frame_encode_header(&header, sender->table);
    struct iovec parts[2] = {
        {.iov_base = sender->table, .iov_len = GW_FRAME_HEADER_BYTES + table_bytes},
        {.iov_base = sender->pages, .iov_len = page_bytes},
    };
    sent->raw_pages = sender->builder.table.raw_pages;
    sent->zero_pages = sender->builder.zero_pages;
    sent->wire_bytes = GW_FRAME_HEADER_BYTES + header.payload_bytes;
    return gw_connection_write_all(&sender->bulk, parts, 2, fault);
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
    struct gw_frame_header header = header_of(sender, GW_FRAME_VERIFY);
    header.payload_bytes = GW_VERIFY_BYTES;
    header.payload_crc = gw_crc32c(0, bytes + GW_FRAME_HEADER_BYTES, GW_VERIFY_BYTES);
    gw_frame_encode_header(&header, bytes);
    sent->wire_bytes = sizeof(bytes);
    return write_bytes(sender, bytes, sizeof(bytes), fault);
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
        if (gw_source_next_batch(sender->source, now_ns, &sender->batch, &retry_ns) == GW_OK) {
            has_batch = true;
            break;
        }
        wait_for_kick(sender, now_ns, retry_ns);
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
    pthread_mutex_unlock(sender->lock);
    gw_notify_signal(sender->wake);
}

static enum gw_status send_batches(struct gw_sender *sender, struct gw_fault *fault)
{
    while (next_batch(sender)) {
        struct gw_batch_sent sent = {.sequence = sender->batch.sequence};
        enum gw_status status = sender->batch.kind == GW_BATCH_VERIFY
                                    ? send_digest(sender, &sent, fault)
                                    : send_pages(sender, &sent, fault);
        if (status != GW_OK) {
            return status;
        }
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

static void run_send(void *context)
{
    struct gw_sender *sender = context;
    struct gw_fault fault = {.status = GW_OK};
    enum gw_status status =
        gw_connection_connect(&sender->bulk, sender->uri, sender->options, &fault);
    if (status == GW_OK) {
        status = introduce(sender, &fault);
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

enum gw_status gw_sender_send(struct gw_sender *sender, const struct gw_intro *intro,
                              struct gw_fault *fault)
{
    sender->intro = *intro;
    sender->data = (struct gw_ram_data){0};
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
