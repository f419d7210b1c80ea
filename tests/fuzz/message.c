/* SPDX-License-Identifier: Apache-2.0 */
/* Messages: a byte for the type, then the payload. What passes is encoded again, byte for byte. */
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "godwit/message.h"

static uint8_t again[GW_PREPARE_BYTES_MAX];

static void look_at_facts(const struct gw_hello *hello, struct gw_message *message)
{
    static struct gw_facts facts;
    gw_hello_facts(hello, &facts);
    GW_ASSERT(facts.count == hello->fact_count && facts.count <= GW_FACTS_MAX);
    message->hello.facts = &facts;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
    struct gw_message message;
    struct gw_fault fault = {.status = GW_OK};
    if (count == 0 || count - 1 > sizeof(again)) {
        return 0;
    }
    uint8_t type = bytes[0];
    uint32_t payload_bytes = (uint32_t)(count - 1);
    if (payload_bytes > gw_message_payload_max(type)) {
        return 0; /* never read */
    }
    uint8_t *payload = malloc(payload_bytes + 1); /* of just that size: the sanitizer looks */
    memcpy(payload, bytes + 1, payload_bytes);
    uint8_t *exact = realloc(payload, payload_bytes > 0 ? payload_bytes : 1);
    if (gw_message_decode(&message, type, exact, payload_bytes, &fault) != GW_OK) {
        GW_ASSERT(fault.status == GW_PROTOCOL && fault.text[0] != '\0');
    } else {
        if (message.type == GW_FRAME_HELLO) {
            look_at_facts(&message.hello, &message);
        }
        uint32_t length = gw_message_encode(&message, again, sizeof(again));
        bool is_open = type == GW_FRAME_ACCEPT; /* bits that are not known are ignored */
        GW_ASSERT(is_open || (length == payload_bytes && memcmp(again, exact, length) == 0));
    }
    free(exact);
    return 0;
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
    static struct gw_facts facts;
    static const uint8_t state[64] = "state";
    (void)!gw_facts_put(&facts, "machine", GW_FACT_TEXT, gw_fact_text_encode("virt"));
    (void)!gw_facts_put(&facts, "page size", GW_FACT_DECIMAL, 4096);
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
                                        .fact_count = facts.count,
                                        .facts = &facts}});
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
}
