/* SPDX-License-Identifier: Apache-2.0 */
/* The receiver: the target's bulk channel into guest RAM. The contract: godwit/receiver.h. */
#include "godwit/receiver.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>

#include "drive/framing.h"
#include "godwit/clock.h"
#include "godwit/crc32c.h"
#include "godwit/ram_io.h"

static enum gw_status read_bytes(struct gw_receiver *receiver, void *bytes, size_t count,
                                 struct gw_fault *fault)
{
    struct iovec part = {.iov_base = bytes, .iov_len = count};
    return gw_connection_read_all(receiver->connection, &part, 1, fault);
}

static enum gw_status welcome(struct gw_receiver *receiver, struct gw_fault *fault)
{
    uint8_t bytes[GW_FRAME_HEADER_BYTES + GW_MESSAGE_SMALL_BYTES];
    uint32_t count =
        gw_framing_encode(&receiver->welcome, receiver->generation, 0, bytes, sizeof(bytes));
    struct iovec part = {.iov_base = bytes, .iov_len = count};
    return gw_connection_write_all(receiver->connection, &part, 1, fault);
}

/* Between frames a bulk channel may be silent for as long as it likes (a bandwidth limit, a held
 * guest): the control channel's liveness is enough. Within a frame the idle time counts. */
static enum gw_status wait_for_frame(struct gw_receiver *receiver, uint8_t *bytes,
                                     struct gw_fault *fault)
{
    struct gw_connection *connection = receiver->connection;
    struct iovec part = {.iov_base = bytes, .iov_len = GW_FRAME_HEADER_BYTES};
    size_t got = 0;
    enum gw_status status = GW_AGAIN;
    while ((status = gw_connection_read(connection, &part, 1, &got, fault)) == GW_AGAIN) {
        struct pollfd wait[2] = {
            {.fd = gw_connection_fd(connection), .events = POLLIN},
            {.fd = connection->cancel.fd, .events = POLLIN},
        };
        if (poll(wait, 2, -1) < 0 && errno != EINTR) {
            return gw_fault_set_os(fault, errno, "waiting for a bulk channel's bytes");
        }
    }
    if (status != GW_OK || got == GW_FRAME_HEADER_BYTES) {
        return status;
    }
    return read_bytes(receiver, bytes + got, GW_FRAME_HEADER_BYTES - got, fault);
}

/* ---- BATCH ---- */

static enum gw_status may_place(struct gw_receiver *receiver, uint64_t sequence,
                                struct gw_fault *fault)
{
    pthread_mutex_lock(receiver->lock);
    enum gw_status status =
        gw_target_may_place(receiver->target, receiver->channel, sequence, fault);
    pthread_mutex_unlock(receiver->lock);
    return status;
}

static enum gw_status read_table(struct gw_receiver *receiver, const struct gw_frame_header *header,
                                 uint32_t *table_bytes, struct gw_fault *fault)
{
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
                                       header->payload_bytes, receiver->ram->page_bytes,
                                       receiver->ram->page_count, fault);
    }
    return status;
}

/* The raw records as stretches of host memory; one that spans regions becomes several. */
static int gather_parts(struct gw_receiver *receiver)
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

/* Of what now lies in RAM: the target's guest does not run, so nobody has written there since. */
static uint32_t crc_of_placed(struct gw_receiver *receiver, uint32_t table_bytes)
{
    uint32_t crc = gw_crc32c(0, receiver->table, table_bytes);
    int count = gather_parts(receiver);
    for (int i = 0; i < count; i++) {
        crc = gw_crc32c(crc, receiver->part[i].iov_base, receiver->part[i].iov_len);
    }
    return crc;
}

/* Without a look whether they hold anything: that takes longer than to punch a hole into a hole. */
static enum gw_status place_zeros(struct gw_receiver *receiver, struct gw_fault *fault)
{
    for (uint32_t i = 0; i < receiver->records.record_count; i++) {
        const struct gw_record *record = &receiver->records.record[i];
        if (record->kind == GW_RECORD_ZERO) {
            enum gw_status status =
                gw_ram_discard(receiver->ram, record->page, record->count, fault);
            if (status != GW_OK) {
                return status;
            }
        }
    }
    return GW_OK;
}

static void tell(struct gw_receiver *receiver, struct gw_target_event *event)
{
    pthread_mutex_lock(receiver->lock);
    event->now_ns = gw_clock_now_ns();
    (void)!gw_target_handle(receiver->target, event, NULL);
    pthread_mutex_unlock(receiver->lock);
    gw_notify_signal(receiver->wake);
}

static enum gw_status receive_batch(struct gw_receiver *receiver,
                                    const struct gw_frame_header *header, struct gw_fault *fault)
{
    uint32_t table_bytes = 0;
    receiver->data = (struct gw_ram_data){0}; /* a batch makes holes */
    enum gw_status status = read_table(receiver, header, &table_bytes, fault);
    if (status == GW_OK) {
        status = may_place(receiver, header->sequence, fault);
    }
    if (status == GW_OK) {
        status = place_zeros(receiver, fault);
    }
    if (status == GW_OK && receiver->records.raw_pages > 0) {
        int count = gather_parts(receiver);
        status = gw_connection_read_all(receiver->connection, receiver->part, count, fault);
    }
    if (status != GW_OK) {
        return status;
    }
    bool is_suspect = crc_of_placed(receiver, table_bytes) != header->payload_crc;
    if (is_suspect && (header->flags & GW_FRAME_STOPPED) != 0) {
        return gw_fault_set(fault, GW_CORRUPT,
                            "%.120s: batch %" PRIu64 " arrived damaged, and no guest was writing "
                            "to its pages",
                            receiver->connection->peer, header->sequence);
    }
    struct gw_target_event event = {
        .type = GW_TARGET_EV_BATCH,
        .placed = {.channel = receiver->channel,
                   .sequence = header->sequence,
                   .is_suspect = is_suspect,
                   .table = &receiver->records},
    };
    tell(receiver, &event);
    return GW_OK;
}

/* ---- VERIFY ---- */

static enum gw_status receive_verify(struct gw_receiver *receiver,
                                     const struct gw_frame_header *header, struct gw_fault *fault)
{
    uint8_t bytes[GW_VERIFY_BYTES];
    if (header->payload_bytes != sizeof(bytes)) {
        return gw_fault_set(fault, GW_PROTOCOL, "VERIFY %" PRIu64 " has %u bytes, wanted %zu",
                            header->sequence, header->payload_bytes, sizeof(bytes));
    }
    struct gw_target_event event = {
        .type = GW_TARGET_EV_VERIFIED,
        .verified = {.channel = receiver->channel, .sequence = header->sequence},
    };
    struct gw_verify *theirs = &event.verified.theirs;
    enum gw_status status = read_bytes(receiver, bytes, sizeof(bytes), fault);
    if (status == GW_OK) {
        status = gw_framing_check_payload(header, bytes, receiver->connection->peer, fault);
    }
    if (status == GW_OK) {
        status = gw_verify_decode(theirs, bytes, sizeof(bytes), receiver->ram->page_count, fault);
    }
    if (status == GW_OK) {
        status = may_place(receiver, header->sequence, fault);
    }
    if (status == GW_OK) {
        event.verified.digest_ours =
            gw_ram_io_digest(receiver->ram, &receiver->data, theirs->page, theirs->count);
        tell(receiver, &event);
    }
    return status;
}

/* ---- Frames ---- */

static enum gw_status receive_frame(struct gw_receiver *receiver, struct gw_fault *fault)
{
    uint8_t bytes[GW_FRAME_HEADER_BYTES];
    struct gw_frame_header header;
    enum gw_status status = wait_for_frame(receiver, bytes, fault);
    if (status == GW_OK) {
        status = gw_frame_decode_header(&header, bytes, fault);
    }
    if (status != GW_OK) {
        return status;
    }
    if (header.generation != receiver->generation) {
        return gw_fault_set(fault, GW_PROTOCOL,
                            "%.120s: %s of generation %u on a bulk channel of generation %u",
                            receiver->connection->peer, gw_frame_type_name(header.type),
                            header.generation, receiver->generation);
    }
    switch (header.type) {
    case GW_FRAME_BATCH:
        return receive_batch(receiver, &header, fault);
    case GW_FRAME_VERIFY:
        return receive_verify(receiver, &header, fault);
    default:
        return gw_fault_set(
            fault, GW_PROTOCOL, "%.120s: a frame %s (type %u) has no place on a bulk channel",
            receiver->connection->peer, gw_frame_type_name(header.type), header.type);
    }
}

static void run(void *context)
{
    struct gw_receiver *receiver = context;
    struct gw_fault fault = {.status = GW_OK};
    enum gw_status status = welcome(receiver, &fault);
    while (status == GW_OK) {
        status = receive_frame(receiver, &fault);
    }
    pthread_mutex_lock(receiver->lock);
    receiver->fault = fault;
    receiver->has_ended = true;
    pthread_mutex_unlock(receiver->lock);
    gw_notify_signal(receiver->wake);
}

/* ---- The owner ---- */

enum gw_status gw_receiver_start(struct gw_receiver *receiver, struct gw_connection *connection,
                                 const struct gw_message *message, uint8_t channel,
                                 uint32_t generation, struct gw_fault *fault)
{
    receiver->connection = connection;
    receiver->welcome = *message;
    receiver->channel = channel;
    receiver->generation = generation;
    receiver->has_ended = false;
    gw_fault_clear(&receiver->fault);
    return gw_thread_start(&receiver->thread, "gw-receiver", run, receiver, fault);
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
