/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzzers: programs of libFuzzer around one decoder each. Besides the sanitizers' complaints, a
 * decoder must say only what holds: what passes is within bounds, and what is encoded again is
 * what was decoded.
 *
 * How they are built and run: tests/fuzz/__init__.py. The corpus begins with what the encoders
 * make.
 */
#ifndef FUZZ_H
#define FUZZ_H

#include <stddef.h>
#include <stdint.h>

/* Each program's own. */
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);
void fuzz_make_seeds(void);

/* Puts these bytes into the corpus (of GW_FUZZ_SEEDS, if that is set). */
void fuzz_seed(const void *bytes, size_t count);

int LLVMFuzzerInitialize(int *argc, char ***argv);

#endif
