/* SPDX-License-Identifier: Apache-2.0 */
/* The answerer: demanded pages on the urgent channel. The contract: godwit/answerer.h. */
#include "godwit/answerer.h"

#include <inttypes.h>

#include "drive/exchange.h"
#include "drive/pages_frame.h"

static enum gw_status take_demand(struct gw_answerer *answerer, uint64_t page,
                                  struct gw_fault *fault)
{
    pthread_mutex_lock(answerer->lock);
    enum gw_status status = gw_source_demand(answerer->source, page, &answerer->batch, fault);
    pthread_mutex_unlock(answerer->lock);
    return status;
}

static void tell_answered(struct gw_answerer *answerer, const struct gw_batch_sent *sent)
{
    pthread_mutex_lock(answerer->lock);
    if (gw_source_answered(answerer->source, sent)) {
        pthread_cond_broadcast(answerer->kicked);
    }
    pthread_mutex_unlock(answerer->lock);
}

static void tell_not_answered(struct gw_answerer *answerer)
{
    pthread_mutex_lock(answerer->lock);
    gw_source_not_answered(answerer->source);
    pthread_mutex_unlock(answerer->lock);
}

static enum gw_status send_run(struct gw_answerer *answerer, const struct gw_run *run,
                               struct gw_batch_sent *sum, struct gw_fault *fault)
{
    struct gw_pages_frame frame = {.generation = answerer->intro.generation,
                                   .sequence = ++answerer->sequence,
                                   .is_stopped = true,
                                   .table = answerer->table};
    struct gw_batch_sent sent = {.sequence = frame.sequence};
    gw_batch_begin(&answerer->builder, NULL, answerer->ram->page_bytes); /* no guest writes here */
    if (answerer->batch.kind == GW_BATCH_GONE) {
        gw_batch_add_gone(&answerer->builder, run->page, run->count);
    } else if (answerer->batch.run[0].count == 1) {
        /* The target knows of all holes and asks for none; one that does anyway has it allocated,
         * and nothing else. */
        gw_batch_add_page(&answerer->builder, run->page, gw_ram_page(answerer->ram, run->page));
    } else { /* a larger unit may hold holes */
        gw_ram_io_read(answerer->ram, &answerer->data, run, &answerer->builder);
    }
    enum gw_status status =
        gw_pages_frame_send(&answerer->connection, &frame, &answerer->builder, &sent, fault);
    sum->wire_bytes += sent.wire_bytes;
    sum->raw_pages += sent.raw_pages;
    sum->zero_pages += sent.zero_pages;
    sum->repeat_pages += sent.repeat_pages;
    return status;
}

static enum gw_status answer(struct gw_answerer *answerer, uint64_t page, struct gw_fault *fault)
{
    struct gw_batch_sent sum = {.sequence = 0};
    enum gw_status status = take_demand(answerer, page, fault);
    if (status != GW_OK) {
        return status;
    }
    struct gw_run left = answerer->batch.run[0];
    uint32_t most = answerer->batch.kind == GW_BATCH_GONE
                        ? left.count
                        : GW_ANSWER_BYTES / answerer->ram->page_bytes;
    while (status == GW_OK && left.count > 0) {
        struct gw_run run = {.page = left.page, .count = left.count < most ? left.count : most};
        status = send_run(answerer, &run, &sum, fault);
        left.page += run.count;
        left.count -= run.count;
    }
    if (status == GW_OK) {
        tell_answered(answerer, &sum);
    } else {
        tell_not_answered(answerer);
    }
    return status;
}

static enum gw_status serve(struct gw_answerer *answerer, uint64_t sequence, struct gw_fault *fault)
{
    struct gw_frame_header header;
    struct gw_message message;
    enum gw_status status = gw_exchange_wait(&answerer->connection, fault);
    if (status == GW_OK) {
        status = gw_exchange_read_header(&answerer->connection, &header, fault);
    }
    if (status == GW_OK) {
        status = gw_exchange_check_generation(&answerer->connection, &header,
                                              answerer->intro.generation, fault);
    }
    if (status == GW_OK && (header.type != GW_FRAME_DEMAND || header.sequence != sequence)) {
        status = gw_fault_set(fault, GW_PROTOCOL,
                              "%.120s: %s number %" PRIu64
                              " on the urgent channel, where DEMAND number %" PRIu64 " is wanted",
                              answerer->connection.peer, gw_frame_type_name(header.type),
                              header.sequence, sequence);
    }
    if (status == GW_OK) {
        status = gw_exchange_receive(&answerer->connection, &header, &message, fault);
    }
    return status == GW_OK ? answer(answerer, message.demanded_page, fault) : status;
}

static enum gw_status join(struct gw_answerer *answerer, struct gw_fault *fault)
{
    enum gw_status status = gw_exchange_join(&answerer->connection, answerer->uri,
                                             answerer->options, &answerer->intro, fault);
    if (status == GW_OK) {
        gw_connection_read_ahead(&answerer->connection, answerer->ahead, sizeof(answerer->ahead));
        pthread_mutex_lock(answerer->lock);
        answerer->is_up = true;
        pthread_mutex_unlock(answerer->lock);
        gw_notify_signal(answerer->wake);
    }
    return status;
}

static void run(void *context)
{
    struct gw_answerer *answerer = context;
    struct gw_fault fault = {.status = GW_OK};
    gw_thread_set_part(GW_THREAD_BRIEF);
    enum gw_status status = join(answerer, &fault);
    for (uint64_t sequence = 1; status == GW_OK; sequence++) {
        status = serve(answerer, sequence, &fault);
    }
    pthread_mutex_lock(answerer->lock);
    answerer->fault = fault;
    answerer->has_ended = true;
    pthread_mutex_unlock(answerer->lock);
    gw_notify_signal(answerer->wake);
}

enum gw_status gw_answerer_start(struct gw_answerer *answerer, const struct gw_intro *intro,
                                 struct gw_fault *fault)
{
    answerer->intro = *intro;
    answerer->sequence = 0;
    answerer->data = (struct gw_ram_data){0};
    answerer->is_up = false;
    answerer->has_ended = false;
    gw_fault_clear(&answerer->fault);
    return gw_thread_start(&answerer->thread, "gw-answerer", run, answerer, fault);
}

void gw_answerer_interrupt(struct gw_answerer *answerer)
{
    if (answerer->thread.is_started) {
        gw_connection_interrupt(&answerer->connection);
    }
}

bool gw_answerer_is_up(struct gw_answerer *answerer)
{
    pthread_mutex_lock(answerer->lock);
    bool is_up = answerer->is_up;
    pthread_mutex_unlock(answerer->lock);
    return is_up;
}

bool gw_answerer_has_ended(struct gw_answerer *answerer, struct gw_fault *fault)
{
    pthread_mutex_lock(answerer->lock);
    bool has_ended = answerer->has_ended;
    *fault = answerer->fault;
    pthread_mutex_unlock(answerer->lock);
    return has_ended;
}

void gw_answerer_join(struct gw_answerer *answerer)
{
    gw_thread_join(&answerer->thread);
}
