/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What two godwits of one host say to each other: every message there and back, and whatever else
 * may come in its place: cut, damaged, of another version, with other descriptors.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "chance.h"
#include "godwit/crc32c.h"
#include "run/take_over_message.h"

static uint8_t bytes[4096], changed[4096];
static size_t size;
static struct gw_fault fault;

static int setup(void **state)
{
    (void)state;
    gw_fault_clear(&fault);
    memset(bytes, 0xee, sizeof(bytes));
    return 0;
}

static struct gw_take_over_offer an_offer(void)
{
    struct gw_take_over_offer offer = {.version = "1.2.3",
                                       .name = "router",
                                       .control_path = "/run/godwit/router.sock",
                                       .state_dir = "/run/godwit",
                                       .memory_bytes = UINT64_C(256) << 20,
                                       .vcpu_count = 2,
                                       .dirty_ring_entries = 4096,
                                       .console = GW_RUN_CONSOLE_FILE,
                                       .is_lingering = true,
                                       .fd_count = 8,
                                       .fd_is = {1, 2, 3, 4, 5, 6, 7, 8}};
    return offer;
}

/* Makes the checksum right again. */
static void seal(void)
{
    gw_put_32(bytes + 16, gw_crc32c(gw_get_32(bytes + 8), bytes + 20, size - 20));
}

static enum gw_status open_whole(enum gw_take_over_type *type, struct gw_state_section *section)
{
    return gw_take_over_open(bytes, size, type, section, &fault);
}

/* Encodes it, and reads it with so many descriptors. */
static enum gw_status offer_again(struct gw_take_over_offer *offer, uint32_t fd_count)
{
    struct gw_state_section section;
    enum gw_take_over_type type;
    gw_fault_clear(&fault);
    assert_int_equal(gw_take_over_encode_offer(offer, bytes, sizeof(bytes), &size), GW_OK);
    assert_int_equal(open_whole(&type, &section), GW_OK);
    assert_int_equal(type, GW_TAKE_OVER_OFFER);
    return gw_take_over_decode_offer(&section, fd_count, offer, &fault);
}

static void an_offer_arrives_as_it_was(void **state)
{
    struct gw_take_over_offer offer = an_offer();
    const struct gw_take_over_offer sent = an_offer();
    (void)state;
    assert_int_equal(offer_again(&offer, 8), GW_OK);
    assert_memory_equal(&offer, &sent, sizeof(sent));
}

/* One without TLS stays as an older godwit knows it; one with it has all it needs. */
static void an_offer_takes_the_key_along(void **state)
{
    struct gw_take_over_offer offer = an_offer();
    struct gw_state_section section;
    enum gw_take_over_type type;
    (void)state;
    assert_int_equal(gw_take_over_encode_offer(&offer, bytes, sizeof(bytes), &size), GW_OK);
    assert_int_equal(open_whole(&type, &section), GW_OK);
    assert_int_equal(section.version, 1);
    (void)strcpy(offer.tls, "psk:/etc/godwit/key");
    (void)strcpy(offer.tls_hostname, "target.test");
    assert_int_equal(offer_again(&offer, 8), GW_OK);
    assert_string_equal(offer.tls, "psk:/etc/godwit/key");
    assert_string_equal(offer.tls_hostname, "target.test");
    assert_int_equal(offer.fd_count, 8);
}

static void the_others_arrive_as_they_were(void **state)
{
    static const uint8_t some[] = {'{', 0, 0xff, '}'};
    struct gw_state_section section;
    enum gw_take_over_type type;
    (void)state;
    struct gw_take_over_answer answer = {
        .status = GW_OK, .version = "9", .uri = "unix:/run/a.sock.next"};
    assert_int_equal(gw_take_over_encode_answer(&answer, bytes, sizeof(bytes), &size), GW_OK);
    assert_int_equal(open_whole(&type, &section), GW_OK);
    assert_int_equal(type, GW_TAKE_OVER_ANSWER);
    memset(&answer, 0xee, sizeof(answer));
    assert_int_equal(gw_take_over_decode_answer(&section, &answer, &fault), GW_OK);
    assert_string_equal(answer.uri, "unix:/run/a.sock.next");

    const struct gw_take_over_client sent = {
        .is_negotiated = true, .line = {some, 4}, .in = {some + 1, 2}};
    struct gw_take_over_client client;
    assert_int_equal(gw_take_over_encode_client(&sent, bytes, sizeof(bytes), &size), GW_OK);
    assert_int_equal(open_whole(&type, &section), GW_OK);
    assert_int_equal(type, GW_TAKE_OVER_CLIENT);
    assert_int_equal(gw_take_over_decode_client(&section, &client, &fault), GW_OK);
    assert_true(client.is_negotiated && !client.is_skipping);
    assert_int_equal(client.line.count, 4);
    assert_memory_equal(client.line.at, some, 4);
    assert_int_equal(client.in.count, 2);
    assert_int_equal(client.out.count, 0);

    const struct gw_take_over_rest left = {
        .setting_count = 2, .setting = {{3, 7}, {77, UINT64_MAX}}, .console_out = {some, 4}};
    struct gw_take_over_rest rest;
    assert_int_equal(gw_take_over_encode_rest(&left, bytes, sizeof(bytes), &size), GW_OK);
    assert_int_equal(open_whole(&type, &section), GW_OK);
    assert_int_equal(type, GW_TAKE_OVER_REST);
    assert_int_equal(gw_take_over_decode_rest(&section, &rest, &fault), GW_OK);
    assert_int_equal(rest.setting_count, 2);
    assert_int_equal(rest.setting[0].value, 7);
    assert_true(rest.setting[1].number == 77 && rest.setting[1].value == UINT64_MAX);
    assert_memory_equal(rest.console_out.at, some, 4);

    assert_int_equal(gw_take_over_encode_withdraw(bytes, sizeof(bytes), &size), GW_OK);
    assert_int_equal(open_whole(&type, &section), GW_OK);
    assert_int_equal(type, GW_TAKE_OVER_WITHDRAW);
}

static void what_does_not_fit_is_not_written(void **state)
{
    const struct gw_take_over_offer offer = an_offer();
    (void)state;
    assert_int_equal(gw_take_over_encode_offer(&offer, bytes, sizeof(bytes), &size), GW_OK);
    size_t whole = size;
    assert_int_equal(gw_take_over_encode_offer(&offer, bytes, whole, &size), GW_OK);
    assert_int_equal(gw_take_over_encode_offer(&offer, bytes, whole - 1, &size), GW_LIMIT);
}

static void descriptors_are_those_it_says(void **state)
{
    (void)state;
    struct gw_take_over_offer offer = an_offer();
    assert_int_equal(offer_again(&offer, 7), GW_CORRUPT); /* one did not come */
    offer = an_offer();
    assert_int_equal(offer_again(&offer, 9), GW_CORRUPT); /* one too many came */
    offer = an_offer();
    offer.fd_is[3] = 2;
    assert_int_equal(offer_again(&offer, 8), GW_CORRUPT);
    assert_non_null(strstr(fault.text, "kind 2 twice"));
    offer = an_offer();
    offer.fd_is[0] = 31;
    assert_int_equal(offer_again(&offer, 8), GW_REFUSED);
    assert_non_null(strstr(fault.text, "kind 31"));
    offer = an_offer();
    offer.fd_is[0] = UINT32_MAX;
    assert_int_equal(offer_again(&offer, 8), GW_REFUSED);
    offer = an_offer();
    offer.fd_is[0] = 0;
    assert_int_equal(offer_again(&offer, 8), GW_REFUSED);
    offer = an_offer();
    offer.fd_count = 7; /* an older one's, without the lock */
    assert_int_equal(offer_again(&offer, 7), GW_OK);
    offer = an_offer();
    offer.fd_count = 6; /* the console's lacks */
    assert_int_equal(offer_again(&offer, 6), GW_CORRUPT);
    offer = an_offer();
    offer.console = GW_RUN_CONSOLE_STDIO;
    assert_int_equal(offer_again(&offer, 8), GW_REFUSED); /* stdio has none */
    offer = an_offer();
    offer.console = GW_RUN_CONSOLE_STDIO;
    offer.fd_count = 7;
    offer.fd_is[6] = 8;
    assert_int_equal(offer_again(&offer, 7), GW_OK);
}

static void senseless_offers_are_refused(void **state)
{
    (void)state;
    struct gw_take_over_offer offer = an_offer();
    offer.name[0] = '\0';
    assert_int_equal(offer_again(&offer, 7), GW_CORRUPT);
    offer = an_offer();
    offer.console = (enum gw_run_console)3;
    assert_int_equal(offer_again(&offer, 7), GW_CORRUPT);
    offer = an_offer();
    strcpy(offer.console_path, "/a/path"); /* a file's is not told */
    assert_int_equal(offer_again(&offer, 7), GW_CORRUPT);
}

static void there_are_only_so_many_settings(void **state)
{
    struct gw_state_section section;
    enum gw_take_over_type type;
    struct gw_take_over_rest rest = {.setting_count = GW_TAKE_OVER_SETTINGS_MAX};
    (void)state;
    assert_int_equal(gw_take_over_encode_rest(&rest, bytes, sizeof(bytes), &size), GW_OK);
    assert_int_equal(open_whole(&type, &section), GW_OK);
    assert_int_equal(gw_take_over_decode_rest(&section, &rest, &fault), GW_OK);
    bytes[20 + GW_STATE_SECTION_BYTES]++;
    seal();
    assert_int_equal(open_whole(&type, &section), GW_OK);
    assert_int_equal(gw_take_over_decode_rest(&section, &rest, &fault), GW_CORRUPT);
}

static void an_answer_is_a_place_or_a_reason(void **state)
{
    struct gw_state_section section;
    enum gw_take_over_type type;
    (void)state;
    static const struct {
        enum gw_status status;
        const char *uri, *text;
    } senseless[] = {{GW_OK, "", ""}, {GW_OK, "unix:/a", "why"}, {GW_HOST, "unix:/a", "why"}};
    for (size_t i = 0; i < sizeof(senseless) / sizeof(senseless[0]); i++) {
        struct gw_take_over_answer answer = {.status = senseless[i].status};
        strcpy(answer.uri, senseless[i].uri);
        strcpy(answer.text, senseless[i].text);
        gw_fault_clear(&fault);
        assert_int_equal(gw_take_over_encode_answer(&answer, bytes, sizeof(bytes), &size), GW_OK);
        assert_int_equal(open_whole(&type, &section), GW_OK);
        assert_int_equal(gw_take_over_decode_answer(&section, &answer, &fault), GW_CORRUPT);
    }
    struct gw_take_over_answer later = {.status = (enum gw_status)99, .text = "a new reason"};
    gw_fault_clear(&fault);
    assert_int_equal(gw_take_over_encode_answer(&later, bytes, sizeof(bytes), &size), GW_OK);
    assert_int_equal(open_whole(&type, &section), GW_OK);
    assert_int_equal(gw_take_over_decode_answer(&section, &later, &fault), GW_OK);
    assert_int_equal(later.status, GW_REFUSED);
}

static void no_part_of_a_message_is_one(void **state)
{
    struct gw_state_section section;
    enum gw_take_over_type type;
    const struct gw_take_over_offer offer = an_offer();
    (void)state;
    assert_int_equal(gw_take_over_encode_offer(&offer, bytes, sizeof(bytes), &size), GW_OK);
    for (size_t cut = 0; cut < size; cut++) {
        gw_fault_clear(&fault);
        assert_int_equal(gw_take_over_open(bytes, cut, &type, &section, &fault), GW_CORRUPT);
        assert_true(fault.text[0]);
    }
    memcpy(changed, bytes, size);
    changed[size] = 0; /* and nothing follows it */
    assert_int_equal(gw_take_over_open(changed, size + 1, &type, &section, NULL), GW_CORRUPT);
}

static void no_damaged_byte_passes(void **state)
{
    struct gw_state_section section;
    enum gw_take_over_type type;
    const struct gw_take_over_offer offer = an_offer();
    (void)state;
    assert_int_equal(gw_take_over_encode_offer(&offer, bytes, sizeof(bytes), &size), GW_OK);
    for (size_t at = 0; at < size; at++) {
        memcpy(changed, bytes, size);
        changed[at] ^= 0x10;
        gw_fault_clear(&fault);
        assert_int_not_equal(gw_take_over_open(changed, size, &type, &section, &fault), GW_OK);
    }
}

static void other_versions_are_refused_in_words(void **state)
{
    struct gw_state_section section;
    enum gw_take_over_type type;
    const struct gw_take_over_offer offer = an_offer();
    (void)state;
    assert_int_equal(gw_take_over_encode_offer(&offer, bytes, sizeof(bytes), &size), GW_OK);
    bytes[4] = 2;
    assert_int_equal(open_whole(&type, &section), GW_REFUSED);
    assert_non_null(strstr(fault.text, "version 2, this one in version 1"));
    bytes[4] = 1;
    bytes[20 + GW_STATE_NAME_BYTES] = 7; /* the section's version */
    seal();
    gw_fault_clear(&fault);
    assert_int_equal(open_whole(&type, &section), GW_REFUSED);
    assert_non_null(strstr(fault.text, "offer has version 7"));
}

static void another_section_or_number_is_no_message(void **state)
{
    struct gw_state_section section;
    enum gw_take_over_type type;
    const struct gw_take_over_offer offer = an_offer();
    (void)state;
    for (uint32_t number = 0; number < 300; number++) {
        assert_int_equal(gw_take_over_encode_offer(&offer, bytes, sizeof(bytes), &size), GW_OK);
        gw_put_32(bytes + 8, number);
        seal();
        gw_fault_clear(&fault);
        assert_int_equal(open_whole(&type, &section),
                         number == GW_TAKE_OVER_OFFER ? GW_OK : GW_CORRUPT);
    }
}

/* Whatever the payload says of its lengths: no decoder reads beyond it (the address sanitizer
 * watches), and none takes what is longer or shorter than its fields. */
static void lengths_are_checked(void **state)
{
    struct gw_state_section section;
    enum gw_take_over_type type;
    struct gw_take_over_offer offer;
    struct chance chance = chance_of(7);
    (void)state;
    for (int round = 0; round < 20000; round++) {
        offer = an_offer();
        assert_int_equal(gw_take_over_encode_offer(&offer, bytes, sizeof(bytes), &size), GW_OK);
        size_t at =
            20 + GW_STATE_SECTION_BYTES + chance_next(&chance, size - 20 - GW_STATE_SECTION_BYTES);
        bytes[at] = (uint8_t)chance_next(&chance, 256);
        seal();
        uint8_t *exact = malloc(size);
        memcpy(exact, bytes, size);
        assert_int_equal(gw_take_over_open(exact, size, &type, &section, NULL), GW_OK);
        enum gw_status status = gw_take_over_decode_offer(&section, 7, &offer, NULL);
        assert_true(status == GW_OK || status == GW_CORRUPT || status == GW_REFUSED);
        free(exact);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(an_offer_takes_the_key_along, setup),
        cmocka_unit_test_setup(an_offer_arrives_as_it_was, setup),
        cmocka_unit_test_setup(the_others_arrive_as_they_were, setup),
        cmocka_unit_test_setup(what_does_not_fit_is_not_written, setup),
        cmocka_unit_test_setup(descriptors_are_those_it_says, setup),
        cmocka_unit_test_setup(senseless_offers_are_refused, setup),
        cmocka_unit_test_setup(there_are_only_so_many_settings, setup),
        cmocka_unit_test_setup(an_answer_is_a_place_or_a_reason, setup),
        cmocka_unit_test_setup(no_part_of_a_message_is_one, setup),
        cmocka_unit_test_setup(no_damaged_byte_passes, setup),
        cmocka_unit_test_setup(other_versions_are_refused_in_words, setup),
        cmocka_unit_test_setup(another_section_or_number_is_no_message, setup),
        cmocka_unit_test_setup(lengths_are_checked, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
