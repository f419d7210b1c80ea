/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The frame of a request: which members it has, which command it names, what its id is. Pure;
 * the session's thread.
 */
#include "qmp_request.h"

#include <string.h>

enum { EXCERPT_BYTES = 48 };

static enum gw_status check_members(const struct gw_json_document *document, struct gw_fault *fault)
{
    static const char *const names[] = {"execute", "exec-oob", "arguments", "id"};
    bool is_seen[4] = {false};
    for (int key = gw_json_read_first(document, 0); key >= 0;
         key = gw_json_read_next(document, key)) {
        char found[EXCERPT_BYTES];
        gw_json_read_excerpt(document, key, found, sizeof(found));
        size_t i = 0;
        while (i < 4 && !gw_json_read_is_equal(document, key, names[i]))
            i++;
        if (i == 4)
            return gw_fault_set(fault, GW_PROTOCOL,
                                "a request has a member %s; wanted \"execute\","
                                " \"arguments\", \"id\"",
                                found);
        if (is_seen[i])
            return gw_fault_set(fault, GW_PROTOCOL, "a request has the member %s twice", found);
        is_seen[i] = true;
    }
    return GW_OK;
}

static enum gw_status find_command(const struct gw_json_document *document,
                                   struct gw_qmp_request *request, struct gw_qmp_bad *bad)
{
    char found[EXCERPT_BYTES];
    int oob = gw_json_read_member(document, 0, "exec-oob");
    int name = gw_json_read_member(document, 0, "execute");
    if (oob >= 0) {
        gw_json_read_excerpt(document, oob, found, sizeof(found));
        return gw_fault_set(&bad->fault, GW_ARGUMENT,
                            "command %s cannot run out of band; wanted "
                            "\"execute\", not \"exec-oob\"",
                            found);
    }
    if (name < 0)
        return gw_fault_set(&bad->fault, GW_PROTOCOL, "a request has no \"execute\"");
    gw_json_read_excerpt(document, name, found, sizeof(found));
    if (!gw_json_read_is_text(document, name))
        return gw_fault_set(&bad->fault, GW_PROTOCOL, "\"execute\" is %s; wanted a command's name",
                            found);
    for (unsigned int i = 0; i < GW_QMP_COMMAND_COUNT; i++) {
        if (gw_json_read_is_equal(document, name, gw_qmp_command_name((enum gw_qmp_command)i))) {
            request->command = (enum gw_qmp_command)i;
            return GW_OK;
        }
    }
    bad->class = GW_QMP_COMMAND_NOT_FOUND;
    return gw_fault_set(&bad->fault, GW_ARGUMENT, "The command %s has not been found", found);
}

/* Until qmp_capabilities every other command is refused, and after it that one is. */
static enum gw_status check_negotiation(const struct gw_qmp_session *session,
                                        const struct gw_qmp_request *request,
                                        struct gw_qmp_bad *bad)
{
    bool is_negotiation = request->command == GW_QMP_CAPABILITIES;
    if (is_negotiation != session->is_negotiated)
        return GW_OK;
    bad->class = GW_QMP_COMMAND_NOT_FOUND;
    if (is_negotiation)
        return gw_fault_set(&bad->fault, GW_ARGUMENT,
                            "Capabilities negotiation is already complete, command ignored");
    return gw_fault_set(&bad->fault, GW_ARGUMENT,
                        "Expecting capabilities negotiation with 'qmp_capabilities'");
}

enum gw_status gw_qmp_request_decode(struct gw_qmp_session *session, struct gw_qmp_request *request,
                                     struct gw_qmp_bad *bad)
{
    const struct gw_json_document *document = &session->document;
    memset(request, 0, sizeof(*request));
    int id = gw_json_read_member(document, 0, "id");
    if (id >= 0 && !gw_json_read_raw(document, id, request->id, sizeof(request->id))) {
        request->id[0] = 0;
        return gw_fault_set(&bad->fault, GW_LIMIT, "\"id\" is longer than %d bytes",
                            GW_QMP_ID_BYTES - 1);
    }
    memcpy(bad->id, request->id, sizeof(bad->id));

    enum gw_status status = check_members(document, &bad->fault);
    if (status == GW_OK)
        status = find_command(document, request, bad);
    if (status == GW_OK)
        status = check_negotiation(session, request, bad);
    if (status == GW_OK)
        status = gw_qmp_arguments_decode(document, gw_json_read_member(document, 0, "arguments"),
                                         request, &bad->fault);
    if (status == GW_OK && request->command == GW_QMP_CAPABILITIES)
        session->is_negotiated = true;
    return status;
}
