/* SPDX-License-Identifier: Apache-2.0 */
/* From one JSON object to one checked request. Pure; the session's thread. */
#ifndef GW_CONTROL_QMP_REQUEST_H
#define GW_CONTROL_QMP_REQUEST_H

#include "godwit/qmp.h"

/* Fills `request` from the document's whole, or `bad`. Reads and sets is_negotiated. */
GW_MUST_USE enum gw_status gw_qmp_request_decode(struct gw_qmp_session *session,
                                                 struct gw_qmp_request *request,
                                                 struct gw_qmp_bad *bad);

/* Fills request->arguments for request->command from the members of `object` (-1: none). */
GW_MUST_USE enum gw_status gw_qmp_arguments_decode(const struct gw_json_document *document,
                                                   int object, struct gw_qmp_request *request,
                                                   struct gw_fault *fault);

#endif
