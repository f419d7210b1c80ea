/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wipe: writes over the memory that this machine has free, and gives it back.
 *
 * The emulator of a gateway keeps the code that it has translated, and forgets that of a page when
 * somebody writes there: slowly, for each piece of code once. Whoever comes to use memory in which
 * another guest's kernel lay would pay for that.
 */
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>

#define PIECE_BYTES (UINT64_C(2) << 20)
#define LEFT_BYTES  (UINT64_C(64) << 20) /* for whoever needs some meanwhile */

static uint64_t free_bytes(void)
{
    struct sysinfo info;
    return sysinfo(&info) == 0 ? (uint64_t)info.freeram * info.mem_unit : 0;
}

int main(void)
{
    while (free_bytes() > LEFT_BYTES + PIECE_BYTES) {
        void *piece =
            mmap(NULL, PIECE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (piece == MAP_FAILED) {
            perror("wipe");
            return 1;
        }
        memset(piece, 1, PIECE_BYTES);
    }
    return 0;
}
