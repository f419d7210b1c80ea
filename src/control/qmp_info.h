/* SPDX-License-Identifier: Apache-2.0 */
/* The members of godwit's info structs as JSON, into an object that is open. Pure; any thread. */
#ifndef GW_CONTROL_QMP_INFO_H
#define GW_CONTROL_QMP_INFO_H

#include "godwit/info.h"
#include "godwit/json.h"

void gw_qmp_put_migrate(struct gw_json *json, const struct gw_info_migrate *info);
void gw_qmp_put_status(struct gw_json *json, const struct gw_info_status *status);

#endif
