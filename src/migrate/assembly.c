/* SPDX-License-Identifier: Apache-2.0 */
/* Units that come in batches. The contract: godwit/assembly.h. Pure; on a channel's thread. */
#include "godwit/assembly.h"

static bool is_consecutive(const struct gw_batch_table *table)
{
    for (uint32_t i = 1; i < table->record_count; i++) {
        if (table->record[i].page != table->record[i - 1].page + table->record[i - 1].count) {
            return false;
        }
    }
    return true;
}

enum gw_status gw_assembly_check(const struct gw_assembly *assembly,
                                 const struct gw_batch_table *table, uint32_t unit_pages,
                                 bool is_urgent, struct gw_fault *fault)
{
    const struct gw_record *last = &table->record[table->record_count - 1];
    uint64_t first = table->record[0].page;
    uint64_t next = assembly->unit.page + assembly->aside;
    bool is_next = assembly->unit.count > 0 && first == next;
    bool is_new = first % unit_pages == 0 && !(is_urgent && assembly->unit.count > 0);
    bool is_within = first / unit_pages == (last->page + last->count - 1) / unit_pages;
    if (is_consecutive(table) && is_within && (is_next || is_new)) {
        return GW_OK;
    }
    return gw_fault_set(fault, GW_PROTOCOL,
                        "the source sent a batch of pages %llu to %llu, wanted pages of one unit "
                        "of %u, from %s %llu on",
                        (unsigned long long)first,
                        (unsigned long long)(last->page + last->count - 1), unit_pages,
                        assembly->unit.count > 0 ? "page" : "its first, such as",
                        (unsigned long long)(assembly->unit.count > 0 ? next : 0));
}

void gw_assembly_begin(struct gw_assembly *assembly, const struct gw_batch_table *table,
                       uint32_t unit_pages)
{
    uint64_t first = table->record[0].page;
    bool is_next = assembly->unit.count > 0 && first == assembly->unit.page + assembly->aside;
    if (!is_next) {
        *assembly = (struct gw_assembly){.unit = {.page = first, .count = unit_pages}};
    }
}

void gw_assembly_add(struct gw_assembly *assembly, uint32_t count, bool is_raw)
{
    GW_ASSERT(count <= assembly->unit.count - assembly->aside);
    assembly->aside += count;
    assembly->raw_aside += is_raw ? count : 0;
}

bool gw_assembly_is_whole(const struct gw_assembly *assembly)
{
    return assembly->unit.count > 0 && assembly->aside == assembly->unit.count;
}
