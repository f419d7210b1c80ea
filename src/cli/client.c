/* SPDX-License-Identifier: Apache-2.0 */
/* The control socket's client. Memory: one client, static. Main thread. Blocks, with time-outs. */
#include "client.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "godwit/parcel.h"
#include "godwit/unix_socket.h"
#include "places.h"

struct gw_cli_client gw_cli_shared_client;

static int ms_until(uint64_t deadline_ns)
{
    uint64_t now = gw_clock_now_ns();
    return now >= deadline_ns ? 0 : (int)((deadline_ns - now + GW_NS_PER_MS - 1) / GW_NS_PER_MS);
}

/* Bytes into `input`. GW_AGAIN: none until the deadline, or a signal came. */
static enum gw_status fill_input(struct gw_cli_client *client, uint64_t deadline_ns,
                                 struct gw_fault *fault)
{
    struct pollfd waited = {.fd = client->fd, .events = POLLIN};
    int ready = poll(&waited, 1, ms_until(deadline_ns));
    if (ready == 0 || (ready < 0 && errno == EINTR))
        return GW_AGAIN;
    ssize_t bytes = ready < 0 ? -1 : recv(client->fd, client->input, sizeof(client->input), 0);
    if (bytes < 0 && (errno == EAGAIN || errno == EINTR))
        return GW_AGAIN;
    if (bytes <= 0)
        return gw_fault_set(fault, GW_LINK, "the monitor closed the connection");
    client->input_begin = 0;
    client->input_end = (size_t)bytes;
    return GW_OK;
}

/* Takes bytes of the input until a message is complete (GW_OK) or none is left (GW_AGAIN). */
static enum gw_status scan_input(struct gw_cli_client *client, struct gw_fault *fault)
{
    while (client->input_begin < client->input_end) {
        uint8_t byte = client->input[client->input_begin++];
        enum gw_json_scan result = gw_json_scanner_put(&client->scanner, byte);
        if (client->scanner.depth == 0 && result == GW_JSON_SCAN_MORE)
            continue; /* the line end after the last message */
        if (result == GW_JSON_SCAN_BAD || client->used == sizeof(client->text))
            return gw_fault_set(fault, GW_LINK,
                                "what listens on the control socket does not "
                                "speak QMP");
        client->text[client->used++] = (char)byte;
        if (result == GW_JSON_SCAN_DONE) {
            size_t bytes = client->used;
            gw_json_scanner_init(&client->scanner);
            client->used = 0;
            return gw_json_read_document(&client->document, client->text, bytes, fault);
        }
    }
    return GW_AGAIN;
}

/* A MIGRATION event that brings the whole story may be the last that this monitor says. */
static void take_event(struct gw_cli_client *client)
{
    const struct gw_json_document *document = &client->document;
    int data = gw_json_read_member(document, 0, "data");
    int info = gw_json_read_member(document, data, "__org.godwit_info");
    if (info >= 0 && gw_qmp_decode_migrate(document, info, &client->final))
        client->has_final = gw_info_migration_is_final(client->final.status);
}

/* The next message that is no event. GW_AGAIN: none until the deadline; a signal does not end
 * the wait when `is_patient`. */
static enum gw_status next_message(struct gw_cli_client *client, uint64_t deadline_ns,
                                   bool is_patient, struct gw_fault *fault)
{
    for (;;) {
        enum gw_status status = scan_input(client, fault);
        if (status == GW_OK && gw_json_read_member(&client->document, 0, "event") >= 0) {
            take_event(client);
            if (!is_patient)
                return GW_AGAIN;
            continue;
        }
        if (status != GW_AGAIN)
            return status;
        status = fill_input(client, deadline_ns, fault);
        bool is_over = !is_patient || gw_clock_now_ns() >= deadline_ns;
        if (status != GW_OK && !(status == GW_AGAIN && !is_over))
            return status;
    }
}

/* A monitor that is gone has left its last words here. */
static void take_last_words(struct gw_cli_client *client)
{
    enum { EVENTS_MAX = 64 };
    struct gw_fault ignored = {.status = GW_OK};
    enum gw_status status = GW_AGAIN;
    for (int i = 0; i < EVENTS_MAX && status == GW_AGAIN && !client->has_final; i++)
        status = next_message(client, gw_clock_now_ns(), false, &ignored);
}

static enum gw_status send_output(struct gw_cli_client *client, struct gw_fault *fault)
{
    uint64_t deadline_ns = gw_clock_now_ns() + client->reply_ns_max;
    size_t sent = 0;
    while (sent < client->json.used) {
        ssize_t bytes =
            send(client->fd, client->output + sent, client->json.used - sent, MSG_NOSIGNAL);
        if (bytes >= 0) {
            sent += (size_t)bytes;
            continue;
        }
        struct pollfd waited = {.fd = client->fd, .events = POLLOUT};
        int ms = ms_until(deadline_ns);
        if ((errno != EAGAIN && errno != EINTR) || ms == 0) {
            int error = errno;
            take_last_words(client);
            return gw_fault_set(fault, GW_LINK, "the monitor does not take commands: %s",
                                strerror(error));
        }
        (void)poll(&waited, 1, ms);
    }
    return GW_OK;
}

/* A command with descriptors. */
static enum gw_status send_parcel(struct gw_cli_client *client, struct gw_fault *fault)
{
    struct gw_parcel parcel = {.bytes = (uint8_t *)client->output,
                               .size = client->json.used,
                               .fd_count = client->passed_count};
    memcpy(parcel.fd, client->passed_fd, sizeof(parcel.fd));
    client->passed_count = 0;
    return gw_parcel_send(client->fd, &parcel, client->reply_ns_max, fault);
}

/* True for the reply to the last command: an error may come without an id. */
static bool is_reply(const struct gw_cli_client *client)
{
    uint64_t id = 0;
    int value = gw_json_read_member(&client->document, 0, "id");
    return value < 0 || (gw_json_read_number(&client->document, value, &id) && id == client->id);
}

/* What the monitor says of itself; `otherwise`, when it says nothing. */
static enum gw_status take_error(const struct gw_cli_client *client, const char *otherwise,
                                 struct gw_fault *fault)
{
    char text[GW_FAULT_TEXT_BYTES];
    int error = gw_json_read_member(&client->document, 0, "error");
    int words = gw_json_read_member(&client->document, error, "desc");
    bool has_words = words >= 0 && gw_json_read_text(&client->document, words, text, sizeof(text));
    return gw_fault_set(fault, GW_REFUSED, "%s", has_words ? text : otherwise);
}

/* In place of a greeting: a monitor says what is in the way, another program anything. */
static enum gw_status take_greeting_error(const struct gw_cli_client *client,
                                          struct gw_fault *fault)
{
    return gw_json_read_member(&client->document, 0, "error") >= 0
               ? take_error(client, "the monitor greets with an error without words", fault)
               : gw_fault_set(fault, GW_LINK, "what listens on the control socket does not greet");
}

static enum gw_status take_reply(struct gw_cli_client *client, struct gw_fault *fault)
{
    uint64_t deadline_ns = gw_clock_now_ns() + client->reply_ns_max;
    enum gw_status status;
    do {
        status = next_message(client, deadline_ns, true, fault);
    } while (status == GW_OK && !is_reply(client));
    if (status == GW_AGAIN)
        return gw_fault_set(fault, GW_LINK, "the monitor gave no answer for %llu seconds",
                            (unsigned long long)(client->reply_ns_max / GW_NS_PER_S));
    if (status != GW_OK)
        return status;
    client->result = gw_json_read_member(&client->document, 0, "return");
    return client->result >= 0 ? GW_OK : take_error(client, "an error without words", fault);
}

struct gw_json *gw_cli_client_begin(struct gw_cli_client *client, enum gw_qmp_command command)
{
    struct gw_json *json = &client->json;
    gw_json_init(json, client->output, sizeof(client->output));
    gw_json_open_object(json, NULL);
    gw_json_put_text(json, "execute", gw_qmp_command_name(command));
    gw_json_put_number(json, "id", ++client->id);
    gw_json_open_object(json, "arguments");
    return json;
}

/* Whether plain TCP may go there is the monitor's to say. */
enum gw_status gw_cli_decode_target(const char *text, struct gw_uri *uri, struct gw_fault *fault)
{
    struct gw_transport_options options = gw_transport_defaults;
    options.is_plaintext_allowed = true;
    enum gw_status status = gw_uri_decode(uri, text, fault);
    if (status == GW_OK)
        status = gw_uri_check_target(uri, fault);
    return status == GW_OK && uri->scheme == GW_URI_FD ? gw_sockets_check(uri, &options, fault)
                                                       : status;
}

void gw_cli_client_put_uri(struct gw_cli_client *client, const struct gw_uri *uri)
{
    char text[GW_URI_TEXT_BYTES];
    gw_json_put_text(&client->json, "uri", gw_uri_encode(uri, text));
    client->passed_count = uri->scheme == GW_URI_FD ? uri->fd_count : 0;
    memcpy(client->passed_fd, uri->fd, sizeof(uri->fd));
}

enum gw_status gw_cli_client_end(struct gw_cli_client *client, struct gw_fault *fault)
{
    gw_json_close_object(&client->json);
    gw_json_close_object(&client->json);
    if (gw_json_end(&client->json) != GW_OK)
        return gw_fault_set(fault, GW_LIMIT, "the command is longer than %u bytes",
                            (unsigned int)sizeof(client->output) - 1);
    enum gw_status status =
        client->passed_count > 0 ? send_parcel(client, fault) : send_output(client, fault);
    return status == GW_OK ? take_reply(client, fault) : status;
}

enum gw_status gw_cli_client_call(struct gw_cli_client *client, enum gw_qmp_command command,
                                  struct gw_fault *fault)
{
    (void)gw_cli_client_begin(client, command);
    return gw_cli_client_end(client, fault);
}

enum gw_status gw_cli_client_query(struct gw_cli_client *client, struct gw_info_migrate *info,
                                   struct gw_fault *fault)
{
    enum gw_status status = gw_cli_client_call(client, GW_QMP_QUERY_MIGRATE, fault);
    if (status == GW_OK && !gw_qmp_decode_migrate(&client->document, client->result, info))
        return gw_fault_set(fault, GW_LINK,
                            "the monitor answers query-migrate with a status that "
                            "this godwit does not know");
    return status;
}

enum gw_status gw_cli_client_wait(struct gw_cli_client *client, uint64_t ns, struct gw_fault *fault)
{
    enum gw_status status = next_message(client, gw_clock_now_ns() + ns, false, fault);
    return status == GW_AGAIN ? GW_OK : status;
}

enum gw_status gw_cli_client_open(struct gw_cli_client *client, const char *path,
                                  uint64_t reply_ns_max, struct gw_fault *fault)
{
    client->fd = -1;
    client->passed_count = 0;
    client->reply_ns_max = reply_ns_max;
    client->id = 0;
    client->used = client->input_begin = client->input_end = 0;
    client->has_final = false;
    gw_json_scanner_init(&client->scanner);
    enum gw_status status = gw_unix_connect(path, GW_NS_PER_S, -1, &client->fd, fault);
    if (status != GW_OK)
        return status;
    status = next_message(client, gw_clock_now_ns() + client->reply_ns_max, true, fault);
    if (status == GW_OK && gw_json_read_member(&client->document, 0, "QMP") < 0)
        status = take_greeting_error(client, fault);
    if (status == GW_AGAIN)
        status = gw_fault_set(fault, GW_LINK, "the monitor does not greet: too many clients?");
    if (status == GW_OK)
        status = gw_cli_client_call(client, GW_QMP_CAPABILITIES, fault);
    if (status != GW_OK)
        gw_cli_client_close(client);
    return status;
}

void gw_cli_client_close(struct gw_cli_client *client)
{
    if (client->fd >= 0)
        (void)close(client->fd);
    client->fd = -1;
}

int gw_cli_client_find(struct gw_cli_client *client, const struct gw_cli_values *values)
{
    char control[GW_CLI_PATH_BYTES];
    struct gw_fault fault = {.status = GW_OK};
    if (gw_cli_find_control(values, control, &fault) != GW_OK)
        return gw_cli_fail_for(values, gw_cli_exit_of(&fault), "%s", fault.text);
    enum gw_status status = gw_cli_client_open(client, control, GW_CLI_REPLY_NS_MAX, &fault);
    if (status == GW_REFUSED) /* it answers, and that is what it says */
        return gw_cli_fail_for(values, GW_RUN_EXIT_FAILED, "%s", fault.text);
    if (status != GW_OK)
        return gw_cli_fail_for(values, GW_RUN_EXIT_FAILED,
                               "no monitor answers for %s: %s (see godwit list)", values->name,
                               fault.text);
    return GW_RUN_EXIT_DONE;
}
