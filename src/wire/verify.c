/* SPDX-License-Identifier: Apache-2.0 */
/* VERIFY payloads. Pure. */
#include "base/bytes.h"
#include "godwit/batch.h"

void gw_verify_encode(const struct gw_verify *verify, uint8_t bytes[static GW_VERIFY_BYTES])
{
    gw_put_64(bytes, verify->page);
    gw_put_32(bytes + 8, verify->count);
    gw_put_32(bytes + 12, 0);
    gw_put_64(bytes + 16, verify->digest);
}

enum gw_status gw_verify_decode(struct gw_verify *verify, const uint8_t *bytes, uint32_t count,
                                uint64_t page_count, struct gw_fault *fault)
{
    if (count != GW_VERIFY_BYTES) {
        return gw_fault_set(fault, GW_PROTOCOL, "VERIFY has %u bytes, wanted %d", count,
                            GW_VERIFY_BYTES);
    }
    *verify = (struct gw_verify){
        .page = gw_get_64(bytes), .count = gw_get_32(bytes + 8), .digest = gw_get_64(bytes + 16)};
    if (gw_get_32(bytes + 12) != 0 || verify->count == 0 || verify->page >= page_count ||
        verify->count > page_count - verify->page) {
        return gw_fault_set(
            fault, GW_PROTOCOL, "VERIFY names %u pages from page %llu, RAM has %llu pages",
            verify->count, (unsigned long long)verify->page, (unsigned long long)page_count);
    }
    return GW_OK;
}
