/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One client's bytes, cut into requests. Memory: the session, the caller's. The owner's thread.
 * Never blocks.
 */
#include "godwit/qmp.h"
#include "qmp_request.h"

static const char *const command_names[] = {
#define NAME(name, text) [GW_QMP_##name] = text,
    GW_QMP_COMMANDS(NAME)
#undef NAME
};

const char *gw_qmp_command_name(enum gw_qmp_command command)
{
    GW_ASSERT(command < GW_QMP_COMMAND_COUNT);
    return command_names[command];
}

static void reset(struct gw_qmp_session *session)
{
    gw_json_scanner_init(&session->scanner);
    session->used = 0;
}

void gw_qmp_session_init(struct gw_qmp_session *session)
{
    session->is_negotiated = false;
    session->is_skipping = false;
    reset(session);
}

static bool is_reset(uint8_t byte)
{
    return byte == 0xff || (byte < 0x20 && byte != '\t' && byte != '\r' && byte != '\n');
}

static bool is_blank(uint8_t byte)
{
    return byte == ' ' || byte == '\t' || byte == '\r' || byte == '\n';
}

/* Drops what was read, and the rest of the line that `byte` belongs to. */
static void skip_line(struct gw_qmp_session *session, uint8_t byte)
{
    reset(session);
    session->is_skipping = byte != '\n';
}

static enum gw_status end_by_reset(struct gw_qmp_session *session, uint8_t byte,
                                   struct gw_fault *fault)
{
    size_t used = session->used;
    reset(session);
    return gw_fault_set(fault, GW_PROTOCOL, "byte 0x%02x ended a request after %zu bytes",
                        (unsigned int)byte, used);
}

static enum gw_status end_too_long(struct gw_qmp_session *session, uint8_t byte,
                                   struct gw_fault *fault)
{
    skip_line(session, byte);
    return gw_fault_set(fault, GW_LIMIT,
                        "a request is longer than %u bytes; the rest of its line "
                        "is skipped",
                        (unsigned int)GW_CONTROL_LINE_MAX);
}

static enum gw_status end_no_json(struct gw_qmp_session *session, uint8_t byte,
                                  struct gw_fault *fault)
{
    const char *wanted = session->scanner.wanted;
    size_t position = session->used;
    skip_line(session, byte);
    if (byte > 0x20 && byte < 0x7f)
        return gw_fault_set(fault, GW_PROTOCOL,
                            "no JSON at byte %zu of a request: found '%c', "
                            "wanted %s",
                            position, byte, wanted);
    return gw_fault_set(fault, GW_PROTOCOL,
                        "no JSON at byte %zu of a request: found byte 0x%02x, "
                        "wanted %s",
                        position, (unsigned int)byte, wanted);
}

/* Takes one byte. GW_OK: a whole object lies in the line. */
static enum gw_status put_byte(struct gw_qmp_session *session, uint8_t byte, struct gw_fault *fault)
{
    bool is_idle = session->used == 0;
    if (session->is_skipping) {
        session->is_skipping = byte != '\n' && byte != 0xff;
        return GW_AGAIN;
    }
    if (is_reset(byte))
        return is_idle ? GW_AGAIN : end_by_reset(session, byte, fault);
    if (is_idle && is_blank(byte))
        return GW_AGAIN;
    if (session->used == sizeof(session->line))
        return end_too_long(session, byte, fault);
    session->line[session->used++] = (char)byte;
    switch (gw_json_scanner_put(&session->scanner, byte)) {
    case GW_JSON_SCAN_MORE:
        return GW_AGAIN;
    case GW_JSON_SCAN_DONE:
        return GW_OK;
    case GW_JSON_SCAN_BAD:
        break;
    }
    return end_no_json(session, byte, fault);
}

enum gw_status gw_qmp_next_request(struct gw_qmp_session *session, const uint8_t **data,
                                   size_t *bytes, struct gw_qmp_request *request,
                                   struct gw_qmp_bad *bad)
{
    *bad = (struct gw_qmp_bad){.class = GW_QMP_GENERIC_ERROR};
    while (*bytes > 0) {
        uint8_t byte = **data;
        (*data)++;
        (*bytes)--;
        enum gw_status status = put_byte(session, byte, &bad->fault);
        if (status == GW_AGAIN)
            continue;
        if (status != GW_OK)
            return status;
        status =
            gw_json_read_document(&session->document, session->line, session->used, &bad->fault);
        reset(session);
        if (status == GW_OK)
            status = gw_qmp_request_decode(session, request, bad);
        return status;
    }
    return GW_AGAIN;
}
