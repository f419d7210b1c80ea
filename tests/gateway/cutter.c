/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cutter: stands between a source and a target, passes frames on, and cuts every connection at
 * some of them, so that a test can lose the link exactly there (docs/WIRE.md has the frames).
 *
 *   cutter LISTEN_URI TARGET_URI {TYPE before|after COUNT}...
 *
 * TYPE is a frame's number, COUNT which of them it is since the last cut (1: the first); `before`
 * cuts instead of passing it on, `after` right behind it. Of connections by TLS nobody here sees
 * frames: TYPE `record` is any record of theirs that is sealed. Then no connection gets through
 * until SIGUSR1; after that all do, until the next cut. Says "listening", "cut N" and "mended N" on
 * standard output, a line each; N counts from 1.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "godwit/frame.h"
#include "godwit/transport.h"

enum { PAIRS_MAX = 12, BUFFER_BYTES = 65536, CUTS_MAX = 16 };

/* RFC 8446, 5.1: a record's header is its type, a version, and two bytes of length. */
enum { RECORD_HEADER_BYTES = 5, RECORD_SEALED = 23, RECORD = 256 /* no frame's number */ };

/* One direction of a pair: what is left of the frame, or record, that is passing. */
struct stream {
    int from, to;
    uint32_t left; /* payload bytes still to pass on */
    uint8_t header[GW_FRAME_HEADER_BYTES];
    uint32_t have;    /* header bytes read */
    bool is_cut_owed; /* cut once `left` is 0 */
};

struct pair {
    bool is_used;
    struct stream stream[2];
};

static struct pair pairs[PAIRS_MAX];
static volatile sig_atomic_t is_mend_asked;
static bool is_down;

/* One cut after the other. */
static struct {
    unsigned type, count;
    bool is_before;
} cuts[CUTS_MAX];
static unsigned cuts_planned, cuts_done;

static void say(const char *word)
{
    (void)printf("%s %u\n", word, cuts_done);
    (void)fflush(stdout);
}

static void on_signal(int signal_number)
{
    (void)signal_number;
    is_mend_asked = 1;
}

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static void end_pair(struct pair *pair)
{
    (void)close(pair->stream[0].from);
    (void)close(pair->stream[0].to);
    pair->is_used = false;
}

static void cut(void)
{
    struct linger reset = {.l_onoff = 1, .l_linger = 0}; /* a broken link is no orderly end */
    for (int i = 0; i < PAIRS_MAX; i++) {
        if (pairs[i].is_used) {
            (void)setsockopt(pairs[i].stream[0].from, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
            (void)setsockopt(pairs[i].stream[0].to, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
            end_pair(&pairs[i]);
        }
    }
    cuts_done++;
    is_down = true;
    say("cut");
}

static bool send_all(int fd, const uint8_t *bytes, size_t count)
{
    while (count > 0) {
        ssize_t done = send(fd, bytes, count, MSG_NOSIGNAL);
        if (done <= 0) {
            return false;
        }
        bytes += done;
        count -= (size_t)done;
    }
    return true;
}

/* A frame begins with its magic, a record with a number below the letters. */
static bool is_record(const struct stream *stream)
{
    return stream->have >= RECORD_HEADER_BYTES && stream->header[0] < 'A';
}

static uint32_t header_bytes(const struct stream *stream)
{
    bool is_short = stream->have < RECORD_HEADER_BYTES || is_record(stream);
    return is_short ? RECORD_HEADER_BYTES : (uint32_t)sizeof(stream->header);
}

/* What a whole header says. */
static bool read_header(const struct stream *stream, unsigned *type, uint32_t *payload_bytes)
{
    struct gw_frame_header header;
    struct gw_fault fault = {0};
    if (is_record(stream)) {
        *type = stream->header[0] == RECORD_SEALED ? RECORD : 0;
        *payload_bytes = (uint32_t)stream->header[3] << 8 | stream->header[4];
        return true;
    }
    if (gw_frame_decode_header(&header, stream->header, &fault) != GW_OK) {
        (void)fprintf(stderr, "cutter: %s\n", fault.text);
        return false;
    }
    *type = header.type;
    *payload_bytes = header.payload_bytes;
    return true;
}

/* A whole header is here: is this the frame? False when the pair is over. */
static bool pass_header(struct stream *stream)
{
    unsigned type;
    uint32_t payload_bytes;
    if (!read_header(stream, &type, &payload_bytes)) {
        return false;
    }
    if (cuts_done < cuts_planned && type == cuts[cuts_done].type && --cuts[cuts_done].count == 0) {
        if (cuts[cuts_done].is_before) {
            cut();
            return false;
        }
        stream->is_cut_owed = true;
    }
    uint32_t count = header_bytes(stream);
    stream->left = payload_bytes;
    stream->have = 0;
    return send_all(stream->to, stream->header, count);
}

/* A reset takes back what the peer has not acknowledged: who is cut off behind a frame has it. */
static void await_acknowledged(int fd)
{
    int left = 0;
    while (ioctl(fd, SIOCOUTQ, &left) == 0 && left > 0) {
        (void)poll(NULL, 0, 1);
    }
}

/* Passes on what is there to read; false when the pair is over (or everything was cut). */
static bool pass(struct stream *stream)
{
    static uint8_t buffer[BUFFER_BYTES];
    bool is_payload = stream->left > 0;
    size_t want = is_payload ? (stream->left < sizeof(buffer) ? stream->left : sizeof(buffer))
                             : header_bytes(stream) - stream->have;
    ssize_t got = recv(stream->from, is_payload ? buffer : stream->header + stream->have, want, 0);
    if (got <= 0) {
        return false;
    }
    if (is_payload) {
        stream->left -= (uint32_t)got;
        if (!send_all(stream->to, buffer, (size_t)got)) {
            return false;
        }
    } else {
        stream->have += (uint32_t)got;
        if (stream->have == header_bytes(stream) && !pass_header(stream)) {
            return false;
        }
    }
    if (stream->is_cut_owed && stream->left == 0 && stream->have == 0) {
        await_acknowledged(stream->to);
        cut();
        return false;
    }
    return true;
}

/* The descriptor alone, and it blocks. */
static int take_fd(struct gw_connection *connection)
{
    int fd = gw_connection_fd(connection);
    (void)fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
    connection->operations = NULL;
    gw_connection_close(connection);
    return fd;
}

static void accept_pair(struct gw_listener *listener, const struct gw_uri *target)
{
    static struct gw_connection in, out;
    if (gw_connection_open(&in, NULL) != GW_OK || gw_connection_open(&out, NULL) != GW_OK ||
        gw_listener_accept(listener, &in, NULL) != GW_OK || is_down ||
        gw_connection_connect(&out, target, &listener->options, NULL) != GW_OK) {
        gw_connection_close(&in);
        gw_connection_close(&out);
        return;
    }
    int source = take_fd(&in);
    int onward = take_fd(&out);
    for (int i = 0; i < PAIRS_MAX; i++) {
        if (!pairs[i].is_used) {
            pairs[i] = (struct pair){
                .is_used = true,
                .stream = {{.from = source, .to = onward}, {.from = onward, .to = source}}};
            return;
        }
    }
    (void)fprintf(stderr, "cutter: more than %d connections\n", PAIRS_MAX);
    exit(1);
}

static void mend_if_asked(void)
{
    if (is_mend_asked) {
        is_mend_asked = 0;
        is_down = false;
        say("mended");
    }
}

static void run(struct gw_listener *listener, const struct gw_uri *target)
{
    for (;;) {
        struct pollfd polled[1 + 2 * PAIRS_MAX];
        struct stream *streams[1 + 2 * PAIRS_MAX];
        struct pair *owners[1 + 2 * PAIRS_MAX];
        nfds_t count = 1;
        polled[0] = (struct pollfd){.fd = listener->fd, .events = POLLIN};
        for (int i = 0; i < PAIRS_MAX; i++) {
            for (int way = 0; way < 2 && pairs[i].is_used; way++) {
                streams[count] = &pairs[i].stream[way];
                owners[count] = &pairs[i];
                polled[count++] =
                    (struct pollfd){.fd = pairs[i].stream[way].from, .events = POLLIN};
            }
        }
        if (poll(polled, count, 100) < 0 && errno != EINTR) {
            die("cutter: poll");
        }
        mend_if_asked();
        if (polled[0].revents) {
            accept_pair(listener, target);
        }
        for (nfds_t i = 1; i < count; i++) {
            if (polled[i].revents && owners[i]->is_used && !pass(streams[i]) &&
                owners[i]->is_used) {
                end_pair(owners[i]);
            }
        }
    }
}

int main(int argc, char **argv)
{
    struct gw_uri uri, target;
    struct gw_listener listener;
    struct gw_transport_options options = gw_transport_defaults;
    struct gw_fault fault = {0};
    options.is_plaintext_allowed = true;
    if (argc < 6 || (argc - 3) % 3 != 0 || argc - 3 > 3 * CUTS_MAX ||
        gw_uri_decode(&uri, argv[1], &fault) != GW_OK ||
        gw_uri_decode(&target, argv[2], &fault) != GW_OK ||
        gw_listener_open(&listener, &uri, &options, &fault) != GW_OK) {
        (void)fprintf(stderr,
                      "usage: cutter LISTEN_URI TARGET_URI {TYPE before|after COUNT}...\n%s\n",
                      fault.text);
        return 2;
    }
    for (int i = 3; i < argc; i += 3, cuts_planned++) {
        cuts[cuts_planned].type = strcmp(argv[i], "record") == 0 ? RECORD : (unsigned)atoi(argv[i]);
        cuts[cuts_planned].is_before = strcmp(argv[i + 1], "before") == 0;
        cuts[cuts_planned].count = (unsigned)atoi(argv[i + 2]);
    }
    struct sigaction action = {.sa_handler = on_signal};
    (void)sigaction(SIGUSR1, &action, NULL);
    say("listening");
    run(&listener, &target);
}
