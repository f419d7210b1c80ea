/* SPDX-License-Identifier: Apache-2.0 */
/* Facts: what differs is named, with both values, before a page is sent. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <stdio.h>

#include "godwit/fact.h"

static void put(struct gw_facts *facts, const char *name, enum gw_fact_form form, uint64_t value)
{
    assert_int_equal(gw_facts_put(facts, name, form, value), GW_OK);
}

static void put_machine(struct gw_facts *facts)
{
    facts->count = 0;
    put(facts, "machine", GW_FACT_TEXT, gw_fact_text_encode("virt"));
    put(facts, "page size", GW_FACT_BYTES, 4096);
    put(facts, "vCPUs", GW_FACT_DECIMAL, 2);
    put(facts, "ID_AA64PFR0_EL1", GW_FACT_HEX, UINT64_C(0x1101000011111112));
}

static void refused(const struct gw_facts *theirs, const struct gw_facts *ours, const char *text)
{
    struct gw_fault fault = {.status = GW_OK};
    assert_int_equal(gw_facts_compare(theirs, ours, &fault), GW_REFUSED);
    assert_string_equal(fault.text, text);
}

static struct gw_facts source, target;

static void equal_facts_pass_in_any_order(void **state)
{
    (void)state;
    put_machine(&source);
    target.count = 0;
    for (uint32_t i = source.count; i-- > 0;) {
        target.fact[target.count++] = source.fact[i];
    }
    assert_int_equal(gw_facts_compare(&source, &target, NULL), GW_OK);
}

static void each_difference_names_the_fact_and_both_values(void **state)
{
    (void)state;
    static const struct {
        uint32_t index;
        uint64_t value;
        const char *text;
    } cases[] = {
        {0, 0,
         "machine differs: the source has \"virt\", the target has "
         "\"lkpin\"; both must be equal"},
        {1, 16384,
         "page size differs: the source has 4096 bytes, the target has 16384 bytes; "
         "both must be equal"},
        {2, 4, "vCPUs differs: the source has 2, the target has 4; both must be equal"},
        {3, 0,
         "ID_AA64PFR0_EL1 differs: the source has 0x1101000011111112, the target has "
         "0x0000000000000000; both must be equal"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        put_machine(&source);
        put_machine(&target);
        target.fact[cases[i].index].value = i == 0 ? gw_fact_text_encode("lkpin") : cases[i].value;
        refused(&source, &target, cases[i].text);
    }
}

static void a_fact_that_one_side_lacks_is_a_difference(void **state)
{
    (void)state;
    put_machine(&source);
    put_machine(&target);
    put(&source, "SVE vector length", GW_FACT_BYTES, 32);
    refused(&source, &target,
            "SVE vector length differs: the source has 32 bytes, the target has nothing said; "
            "both must be equal");
    put_machine(&source);
    put(&target, "MTE", GW_FACT_DECIMAL, 1);
    refused(&source, &target,
            "MTE differs: the source has nothing said, the target has 1; both must be equal");
}

static void no_facts_at_all_do_not_pass_for_ours(void **state)
{
    (void)state;
    source.count = 0;
    put_machine(&target);
    assert_int_equal(gw_facts_compare(&source, &target, NULL), GW_REFUSED);
    assert_int_equal(gw_facts_compare(&target, &source, NULL), GW_REFUSED);
    assert_int_equal(gw_facts_compare(&source, &source, NULL), GW_OK);
}

static void text_from_a_peer_is_shown_printable(void **state)
{
    (void)state;
    source.count = target.count = 0;
    put(&source, "machine", GW_FACT_TEXT, UINT64_C(0x0a1b41)); /* A, escape, newline */
    put(&target, "machine", GW_FACT_TEXT, gw_fact_text_encode("12345678"));
    refused(&source, &target,
            "machine differs: the source has \"A..\", the target has \"12345678\"; both must be "
            "equal");
}

static void the_list_is_bounded(void **state)
{
    (void)state;
    char name[40];
    source.count = 0;
    for (int i = 0; i < GW_FACTS_MAX; i++) {
        (void)snprintf(name, sizeof(name), "fact %d", i);
        put(&source, name, GW_FACT_DECIMAL, 1);
    }
    assert_int_equal(gw_facts_put(&source, "one more", GW_FACT_DECIMAL, 1), GW_LIMIT);
    source.count = 0;
    put(&source, "a name of twenty-seven char", GW_FACT_DECIMAL, 1);
    assert_int_equal(gw_facts_put(&source, "a name of twenty-eight chars", GW_FACT_DECIMAL, 1),
                     GW_LIMIT);
    assert_int_equal(source.count, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_facts_pass_in_any_order),
        cmocka_unit_test(each_difference_names_the_fact_and_both_values),
        cmocka_unit_test(a_fact_that_one_side_lacks_is_a_difference),
        cmocka_unit_test(no_facts_at_all_do_not_pass_for_ours),
        cmocka_unit_test(text_from_a_peer_is_shown_printable),
        cmocka_unit_test(the_list_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
