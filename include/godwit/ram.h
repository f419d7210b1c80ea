/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest RAM: one mapping per region, made before the guest's first instruction.
 *
 * Pages are numbered through all regions in order: page 0 is the first page of region 0, and the
 * first page of region 1 follows the last page of region 0. A page is the host's (4, 16 or
 * 64 KiB), never assumed to be 4096. All of godwit speaks in these page numbers; guest physical
 * addresses (gpa) appear only at the edges (KVM, device tree).
 *
 * A memfd region is sealed against shrinking. Its holes are pages that were never touched: they
 * read as zero, and reading one through the mapping allocates it, so whoever scans must skip
 * holes (gw_ram_next_data). Discard punches holes. An embedder may declare anonymous memory
 * instead; presence is then a question for /proc/self/pagemap (swapped counts as touched).
 *
 * A hugetlb region is a memfd of huge pages (2 MiB), all of them reserved when it is made. A huge
 * page is touched or a hole as a whole; page numbers stay those of the host's base pages. There
 * "touched" means: mapped here (mincore; hugetlbfs knows no SEEK_DATA). What another process alone
 * put into the memfd would not be seen: it must be touched here too. And what is taken out of this
 * mapping would be forgotten: nobody may do that (MADV_DONTNEED; mprotect, where its page tables
 * are shared with another mapping), but by gw_ram_discard.
 *
 * Owner: the caller's storage; the mapping lives from open to close. Blocks: open may (memory is
 * reserved, and not touched but for shared huge pages); nothing else. Threads: reading the struct
 * is safe from all after open.
 */
#ifndef GODWIT_RAM_H
#define GODWIT_RAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "godwit/limits.h"
#include "godwit/status.h"

enum gw_ram_kind {
    GW_RAM_MEMFD = 0,     /* godwit's own: sealed memfd, MAP_SHARED */
    GW_RAM_ANONYMOUS = 1, /* an embedder's private anonymous mapping */
    GW_RAM_HUGETLB = 2,   /* as MEMFD, of huge pages */
};

struct gw_ram_region {
    uint64_t gpa;        /* guest physical address of the first byte; multiple of the page size */
    uint64_t bytes;      /* multiple of the page size, > 0 */
    uint64_t page_first; /* number of the region's first page */
    uint8_t *base;       /* host mapping of `bytes` bytes */
    int fd;              /* memfd, or /proc/self/pagemap for anonymous memory */
    enum gw_ram_kind kind;
};

struct gw_ram {
    uint32_t page_bytes; /* the host's page size: 4096, 16384 or 65536 */
    uint32_t region_count;
    uint64_t page_count; /* of all regions */
    uint32_t unit_pages; /* pages of the unit in which it can be placed: 1, or those of a huge page
                            as soon as one region is of those; each region is whole units then */
    struct gw_ram_region region[GW_RAM_REGIONS_MAX];
};

/* Starts with no region; asks the host for its page size. */
void gw_ram_init(struct gw_ram *ram);

/* Makes a sealed memfd of `bytes`, maps it, and appends it as a region at `gpa`. Nothing is
 * touched. GW_LIMIT over GW_RAM_BYTES_MAX or GW_RAM_REGIONS_MAX, GW_ARGUMENT when not a multiple
 * of the page size or 0 or overlapping, GW_HOST when the kernel refuses. */
GW_MUST_USE enum gw_status gw_ram_add_memfd(struct gw_ram *ram, uint64_t gpa, uint64_t bytes,
                                            struct gw_fault *fault);

/* The same of huge pages; `bytes` and `gpa` are multiples of GW_HUGE_PAGE_BYTES, and so must those
 * of every other region be. GW_HOST, with how many there are and what to write where, when they
 * cannot be reserved: then nothing fails later. GW_LIMIT on a board without room for a unit. */
GW_MUST_USE enum gw_status gw_ram_add_hugetlb(struct gw_ram *ram, uint64_t gpa, uint64_t bytes,
                                              struct gw_fault *fault);

/* Maps and appends memory that another process made with gw_ram_add_memfd or gw_ram_add_hugetlb and
 * shares: a memfd of exactly `bytes`, sealed as there. Nothing is touched, or, of huge pages, all:
 * its holes become pages of zeros. The fd is the ram's from then on; on an error it stays the
 * caller's. GW_REFUSED when it is something else, naming what; GW_HOST when the kernel refuses. */
GW_MUST_USE enum gw_status gw_ram_add_shared(struct gw_ram *ram, uint64_t gpa, uint64_t bytes,
                                             int fd, struct gw_fault *fault);

/* Appends memory the embedder mapped itself (private, anonymous, page aligned); it stays the
 * embedder's and must outlive the ram. */
GW_MUST_USE enum gw_status gw_ram_add_anonymous(struct gw_ram *ram, uint64_t gpa, void *base,
                                                uint64_t bytes, struct gw_fault *fault);

/* Unmaps and closes what gw_ram_add_memfd made; forgets the rest. */
void gw_ram_close(struct gw_ram *ram);

/* The host address of a page. page < page_count (asserted: page numbers are checked where they
 * come in). Pages of one region are contiguous. */
uint8_t *gw_ram_page(const struct gw_ram *ram, uint64_t page);

/* How many pages from `page` on lie in the same region, `page` itself included. */
uint64_t gw_ram_contiguous(const struct gw_ram *ram, uint64_t page);

/* The host address of [gpa, gpa+bytes) when it lies within one region, else NULL. For devices
 * and loaders: the checked accessor of guest memory. */
uint8_t *gw_ram_at(const struct gw_ram *ram, uint64_t gpa, uint64_t bytes);

/* The first page in [page, end) that was ever touched, or `end` when all of them are holes; and
 * how many touched pages follow each other there, within one region (0 when there is none). An
 * error of the host counts as touched: sending too much is harmless, too little is not. */
uint64_t gw_ram_next_data(const struct gw_ram *ram, uint64_t page, uint64_t end, uint64_t *count);

/* Sets the bits of the pages in [page, end) that were ever touched; returns how many were not. */
uint64_t gw_ram_put_data(const struct gw_ram *ram, uint64_t page, uint64_t end, uint64_t *bitmap);

/* True: [page, page+count) are holes of a memfd region. False: they are not, or the kernel is at
 * them, or is older than Linux 6.5 and cannot say so for sure. */
bool gw_ram_is_hole(const struct gw_ram *ram, uint64_t page, uint64_t count);

/* Has the kernel make these pages, where any is missing, at one go: whoever fills them next does
 * not take a fault for each. From Linux 5.14 on; before, nothing changes. */
void gw_ram_populate(const struct gw_ram *ram, uint64_t page, uint64_t count);

enum gw_ram_huge {
    GW_RAM_HUGE_MADE, /* a huge page of zeros */
    GW_RAM_HUGE_NOT,  /* something is there, or may be; it cannot be one; the kernel was busy */
    GW_RAM_HUGE_NONE, /* the host had none to give, or knows no such thing: ask no more for a while
                       */
};

/* Makes one page of the GW_HUGE_PAGE_BYTES from `page` on, where all of them are holes of a memfd
 * region and lie as a huge page must; else nothing. From Linux 6.5 on. (The kernel makes none of a
 * memfd's pages by itself.) */
enum gw_ram_huge gw_ram_make_huge(const struct gw_ram *ram, uint64_t page);

/* Makes [page, page+count) holes again: reads as zero, memory given back. Of a huge page that is
 * not in it as a whole, those pages are zeroed instead. Where RAM is tracked that is a write which
 * trackers may not see: mark it (godwit/marks.h). GW_HOST when the kernel refuses. */
GW_MUST_USE enum gw_status gw_ram_discard(const struct gw_ram *ram, uint64_t page, uint64_t count,
                                          struct gw_fault *fault);

/* Gives the memory of whole units back for good: nobody may touch it again. (A huge page that was
 * discarded stays promised to this guest; one that was released is the host's.) GW_HOST as above.
 */
GW_MUST_USE enum gw_status gw_ram_release(const struct gw_ram *ram, uint64_t page, uint64_t count,
                                          struct gw_fault *fault);

#endif
