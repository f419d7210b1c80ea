/* SPDX-License-Identifier: Apache-2.0 */
/* Messages: what goes out comes back, and nothing else comes in. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "chance.h"
#include "godwit/message.h"

static uint8_t buffer[GW_PREPARE_BYTES_MAX];
static uint8_t machine_state[64];
static struct gw_facts facts;

static const struct gw_session session_a = {.id = {1, 2, 3, 4, 5, 6, 7, 8, 9}};
static const struct gw_session session_b = {.id = {0xff, 0xfe}};

static const struct gw_message *samples(size_t *count)
{
    static struct gw_message list[24];
    facts.count = 0;
    assert_int_equal(gw_facts_put(&facts, "vCPUs", GW_FACT_DECIMAL, 2), GW_OK);
    assert_int_equal(gw_facts_put(&facts, "machine", GW_FACT_TEXT, 0x74726976), GW_OK);
    memset(machine_state, 0x5a, sizeof(machine_state));
    memset(list, 0, sizeof(list));
    size_t n = 0;
    list[n++] = (struct gw_message){.type = GW_FRAME_INTRO,
                                    .intro = {.session = session_a,
                                              .withdrawn = session_b,
                                              .version_min = 1,
                                              .version_max = 3,
                                              .role = GW_ROLE_BULK,
                                              .purpose = GW_PURPOSE_SETTLE,
                                              .generation = 77}};
    list[n++] = (struct gw_message){.type = GW_FRAME_WELCOME,
                                    .welcome = {1, GW_STANDING_ABORTED, UINT64_MAX}};
    list[n++] = (struct gw_message){.type = GW_FRAME_HELLO,
                                    .hello = {.guest_name = "sensor-7",
                                              .channel_count = 4,
                                              .page_count = 65536,
                                              .page_bytes = 4096,
                                              .fact_count = 2,
                                              .facts = &facts}};
    list[n++] = (struct gw_message){.type = GW_FRAME_ACCEPT,
                                    .accept = {GW_CAN_POSTCOPY, GW_UNIT_LOG2_MAX, 1}};
    list[n++] = (struct gw_message){.type = GW_FRAME_DEMAND, .demanded_page = 77};
    list[n++] = (struct gw_message){.type = GW_FRAME_PING, .ping_ns = 12345};
    list[n++] = (struct gw_message){.type = GW_FRAME_PONG, .ping_ns = UINT64_MAX};
    list[n++] = (struct gw_message){.type = GW_FRAME_ACK, .ack = {1, UINT32_MAX, 9}};
    list[n++] = (struct gw_message){.type = GW_FRAME_SUSPECT, .ack = {.sequence = 10}};
    list[n++] = (struct gw_message){.type = GW_FRAME_MISMATCH, .mismatch = {512, 256, 1, 2}};
    list[n++] = (struct gw_message){.type = GW_FRAME_PREPARE,
                                    .prepare = {.epoch = 4,
                                                .channel_count = 1,
                                                .sequence_last = {99},
                                                .is_running = true,
                                                .is_postcopy = true,
                                                .missing_pages = 7,
                                                .state = machine_state,
                                                .state_bytes = sizeof(machine_state)}};
    list[n++] =
        (struct gw_message){.type = GW_FRAME_COMPLETE,
                            .complete = {.epoch = 4, .waiting = {1, 2, 3, 4, 5, 6, 7, UINT64_MAX}}};
    static const enum gw_frame_type verdicts[] = {
        GW_FRAME_READY, GW_FRAME_COMMIT,  GW_FRAME_RUNNING, GW_FRAME_SWITCHOVER_ACK,
        GW_FRAME_DONE,  GW_FRAME_ABORTED, GW_FRAME_ABORT,   GW_FRAME_REFUSE};
    for (size_t i = 0; i < 8; i++) {
        list[n] = (struct gw_message){.type = verdicts[i], .verdict = {.epoch = 5 + i}};
        list[n].verdict.elapsed_ns = verdicts[i] == GW_FRAME_COMMIT ? 1000000 : 0;
        if (i >= 5) {
            strcpy(list[n].verdict.reason, "the disk is full");
        }
        n++;
    }
    *count = n;
    return list;
}

/* Decodes from memory that ends where the payload ends, so that a byte read too far is seen. */
static enum gw_status decode(struct gw_message *message, uint8_t type, const uint8_t *bytes,
                             uint32_t count, struct gw_fault *fault)
{
    static uint8_t *exact;
    free(exact); /* what the last decoded message points to */
    exact = malloc(count ? count : 1);
    assert_non_null(exact);
    memcpy(exact, bytes, count);
    memset(message, 0, sizeof(*message));
    return gw_message_decode(message, type, exact, count, fault);
}

static void every_message_comes_back_as_it_went(void **state)
{
    (void)state;
    size_t count = 0;
    const struct gw_message *list = samples(&count);
    static uint8_t again[GW_PREPARE_BYTES_MAX];
    for (size_t i = 0; i < count; i++) {
        struct gw_message message;
        struct gw_fault fault = {.status = GW_OK};
        uint8_t type = (uint8_t)list[i].type;
        uint32_t bytes = gw_message_encode(&list[i], buffer, sizeof(buffer));
        assert_true(bytes <= gw_message_payload_max(type));
        if (decode(&message, type, buffer, bytes, &fault) != GW_OK) {
            fail_msg("%s: %s", gw_frame_type_name(type), fault.text);
        }
        assert_int_equal(message.type, type);
        if (message.type == GW_FRAME_HELLO) {
            static struct gw_facts copied;
            gw_hello_facts(&message.hello, &copied);
            assert_int_equal(gw_facts_compare(&copied, &facts, NULL), GW_OK);
            message.hello.facts = &copied;
            assert_string_equal(message.hello.guest_name, "sensor-7");
        }
        assert_int_equal(gw_message_encode(&message, again, sizeof(again)), bytes);
        assert_memory_equal(again, buffer, bytes);
    }
}

static void the_fields_land_where_they_belong(void **state)
{
    (void)state;
    size_t count = 0;
    const struct gw_message *list = samples(&count);
    struct gw_message message;
    uint32_t bytes = gw_message_encode(&list[0], buffer, sizeof(buffer));
    assert_int_equal(decode(&message, GW_FRAME_INTRO, buffer, bytes, NULL), GW_OK);
    assert_memory_equal(&message.intro.session, &session_a, sizeof(session_a));
    assert_memory_equal(&message.intro.withdrawn, &session_b, sizeof(session_b));
    assert_int_equal(message.intro.role, GW_ROLE_BULK);
    assert_int_equal(message.intro.purpose, GW_PURPOSE_SETTLE);
    assert_int_equal(message.intro.generation, 77);
    bytes = gw_message_encode(&list[10], buffer, sizeof(buffer));
    assert_int_equal(decode(&message, GW_FRAME_PREPARE, buffer, bytes, NULL), GW_OK);
    assert_int_equal(message.prepare.epoch, 4);
    assert_true(message.prepare.is_postcopy);
    assert_int_equal(message.prepare.missing_pages, 7);
    assert_int_equal(message.prepare.sequence_last[0], 99);
    assert_int_equal(message.prepare.is_running, 1);
    assert_int_equal(message.prepare.state_bytes, sizeof(machine_state));
    assert_memory_equal(message.prepare.state, machine_state, sizeof(machine_state));
}

/* With fewer channels there is room for more than a state may have. */
static void a_state_has_its_own_limit(void **state)
{
    (void)state;
    static const uint8_t none[GW_STATE_BYTES_MAX + 8];
    struct gw_message message;
    struct gw_message prepare = {
        .type = GW_FRAME_PREPARE,
        .prepare = {
            .epoch = 4, .channel_count = 1, .state = none, .state_bytes = GW_STATE_BYTES_MAX}};
    for (uint32_t more = 0; more < 2; more++) {
        prepare.prepare.state_bytes = GW_STATE_BYTES_MAX + more;
        uint32_t bytes = gw_message_encode(&prepare, buffer, sizeof(buffer));
        assert_int_equal(decode(&message, GW_FRAME_PREPARE, buffer, bytes, NULL),
                         more == 0 ? GW_OK : GW_PROTOCOL);
    }
}

/* Those with a reason at their end may be shorter: a shorter sentence is a sentence. */
static uint32_t least_bytes(uint8_t type, uint32_t bytes)
{
    bool has_reason = type == GW_FRAME_ABORTED || type == GW_FRAME_ABORT || type == GW_FRAME_REFUSE;
    return has_reason ? 16 : bytes;
}

static void every_truncation_and_extension_is_refused(void **state)
{
    (void)state;
    size_t count = 0;
    const struct gw_message *list = samples(&count);
    for (size_t i = 0; i < count; i++) {
        uint8_t type = (uint8_t)list[i].type;
        memset(buffer, 0, sizeof(buffer));
        uint32_t bytes = gw_message_encode(&list[i], buffer, sizeof(buffer));
        struct gw_message message;
        for (uint32_t cut = 0; cut < least_bytes(type, bytes); cut++) {
            struct gw_fault fault = {.status = GW_OK};
            if (decode(&message, type, buffer, cut, &fault) != GW_PROTOCOL || !fault.text[0]) {
                fail_msg("%s passed with %u of %u bytes", gw_frame_type_name(type), cut, bytes);
            }
        }
        struct gw_fault fault = {.status = GW_OK};
        if (bytes > least_bytes(type, bytes)) {
            bytes = gw_message_payload_max(type);
        }
        assert_int_equal(decode(&message, type, buffer, bytes + 1, &fault), GW_PROTOCOL);
        assert_non_null(strstr(fault.text, gw_frame_type_name(type)));
    }
}

struct spoiled {
    enum gw_frame_type type;
    uint32_t at;
    uint8_t value;
    const char *text; /* within the sentence */
};

static void fields_out_of_range_are_refused_by_name(void **state)
{
    (void)state;
    static const struct spoiled cases[] = {
        {GW_FRAME_INTRO, 32, 2, "versions 2 to 3 of the protocol, the target 1"},
        {GW_FRAME_INTRO, 34, 0, "versions 1 to 0 of the protocol"},
        {GW_FRAME_INTRO, 36, GW_ROLE_URGENT + 1, "role is 3, wanted 2"},
        {GW_FRAME_INTRO, 37, GW_BULK_CHANNELS_MAX, "channel is"},
        {GW_FRAME_INTRO, 38, GW_PURPOSE_RESUME + 1, "purpose is 3"},
        {GW_FRAME_INTRO, 39, 1, "a reserved field"},
        {GW_FRAME_INTRO, 44, 1, "a reserved field"},
        {GW_FRAME_INTRO, 47, 1, "a reserved field"},
        {GW_FRAME_WELCOME, 0, 2, "version is 2, wanted 1"},
        {GW_FRAME_WELCOME, 2, GW_STANDING_SETTLED + 1, "standing is 9, wanted 8"},
        {GW_FRAME_WELCOME, 3, 1, "a reserved field"},
        {GW_FRAME_WELCOME, 7, 1, "a reserved field"},
        {GW_FRAME_HELLO, 3, '\n', "the guest's name is no text"},
        {GW_FRAME_HELLO, 0, 0x7f, "the guest's name is no text"},
        {GW_FRAME_HELLO, 76, GW_FACTS_MAX + 1, "number of facts is 161, wanted 160"},
        {GW_FRAME_HELLO, 76, 1, "length is"},
        {GW_FRAME_HELLO, 76, 3, "length is"},
        {GW_FRAME_HELLO, 80, 0, "number of bulk channels is 0, wanted 1"},
        {GW_FRAME_HELLO, 87, 1, "a reserved field"},
        {GW_FRAME_HELLO, 88, 0x1b, "fact 0 is malformed"},
        {GW_FRAME_HELLO, 128 + 28, GW_FACT_TEXT + 1, "fact 1 is malformed"},
        {GW_FRAME_ACK, 0, GW_BULK_CHANNELS_MAX, "channel is"},
        {GW_FRAME_ACK, 1, 1, "a reserved field"},
        {GW_FRAME_ACK, 3, 1, "a reserved field"},
        {GW_FRAME_SUSPECT, 4, 1, "a reserved field"},
        {GW_FRAME_SUSPECT, 7, 1, "a reserved field"},
        {GW_FRAME_MISMATCH, 12, 1, "a reserved field"},
        {GW_FRAME_MISMATCH, 15, 1, "a reserved field"},
        {GW_FRAME_PREPARE, 8, 0, "number of channels is 0"},
        {GW_FRAME_PREPARE, 8, GW_BULK_CHANNELS_MAX + 1, "number of channels"},
        {GW_FRAME_PREPARE, 12, 4, "its flags is 4"},
        {GW_FRAME_PREPARE, 16, sizeof(machine_state) - 1, "length is"},
        {GW_FRAME_PREPARE, 19, 0xff, "length is"},
        {GW_FRAME_PREPARE, 12, 1, "missing pages without postcopy is 7"},
        {GW_FRAME_ACCEPT, 4, GW_UNIT_LOG2_MAX + 1, "log2 of a unit's pages is 10, wanted 9"},
        {GW_FRAME_ACCEPT, 8, 0, "number of bulk channels is 0"},
        {GW_FRAME_ACCEPT, 8, GW_BULK_CHANNELS_MAX + 1, "number of bulk channels"},
        {GW_FRAME_ABORTED, 16, 0x1b, "its reason is no text"},
        {GW_FRAME_REFUSE, 20, 0, "its reason is no text"},
        {GW_FRAME_ABORT, 31, '\r', "its reason is no text"},
    };
    size_t count = 0;
    const struct gw_message *list = samples(&count);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const struct spoiled *spoiled = &cases[i];
        size_t n = 0;
        while (list[n].type != spoiled->type) {
            n++;
        }
        struct gw_message message;
        struct gw_fault fault = {.status = GW_OK};
        uint32_t bytes = gw_message_encode(&list[n], buffer, sizeof(buffer));
        assert_int_not_equal(buffer[spoiled->at], spoiled->value);
        buffer[spoiled->at] = spoiled->value;
        enum gw_status status = decode(&message, (uint8_t)spoiled->type, buffer, bytes, &fault);
        if (status != GW_PROTOCOL || !strstr(fault.text, spoiled->text)) {
            fail_msg("case %zu: status %d, \"%s\"", i, status, fault.text);
        }
    }
}

static void names_without_an_end_are_no_names(void **state)
{
    (void)state;
    size_t count = 0;
    const struct gw_message *list = samples(&count);
    struct gw_message message;
    uint32_t bytes = gw_message_encode(&list[2], buffer, sizeof(buffer));
    memset(buffer, 'x', GW_NAME_BYTES);
    assert_int_equal(decode(&message, GW_FRAME_HELLO, buffer, bytes, NULL), GW_PROTOCOL);
    bytes = gw_message_encode(&list[2], buffer, sizeof(buffer));
    memset(buffer + 80, 'x', GW_FACT_NAME_BYTES);
    assert_int_equal(decode(&message, GW_FRAME_HELLO, buffer, bytes, NULL), GW_PROTOCOL);
}

static void a_session_of_zeros_is_none(void **state)
{
    (void)state;
    size_t count = 0;
    const struct gw_message *list = samples(&count);
    struct gw_message message;
    struct gw_fault fault = {.status = GW_OK};
    uint32_t bytes = gw_message_encode(&list[0], buffer, sizeof(buffer));
    memset(buffer, 0, GW_SESSION_BYTES);
    assert_int_equal(decode(&message, GW_FRAME_INTRO, buffer, bytes, &fault), GW_PROTOCOL);
    assert_string_equal(fault.text, "INTRO from the peer: its session is all zero");
}

static void the_longest_reason_fits_and_is_whole(void **state)
{
    (void)state;
    struct gw_message message = {.type = GW_FRAME_REFUSE, .verdict = {.epoch = 1}};
    struct gw_message back;
    memset(message.verdict.reason, 'r', GW_REASON_BYTES - 1);
    uint32_t bytes = gw_message_encode(&message, buffer, GW_MESSAGE_SMALL_BYTES);
    assert_int_equal(bytes, gw_message_payload_max(GW_FRAME_REFUSE));
    assert_int_equal(decode(&back, GW_FRAME_REFUSE, buffer, bytes, NULL), GW_OK);
    assert_string_equal(back.verdict.reason, message.verdict.reason);
}

static void the_longest_hello_and_prepare_fit_their_bounds(void **state)
{
    (void)state;
    static struct gw_facts many;
    static uint8_t large[GW_STATE_BYTES_MAX];
    struct gw_message back;
    many.count = GW_FACTS_MAX;
    for (uint32_t i = 0; i < many.count; i++) {
        many.fact[i].name[0] = 'f';
    }
    struct gw_message hello = {.type = GW_FRAME_HELLO,
                               .hello = {.channel_count = 1, .facts = &many}};
    assert_int_equal(gw_message_encode(&hello, buffer, sizeof(buffer)), GW_HELLO_BYTES_MAX);
    assert_int_equal(decode(&back, GW_FRAME_HELLO, buffer, GW_HELLO_BYTES_MAX, NULL), GW_OK);
    struct gw_message prepare = {.type = GW_FRAME_PREPARE,
                                 .prepare = {.epoch = 1,
                                             .channel_count = GW_BULK_CHANNELS_MAX,
                                             .state = large,
                                             .state_bytes = sizeof(large)}};
    uint32_t bytes = gw_message_encode(&prepare, buffer, sizeof(buffer));
    assert_int_equal(bytes, gw_message_payload_max(GW_FRAME_PREPARE));
    assert_int_equal(decode(&back, GW_FRAME_PREPARE, buffer, bytes, NULL), GW_OK);
    assert_int_equal(back.prepare.state_bytes, sizeof(large));
}

static void frames_that_are_no_messages_are_refused_by_number(void **state)
{
    (void)state;
    size_t count = 0;
    const struct gw_message *list = samples(&count);
    for (unsigned type = 0; type < 256; type++) {
        bool is_message = false;
        for (size_t i = 0; i < count; i++) {
            is_message = is_message || list[i].type == type;
        }
        if (!is_message) {
            struct gw_message message;
            struct gw_fault fault = {.status = GW_OK};
            assert_int_equal(gw_message_payload_max((uint8_t)type), 0);
            assert_int_equal(decode(&message, (uint8_t)type, buffer, 0, &fault), GW_PROTOCOL);
            assert_non_null(strstr(fault.text, "which has no place on this channel"));
        }
    }
}

/* Whatever passes encodes again to the same bytes: nothing is read that is not checked. */
static void spoiled_messages_pass_only_if_they_are_messages(void **state)
{
    (void)state;
    enum { RUNS = 200000 };
    const char *wish = getenv("GW_SEED");
    uint64_t seed = wish ? strtoull(wish, NULL, 0) : 20;
    struct chance chance = chance_of(seed);
    size_t count = 0;
    const struct gw_message *list = samples(&count);
    static uint8_t again[GW_PREPARE_BYTES_MAX];
    static struct gw_facts copied;
    print_message("seed %llu (GW_SEED changes it)\n", (unsigned long long)seed);
    for (int run = 0; run < RUNS; run++) {
        const struct gw_message *sample = &list[chance_next(&chance, count)];
        uint8_t type = (uint8_t)sample->type;
        uint32_t bytes = gw_message_encode(sample, buffer, sizeof(buffer));
        for (uint64_t n = chance_next(&chance, 4) + 1; n > 0 && bytes > 0; n--) {
            uint8_t *at = &buffer[chance_next(&chance, bytes)];
            uint64_t flipped = *at ^ (UINT64_C(1) << chance_next(&chance, 8));
            *at = (uint8_t)(chance_next(&chance, 2) ? chance_next(&chance, 256) : flipped);
        }
        if (chance_next(&chance, 4) == 0) {
            bytes = (uint32_t)chance_next(&chance, bytes + 50);
        }
        if (chance_next(&chance, 16) == 0) {
            type = (uint8_t)chance_next(&chance, 48);
        }
        struct gw_message message;
        struct gw_fault fault = {.status = GW_OK};
        if (decode(&message, type, buffer, bytes, &fault) != GW_OK) {
            assert_int_not_equal(fault.text[0], 0);
            continue;
        }
        if (message.type == GW_FRAME_HELLO) {
            gw_hello_facts(&message.hello, &copied);
            message.hello.facts = &copied;
            enum gw_status status = gw_facts_compare(&copied, &facts, &fault);
            assert_true(status == GW_OK || status == GW_REFUSED);
        }
        bool is_same = gw_message_encode(&message, again, sizeof(again)) == bytes;
        bool has_padding = message.type == GW_FRAME_HELLO; /* behind the ends of its names */
        if (!is_same || (!has_padding && memcmp(again, buffer, bytes) != 0)) {
            fail_msg("seed %llu, run %d: %s reads back different", (unsigned long long)seed, run,
                     gw_frame_type_name(type));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_message_comes_back_as_it_went),
        cmocka_unit_test(the_fields_land_where_they_belong),
        cmocka_unit_test(a_state_has_its_own_limit),
        cmocka_unit_test(every_truncation_and_extension_is_refused),
        cmocka_unit_test(fields_out_of_range_are_refused_by_name),
        cmocka_unit_test(names_without_an_end_are_no_names),
        cmocka_unit_test(a_session_of_zeros_is_none),
        cmocka_unit_test(the_longest_reason_fits_and_is_whole),
        cmocka_unit_test(the_longest_hello_and_prepare_fit_their_bounds),
        cmocka_unit_test(frames_that_are_no_messages_are_refused_by_number),
        cmocka_unit_test(spoiled_messages_pass_only_if_they_are_messages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
