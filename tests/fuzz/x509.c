/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Certificates of a peer: a byte, then up to four of them, each behind two bytes for its length.
 * They are parsed and judged as a handshake does it, in the memory of one connection: a source's,
 * or, when the byte is odd, a target's. When it is large they are shown in a handshake too, by one
 * who has the key of such a certificate: to a target, or to a source. Whoever is believed shows
 * what the authority has signed.
 *
 * The authority, and certificates of many kinds to begin with, are tests/certificates.py's.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <mbedtls/oid.h>

#include "fuzz.h"
#include "godwit/transport.h"
#include "transport/tls_internal.h"

enum { CHAIN_MAX = 5, KNOWN_MAX = 64, FILE_BYTES_MAX = 32768 };
enum { IS_SHOWN = 0xf0 }; /* that byte, or larger */

#define FOLDER    "build/fuzz/certificates"
#define LIMIT_NS  UINT64_C(5000000000)
#define PATIENCE  20000 /* ms; no run takes so long */
#define HOST_NAME "target.test"

/* ---- What is believed ---- */

static mbedtls_x509_crt authority, own[2]; /* by endpoint */
static mbedtls_pk_context own_key[2];
static mbedtls_ssl_config liar[2];        /* who has a key, and shows any certificate */
static mbedtls_x509_crt shown[CHAIN_MAX]; /* that one's */
static struct gw_tls_identity source_identity, target_identity;
static struct gw_listener listener, liar_listener;

/* Those that are valid, of what the input begins with: nobody has signed any other. */
static mbedtls_x509_crt known[KNOWN_MAX]; /* nothing but what is signed is set */
static int known_count;

static const char *const names[2][2] = {{"client-cert.pem", "client-key.pem"},
                                        {"server-cert.pem", "server-key.pem"}};

static void require(bool is_so, const char *what)
{
    if (!is_so) {
        (void)fprintf(stderr, "fuzz: %s\n", what);
        abort();
    }
}

static int get_random(void *context, unsigned char *bytes, size_t count)
{
    (void)context;
    for (size_t i = 0; i < count; i++) { /* nobody's secret */
        bytes[i] = (unsigned char)random();
    }
    return 0;
}

/* With its NUL; 0: there is none. */
static size_t read_text(const char *folder, const char *name, unsigned char *text)
{
    char path[256];
    (void)snprintf(path, sizeof(path), FOLDER "/%s/%s", folder, name);
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        return 0;
    }
    size_t count = fread(text, 1, FILE_BYTES_MAX - 1, file);
    (void)fclose(file);
    text[count] = '\0';
    return count + 1;
}

static void make_certificates(void)
{
    struct stat facts;
    if (stat(FOLDER "/good/ca-cert.pem", &facts) != 0) {
        require(system("mkdir -p build/fuzz && python3 tests/certificates.py " FOLDER) == 0,
                "tests/certificates.py failed (run this from the top of the tree)");
    }
}

static void read_own(int endpoint)
{
    static unsigned char text[FILE_BYTES_MAX];
    size_t count = read_text("good", names[endpoint][0], text);
    mbedtls_x509_crt_init(&own[endpoint]);
    mbedtls_pk_init(&own_key[endpoint]);
    require(mbedtls_x509_crt_parse(&own[endpoint], text, count) == 0, names[endpoint][0]);
    count = read_text("good", names[endpoint][1], text);
    require(mbedtls_pk_parse_key(&own_key[endpoint], text, count, NULL, 0, get_random, NULL) == 0,
            names[endpoint][1]);
}

static void begin_liar(int endpoint)
{
    mbedtls_ssl_config *config = &liar[endpoint];
    mbedtls_ssl_config_init(config);
    int error = mbedtls_ssl_config_defaults(config, endpoint, MBEDTLS_SSL_TRANSPORT_STREAM,
                                            MBEDTLS_SSL_PRESET_DEFAULT);
    mbedtls_ssl_conf_rng(config, get_random, NULL);
    mbedtls_ssl_conf_authmode(config, MBEDTLS_SSL_VERIFY_NONE);
    mbedtls_ssl_conf_tls13_key_exchange_modes(config,
                                              MBEDTLS_SSL_TLS1_3_KEY_EXCHANGE_MODE_EPHEMERAL);
    require(error == 0 && mbedtls_ssl_conf_own_cert(config, shown, &own_key[endpoint]) == 0,
            "no memory for who lies");
}

static void open_listeners(void)
{
    static char folder[] = "/tmp/godwit-fuzz-XXXXXX";
    struct gw_uri uri = {.scheme = GW_URI_UNIX};
    struct gw_transport_options options = gw_transport_defaults;
    require(mkdtemp(folder) != NULL, "mkdtemp");
    (void)snprintf(uri.path, sizeof(uri.path), "%s/liar", folder);
    require(gw_listener_open(&liar_listener, &uri, &options, NULL) == GW_OK, "a listener");
    options.tls = &target_identity;
    options.idle_ns_max = LIMIT_NS;
    (void)snprintf(uri.path, sizeof(uri.path), "%s/target", folder);
    require(gw_listener_open(&listener, &uri, &options, NULL) == GW_OK, "a listener");
}

static void prepare(void)
{
    static unsigned char text[FILE_BYTES_MAX];
    struct gw_fault fault = {.status = GW_OK};
    if (listener.operations != NULL) {
        return;
    }
    make_certificates();
    require(gw_tls_open(&source_identity, "x509:" FOLDER "/good", HOST_NAME, &fault) == GW_OK &&
                gw_tls_open(&target_identity, "x509:" FOLDER "/good", NULL, &fault) == GW_OK,
            fault.text);
    size_t count = read_text("good", "ca-cert.pem", text);
    mbedtls_x509_crt_init(&authority);
    require(mbedtls_x509_crt_parse(&authority, text, count) == 0, "ca-cert.pem");
    for (int endpoint = 0; endpoint < 2; endpoint++) {
        read_own(endpoint);
        begin_liar(endpoint);
    }
    open_listeners();
}

static bool is_signed(const mbedtls_x509_crt *one, const mbedtls_x509_crt *other)
{
    return one->tbs.len == other->tbs.len && one->tbs.p != NULL &&
           memcmp(one->tbs.p, other->tbs.p, one->tbs.len) == 0;
}

static bool is_known(const mbedtls_x509_crt *one)
{
    for (int i = 0; i < known_count; i++) {
        if (is_signed(one, &known[i])) {
            return true;
        }
    }
    return false;
}

/* ---- Parsed, and judged ---- */

/* As the library does it: mbedtls_ssl_tls13_parse_certificate, ssl_tls13_validate_certificate. */
static void judge(mbedtls_x509_crt *chain, const char *host)
{
    uint32_t flags = 0;
    int error = mbedtls_x509_crt_verify_with_profile(
        chain, &authority, NULL, &mbedtls_x509_crt_profile_default, host, &flags, NULL, NULL);
    GW_ASSERT((error == 0) == (flags == 0));
    GW_ASSERT(error != 0 || is_known(chain));
}

/* What the first one in the input is. */
enum likeness { IS_OTHER, IS_SIGNED, IS_OWN }; /* signed: but for the signature */

static enum likeness compare(const mbedtls_x509_crt *one, const mbedtls_x509_crt *other)
{
    bool is_same = one->raw.len == other->raw.len && one->raw.p != NULL &&
                   memcmp(one->raw.p, other->raw.p, one->raw.len) == 0;
    return is_same && one->next == NULL ? IS_OWN : is_signed(one, other) ? IS_SIGNED : IS_OTHER;
}

/* Whose signature is of no kind that the library knows is passed over. */
static int parse_one(mbedtls_x509_crt *chain, const uint8_t *bytes, size_t count)
{
    int error = mbedtls_x509_crt_parse_der(chain, bytes, count);
    return error == MBEDTLS_ERR_X509_UNKNOWN_SIG_ALG + MBEDTLS_ERR_OID_NOT_FOUND ? 0 : error;
}

/* How many there are; *likeness: the first one's to that endpoint's own. */
static int parse(const uint8_t *at, const uint8_t *end, int endpoint, enum likeness *likeness)
{
    int count = 0;
    int error = 0;
    struct gw_tls_session *session = gw_tls_take_session();
    (void)gw_tls_use_memory_of(session);
    mbedtls_x509_crt chain;
    mbedtls_x509_crt_init(&chain);
    memset(shown, 0, sizeof(shown));
    while (end - at > 2 && count < CHAIN_MAX) {
        size_t bytes = (size_t)at[0] << 8 | at[1];
        size_t left = (size_t)(end - at - 2);
        bytes = bytes < left ? bytes : left;
        uint8_t *exact = malloc(bytes > 0 ? bytes : 1);
        memcpy(exact, at + 2, bytes);
        shown[count++].raw = (mbedtls_x509_buf){.len = bytes, .p = exact};
        error = error == 0 ? parse_one(&chain, exact, bytes) : error;
        at += 2 + bytes;
    }
    if (error == 0 && count > 0) {
        judge(&chain, endpoint == MBEDTLS_SSL_IS_SERVER ? HOST_NAME : NULL);
    }
    *likeness = error == 0 ? compare(&chain, &own[endpoint]) : IS_OTHER;
    mbedtls_x509_crt_free(&chain);
    (void)gw_tls_use_memory_of(NULL);
    gw_tls_give_session(session);
    return count;
}

/* ---- Shown ---- */

static int take_bytes(void *context, unsigned char *bytes, size_t count)
{
    ssize_t got = recv(*(const int *)context, bytes, count, 0);
    return got > 0 ? (int)got : got < 0 && errno == EAGAIN ? MBEDTLS_ERR_SSL_WANT_READ : -1;
}

static int give_bytes(void *context, const unsigned char *bytes, size_t count)
{
    ssize_t gone = send(*(const int *)context, bytes, count, MSG_NOSIGNAL);
    return gone > 0 ? (int)gone : gone < 0 && errno == EAGAIN ? MBEDTLS_ERR_SSL_WANT_WRITE : -1;
}

static void wait_for(int first, int second)
{
    struct pollfd wait[] = {{.fd = first, .events = POLLIN}, {.fd = second, .events = POLLIN}};
    int ready = poll(wait, 2, PATIENCE);
    while (ready < 0 && errno == EINTR) {
        ready = poll(wait, 2, PATIENCE);
    }
    GW_ASSERT(ready > 0);
}

/* Who lies, with memory as a connection has it. */
struct peer {
    int fd;
    struct gw_tls_session *memory;
    mbedtls_ssl_context ssl;
};

static void begin_peer(struct peer *peer, int endpoint, int fd)
{
    peer->fd = fd;
    peer->memory = gw_tls_take_session();
    GW_ASSERT(fcntl(fd, F_SETFL, O_NONBLOCK) == 0);
    (void)gw_tls_use_memory_of(peer->memory);
    mbedtls_ssl_init(&peer->ssl);
    GW_ASSERT(mbedtls_ssl_setup(&peer->ssl, &liar[endpoint]) == 0);
    GW_ASSERT(mbedtls_ssl_set_hostname(&peer->ssl, NULL) == 0);
    mbedtls_ssl_set_bio(&peer->ssl, &peer->fd, give_bytes, take_bytes, NULL);
    (void)gw_tls_use_memory_of(NULL);
}

/* Some more of the handshake, and then a word. False: it is over, one way or the other. */
static bool step_peer(struct peer *peer)
{
    (void)gw_tls_use_memory_of(peer->memory);
    int error = mbedtls_ssl_handshake(&peer->ssl);
    if (error == 0) {
        error = mbedtls_ssl_write(&peer->ssl, (const unsigned char *)"word", 4);
    }
    (void)gw_tls_use_memory_of(NULL);
    return error == MBEDTLS_ERR_SSL_WANT_READ || error == MBEDTLS_ERR_SSL_WANT_WRITE;
}

static void end_peer(struct peer *peer)
{
    (void)shutdown(peer->fd, SHUT_WR);
    (void)gw_tls_use_memory_of(peer->memory);
    mbedtls_ssl_free(&peer->ssl);
    (void)gw_tls_use_memory_of(NULL);
    gw_tls_give_session(peer->memory);
}

static void show_to_target(enum likeness likeness)
{
    static struct gw_connection plain, server;
    static struct peer peer;
    struct gw_transport_options options = gw_transport_defaults;
    struct gw_uri uri = listener.uri;
    uint8_t bytes[16];
    struct iovec part = {bytes, sizeof(bytes)};
    size_t count = 0;
    options.connect_ns_max = options.idle_ns_max = LIMIT_NS;
    GW_ASSERT(gw_connection_open(&plain, NULL) == GW_OK && gw_connection_open(&server, NULL) == 0);
    GW_ASSERT(gw_connection_connect(&plain, &uri, &options, NULL) == GW_OK);
    GW_ASSERT(gw_listener_accept(&listener, &server, NULL) == GW_OK);
    begin_peer(&peer, MBEDTLS_SSL_IS_CLIENT, gw_connection_fd(&plain));
    bool is_going_on = true;
    enum gw_status status = GW_AGAIN;
    struct gw_fault fault = {.status = GW_OK};
    while (status == GW_AGAIN) {
        if (is_going_on && !step_peer(&peer)) {
            is_going_on = false;
            (void)shutdown(peer.fd, SHUT_WR);
        }
        status = gw_connection_read(&server, &part, 1, &count, &fault);
        if (status == GW_AGAIN) {
            wait_for(is_going_on ? peer.fd : -1, gw_connection_fd(&server));
        }
    }
    GW_ASSERT(status == GW_OK ? likeness != IS_OTHER : likeness != IS_OWN);
    GW_ASSERT(status != GW_OK || (count == 4 && memcmp(bytes, "word", 4) == 0));
    end_peer(&peer);
    gw_connection_close(&plain);
    gw_connection_close(&server);
}

static void *be_source(void *is_believing)
{
    static struct gw_connection client;
    struct gw_transport_options options = gw_transport_defaults;
    struct gw_uri uri = {.scheme = GW_URI_UNIX};
    options.tls = &source_identity;
    options.connect_ns_max = options.idle_ns_max = LIMIT_NS;
    (void)snprintf(uri.path, sizeof(uri.path), "%.*sliar",
                   (int)(strlen(listener.uri.path) - strlen("target")), listener.uri.path);
    GW_ASSERT(gw_connection_open(&client, NULL) == GW_OK);
    *(bool *)is_believing = gw_connection_connect(&client, &uri, &options, NULL) == GW_OK;
    gw_connection_close(&client);
    return NULL;
}

static void show_to_source(enum likeness likeness)
{
    static struct peer peer;
    bool is_believing = false;
    pthread_t source;
    GW_ASSERT(pthread_create(&source, NULL, be_source, &is_believing) == 0);
    wait_for(liar_listener.fd, -1);
    int fd = accept4(liar_listener.fd, NULL, NULL, SOCK_CLOEXEC);
    begin_peer(&peer, MBEDTLS_SSL_IS_SERVER, fd);
    while (step_peer(&peer)) {
        wait_for(fd, -1);
    }
    end_peer(&peer);
    GW_ASSERT(pthread_join(source, NULL) == 0);
    (void)close(fd);
    GW_ASSERT(is_believing ? likeness != IS_OTHER : likeness != IS_OWN);
}

/* Its key is the liar's own; the rest of a chain is only what it shows. */
static void show(int endpoint, int count, enum likeness likeness)
{
    mbedtls_x509_buf raw = shown[0].raw;
    shown[0] = own[endpoint];
    shown[0].raw = raw;
    for (int i = 0; i < count; i++) {
        shown[i].next = i + 1 < count ? &shown[i + 1] : NULL;
    }
    (endpoint == MBEDTLS_SSL_IS_CLIENT ? show_to_target : show_to_source)(likeness);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
    enum likeness likeness = IS_OTHER;
    prepare();
    if (count == 0) {
        return 0;
    }
    int endpoint = bytes[0] & 1 ? MBEDTLS_SSL_IS_SERVER : MBEDTLS_SSL_IS_CLIENT;
    int certificates = parse(bytes + 1, bytes + count, endpoint, &likeness);
    uint8_t *raw[CHAIN_MAX];
    for (int i = 0; i < CHAIN_MAX; i++) {
        raw[i] = shown[i].raw.p;
    }
    if (bytes[0] >= IS_SHOWN && certificates > 0) {
        show(endpoint, certificates, likeness);
    }
    for (int i = 0; i < certificates; i++) {
        free(raw[i]);
    }
    return 0;
}

/* ---- Seeds ---- */

static void know(const mbedtls_x509_crt *one)
{
    GW_ASSERT(known_count < KNOWN_MAX);
    mbedtls_x509_buf *tbs = &known[known_count++].tbs;
    tbs->len = one->tbs.len;
    tbs->p = malloc(tbs->len);
    memcpy(tbs->p, one->tbs.p, tbs->len);
}

static void seed(uint8_t kind, const char *folder, const char *name)
{
    static unsigned char text[FILE_BYTES_MAX];
    static uint8_t bytes[FILE_BYTES_MAX];
    mbedtls_x509_crt chain;
    size_t used = 1;
    mbedtls_x509_crt_init(&chain);
    bytes[0] = kind;
    size_t count = read_text(folder, name, text);
    if (count > 0 && mbedtls_x509_crt_parse(&chain, text, count) == 0) {
        for (const mbedtls_x509_crt *one = &chain; one != NULL; one = one->next) {
            bytes[used] = (uint8_t)(one->raw.len >> 8);
            bytes[used + 1] = (uint8_t)one->raw.len;
            memcpy(bytes + used + 2, one->raw.p, one->raw.len);
            used += 2 + one->raw.len;
        }
        if (kind < IS_SHOWN && strcmp(folder, "foreign") != 0 && strcmp(folder, "expired") != 0 &&
            strcmp(folder, "later") != 0) {
            know(&chain);
        }
        fuzz_seed(bytes, used);
    }
    mbedtls_x509_crt_free(&chain);
}

void fuzz_make_seeds(void)
{
    static const char *const folders[] = {"good",  "p384",    "rsa",   "rsa1024", "mixed",
                                          "chain", "expired", "later", "foreign", "swapped"};
    prepare();
    for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
        seed(0, folders[i], "ca-cert.pem");
        for (int endpoint = 0; endpoint < 2; endpoint++) {
            seed((uint8_t)endpoint, folders[i], names[endpoint][0]);
        }
    }
    seed(IS_SHOWN, "good", names[MBEDTLS_SSL_IS_CLIENT][0]);
    seed(IS_SHOWN | 1, "good", names[MBEDTLS_SSL_IS_SERVER][0]);
    seed(IS_SHOWN, "foreign", names[MBEDTLS_SSL_IS_CLIENT][0]);
    seed(IS_SHOWN | 1, "foreign", names[MBEDTLS_SSL_IS_SERVER][0]);
}
