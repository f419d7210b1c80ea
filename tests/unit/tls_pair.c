/* SPDX-License-Identifier: Apache-2.0 */
/* See tls_pair.h. */
#include "tls_pair.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "transport/tls_internal.h"

struct tls_pair tls;
char tls_directory[40];

int tls_setup(void **state)
{
    (void)state;
    memset(&tls, 0, sizeof(tls));
    tls.source_options = gw_transport_defaults;
    tls.target_options = gw_transport_defaults;
    (void)snprintf(tls_directory, sizeof(tls_directory), "/tmp/godwit-tls-XXXXXX");
    return mkdtemp(tls_directory) == NULL ? -1 : 0;
}

static void remove_files(void)
{
    DIR *directory = opendir(tls_directory);
    struct dirent *entry;
    char path[320];
    while (directory != NULL && (entry = readdir(directory)) != NULL) {
        (void)snprintf(path, sizeof(path), "%s/%s", tls_directory, entry->d_name);
        (void)unlink(path);
    }
    if (directory != NULL) {
        (void)closedir(directory);
    }
    (void)rmdir(tls_directory);
}

void tls_end(void)
{
    gw_connection_close(&tls.client);
    gw_connection_close(&tls.server);
    gw_listener_close(&tls.listener);
    gw_tls_close(&tls.source);
    gw_tls_close(&tls.target);
}

int tls_teardown(void **state)
{
    (void)state;
    tls_end();
    remove_files();
    struct gw_tls_use use;
    gw_tls_get_use(&use);
    return use.sessions == 0 && use.common_used == 0 ? 0 : -1; /* nothing is left behind */
}

void tls_write(char path[128], const char *name, const char *text, unsigned mode)
{
    (void)snprintf(path, 128, "%s/%s", tls_directory, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    assert_int_equal(fchmod(fd, (mode_t)mode), 0);
    (void)close(fd);
}

void tls_given_key(struct gw_tls_identity *identity, const char *text)
{
    char path[128], spec[160];
    struct gw_fault fault = {.status = GW_OK};
    tls_write(path, "key", text, 0600);
    (void)snprintf(spec, sizeof(spec), "psk:%s", path);
    if (gw_tls_open(identity, spec, NULL, &fault) != GW_OK) {
        fail_msg("%s", fault.text);
    }
}

void tls_given_listener(const char *text)
{
    struct gw_uri uri;
    struct gw_fault fault = {.status = GW_OK};
    tls.source_options.tls = tls.source.keys != NULL ? &tls.source : NULL;
    tls.target_options.tls = tls.target.keys != NULL ? &tls.target : NULL;
    assert_int_equal(gw_uri_decode(&uri, text, &fault), GW_OK);
    if (gw_listener_open(&tls.listener, &uri, &tls.target_options, &fault) != GW_OK) {
        fail_msg("%s", fault.text);
    }
}

void *tls_connect_thread(void *argument)
{
    struct gw_uri uri = tls.listener.uri;
    tls.client_status =
        gw_connection_connect(&tls.client, &uri, &tls.source_options, &tls.client_fault);
    return argument;
}

static void accept_server(void)
{
    struct pollfd wait = {.fd = tls.listener.fd, .events = POLLIN};
    assert_int_equal(poll(&wait, 1, 20000), 1);
    assert_int_equal(gw_listener_accept(&tls.listener, &tls.server, &tls.server_fault), GW_OK);
}

void tls_connect_raw(void)
{
    struct gw_uri uri = tls.listener.uri;
    assert_int_equal(gw_connection_open(&tls.client, NULL), GW_OK);
    assert_int_equal(gw_connection_open(&tls.server, NULL), GW_OK);
    assert_int_equal(
        gw_connection_connect(&tls.client, &uri, &gw_transport_defaults, &tls.client_fault), GW_OK);
    accept_server();
}

/* Until the client is back and the server has read all that came: its hands are shaken then. */
void tls_shake(void)
{
    pthread_t thread;
    assert_int_equal(gw_connection_open(&tls.client, NULL), GW_OK);
    assert_int_equal(gw_connection_open(&tls.server, NULL), GW_OK);
    assert_int_equal(pthread_create(&thread, NULL, tls_connect_thread, NULL), 0);
    accept_server();
    bool is_back = false;
    tls.server_status = GW_AGAIN;
    while (!is_back || tls.server_status == GW_AGAIN) {
        struct pollfd wait = {.fd = gw_connection_fd(&tls.server), .events = POLLIN};
        bool is_here = poll(&wait, 1, is_back ? 0 : 10) > 0;
        uint8_t byte;
        struct iovec part = {&byte, 1};
        size_t count;
        if (is_here && tls.server_status == GW_AGAIN) {
            tls.server_status =
                gw_connection_read(&tls.server, &part, 1, &count, &tls.server_fault);
            if (tls.server_status != GW_AGAIN) {
                (void)!gw_connection_shut(&tls.server); /* closed with bytes unread, it would cut */
            }
        }
        if (is_back && !is_here) {
            break;
        }
        is_back = is_back || pthread_tryjoin_np(thread, NULL) == 0;
    }
    if (!is_back) {
        assert_int_equal(pthread_join(thread, NULL), 0);
    }
}

void tls_given_pair(void)
{
    tls_given_key(&tls.source, "a:" TLS_KEY_A "\n");
    tls_given_key(&tls.target, "a:" TLS_KEY_A);
    tls_given_listener("tcp:127.0.0.1:0");
    tls_shake();
    if (tls.client_status != GW_OK || tls.server_status != GW_AGAIN) {
        fail_msg("client: %s; server: %s", tls.client_fault.text, tls.server_fault.text);
    }
}

enum gw_status tls_read_some(struct gw_connection *connection, void *bytes, size_t size,
                             size_t *count, struct gw_fault *fault)
{
    struct iovec part = {bytes, size};
    enum gw_status status = gw_connection_read(connection, &part, 1, count, fault);
    while (status == GW_AGAIN) {
        struct pollfd wait = {.fd = gw_connection_fd(connection), .events = POLLIN};
        assert_int_equal(poll(&wait, 1, 20000), 1);
        status = gw_connection_read(connection, &part, 1, count, fault);
    }
    return status;
}
