/* SPDX-License-Identifier: Apache-2.0 */
/* Facts: collecting and comparing them. Pure. */
#include "godwit/fact.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { VALUE_TEXT_BYTES = 32 };

enum gw_status gw_facts_put(struct gw_facts *facts, const char *name, enum gw_fact_form form,
                            uint64_t value)
{
    size_t length = strlen(name);
    if (facts->count == GW_FACTS_MAX || length >= GW_FACT_NAME_BYTES) {
        return GW_LIMIT;
    }
    struct gw_fact *fact = &facts->fact[facts->count++];
    *fact = (struct gw_fact){.form = form, .value = value};
    memcpy(fact->name, name, length);
    return GW_OK;
}

uint64_t gw_fact_text_encode(const char *text)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < 8 && text[i]; i++) {
        value |= (uint64_t)(uint8_t)text[i] << (8 * i);
    }
    return value;
}

static void value_text(const struct gw_fact *fact, char text[VALUE_TEXT_BYTES])
{
    switch (fact->form) {
    case GW_FACT_HEX:
        (void)snprintf(text, VALUE_TEXT_BYTES, "0x%016" PRIx64, fact->value);
        return;
    case GW_FACT_BYTES:
        (void)snprintf(text, VALUE_TEXT_BYTES, "%" PRIu64 " bytes", fact->value);
        return;
    case GW_FACT_TEXT: {
        char letters[9] = {0};
        for (unsigned i = 0; i < 8; i++) {
            char letter = (char)(fact->value >> (8 * i));
            letters[i] = letter == 0 || (letter >= ' ' && letter <= '~') ? letter : '.';
        }
        (void)snprintf(text, VALUE_TEXT_BYTES, "\"%s\"", letters);
        return;
    }
    default:
        (void)snprintf(text, VALUE_TEXT_BYTES, "%" PRIu64, fact->value);
    }
}

static const struct gw_fact *get(const struct gw_facts *facts, const char *name)
{
    for (uint32_t i = 0; i < facts->count; i++) {
        if (strncmp(facts->fact[i].name, name, GW_FACT_NAME_BYTES) == 0) {
            return &facts->fact[i];
        }
    }
    return NULL;
}

static enum gw_status compare_one(const struct gw_fact *theirs, const struct gw_fact *ours,
                                  struct gw_fault *fault)
{
    char found[VALUE_TEXT_BYTES] = "nothing said";
    char wanted[VALUE_TEXT_BYTES] = "nothing said";
    if (theirs && ours && theirs->value == ours->value) {
        return GW_OK;
    }
    if (theirs) {
        value_text(theirs, found);
    }
    if (ours) {
        value_text(ours, wanted);
    }
    return gw_fault_set(fault, GW_REFUSED,
                        "%s differs: the source has %s, the target has %s; both must be equal",
                        theirs ? theirs->name : ours->name, found, wanted);
}

enum gw_status gw_facts_compare(const struct gw_facts *theirs, const struct gw_facts *ours,
                                struct gw_fault *fault)
{
    for (uint32_t i = 0; i < theirs->count; i++) {
        enum gw_status status =
            compare_one(&theirs->fact[i], get(ours, theirs->fact[i].name), fault);
        if (status) {
            return status;
        }
    }
    for (uint32_t i = 0; i < ours->count; i++) {
        if (!get(theirs, ours->fact[i].name)) {
            return compare_one(NULL, &ours->fact[i], fault);
        }
    }
    return GW_OK;
}
