/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All memory of TLS: a share for each connection, whose it is alone, and a common one for keys.
 * What one peer makes the library allocate takes nothing from another, and a connection's use can
 * be told. The contract: transport/tls_internal.h.
 */
#include <assert.h>
#include <string.h>

#include "transport/tls_internal.h"

union slot {
    struct gw_tls_session session;
    _Alignas(GW_BLOCK_ALIGN) uint8_t bytes[GW_TLS_SESSION_BYTES];
};

#define OWN_BYTES \
    ((sizeof(struct gw_tls_session) + GW_BLOCK_ALIGN - 1) / GW_BLOCK_ALIGN * GW_BLOCK_ALIGN)

static_assert(sizeof(union slot) == GW_TLS_SESSION_BYTES, "the session is a part of its share");
static_assert(GW_TLS_SESSION_BYTES >= OWN_BYTES + 3 * (uint64_t)GW_TLS_RECORD_BYTES,
              "two records of 16 KiB, and as much for the handshake");

static union slot slots[GW_TLS_SESSIONS_MAX];
static _Alignas(GW_BLOCK_ALIGN) uint8_t common_bytes[GW_TLS_COMMON_BYTES];
static struct gw_blocks common = {.bytes = common_bytes, .size = sizeof(common_bytes)};

static pthread_mutex_t pool_lock = PTHREAD_MUTEX_INITIALIZER; /* who has a slot; then a session's */
static pthread_mutex_t common_lock = PTHREAD_MUTEX_INITIALIZER;
static size_t high_water, failed; /* of sessions that are over */
static size_t resumed;

static _Thread_local struct gw_tls_session *owner;

void *gw_tls_calloc(size_t count, size_t size);
void gw_tls_free(void *block);

/* ---- Slots ---- */

struct gw_tls_session *gw_tls_take_session(void)
{
    struct gw_tls_session *session = NULL;
    pthread_mutex_lock(&pool_lock);
    for (int i = 0; i < GW_TLS_SESSIONS_MAX && session == NULL; i++) {
        if (!slots[i].session.is_used) {
            session = &slots[i].session;
            memset(session, 0, sizeof(*session));
            session->blocks.bytes = slots[i].bytes + OWN_BYTES;
            session->blocks.size = sizeof(slots[i].bytes) - OWN_BYTES;
            (void)pthread_mutex_init(&session->lock, NULL);
            session->is_used = true;
        }
    }
    pthread_mutex_unlock(&pool_lock);
    return session;
}

static void note_use(const struct gw_blocks *blocks)
{
    size_t most = OWN_BYTES + blocks->high_water;
    high_water = most > high_water ? most : high_water;
}

void gw_tls_give_session(struct gw_tls_session *session)
{
    GW_ASSERT(session->blocks.used == 0);
    pthread_mutex_lock(&pool_lock);
    note_use(&session->blocks);
    failed += session->blocks.failed;
    memset(session->blocks.bytes, 0, GW_BLOCK_ALIGN); /* one free block again */
    (void)pthread_mutex_destroy(&session->lock);
    session->is_used = false;
    pthread_mutex_unlock(&pool_lock);
}

void gw_tls_note_resumed(void)
{
    pthread_mutex_lock(&pool_lock);
    resumed++;
    pthread_mutex_unlock(&pool_lock);
}

size_t gw_tls_count_failed(void)
{
    pthread_mutex_lock(&common_lock);
    size_t count = common.failed;
    pthread_mutex_unlock(&common_lock);
    return count;
}

void gw_tls_get_use(struct gw_tls_use *use)
{
    *use = (struct gw_tls_use){0};
    pthread_mutex_lock(&pool_lock);
    size_t failed_now = failed;
    for (int i = 0; i < GW_TLS_SESSIONS_MAX; i++) {
        struct gw_tls_session *session = &slots[i].session;
        if (session->is_used) {
            pthread_mutex_lock(&session->lock);
            use->sessions++;
            use->session_used += OWN_BYTES + session->blocks.used;
            failed_now += session->blocks.failed;
            note_use(&session->blocks);
            pthread_mutex_unlock(&session->lock);
        }
    }
    use->session_high_water = high_water;
    use->resumed = resumed;
    pthread_mutex_unlock(&pool_lock);
    pthread_mutex_lock(&common_lock);
    use->common_used = common.used;
    use->common_high_water = common.high_water;
    use->failed = failed_now + common.failed;
    pthread_mutex_unlock(&common_lock);
}

/* ---- What the library calls ---- */

struct gw_tls_session *gw_tls_use_memory_of(struct gw_tls_session *session)
{
    struct gw_tls_session *before = owner;
    owner = session;
    return before;
}

void *gw_tls_calloc(size_t count, size_t size)
{
    if (owner != NULL) {
        return gw_blocks_take_clear(&owner->blocks, count, size);
    }
    pthread_mutex_lock(&common_lock);
    void *block = gw_blocks_take_clear(&common, count, size);
    pthread_mutex_unlock(&common_lock);
    return block;
}

/* Whose it is, its address tells: a session frees nothing of another, but may of the common. */
void gw_tls_free(void *block)
{
    if (block == NULL) {
        return;
    }
    if (!gw_blocks_hold(&common, block)) {
        GW_ASSERT(owner != NULL);
        gw_blocks_give(&owner->blocks, block);
        return;
    }
    pthread_mutex_lock(&common_lock);
    gw_blocks_give(&common, block);
    pthread_mutex_unlock(&common_lock);
}
