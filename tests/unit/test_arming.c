/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Re-arming ahead: which pages a window has; and a guest that writes at any moment to RAM that is
 * sent by windows, under a tracker as KVM's log is one, until the copy is equal.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bitmap.h"
#include "chance.h"
#include "godwit/arming.h"
#include "godwit/pages.h"

enum { PAGE = 4096, COUNT = 20480, WORDS = (COUNT + 63) / 64, ARMED_MAX = GW_ARMING_BYTES / PAGE };

static struct gw_arming arming;
static uint64_t pending[WORDS];

static struct gw_batch batch_of(uint64_t page, uint32_t count)
{
    return (struct gw_batch){
        .kind = GW_BATCH_PAGES, .run_count = 1, .run = {{.page = page, .count = count}}};
}

static uint64_t armed_count(void)
{
    uint64_t count = 0;
    for (uint64_t page = arming.first; page < arming.end; page++) {
        count += gw_bit_test(arming.bits, page - arming.first);
    }
    return count;
}

static bool is_armed(uint64_t page)
{
    return page >= arming.first && page < arming.end &&
           gw_bit_test(arming.bits, page - arming.first);
}

/* ---- One window ---- */

static void a_window_has_the_batch_and_what_waits_behind_it(void **state)
{
    (void)state;
    uint64_t page = 0;
    struct gw_batch batch = batch_of(100, 64);
    memset(pending, 0, sizeof(pending));
    (void)gw_bits_put(pending, 90, 3, true); /* before it */
    (void)gw_bits_put(pending, 200, 10, true);
    gw_arming_reset(&arming);
    assert_true(gw_arming_lacks(&arming, &batch, &page));
    assert_int_equal(page, 100);
    gw_arming_plan(&arming, page, &batch, pending,
                   &(struct gw_ram){.page_count = COUNT, .page_bytes = PAGE}, 1);
    assert_int_equal(arming.first, 64);
    assert_int_equal(arming.end, 64 + GW_ARMING_SPAN);
    assert_int_equal(armed_count(), 64 + 10);
    assert_false(is_armed(90) || is_armed(99) || is_armed(164) || is_armed(199) || is_armed(210));
    assert_true(is_armed(100) && is_armed(163) && is_armed(200) && is_armed(209));
    page = 0;
    assert_false(gw_arming_lacks(&arming, &batch, &page));
    gw_arming_take(&arming, &batch);
    assert_int_equal(armed_count(), 10);
    assert_true(gw_arming_lacks(&arming, &batch, &page)); /* once, and no more */
    batch = batch_of(202, 10);
    assert_true(gw_arming_lacks(&arming, &batch, &page));
    assert_int_equal(page, 210);
}

static void a_window_is_not_far_ahead(void **state)
{
    (void)state;
    struct gw_batch batch = batch_of(0, 64);
    memset(pending, 0xff, sizeof(pending));
    gw_arming_plan(&arming, 0, &batch, pending,
                   &(struct gw_ram){.page_count = COUNT, .page_bytes = PAGE}, 1);
    assert_int_equal(arming.end, ARMED_MAX);
    gw_arming_plan(&arming, 0, &batch, pending,
                   &(struct gw_ram){.page_count = COUNT, .page_bytes = GW_ARMING_BYTES}, 1);
    assert_int_equal(arming.end, 64); /* at least what is wanted now */
    batch = batch_of(COUNT - 5, 5);
    gw_arming_plan(&arming, COUNT - 5, &batch, pending,
                   &(struct gw_ram){.page_count = COUNT, .page_bytes = PAGE}, 1);
    assert_int_equal(arming.end, COUNT);
    assert_int_equal(armed_count(), 5);
}

/* ---- All of it ---- */

static struct gw_pages pages;
static uint32_t version[COUNT], copy[COUNT]; /* of each page: here, and as it was sent last */

/* A tracker as KVM's log is one (unit 1), or as that of huge pages under userfaultfd: it protects
 * and reports units, and arms one that it reported only once. */
static uint64_t unit;
static uint64_t noted[WORDS], protected[WORDS], armed[WORDS];
static uint64_t rearms;
static bool is_calm; /* the guest */

static void write_page(uint64_t page)
{
    version[page]++;
    if (gw_bit_test(protected, page)) {
        (void)gw_bits_put(protected, page - page % unit, unit, false);
        (void)gw_bits_put(noted, page - page % unit, unit, true);
    }
}

/* Anywhere, or close to what is being sent; a calm one just ahead of it, now and then. */
static void guest_writes(struct chance *chance, bool is_stopped)
{
    uint64_t most = is_calm ? 2 : 40;
    for (uint64_t n = is_stopped ? 0 : chance_next(chance, most); n > 0; n--) {
        uint64_t ahead =
            (pages.channel[0].cursor + chance_next(chance, is_calm ? 1500 : 300)) % COUNT;
        write_page(is_calm || chance_next(chance, 2) ? ahead : chance_next(chance, COUNT));
    }
}

static void rearm(void)
{
    rearms++;
    for (uint64_t page = arming.first; page < arming.end; page++) {
        bool is_due = unit == 1 || !gw_bit_test(armed, page);
        if (gw_bit_test(arming.bits, page - arming.first) && is_due) {
            (void)gw_bits_put(protected, page - page % unit, unit, true);
            (void)gw_bits_put(noted, page - page % unit, unit, false);
            (void)gw_bits_put(armed, page - page % unit, unit, true);
        }
    }
}

static void collect(void)
{
    (void)gw_pages_merge(&pages, noted);
    for (uint64_t i = 0; i < WORDS; i++) {
        armed[i] &= ~noted[i];
    }
    gw_pages_begin_round(&pages);
}

/* As the sender does it. */
static void arm(const struct gw_batch *batch)
{
    uint64_t page = 0;
    gw_arming_begin(&arming, pages.merges);
    while (gw_arming_lacks(&arming, batch, &page)) {
        gw_arming_plan(&arming, page, batch, pages.dirty,
                       &(struct gw_ram){.page_count = COUNT, .page_bytes = PAGE}, 1);
        page = arming.end;
        rearm();
    }
}

/* The guest writes in between. */
static void read_batch(const struct gw_batch *batch, struct chance *chance)
{
    guest_writes(chance, batch->is_stopped);
    arm(batch);
    guest_writes(chance, batch->is_stopped);
    gw_arming_take(&arming, batch);
    for (uint32_t i = 0; i < batch->run_count; i++) {
        for (uint64_t at = 0; at < batch->run[i].count; at++) {
            copy[batch->run[i].page + at] = version[batch->run[i].page + at];
        }
        guest_writes(chance, batch->is_stopped);
    }
}

static void lose_link(void)
{
    (void)gw_pages_rewind(&pages);
    gw_arming_reset(&arming);
}

static void send_batch(bool is_stopped, struct chance *chance)
{
    struct gw_batch batch;
    if (gw_pages_pick(&pages, 0, is_stopped, &batch) != GW_OK) {
        return;
    }
    if (batch.kind == GW_BATCH_PAGES) {
        read_batch(&batch, chance);
    }
    gw_pages_sent(&pages, 0, batch.sequence);
    uint64_t bytes;
    if (!is_stopped && chance_next(chance, 50) == 0) {
        assert_int_equal(gw_pages_suspect(&pages, 0, batch.sequence, NULL), GW_OK);
    }
    if (chance_next(chance, 3) == 0) {
        assert_int_equal(gw_pages_acked(&pages, 0, batch.sequence, &bytes, NULL), GW_OK);
    } else if (chance_next(chance, 20) == 0) {
        lose_link();
    } else if (pages.channel[0].sequence_picked - pages.channel[0].sequence_acked ==
               GW_WINDOW_BATCHES) {
        assert_int_equal(gw_pages_acked(&pages, 0, batch.sequence, &bytes, NULL), GW_OK);
    }
}

static void send_round(bool is_stopped, struct chance *chance)
{
    while (!gw_pages_is_round_over(&pages)) {
        uint64_t bytes;
        send_batch(is_stopped, chance);
        if (!is_stopped && !pages.is_first_round && chance_next(chance, 100) == 0) {
            collect(); /* in the midst of it: somebody was waited for */
        }
        if (pages.channel[0].cursor == pages.page_count &&
            pages.channel[0].sequence_acked < pages.channel[0].sequence_picked) {
            assert_int_equal(
                gw_pages_acked(&pages, 0, pages.channel[0].sequence_picked, &bytes, NULL), GW_OK);
        }
    }
}

/* Some of it was written, in whole units. */
static void given_a_guest(uint64_t unit_pages, struct chance *chance)
{
    unit = unit_pages;
    gw_pages_init(&pages, COUNT, PAGE);
    gw_arming_reset(&arming);
    memset(version, 0, sizeof(version));
    memset(copy, 0, sizeof(copy));
    memset(noted, 0, sizeof(noted));
    memset(protected, 0xff, sizeof(protected));
    for (uint64_t page = 0; page < COUNT;) {
        uint64_t count = unit + chance_next(chance, 700) / unit * unit;
        count = count < COUNT - page ? count : COUNT - page;
        bool is_written = chance_next(chance, 2);
        for (uint64_t i = 0; i < count && is_written; i++) {
            version[page + i] = 1;
            gw_bit_mark(noted, page + i);
        }
        page += count;
    }
    gw_pages_begin(&pages, noted);
    for (uint64_t i = 0; i < WORDS; i++) {
        armed[i] = ~noted[i];
        protected[i] = unit > 1 ? protected[i] : ~noted[i];
        noted[i] = unit > 1 ? 0 : noted[i];
    }
}

static void expect_all_arrived(uint64_t seed)
{
    for (uint64_t page = 0; page < COUNT; page++) {
        if (copy[page] != version[page]) {
            fail_msg("seed %llu, units of %llu: page %llu has version %u, arrived as %u",
                     (unsigned long long)seed, (unsigned long long)unit, (unsigned long long)page,
                     version[page], copy[page]);
        }
    }
}

static void send_some(bool is_stopped, struct chance *chance)
{
    for (uint64_t n = chance_next(chance, 20); n > 0; n--) {
        send_batch(is_stopped, chance);
    }
}

static void move(uint64_t unit_pages, uint64_t seed)
{
    struct chance chance = chance_of(seed);
    given_a_guest(unit_pages, &chance);
    for (int round = 0; round < 4; round++) {
        send_round(false, &chance);
        collect();
        guest_writes(&chance, false);
    }
    for (int stop = 0; stop < 3; stop++) {
        send_some(false, &chance);
        collect(); /* it stands still */
        send_some(true, &chance);
        lose_link(); /* and goes on here */
        guest_writes(&chance, false);
        send_round(false, &chance);
        collect();
    }
    send_some(false, &chance);
    collect();
    send_round(true, &chance);
    expect_all_arrived(seed);
}

static void whatever_the_guest_writes_arrives(void **state)
{
    (void)state;
    const char *wish = getenv("GW_SEED");
    uint64_t seed = wish ? strtoull(wish, NULL, 0) : 1;
    rearms = 0;
    for (uint64_t run = 0; run < 40; run++) {
        is_calm = run % 2;
        move(1, seed + run);
        move(512, seed + run);
    }
    assert_true(rearms > 0);
}

static void send_next(void)
{
    struct gw_batch batch;
    uint64_t bytes;
    assert_int_equal(gw_pages_pick(&pages, 0, false, &batch), GW_OK);
    arm(&batch);
    gw_arming_take(&arming, &batch);
    gw_pages_sent(&pages, 0, batch.sequence);
    assert_int_equal(gw_pages_acked(&pages, 0, batch.sequence, &bytes, NULL), GW_OK);
}

/* A window ends within a unit, of which a part is armed and not read yet when the unit is written
 * to and reported: none of it may be read before it is armed again. */
static void what_was_reported_since_is_armed_anew(void **state)
{
    (void)state;
    struct chance nobody = chance_of(1);
    given_a_guest(512, &nobody);
    gw_pages_init(&pages, COUNT, PAGE);
    memset(armed, 0, sizeof(armed));
    memset(noted, 0, sizeof(noted));
    memset(protected, 0, sizeof(protected));
    memset(pending, 0, sizeof(pending));
    (void)gw_bits_put(pending, 128, 3 * 512 - 128, true); /* of the first unit the rest is left */
    (void)gw_pages_merge(&pages, pending);
    gw_pages_begin_round(&pages);
    uint64_t written = 128 + ARMED_MAX - 1; /* the window's last page, in the third unit */
    send_next();                            /* pages 128 to 191; the window is armed */
    write_page(written);
    collect();
    while (pages.channel[0].cursor <= written) {
        send_next();
    }
    write_page(written); /* once more, now that it was read */
    while (pages.channel[0].cursor < 3 * 512) {
        send_next();
    }
    assert_true(gw_bit_test(noted, written));
}

/* Many batches, few calls. */
static void a_round_of_a_full_guest_takes_a_call_for_each_window(void **state)
{
    (void)state;
    unit = 1;
    gw_pages_init(&pages, COUNT, PAGE);
    gw_arming_reset(&arming);
    memset(pending, 0xff, sizeof(pending));
    gw_pages_begin(&pages, pending);
    rearms = 0;
    while (pages.channel[0].cursor < COUNT) {
        send_next();
    }
    assert_int_equal(rearms, (COUNT + ARMED_MAX - 1) / ARMED_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_window_has_the_batch_and_what_waits_behind_it),
        cmocka_unit_test(a_window_is_not_far_ahead),
        cmocka_unit_test(whatever_the_guest_writes_arrives),
        cmocka_unit_test(what_was_reported_since_is_armed_anew),
        cmocka_unit_test(a_round_of_a_full_guest_takes_a_call_for_each_window),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
