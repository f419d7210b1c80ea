/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages: a byte for the type, then the payload; a page map and VERIFY have two bytes in between,
 * for how many pages the guest has. What passes is encoded again, byte for byte.
 */
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "fuzz.h"
#include "godwit/batch.h"
#include "godwit/message.h"
#include "godwit/page_map.h"

static uint8_t again[GW_PREPARE_BYTES_MAX];

/* ---- Facts ---- */

/* What this side has, to compare with. */
static const struct gw_facts *own_facts(void)
{
    static struct gw_facts facts;
    if (facts.count == 0) {
        (void)!gw_facts_put(&facts, "machine", GW_FACT_TEXT, gw_fact_text_encode("virt"));
        (void)!gw_facts_put(&facts, "page size", GW_FACT_DECIMAL, 4096);
    }
    return &facts;
}

static bool is_among(const struct gw_fact *fact, const struct gw_facts *facts)
{
    for (uint32_t i = 0; i < facts->count; i++) {
        if (strcmp(facts->fact[i].name, fact->name) == 0 && facts->fact[i].value == fact->value) {
            return true;
        }
    }
    return false;
}

static void compare(const struct gw_facts *theirs)
{
    const struct gw_facts *ours = own_facts();
    struct gw_fault fault = {.status = GW_OK};
    bool is_equal = true;
    for (uint32_t i = 0; i < theirs->count; i++) {
        is_equal = is_equal && is_among(&theirs->fact[i], ours);
    }
    for (uint32_t i = 0; i < ours->count; i++) {
        is_equal = is_equal && is_among(&ours->fact[i], theirs);
    }
    enum gw_status status = gw_facts_compare(theirs, ours, &fault);
    GW_ASSERT(status == (is_equal ? GW_OK : GW_REFUSED));
    GW_ASSERT(is_equal || fault.text[0] != '\0');
}

static void look_at_facts(const struct gw_hello *hello, struct gw_message *message)
{
    static struct gw_facts facts;
    gw_hello_facts(hello, &facts);
    GW_ASSERT(facts.count == hello->fact_count && facts.count <= GW_FACTS_MAX);
    compare(&facts);
    message->hello.facts = &facts;
}

/* ---- Of a guest of so many pages ---- */

static void look_at_map(const uint8_t *bytes, uint32_t count, uint64_t page_count)
{
    struct gw_fault fault = {.status = GW_OK};
    uint64_t *map = malloc((page_count + 63) / 64 * 8);
    if (gw_page_map_decode(map, page_count, bytes, count, &fault) != GW_OK) {
        GW_ASSERT(fault.status == GW_PROTOCOL && fault.text[0] != '\0');
    } else {
        GW_ASSERT(count == gw_page_map_bytes(page_count));
        GW_ASSERT(page_count % 64 == 0 || map[page_count / 64] >> (page_count % 64) == 0);
        gw_page_map_encode(map, page_count, again);
        GW_ASSERT(memcmp(again, bytes, count) == 0);
    }
    free(map);
}

static void look_at_verify(const uint8_t *bytes, uint32_t count, uint64_t page_count)
{
    struct gw_verify verify;
    struct gw_fault fault = {.status = GW_OK};
    if (gw_verify_decode(&verify, bytes, count, page_count, &fault) != GW_OK) {
        GW_ASSERT(fault.status == GW_PROTOCOL && fault.text[0] != '\0');
        return;
    }
    GW_ASSERT(count == GW_VERIFY_BYTES && verify.count > 0 && verify.page < page_count);
    GW_ASSERT(verify.page + verify.count <= page_count);
    gw_verify_encode(&verify, again);
    GW_ASSERT(memcmp(again, bytes, count) == 0);
}

/* ---- Messages ---- */

static void look_at_message(uint8_t type, const uint8_t *bytes, uint32_t count)
{
    struct gw_message message;
    struct gw_fault fault = {.status = GW_OK};
    if (count > gw_message_payload_max(type)) {
        return; /* never read */
    }
    if (gw_message_decode(&message, type, bytes, count, &fault) != GW_OK) {
        GW_ASSERT(fault.status == GW_PROTOCOL && fault.text[0] != '\0');
    } else {
        if (message.type == GW_FRAME_HELLO) {
            look_at_facts(&message.hello, &message);
        }
        uint32_t length = gw_message_encode(&message, again, sizeof(again));
        GW_ASSERT(length == count && memcmp(again, bytes, length) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
    uint8_t type = count > 0 ? bytes[0] : 0;
    bool is_map = type == GW_FRAME_MISSING || type == GW_FRAME_RECEIVED;
    size_t head = is_map || type == GW_FRAME_VERIFY ? 3 : 1;
    if (count < head || count - head > sizeof(again)) {
        return 0;
    }
    uint32_t payload_bytes = (uint32_t)(count - head);
    uint8_t *payload = malloc(payload_bytes + 1); /* of just that size: the sanitizer looks */
    memcpy(payload, bytes + head, payload_bytes);
    uint8_t *exact = realloc(payload, payload_bytes > 0 ? payload_bytes : 1);
    if (is_map) {
        look_at_map(exact, payload_bytes, 1 + (uint64_t)gw_get_16(bytes + 1));
    } else if (head == 3) {
        look_at_verify(exact, payload_bytes, 1 + (uint64_t)gw_get_16(bytes + 1));
    } else {
        look_at_message(type, exact, payload_bytes);
    }
    free(exact);
    return 0;
}

/* ---- Seeds ---- */

static void seed_maps(void)
{
    static const uint16_t page_counts[] = {1, 64, 65, 200, 512};
    static const uint64_t map[8] = {1, 0, 1};
    for (size_t i = 0; i < sizeof(page_counts) / sizeof(page_counts[0]); i++) {
        uint8_t bytes[3 + 8 + sizeof(map)] = {i % 2 ? GW_FRAME_MISSING : GW_FRAME_RECEIVED};
        gw_put_16(bytes + 1, (uint16_t)(page_counts[i] - 1));
        gw_page_map_encode(map, page_counts[i], bytes + 3);
        fuzz_seed(bytes, 3 + gw_page_map_bytes(page_counts[i]));
    }
    uint8_t bytes[3 + GW_VERIFY_BYTES] = {GW_FRAME_VERIFY, 0xff};
    gw_verify_encode(&(struct gw_verify){.page = 3, .count = 5, .digest = 7}, bytes + 3);
    fuzz_seed(bytes, sizeof(bytes));
}

static void seed(const struct gw_message *message)
{
    static uint8_t bytes[1 + GW_PREPARE_BYTES_MAX];
    bytes[0] = (uint8_t)message->type;
    uint32_t count = gw_message_encode(message, bytes + 1, sizeof(bytes) - 1);
    fuzz_seed(bytes, count + 1);
}

void fuzz_make_seeds(void)
{
    static const uint8_t state[64] = "state";
    seed(&(struct gw_message){.type = GW_FRAME_INTRO,
                              .intro = {.session = {.id = {1}},
                                        .version_min = GW_PROTOCOL_VERSION,
                                        .version_max = GW_PROTOCOL_VERSION,
                                        .generation = 1}});
    seed(&(struct gw_message){.type = GW_FRAME_WELCOME, .welcome = {.version = 1}});
    seed(&(struct gw_message){.type = GW_FRAME_HELLO,
                              .hello = {.guest_name = "router",
                                        .page_count = 65536,
                                        .page_bytes = 4096,
                                        .channel_count = 1,
                                        .fact_count = own_facts()->count,
                                        .facts = own_facts()}});
    seed(&(struct gw_message){.type = GW_FRAME_ACCEPT,
                              .accept = {.capabilities = 7, .channel_count = 1}});
    seed(&(struct gw_message){.type = GW_FRAME_PING, .ping_ns = 5});
    seed(&(struct gw_message){.type = GW_FRAME_ACK, .ack = {.sequence = 9}});
    seed(&(struct gw_message){.type = GW_FRAME_SUSPECT, .ack = {.sequence = 9}});
    seed(&(struct gw_message){.type = GW_FRAME_MISMATCH, .mismatch = {.count = 512}});
    seed(&(struct gw_message){.type = GW_FRAME_DEMAND, .demanded_page = 77});
    seed(&(struct gw_message){.type = GW_FRAME_PREPARE,
                              .prepare = {.epoch = 1,
                                          .channel_count = 2,
                                          .sequence_last = {3, 4},
                                          .state = state,
                                          .state_bytes = sizeof(state)}});
    static const enum gw_frame_type verdicts[] = {
        GW_FRAME_REFUSE,  GW_FRAME_READY, GW_FRAME_ABORTED, GW_FRAME_COMMIT,
        GW_FRAME_RUNNING, GW_FRAME_DONE,  GW_FRAME_ABORT,   GW_FRAME_SWITCHOVER_ACK};
    for (size_t i = 0; i < sizeof(verdicts) / sizeof(verdicts[0]); i++) {
        bool has_reason = verdicts[i] == GW_FRAME_REFUSE || verdicts[i] == GW_FRAME_ABORTED ||
                          verdicts[i] == GW_FRAME_ABORT;
        struct gw_message message = {.type = verdicts[i], .verdict = {.epoch = 1}};
        memcpy(message.verdict.reason, has_reason ? "because" : "", has_reason ? 8 : 1);
        seed(&message);
    }
    seed(&(struct gw_message){.type = GW_FRAME_COMPLETE, .complete = {.epoch = 1}});
    seed_maps();
}
