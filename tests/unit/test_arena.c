/* SPDX-License-Identifier: Apache-2.0 */
/* The arena (godwit/arena.h), under other names than libc's, so that the test has its own heap. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define malloc         arena_malloc
#define calloc         arena_calloc
#define realloc        arena_realloc
#define free           arena_free
#define aligned_alloc  arena_aligned_alloc
#define __libc_malloc  arena_libc_malloc
#define __libc_calloc  arena_libc_calloc
#define __libc_realloc arena_libc_realloc
#define __libc_free    arena_libc_free
#include "base/arena.c"

static struct gw_arena_use use(void)
{
    struct gw_arena_use now;
    gw_arena_get_use(&now);
    return now;
}

static int check_empty(void **state)
{
    (void)state;
    return use().used == 0 ? 0 : -1;
}

static void blocks_are_aligned_apart_and_zeroed_by_calloc(void **state)
{
    (void)state;
    uint8_t *a = malloc(1);
    uint8_t *b = malloc(0);
    uint8_t *c = aligned_alloc(256, 10);
    assert_true((uintptr_t)a % 16 == 0 && (uintptr_t)b % 16 == 0 && (uintptr_t)c % 256 == 0);
    assert_true(a != b && b != c);
    memset(c, 0xff, 10);
    free(c);
    uint8_t *d = calloc(100, 10);
    for (size_t i = 0; i < 1000; i++) {
        assert_int_equal(d[i], 0);
    }
    free(a);
    free(b);
    free(d);
    free(NULL);
    assert_null(aligned_alloc(3, 1));
    assert_int_equal(errno, EINVAL);
}

static void full_arena_says_no_and_recovers(void **state)
{
    (void)state;
    size_t failed_before = use().failed;
    uint8_t *all = malloc(GW_ARENA_BYTES - 16);
    assert_non_null(all);
    assert_int_equal(use().high_water, GW_ARENA_BYTES);
    assert_null(malloc(1));
    assert_int_equal(errno, ENOMEM);
    assert_null(realloc(all, GW_ARENA_BYTES));
    free(all);
    assert_null(malloc(GW_ARENA_BYTES));
    assert_null(malloc(SIZE_MAX));
    assert_null(malloc(SIZE_MAX - 20));
    assert_null(calloc(SIZE_MAX / 2, 3));
    assert_int_equal(use().failed, failed_before + 5);
    /* Pieces merge again. */
    uint8_t *piece[8];
    for (int i = 0; i < 8; i++) {
        piece[i] = malloc(GW_ARENA_BYTES / 16);
    }
    for (int i = 0; i < 8; i += 2) {
        free(piece[i]);
        free(piece[7 - i]);
    }
    all = malloc(GW_ARENA_BYTES - 16);
    assert_non_null(all);
    free(all);
}

static void realloc_keeps_the_bytes(void **state)
{
    (void)state;
    uint8_t *a = realloc(NULL, 100);
    for (int i = 0; i < 100; i++) {
        a[i] = (uint8_t)i;
    }
    uint8_t *wall = malloc(1);
    a = realloc(a, 1000);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(a[i], i);
    }
    assert_ptr_equal(realloc(a, 10), a);
    free(wall);
    free(a);
}

/* ---- Threads ---- */

struct owner {
    uint8_t *block[16];
    size_t size[16];
    uint8_t mark;
    bool is_wrong;
};

static void step(struct owner *owner, uint32_t random)
{
    uint32_t i = random >> 28;
    for (size_t k = 0; k < owner->size[i]; k++) {
        owner->is_wrong |= owner->block[i][k] != (uint8_t)(owner->mark + i);
    }
    free(owner->block[i]);
    owner->size[i] = (random >> 8) % 400;
    owner->block[i] = malloc(owner->size[i]);
    if (owner->block[i] == NULL) {
        owner->size[i] = 0;
        return;
    }
    memset(owner->block[i], (uint8_t)(owner->mark + i), owner->size[i]);
}

static void *allocate_at_random(void *argument)
{
    struct owner *owner = argument;
    uint32_t random = owner->mark;
    for (int i = 0; i < 20000; i++) {
        random = random * 1664525 + 1013904223;
        step(owner, random);
    }
    for (int i = 0; i < 16; i++) {
        free(owner->block[i]);
    }
    return NULL;
}

static void blocks_of_threads_do_not_mix(void **state)
{
    (void)state;
    struct owner owner[2] = {{.mark = 1}, {.mark = 101}};
    pthread_t thread[2];
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pthread_create(&thread[i], NULL, allocate_at_random, &owner[i]), 0);
    }
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pthread_join(thread[i], NULL), 0);
        assert_false(owner[i].is_wrong);
    }
}

#define TEST(name) cmocka_unit_test_teardown(name, check_empty)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(blocks_are_aligned_apart_and_zeroed_by_calloc),
        TEST(full_arena_says_no_and_recovers),
        TEST(realloc_keeps_the_bytes),
        TEST(blocks_of_threads_do_not_mix),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
