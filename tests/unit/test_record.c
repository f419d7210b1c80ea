/* SPDX-License-Identifier: Apache-2.0 */
/* Handover records: what is known survives, and what is damaged is not believed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "chance.h"
#include "godwit/record.h"

static struct gw_session session_of(uint8_t n)
{
    return (struct gw_session){.id = {n, 0xa5, n}};
}

static void put(struct gw_history *history, uint8_t n, enum gw_record_state state, uint64_t epoch)
{
    struct gw_session session = session_of(n);
    gw_history_put(history, &session, state, epoch);
}

static const struct gw_record_entry *get(const struct gw_history *history, uint8_t n)
{
    struct gw_session session = session_of(n);
    return gw_history_get(history, &session);
}

static void the_newest_stands_first_and_the_oldest_falls_out(void **state)
{
    (void)state;
    struct gw_history history = {0};
    for (uint8_t n = 1; n <= GW_HISTORY_MAX + 2; n++) {
        put(&history, n, GW_RECORD_ABORTED, n);
        assert_memory_equal(&history.entry[0].session, session_of(n).id, GW_SESSION_BYTES);
    }
    assert_int_equal(history.count, GW_HISTORY_MAX);
    assert_null(get(&history, 1));
    assert_null(get(&history, 2));
    for (uint8_t n = 3; n <= GW_HISTORY_MAX + 2; n++) {
        assert_non_null(get(&history, n));
        assert_int_equal(get(&history, n)->epoch, n);
    }
}

static void a_session_has_one_entry_and_comes_to_the_front(void **state)
{
    (void)state;
    struct gw_history history = {0};
    put(&history, 1, GW_RECORD_OPENED, 0);
    put(&history, 2, GW_RECORD_OPENED, 0);
    put(&history, 3, GW_RECORD_OPENED, 0);
    put(&history, 1, GW_RECORD_TOOK, 5);
    assert_int_equal(history.count, 3);
    assert_ptr_equal(get(&history, 1), &history.entry[0]);
    assert_int_equal(get(&history, 1)->state, GW_RECORD_TOOK);
    assert_ptr_equal(get(&history, 3), &history.entry[1]);
    assert_ptr_equal(get(&history, 2), &history.entry[2]);
}

static void fill(struct gw_history *history, uint32_t count)
{
    *history = (struct gw_history){0};
    for (uint32_t n = 0; n < count; n++) {
        put(history, (uint8_t)(n + 1), (enum gw_record_state)(1 + n % 3), UINT64_MAX - n);
    }
}

static void a_history_comes_back_as_it_went(void **state)
{
    (void)state;
    for (uint32_t count = 0; count <= GW_HISTORY_MAX; count++) {
        uint8_t bytes[GW_RECORD_FILE_BYTES];
        struct gw_history history;
        struct gw_history back;
        fill(&history, count);
        gw_history_encode(&history, bytes);
        assert_int_equal(gw_history_decode(&back, bytes, sizeof(bytes), NULL), GW_OK);
        assert_int_equal(back.count, count);
        for (uint32_t i = 0; i < count; i++) {
            assert_memory_equal(&back.entry[i].session, &history.entry[i].session,
                                GW_SESSION_BYTES);
            assert_true(back.entry[i].epoch == history.entry[i].epoch);
            assert_int_equal(back.entry[i].state, history.entry[i].state);
        }
    }
}

static struct gw_departure a_departure(void)
{
    return (struct gw_departure){.state = GW_DEPARTURE_LEAVING,
                                 .session = session_of(4),
                                 .epoch = 3,
                                 .peer = "tcp:gateway-2:7000"};
}

static void a_departure_comes_back_as_it_went(void **state)
{
    (void)state;
    uint8_t bytes[GW_DEPARTURE_FILE_BYTES];
    struct gw_departure departure = a_departure();
    struct gw_departure back;
    gw_departure_encode(&departure, bytes);
    assert_int_equal(gw_departure_decode(&back, bytes, sizeof(bytes), NULL), GW_OK);
    assert_int_equal(back.state, GW_DEPARTURE_LEAVING);
    assert_int_equal(back.epoch, 3);
    assert_memory_equal(&back.session, &departure.session, GW_SESSION_BYTES);
    assert_string_equal(back.peer, "tcp:gateway-2:7000");
}

static void every_damage_to_a_record_is_noticed(void **state)
{
    (void)state;
    uint8_t bytes[GW_RECORD_FILE_BYTES];
    uint8_t left[GW_DEPARTURE_FILE_BYTES];
    struct gw_history history;
    struct gw_departure departure = a_departure();
    fill(&history, 3);
    gw_history_encode(&history, bytes);
    gw_departure_encode(&departure, left);
    for (size_t bit = 0; bit < sizeof(bytes) * 8; bit++) {
        bool is_reserved = bit / 8 >= 12 && bit / 8 < 16;
        bytes[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        struct gw_fault fault = {.status = GW_OK};
        if (!is_reserved) {
            assert_int_equal(gw_history_decode(&history, bytes, sizeof(bytes), &fault), GW_CORRUPT);
            assert_int_not_equal(fault.text[0], 0);
        }
        bytes[bit / 8] ^= (uint8_t)(1u << (bit % 8));
    }
    for (size_t bit = 0; bit < sizeof(left) * 8; bit++) {
        bool is_reserved = bit / 8 >= 12 && bit / 8 < 16;
        left[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        if (!is_reserved) {
            assert_int_equal(gw_departure_decode(&departure, left, sizeof(left), NULL), GW_CORRUPT);
        }
        left[bit / 8] ^= (uint8_t)(1u << (bit % 8));
    }
    assert_int_equal(gw_history_decode(&history, bytes, sizeof(bytes), NULL), GW_OK);
    assert_int_equal(gw_departure_decode(&departure, left, sizeof(left), NULL), GW_OK);
}

static void a_record_cut_short_or_of_the_other_kind_is_refused(void **state)
{
    (void)state;
    uint8_t bytes[GW_RECORD_FILE_BYTES];
    uint8_t left[GW_DEPARTURE_FILE_BYTES];
    struct gw_history history;
    struct gw_departure departure = a_departure();
    fill(&history, 8);
    gw_history_encode(&history, bytes);
    gw_departure_encode(&departure, left);
    for (size_t cut = 0; cut < sizeof(bytes); cut++) {
        uint8_t *exact = malloc(cut + 1);
        memcpy(exact, bytes, cut);
        assert_int_equal(gw_history_decode(&history, exact, cut, NULL), GW_CORRUPT);
        free(exact);
    }
    assert_int_equal(gw_departure_decode(&departure, bytes, sizeof(left), NULL), GW_CORRUPT);
    assert_int_equal(gw_history_decode(&history, left, sizeof(left), NULL), GW_CORRUPT);
}

static void states_that_no_record_has_are_refused(void **state)
{
    (void)state;
    uint8_t bytes[GW_RECORD_FILE_BYTES];
    uint8_t left[GW_DEPARTURE_FILE_BYTES];
    static const uint32_t bad[] = {0, 5, UINT32_MAX};
    for (size_t i = 0; i < 3; i++) {
        struct gw_history history;
        struct gw_departure departure = a_departure();
        struct gw_fault fault = {.status = GW_OK};
        fill(&history, 2);
        history.entry[1].state = bad[i];
        gw_history_encode(&history, bytes);
        assert_int_equal(gw_history_decode(&history, bytes, sizeof(bytes), &fault), GW_CORRUPT);
        assert_non_null(strstr(fault.text, "a session in state"));
        departure.state = bad[i];
        gw_departure_encode(&departure, left);
        assert_int_equal(gw_departure_decode(&departure, left, sizeof(left), NULL), GW_CORRUPT);
    }
}

static void a_peer_too_long_is_cut_and_ended(void **state)
{
    (void)state;
    uint8_t left[GW_DEPARTURE_FILE_BYTES];
    struct gw_departure departure = a_departure();
    struct gw_departure back;
    memset(departure.peer, 'p', sizeof(departure.peer)); /* no end */
    gw_departure_encode(&departure, left);
    assert_int_equal(gw_departure_decode(&back, left, sizeof(left), NULL), GW_OK);
    assert_int_equal(strlen(back.peer), GW_PEER_BYTES - 1);
}

static void a_token_comes_back_as_it_went(void **state)
{
    (void)state;
    struct gw_token token = {.session = session_of(9), .epoch = UINT64_MAX, .who = 't'};
    struct gw_token back;
    char text[GW_TOKEN_BYTES];
    gw_token_encode(&token, text);
    assert_true(strncmp(text, "godwit-t-09a509", 15) == 0);
    assert_int_equal(gw_token_decode(&back, text, NULL), GW_OK);
    assert_memory_equal(&back.session, &token.session, GW_SESSION_BYTES);
    assert_true(back.epoch == UINT64_MAX && back.who == 't');
}

static void a_token_with_any_character_changed_is_none(void **state)
{
    (void)state;
    static const char others[] = "0123456789abcdefAstgodwit- \n\x7f";
    struct gw_token token = {.session = session_of(9), .epoch = 12, .who = 's'};
    struct gw_token back;
    char text[GW_TOKEN_BYTES];
    gw_token_encode(&token, text);
    size_t length = strlen(text);
    for (size_t at = 0; at < length; at++) {
        char before = text[at];
        for (size_t i = 0; i < sizeof(others); i++) { /* the last one is the end */
            if (others[i] == before) {
                continue;
            }
            struct gw_fault fault = {.status = GW_OK};
            text[at] = others[i];
            assert_int_equal(gw_token_decode(&back, text, &fault), GW_ARGUMENT);
            assert_non_null(strstr(fault.text, "is no token: wanted the line that"));
        }
        text[at] = before;
    }
    char longer[GW_TOKEN_BYTES + 1];
    memcpy(longer, text, length);
    longer[length] = '0';
    longer[length + 1] = '\0';
    assert_int_equal(gw_token_decode(&back, longer, NULL), GW_ARGUMENT);
    assert_int_equal(gw_token_decode(&back, "", NULL), GW_ARGUMENT);
    assert_int_equal(gw_token_decode(&back, text, NULL), GW_OK);
}

static void random_records_never_pass(void **state)
{
    (void)state;
    enum { SEED = 40 };
    struct chance chance = chance_of(SEED);
    for (int run = 0; run < 50000; run++) {
        uint8_t bytes[GW_RECORD_FILE_BYTES];
        struct gw_history history;
        struct gw_departure departure;
        fill(&history, GW_HISTORY_MAX);
        gw_history_encode(&history, bytes);
        for (uint64_t n = 1 + chance_next(&chance, 6); n > 0; n--) {
            bytes[16 + chance_next(&chance, sizeof(bytes) - 16)] ^=
                (uint8_t)(1 + chance_next(&chance, 255));
        }
        uint8_t whole[GW_RECORD_FILE_BYTES];
        fill(&history, GW_HISTORY_MAX);
        gw_history_encode(&history, whole);
        if (memcmp(whole, bytes, sizeof(bytes)) != 0 &&
            gw_history_decode(&history, bytes, sizeof(bytes), NULL) == GW_OK) {
            fail_msg("seed %d, run %d: a damaged record passed", SEED, run);
        }
        assert_int_equal(gw_departure_decode(&departure, bytes, GW_DEPARTURE_FILE_BYTES, NULL),
                         GW_CORRUPT);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_newest_stands_first_and_the_oldest_falls_out),
        cmocka_unit_test(a_session_has_one_entry_and_comes_to_the_front),
        cmocka_unit_test(a_history_comes_back_as_it_went),
        cmocka_unit_test(a_departure_comes_back_as_it_went),
        cmocka_unit_test(every_damage_to_a_record_is_noticed),
        cmocka_unit_test(a_record_cut_short_or_of_the_other_kind_is_refused),
        cmocka_unit_test(states_that_no_record_has_are_refused),
        cmocka_unit_test(a_peer_too_long_is_cut_and_ended),
        cmocka_unit_test(a_token_comes_back_as_it_went),
        cmocka_unit_test(a_token_with_any_character_changed_is_none),
        cmocka_unit_test(random_records_never_pass),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
