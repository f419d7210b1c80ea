/* SPDX-License-Identifier: Apache-2.0 */
/* Whether pages are packed, on links, CPUs and pages that are made of numbers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "godwit/compression.h"

#define BATCH (UINT64_C(256) << 10)
#define MIB   (UINT64_C(1) << 20)

/* A world: picoseconds a byte, and what is left of a page in thousandths. */
struct world {
    uint64_t work, write, link; /* link: 0: it takes all there is */
    uint64_t target;            /* a byte of a page, at the target: 0: no limit */
    struct {
        uint64_t pack, permille, unpack; /* unpack: as target */
    } kind[GW_PACKING_COUNT];
};

static const struct world text_on_gigabit = {
    .work = 400, .write = 250, .link = 8000, .kind = {{0, 1000, 0}, {1700, 310, 0}}};

static struct gw_compression compression;
static unsigned changes;
static uint64_t took_ns, trial_batches;
static uint64_t now_ns, starved_ns; /* each of the target's channels has waited so long for bytes */

static void begin(enum gw_compress wish)
{
    gw_compression_init(&compression, wish);
    (void)gw_compression_set_able(&compression, true);
    changes = 0;
    now_ns = 1;
    starved_ns = UINT64_C(4294967000) * 1000; /* soon modulo 2^32 us */
}

static uint64_t target_ns(const struct world *world, enum gw_packing packing)
{
    return BATCH * (world->target + world->kind[packing].unpack) / 1000;
}

static struct gw_batch_cost cost_of(const struct world *world, enum gw_packing packing)
{
    uint64_t permille = world->kind[packing].permille;
    uint64_t packed = permille > 937 ? BATCH : BATCH * permille / 1000;
    struct gw_batch_cost cost = {.packing = packing,
                                 .raw_bytes = BATCH,
                                 .packed_bytes = packed,
                                 .pack_ns = BATCH * world->kind[packing].pack / 1000,
                                 .work_ns = BATCH * world->work / 1000,
                                 .write_ns = packed * world->write / 1000};
    uint64_t busy_ns = cost.pack_ns + cost.work_ns + cost.write_ns;
    uint64_t link_ns = packed * world->link / 1000;
    uint64_t placing_ns = target_ns(world, packing);
    uint64_t least_ns = link_ns > placing_ns ? link_ns : placing_ns;
    cost.wait_ns = least_ns > busy_ns ? least_ns - busy_ns : 0;
    return cost;
}

static uint64_t time_of(const struct gw_batch_cost *cost)
{
    return cost->pack_ns + cost->work_ns + cost->write_ns + cost->wait_ns + cost->paced_ns;
}

/* Sent by one channel of so many that are alike, and placed. */
static void send_batch(const struct world *world, uint32_t channel, uint32_t channels,
                       const struct gw_batch_cost *cost)
{
    uint64_t placing_ns = target_ns(world, cost->packing);
    changes += gw_compression_sent(&compression, channel, cost);
    now_ns += time_of(cost) / channels;
    starved_ns += time_of(cost) > placing_ns ? (time_of(cost) - placing_ns) / channels : 0;
    gw_compression_told(&compression, channel, (uint32_t)(starved_ns / 1000), now_ns);
}

static void send(const struct world *world, uint64_t bytes)
{
    took_ns = 0;
    trial_batches = 0;
    for (uint64_t sent = 0; sent < bytes; sent += BATCH) {
        enum gw_packing packing = gw_compression_next(&compression);
        struct gw_batch_cost cost = cost_of(world, packing);
        trial_batches += packing != compression.packing;
        took_ns += time_of(&cost);
        send_batch(world, 0, 1, &cost);
    }
}

static uint64_t rate(uint64_t bytes)
{
    return bytes * 1000 / took_ns; /* MB/s */
}

static void text_on_a_gigabit_is_packed(void **state)
{
    (void)state;
    begin(GW_COMPRESS_NONE);
    send(&text_on_gigabit, 256 * MIB);
    uint64_t plain = rate(256 * MIB);
    assert_int_equal(compression.packing, GW_PACKING_NONE);
    begin(GW_COMPRESS_AUTO);
    send(&text_on_gigabit, 16 * MIB);
    assert_int_equal(compression.packing, GW_PACKING_LZ4);
    assert_int_equal(compression.reason, GW_PACKING_PAYS);
    send(&text_on_gigabit, 256 * MIB);
    assert_true(rate(256 * MIB) >= 3 * plain);
    assert_int_equal(compression.packing, GW_PACKING_LZ4);
    assert_int_equal(changes, 1);
}

/* A slow link is known before much of it was used: by four batches at 100 Mb/s, by three at 10. */
static void a_slow_link_is_found_early(void **state)
{
    (void)state;
    struct world world = text_on_gigabit;
    const struct {
        uint64_t link, batches;
    } links[] = {{80000, 4}, {800000, 3}};
    for (int i = 0; i < 2; i++) {
        world.link = links[i].link;
        begin(GW_COMPRESS_AUTO);
        send(&world, links[i].batches * BATCH);
        assert_int_equal(trial_batches, 0);
        send(&world, BATCH);
        assert_int_equal(trial_batches, 1);
        assert_int_equal(compression.packing, GW_PACKING_LZ4);
        send(&world, 256 * MIB);
        assert_int_equal(changes, 1);
    }
}

/* A batch of each of some channels, of which the socket has room for `room` bytes. */
static void send_first(const struct world *world, uint32_t channels, uint64_t room)
{
    for (uint32_t channel = 0; channel < channels; channel++) {
        struct gw_batch_cost cost = cost_of(world, GW_PACKING_NONE);
        uint64_t spared_ns = room * world->link / 1000;
        cost.wait_ns -= spared_ns < cost.wait_ns ? spared_ns : cost.wait_ns;
        send_batch(world, channel, channels, &cost);
    }
}

/* What a socket takes at first would make the link look twice as fast, and packing no gain. */
static void what_a_socket_swallows_is_not_the_link(void **state)
{
    (void)state;
    struct world world = text_on_gigabit;
    const struct {
        uint64_t link;
        uint32_t channels, permille;
    } links[] = {{80000, 1, 700}, {800000, 1, 536}, {80000, 8, 700}, {800000, 8, 536}};
    for (int i = 0; i < 4; i++) {
        world.link = links[i].link;
        world.kind[GW_PACKING_LZ4].permille = links[i].permille;
        begin(GW_COMPRESS_AUTO);
        send_first(&world, links[i].channels, BATCH);
        send_first(&world, links[i].channels, 160 << 10);
        send(&world, 64 * MIB);
        assert_int_equal(compression.packing, GW_PACKING_LZ4);
        assert_int_equal(changes, 1);
    }
}

/* Of several channels each is slow by itself: together they are as one. */
static void one_channel_does_not_speak_for_all(void **state)
{
    (void)state;
    struct world world = text_on_gigabit;
    world.link = 80000;
    begin(GW_COMPRESS_AUTO);
    send_first(&world, 4, 0); /* the first wait of each */
    send_first(&world, 4, 0);
    send_first(&world, 4, 0);
    assert_int_equal(compression.window_count, 0); /* 168 of 240 ms */
    send_first(&world, 4, 0);
    assert_int_equal(compression.window_count, 1);
}

static void nothing_is_tried_on_a_link_without_limit(void **state)
{
    (void)state;
    struct world world = text_on_gigabit;
    world.link = 0;
    begin(GW_COMPRESS_AUTO);
    send(&world, 1024 * MIB);
    assert_int_equal(changes, 0);
    assert_int_equal(trial_batches, 0);
    /* on a CPU that is slow, too, where packing is as well */
    static const struct world slow = {
        .work = 4000, .write = 5000, .kind = {{0, 1000, 0}, {50000, 310, 0}}};
    begin(GW_COMPRESS_AUTO);
    send(&slow, 1024 * MIB);
    assert_int_equal(trial_batches, 0);
}

/* The target's CPU takes longer for a page than this one: it never waits for bytes, so the link is
 * not what limits, and nothing is tried. */
static void a_target_that_is_slow_is_no_slow_link(void **state)
{
    (void)state;
    struct world world = text_on_gigabit;
    world.link = 0;
    for (int i = 0; i < 2; i++) {
        world.target = i == 0 ? 1500 : 8000;
        begin(GW_COMPRESS_AUTO);
        send(&world, 1024 * MIB);
        assert_int_equal(changes, 0);
        assert_int_equal(trial_batches, 0);
    }
    world.link = 16000; /* a link that is slower still */
    send(&world, 64 * MIB);
    assert_int_equal(compression.packing, GW_PACKING_LZ4);
}

/* Unpacking takes the target longer than the link takes for what is not packed. */
static const struct world slow_to_unpack = {
    .work = 400, .write = 250, .link = 8000, .kind = {{0, 1000, 0}, {1700, 310, 9000}}};

static void a_target_that_is_slow_to_unpack_is_spared(void **state)
{
    (void)state;
    begin(GW_COMPRESS_AUTO);
    send(&slow_to_unpack, 1024 * MIB);
    assert_int_equal(compression.packing, GW_PACKING_NONE);
    assert_int_equal(compression.reason, GW_PACKING_NO_GAIN);
    assert_true(changes >= 2 && changes <= 10);
}

/* It says nothing for a while: what it said last counts. Connected again, it begins at nothing. */
static void a_target_is_not_heard_in_each_window(void **state)
{
    (void)state;
    begin(GW_COMPRESS_AUTO);
    for (uint64_t sent = 0; sent < 64 * MIB; sent += BATCH) {
        struct gw_batch_cost cost = cost_of(&text_on_gigabit, gw_compression_next(&compression));
        changes += gw_compression_sent(&compression, 0, &cost);
        now_ns += time_of(&cost);
        if (sent < 2 * BATCH) {
            gw_compression_told(&compression, 0, (uint32_t)(now_ns / 1000), now_ns);
        }
    }
    assert_int_equal(compression.packing, GW_PACKING_LZ4);

    struct world world = text_on_gigabit;
    world.link = 0;
    world.target = 8000;
    begin(GW_COMPRESS_AUTO);
    send(&world, 32 * MIB);
    starved_ns = 0;
    now_ns += UINT64_C(2000000000);
    send(&world, 32 * MIB);
    assert_int_equal(trial_batches, 0);
    assert_int_equal(changes, 0);
}

/* A channel that had nothing to bring for a while has not waited for the link. */
static void a_channel_that_is_done_is_not_starved(void **state)
{
    (void)state;
    struct world world = text_on_gigabit;
    world.link = 0;
    world.target = 8000;
    begin(GW_COMPRESS_AUTO);
    for (int round = 0; round < 8; round++) {
        send_first(&world, 2, 0);
        send(&world, 32 * MIB);
        assert_int_equal(trial_batches, 0);
    }
    assert_int_equal(changes, 0);
}

/* The target waits between frames then, which does not count: that limit is known. */
static void the_operators_limit_needs_no_word(void **state)
{
    (void)state;
    begin(GW_COMPRESS_AUTO);
    for (uint64_t sent = 0; sent < 64 * MIB; sent += BATCH) {
        struct gw_batch_cost cost = cost_of(&text_on_gigabit, gw_compression_next(&compression));
        cost.paced_ns = cost.wait_ns;
        cost.wait_ns = 0;
        changes += gw_compression_sent(&compression, 0, &cost);
        now_ns += time_of(&cost);
        gw_compression_told(&compression, 0, 0, now_ns);
    }
    assert_int_equal(compression.packing, GW_PACKING_LZ4);
    assert_int_equal(changes, 1);
}

/* Another channel had a packed batch under way when it was given up. */
static void what_was_under_way_changes_nothing(void **state)
{
    (void)state;
    struct world world = slow_to_unpack;
    begin(GW_COMPRESS_AUTO);
    for (uint64_t sent = 0; compression.reason != GW_PACKING_NO_GAIN; sent++) {
        assert_true(sent < 256);
        send(&world, BATCH);
    }
    struct gw_batch_cost late = cost_of(&world, GW_PACKING_LZ4);
    assert_false(gw_compression_sent(&compression, 0, &late));
    assert_int_equal(compression.packing, GW_PACKING_NONE);
    assert_int_equal(compression.reason, GW_PACKING_NO_GAIN);
}

static void what_does_not_pack_is_left_alone(void **state)
{
    (void)state;
    struct world noise = text_on_gigabit;
    noise.kind[GW_PACKING_LZ4].permille = 1004;
    noise.kind[GW_PACKING_LZ4].pack = 300;
    begin(GW_COMPRESS_AUTO);
    send(&noise, 64 * MIB);
    assert_int_equal(changes, 0);
    send(&noise, 256 * MIB);
    assert_true(trial_batches <= 1024 / 25);
    assert_true(rate(256 * MIB) >= 123); /* of 125 */

    /* text comes: soon it is packed; and no longer when it is over */
    send(&text_on_gigabit, 32 * MIB);
    assert_int_equal(compression.packing, GW_PACKING_LZ4);
    send(&noise, 16 * MIB);
    assert_int_equal(compression.packing, GW_PACKING_NONE);
    assert_int_equal(compression.reason, GW_PACKING_BAD_RATIO);
    assert_int_equal(changes, 2);
}

/* A link that becomes fast: packing is what limits then, and after a while that is found out. */
static void a_link_that_becomes_fast_is_noticed(void **state)
{
    (void)state;
    struct world world = text_on_gigabit;
    begin(GW_COMPRESS_AUTO);
    send(&world, 64 * MIB);
    assert_int_equal(compression.packing, GW_PACKING_LZ4);
    world.link = 0;
    send(&world, 2048 * MIB);
    assert_int_equal(compression.packing, GW_PACKING_NONE);
    assert_int_equal(compression.reason, GW_PACKING_FAST_LINK);
    assert_int_equal(changes, 2);
}

/* Writing itself is slow, as a layer that encrypts makes it: less to write is worth packing. */
static void less_is_written_where_writing_is_slow(void **state)
{
    (void)state;
    struct world world = text_on_gigabit;
    world.link = 0;
    world.write = 4000;
    begin(GW_COMPRESS_AUTO);
    send(&world, 128 * MIB);
    assert_int_equal(compression.packing, GW_PACKING_LZ4);
}

static void wishes_are_followed(void **state)
{
    (void)state;
    struct world fast = text_on_gigabit;
    fast.link = 0;
    begin(GW_COMPRESS_LZ4);
    send(&fast, 64 * MIB);
    assert_int_equal(compression.packing, GW_PACKING_LZ4);
    assert_int_equal(compression.reason, GW_PACKING_WANTED);
    assert_int_equal(trial_batches, 0);
    assert_int_equal(gw_compression_permille(&compression), 309);
    assert_true(compression.raw_bytes == 64 * MIB);
    begin(GW_COMPRESS_NONE);
    send(&text_on_gigabit, 64 * MIB);
    assert_int_equal(compression.packing, GW_PACKING_NONE);
    assert_int_equal(compression.raw_bytes, 0);
}

static void a_target_that_cannot_is_sent_none(void **state)
{
    (void)state;
    for (int wish = 0; wish < GW_COMPRESS_COUNT; wish++) {
        gw_compression_init(&compression, (enum gw_compress)wish);
        assert_int_equal(gw_compression_set_able(&compression, false), wish == GW_COMPRESS_LZ4);
        send(&text_on_gigabit, 64 * MIB);
        assert_int_equal(compression.packing, GW_PACKING_NONE);
        assert_int_equal(trial_batches, 0);
        assert_int_equal(compression.reason,
                         wish == GW_COMPRESS_NONE ? GW_PACKING_WANTED : GW_PACKING_UNABLE);
    }
}

/* Batches without bytes of pages say nothing, and several channels' trials may cross. */
static void empty_and_late_batches_do_no_harm(void **state)
{
    (void)state;
    begin(GW_COMPRESS_AUTO);
    struct gw_batch_cost none = {.work_ns = 1000};
    assert_false(gw_compression_sent(&compression, 0, &none));
    send(&text_on_gigabit, 64 * MIB);
    struct gw_batch_cost late = cost_of(&text_on_gigabit, GW_PACKING_NONE);
    for (int i = 0; i < 8; i++) {
        assert_false(gw_compression_sent(&compression, 0, &late));
    }
    assert_int_equal(compression.packing, GW_PACKING_LZ4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_on_a_gigabit_is_packed),
        cmocka_unit_test(a_slow_link_is_found_early),
        cmocka_unit_test(what_a_socket_swallows_is_not_the_link),
        cmocka_unit_test(one_channel_does_not_speak_for_all),
        cmocka_unit_test(nothing_is_tried_on_a_link_without_limit),
        cmocka_unit_test(a_target_that_is_slow_is_no_slow_link),
        cmocka_unit_test(a_target_that_is_slow_to_unpack_is_spared),
        cmocka_unit_test(a_target_is_not_heard_in_each_window),
        cmocka_unit_test(a_channel_that_is_done_is_not_starved),
        cmocka_unit_test(the_operators_limit_needs_no_word),
        cmocka_unit_test(what_was_under_way_changes_nothing),
        cmocka_unit_test(what_does_not_pack_is_left_alone),
        cmocka_unit_test(a_link_that_becomes_fast_is_noticed),
        cmocka_unit_test(less_is_written_where_writing_is_slow),
        cmocka_unit_test(wishes_are_followed),
        cmocka_unit_test(a_target_that_cannot_is_sent_none),
        cmocka_unit_test(empty_and_late_batches_do_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
