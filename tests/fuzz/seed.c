/* SPDX-License-Identifier: Apache-2.0 */
/* The corpus' beginning. See fuzz.h. */
#include <stdio.h>
#include <stdlib.h>

#include "fuzz.h"

static const char *folder;
static unsigned made;

void fuzz_seed(const void *bytes, size_t count)
{
    char path[512];
    if (folder == NULL) {
        return;
    }
    (void)snprintf(path, sizeof(path), "%s/seed-%u", folder, made++);
    FILE *file = fopen(path, "wb");
    if (file == NULL || fwrite(bytes, 1, count, file) != count || fclose(file) != 0) {
        perror(path);
        exit(1);
    }
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    folder = getenv("GW_FUZZ_SEEDS");
    fuzz_make_seeds();
    return 0;
}
