/* SPDX-License-Identifier: Apache-2.0 */
/* TLS by certificates (godwit/tls.h), made by tests/certificates.py: its folder is the argument. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include <mbedtls/rsa.h>

#include "tls_pair.h"
#include "transport/tls_internal.h"

/* For the library. */
static int get_random(void *context, unsigned char *bytes, size_t count)
{
    (void)context;
    return getrandom(bytes, count, 0) == (ssize_t)count ? 0 : -1;
}

static const char *certificates;
static struct gw_fault fault;

/* The clock that certificates are judged by, in place of libc's. 0: 2026. */
static time_t clock_s;

time_t time(time_t *seconds)
{
    time_t now = clock_s != 0 ? clock_s : 1790000000;
    if (seconds != NULL) {
        *seconds = now;
    }
    return now;
}

static int setup(void **state)
{
    clock_s = 0;
    gw_fault_clear(&fault);
    return tls_setup(state);
}

static enum gw_status open_folder(struct gw_tls_identity *identity, const char *folder,
                                  const char *hostname)
{
    char spec[GW_TLS_SPEC_BYTES];
    (void)snprintf(spec, sizeof(spec), "x509:%s/%s", certificates, folder);
    return gw_tls_open(identity, spec, hostname, &fault);
}

static void given(const char *source, const char *target, const char *hostname)
{
    if (open_folder(&tls.source, source, hostname) != GW_OK ||
        open_folder(&tls.target, target, NULL) != GW_OK) {
        fail_msg("%s", fault.text);
    }
}

static void say(struct gw_connection *from, struct gw_connection *to)
{
    char text[] = "a few words", got[sizeof(text)];
    struct iovec part = {text, sizeof(text)};
    assert_int_equal(gw_connection_write_all(from, &part, 1, &fault), GW_OK);
    part = (struct iovec){got, sizeof(got)};
    if (gw_connection_read_all(to, &part, 1, &fault) != GW_OK) {
        fail_msg("%s", fault.text);
    }
    assert_string_equal(got, text);
}

static void must_work(void)
{
    tls_shake();
    if (tls.client_status != GW_OK || tls.server_status != GW_AGAIN) {
        fail_msg("client: %s; server: %s", tls.client_fault.text, tls.server_fault.text);
    }
    say(&tls.client, &tls.server);
    say(&tls.server, &tls.client);
}

static void works_with(const char *folder)
{
    given(folder, folder, NULL);
    tls_given_listener("tcp:127.0.0.1:0");
    must_work();
}

static void both_are_believed(void **state)
{
    (void)state;
    works_with("good");
}

static void the_larger_curve_works(void **state)
{
    (void)state;
    works_with("p384");
}

static void rsa_works(void **state)
{
    (void)state;
    works_with("rsa");
}

/* The authority is known here by one kind of key, the peer by another. */
static void kinds_of_keys_may_differ(void **state)
{
    (void)state;
    given("good", "mixed", NULL);
    tls_given_listener("tcp:127.0.0.1:0");
    must_work();
}

/* As much of a peer's certificates as there may be, by the largest keys. */
static void a_chain_of_authorities_works(void **state)
{
    (void)state;
    struct gw_tls_use use;
    works_with("chain");
    gw_tls_get_use(&use);
    assert_int_equal(use.failed, 0);
    print_message("at most %zu bytes a connection\n", use.session_high_water);
}

static void a_side_needs_only_its_own(void **state)
{
    (void)state;
    given("source-only", "target-only", NULL);
    tls_given_listener("tcp:127.0.0.1:0");
    must_work();
}

static void a_name_may_be_given(void **state)
{
    (void)state;
    char uri[80];
    (void)snprintf(uri, sizeof(uri), "unix:%s/socket", tls_directory);
    given("good", "good", "target.test");
    tls_given_listener(uri);
    must_work();
}

/* ---- Refusals ---- */

/* A source's hands are shaken before its certificate was looked at: what it hears then, it reads.
 */
static void hear(void)
{
    uint8_t byte;
    size_t count;
    if (tls.client_status == GW_OK) {
        tls.client_status = tls_read_some(&tls.client, &byte, 1, &count, &tls.client_fault);
    }
}

static void both_say(const char *client, const char *server)
{
    tls_shake();
    hear();
    print_message("client: %s\nserver: %s\n", tls.client_fault.text, tls.server_fault.text);
    assert_int_equal(tls.client_status, GW_REFUSED);
    assert_int_equal(tls.server_status, GW_REFUSED);
    assert_non_null(strstr(tls.client_fault.text, client));
    assert_non_null(strstr(tls.server_fault.text, server));
}

static void a_foreign_source_is_refused(void **state)
{
    (void)state;
    given("foreign", "good", NULL);
    tls_given_listener("tcp:127.0.0.1:0");
    both_say("not signed by an authority of ca-cert.pem", "does not know who signed");
}

/* It believes the target, and the target does not believe it. */
static void half_a_foreigner_is_refused(void **state)
{
    (void)state;
    char spec[160], from[160], to[160];
    static const char *const names[][2] = {{"good/ca-cert.pem", "ca-cert.pem"},
                                           {"foreign/client-cert.pem", "client-cert.pem"},
                                           {"foreign/client-key.pem", "client-key.pem"}};
    for (int i = 0; i < 3; i++) {
        (void)snprintf(from, sizeof(from), "%s/%s", certificates, names[i][0]);
        (void)snprintf(to, sizeof(to), "%s/%s", tls_directory, names[i][1]);
        assert_int_equal(symlink(from, to), 0);
    }
    (void)snprintf(spec, sizeof(spec), "x509:%s", tls_directory);
    assert_int_equal(gw_tls_open(&tls.source, spec, NULL, &fault), GW_OK);
    assert_int_equal(open_folder(&tls.target, "good", NULL), GW_OK);
    tls_given_listener("tcp:127.0.0.1:0");
    both_say("does not know who signed", "not signed by an authority of ca-cert.pem");
}

static void an_expired_source_is_refused(void **state)
{
    (void)state;
    clock_s = 1590000000; /* 2020 */
    given("expired", "expired", NULL);
    clock_s = 0;
    gw_tls_close(&tls.target);
    assert_int_equal(open_folder(&tls.target, "good", NULL), GW_OK);
    tls_given_listener("tcp:127.0.0.1:0");
    both_say("has expired", "it has expired, by this host's clock");
}

static void an_expired_target_is_refused(void **state)
{
    (void)state;
    clock_s = 1590000000;
    given("expired", "expired", NULL);
    clock_s = 0;
    gw_tls_close(&tls.source);
    assert_int_equal(open_folder(&tls.source, "good", NULL), GW_OK);
    tls_given_listener("tcp:127.0.0.1:0");
    both_say("it has expired, by this host's clock", "has expired");
}

static void one_that_is_not_valid_yet_is_refused(void **state)
{
    (void)state;
    given("good", "later", NULL);
    tls_given_listener("tcp:127.0.0.1:0");
    both_say("it is not valid yet", "certificate");
}

static void another_name_is_refused(void **state)
{
    (void)state;
    given("good", "good", "other.test");
    tls_given_listener("tcp:127.0.0.1:0");
    both_say("has not the name other.test", "certificate");
}

static void a_certificate_for_the_other_side_is_refused(void **state)
{
    (void)state;
    given("swapped", "good", NULL);
    tls_given_listener("tcp:127.0.0.1:0");
    both_say("certificate is not for that", "it is not for that (extended key usage)");
}

static void a_key_and_a_certificate_do_not_agree(void **state)
{
    (void)state;
    tls_given_key(&tls.source, "a:" TLS_KEY_A);
    assert_int_equal(open_folder(&tls.target, "good", NULL), GW_OK);
    tls_given_listener("tcp:127.0.0.1:0");
    both_say("is one with certificates", "the peer comes with a pre-shared key");
}

/* In the memory that its others are in. */
static void show_one_more(struct gw_tls_identity *identity, int endpoint, const char *file)
{
    char path[160];
    unsigned char text[4096];
    (void)snprintf(path, sizeof(path), "%s/%s", certificates, file);
    FILE *from = fopen(path, "r");
    assert_non_null(from);
    size_t count = fread(text, 1, sizeof(text) - 1, from);
    (void)fclose(from);
    text[count] = '\0';
    assert_int_equal(mbedtls_x509_crt_parse(&identity->keys->own[endpoint], text, count + 1), 0);
}

/* By a peer that shows more than this godwit would read of its own. */
static void too_long_a_chain_is_refused(void **state)
{
    (void)state;
    given("cutchain", "cutchain", NULL);
    tls_given_listener("tcp:127.0.0.1:0");
    both_say("not signed by an authority of ca-cert.pem", "does not know who signed");
    gw_connection_close(&tls.client);
    gw_connection_close(&tls.server);
    gw_fault_clear(&tls.client_fault);
    gw_fault_clear(&tls.server_fault);
    (void)strcpy(tls.listener.uri.host, "localhost");
    show_one_more(&tls.target, MBEDTLS_SSL_IS_SERVER, "longchain/between0/ca-cert.pem");
    both_say("more than 3 others between it and one of ca-cert.pem", "the peer ended TLS: ");
}

/* ---- Files ---- */

static void an_unusable_folder_is_refused(const char *folder, const char *words)
{
    gw_fault_clear(&fault);
    assert_int_equal(open_folder(&tls.source, folder, NULL), GW_ARGUMENT);
    print_message("%s\n", fault.text);
    assert_non_null(strstr(fault.text, words));
    assert_null(tls.source.keys);
}

static void files_are_checked(void **state)
{
    (void)state;
    an_unusable_folder_is_refused("nothing", "ca-cert.pem: not there");
    an_unusable_folder_is_refused("rsa1024", "an RSA key of 1024 bits, wanted 2048 to 4096");
    an_unusable_folder_is_refused("longchain", "4 certificates behind the first, wanted 3");
    an_unusable_folder_is_refused("expired", "the certificate expired on 2021-01-01");
    struct gw_listener listener;
    struct gw_transport_options options = gw_transport_defaults;
    struct gw_uri uri = {.scheme = GW_URI_TCP, .host = "127.0.0.1"};
    assert_int_equal(open_folder(&tls.source, "source-only", NULL), GW_OK);
    options.tls = &tls.source;
    gw_fault_clear(&fault);
    assert_int_equal(gw_listener_open(&listener, &uri, &options, &fault), GW_ARGUMENT);
    assert_non_null(strstr(fault.text, "no server-cert.pem"));
}

static void a_target_without_a_host_needs_a_name(void **state)
{
    (void)state;
    char uri[80];
    (void)snprintf(uri, sizeof(uri), "unix:%s/socket", tls_directory);
    given("good", "good", NULL);
    tls_given_listener(uri);
    struct gw_uri where = tls.listener.uri;
    assert_int_equal(gw_connection_open(&tls.client, NULL), GW_OK);
    assert_int_equal(gw_connection_connect(&tls.client, &where, &tls.source_options, &fault),
                     GW_ARGUMENT);
    assert_non_null(strstr(fault.text, "--tls-hostname"));
}

/* ---- Coming back ---- */

static uint64_t resumed(void)
{
    struct gw_tls_use use;
    gw_tls_get_use(&use);
    return use.resumed;
}

static void who_was_believed_comes_back_without_certificates(void **state)
{
    (void)state;
    uint8_t ticket[GW_TLS_TICKET_BYTES];
    works_with("good");
    uint64_t before = resumed();
    memcpy(ticket, tls.source.keys->ticket, sizeof(ticket));
    for (int i = 0; i < 3; i++) {
        gw_connection_close(&tls.client);
        gw_connection_close(&tls.server);
        must_work();
    }
    assert_int_equal(resumed(), before + 3);
    /* No other ticket comes with that: its hour is from when certificates were looked at. */
    assert_memory_equal(tls.source.keys->ticket, ticket, sizeof(ticket));
    /* A target that was started anew does not know the ticket: all of the handshake. */
    gw_connection_close(&tls.client);
    gw_connection_close(&tls.server);
    gw_tls_close(&tls.target);
    assert_int_equal(open_folder(&tls.target, "good", NULL), GW_OK);
    must_work();
    assert_int_equal(resumed(), before + 3);
}

static void memory_is_flat_after_the_handshake(void **state)
{
    (void)state;
    struct gw_tls_use first, now;
    works_with("p384");
    gw_tls_get_use(&first);
    for (int i = 0; i < 5; i++) {
        say(&tls.client, &tls.server);
        say(&tls.server, &tls.client);
    }
    gw_tls_get_use(&now);
    assert_memory_equal(&first, &now, sizeof(now));
    assert_int_equal(now.failed, 0);
    for (int i = 0; i < 3; i++) {
        gw_connection_close(&tls.client);
        gw_connection_close(&tls.server);
        must_work();
        gw_tls_get_use(&now);
        assert_int_equal(now.common_used, first.common_used);
        assert_int_equal(now.session_high_water, first.session_high_water);
    }
    print_message("one connection: %zu bytes, at most %zu; keys: %zu, at most %zu\n",
                  now.session_used / 2, now.session_high_water, now.common_used,
                  now.common_high_water);
}

/* Its keys grow as they are used: all of that is over when the identity is open. A source has the
 * ticket of one host: by another name for it both sides sign and verify again. What stayed in a
 * session's memory would fail where the session is given back. */
static void shake_by_two_names(int times)
{
    struct gw_tls_use first, now;
    gw_tls_get_use(&first);
    for (int i = 0; i < times; i++) {
        gw_connection_close(&tls.client);
        gw_connection_close(&tls.server);
        (void)strcpy(tls.listener.uri.host, i % 2 == 0 ? "localhost" : "127.0.0.1");
        must_work();
        gw_tls_get_use(&now);
        assert_int_equal(now.resumed, first.resumed);
        assert_int_equal(now.common_used, first.common_used);
    }
    assert_int_equal(now.failed, first.failed);
    print_message("at most %zu bytes a connection; keys: %zu, at most %zu\n",
                  now.session_high_water, now.common_used, now.common_high_water);
}

static void a_large_rsa_key_grows_no_more(void **state)
{
    (void)state;
    works_with("rsa4096");
    shake_by_two_names(4);
}

/* A bit more than whole words: what blinds it is often a word shorter than the next. */
static void an_rsa_key_of_an_odd_length_grows_no_more(void **state)
{
    (void)state;
    works_with("rsa2050");
    shake_by_two_names(16);
}

static int sign(mbedtls_pk_context *key, unsigned char *signature, size_t *count)
{
    static const unsigned char hash[32] = {1};
    return mbedtls_pk_sign_ext(MBEDTLS_PK_RSASSA_PSS, key, MBEDTLS_MD_SHA256, hash, sizeof(hash),
                               signature, MBEDTLS_PK_SIGNATURE_MAX_SIZE, count, get_random, NULL);
}

static bool is_good(mbedtls_pk_context *key, mbedtls_pk_context *shown)
{
    static const unsigned char hash[32] = {1};
    const mbedtls_pk_rsassa_pss_options options = {MBEDTLS_MD_SHA256, MBEDTLS_RSA_SALT_LEN_ANY};
    unsigned char signature[MBEDTLS_PK_SIGNATURE_MAX_SIZE];
    size_t count;
    return sign(key, signature, &count) == 0 &&
           mbedtls_pk_verify_ext(MBEDTLS_PK_RSASSA_PSS, &options, shown, MBEDTLS_MD_SHA256, hash,
                                 sizeof(hash), signature, count) == 0;
}

/* However little memory a session has left: it signs, or does not begin to, and the key is as good
 * as before. */
static void too_little_memory_does_not_spoil_a_key(void **state)
{
    (void)state;
    enum { STEP = 48, LEFT_MAX = 8192 };
    unsigned char signature[MBEDTLS_PK_SIGNATURE_MAX_SIZE];
    size_t count, signed_with = 0, refused_with = 0;
    given("rsa", "rsa", NULL);
    mbedtls_pk_context *key = &tls.target.keys->own_key[MBEDTLS_SSL_IS_SERVER];
    mbedtls_pk_context *shown = &tls.target.keys->own[MBEDTLS_SSL_IS_SERVER].pk;
    for (size_t left = STEP; left < LEFT_MAX; left += STEP) {
        struct gw_tls_session *session = gw_tls_take_session();
        (void)gw_tls_use_memory_of(session);
        void *rest = gw_tls_calloc(1, session->blocks.size - 64 - left);
        assert_non_null(rest);
        if (gw_tls_can_sign(key)) {
            assert_int_equal(sign(key, signature, &count), 0);
            signed_with = signed_with == 0 ? left : signed_with;
        } else {
            refused_with = left;
        }
        gw_tls_free(rest);
        (void)gw_tls_use_memory_of(NULL);
        gw_tls_give_session(session);
        assert_true(is_good(key, shown));
    }
    print_message("refused with %zu bytes left, signed with %zu\n", refused_with, signed_with);
    assert_true(refused_with > 0 && signed_with > refused_with);
}

static size_t client_lacks, server_lacks; /* bytes of each side's memory */

/* The linker puts it before the library's own (meson.build). The client is a thread of its own. */
struct gw_tls_session *__wrap_gw_tls_take_session(void);
struct gw_tls_session *__real_gw_tls_take_session(void);

struct gw_tls_session *__wrap_gw_tls_take_session(void)
{
    struct gw_tls_session *session = __real_gw_tls_take_session();
    session->blocks.size -= gettid() == getpid() ? server_lacks : client_lacks;
    return session;
}

/* It works, or the side that lacks memory says so, and the other one hears it. */
static bool works_with_less(void)
{
    const struct gw_fault *own = client_lacks > 0 ? &tls.client_fault : &tls.server_fault;
    const struct gw_fault *other = client_lacks > 0 ? &tls.server_fault : &tls.client_fault;
    gw_fault_clear(&tls.client_fault);
    gw_fault_clear(&tls.server_fault);
    (void)strcpy(tls.listener.uri.host, "localhost");
    tls_shake();
    bool does_work = tls.client_status == GW_OK && tls.server_status == GW_AGAIN;
    if (!does_work) {
        hear();
        print_message("%zu, %zu less: client: %s\nserver: %s\n", client_lacks, server_lacks,
                      tls.client_fault.text, tls.server_fault.text);
        assert_int_equal(own->status, GW_REFUSED);
        assert_non_null(strstr(own->text, "more than a connection's share of memory"));
        assert_non_null(strstr(other->text, "the peer ended TLS: "));
    }
    gw_connection_close(&tls.client);
    gw_connection_close(&tls.server);
    return does_work;
}

/* Wherever the handshake is when memory ends. */
static void a_handshake_without_memory_says_so(void **state)
{
    (void)state;
    enum { MOST = 32 << 10, STEP = 1 << 10 };
    given("chain", "chain", NULL);
    tls_given_listener("tcp:127.0.0.1:0");
    client_lacks = MOST;
    while (!works_with_less()) {
        client_lacks -= STEP;
    }
    size_t client_may_lack = client_lacks;
    client_lacks = 0;
    server_lacks = MOST;
    while (!works_with_less()) {
        server_lacks -= STEP;
    }
    print_message("it works with %zu bytes less for the client, %zu for the server\n",
                  client_may_lack, server_lacks);
    assert_true(client_may_lack < MOST && server_lacks < MOST);
    server_lacks = 0;
}

/* As many identities as there is memory for their keys; then a refusal, and nothing else. (Last: it
 * counts as failed.) */
static void keys_have_their_limit(void **state)
{
    (void)state;
    struct gw_tls_identity many[8] = {{.keys = NULL}};
    enum gw_status status = GW_OK;
    int count = 0;
    for (; count < 8 && status == GW_OK; count++) {
        status = open_folder(&many[count], "rsa4096", NULL);
    }
    print_message("%s\n", fault.text);
    assert_int_equal(status, GW_LIMIT);
    assert_non_null(strstr(fault.text, "memory"));
    assert_true(count > 2);
    for (int i = 0; i < count; i++) {
        gw_tls_close(&many[i]);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, tls_teardown)

int main(int count, char **words)
{
    const struct CMUnitTest tests[] = {
        TEST(both_are_believed),
        TEST(the_larger_curve_works),
        TEST(rsa_works),
        TEST(kinds_of_keys_may_differ),
        TEST(a_chain_of_authorities_works),
        TEST(a_side_needs_only_its_own),
        TEST(a_name_may_be_given),
        TEST(a_foreign_source_is_refused),
        TEST(half_a_foreigner_is_refused),
        TEST(too_long_a_chain_is_refused),
        TEST(an_expired_source_is_refused),
        TEST(an_expired_target_is_refused),
        TEST(one_that_is_not_valid_yet_is_refused),
        TEST(another_name_is_refused),
        TEST(a_certificate_for_the_other_side_is_refused),
        TEST(a_key_and_a_certificate_do_not_agree),
        TEST(files_are_checked),
        TEST(a_target_without_a_host_needs_a_name),
        TEST(who_was_believed_comes_back_without_certificates),
        TEST(memory_is_flat_after_the_handshake),
        TEST(a_large_rsa_key_grows_no_more),
        TEST(an_rsa_key_of_an_odd_length_grows_no_more),
        TEST(too_little_memory_does_not_spoil_a_key),
        TEST(a_handshake_without_memory_says_so),
        TEST(keys_have_their_limit),
    };
    if (count != 2) {
        fprintf(stderr, "usage: unit-tls_x509 CERTIFICATES\n");
        return 2;
    }
    certificates = realpath(words[1], NULL);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    free((void *)(uintptr_t)certificates);
    return failed;
}
