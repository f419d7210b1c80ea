/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Handover records on disk: NAME.outgoing says where a guest went, NAME.incoming which sessions
 * came (godwit/record.h). They belong to whoever holds NAME.lock: the guest's monitor while there
 * is one, which hands it to the process that takes the guest over. Blocks for the disk. Main
 * thread, or a command without a monitor.
 */
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "godwit/clock.h"
#include "godwit/record_file.h"
#include "run/monitor.h"

enum { FILE_NAME_BYTES = GW_INFO_NAME_BYTES + 16 };
static_assert(GW_INFO_NAME_BYTES - 1 + 9 <= (int)GW_RECORD_FILE_NAME_MAX,
              "NAME.outgoing is a file name");

static void file_name(char name[FILE_NAME_BYTES], const char *guest, const char *kind)
{
    (void)snprintf(name, FILE_NAME_BYTES, "%s.%s", guest, kind);
}

/* One of the two. What one said that is damaged nobody knows any more but a person. */
static enum gw_status get(const char *state_dir, const char *guest, struct gw_departure *departure,
                          struct gw_history *history, bool *is_found, struct gw_fault *fault)
{
    char name[FILE_NAME_BYTES];
    uint8_t bytes[GW_RECORD_FILE_BYTES];
    size_t size = 0;
    file_name(name, guest, departure ? "outgoing" : "incoming");
    enum gw_status status = gw_record_file_get(
        state_dir, name, bytes, departure ? GW_DEPARTURE_FILE_BYTES : GW_RECORD_FILE_BYTES, &size,
        is_found, fault);
    if (!status && *is_found) {
        status = departure ? gw_departure_decode(departure, bytes, size, fault)
                           : gw_history_decode(history, bytes, size, fault);
    }
    if (status == GW_CORRUPT || status == GW_LIMIT) {
        size_t used = strlen(fault->text);
        (void)snprintf(fault->text + used, sizeof(fault->text) - used,
                       ": move %s/%s away, if this guest surely runs nowhere else", state_dir,
                       name);
    }
    return status;
}
static_assert((int)GW_DEPARTURE_FILE_BYTES <= (int)GW_RECORD_FILE_BYTES, "room for either");

static enum gw_status get_departure(const char *state_dir, const char *guest,
                                    struct gw_departure *departure, bool *is_found,
                                    struct gw_fault *fault)
{
    return get(state_dir, guest, departure, NULL, is_found, fault);
}

static enum gw_status get_history(const char *state_dir, const char *guest,
                                  struct gw_history *history, bool *is_found,
                                  struct gw_fault *fault)
{
    *history = (struct gw_history){0};
    return get(state_dir, guest, NULL, history, is_found, fault);
}

static enum gw_status put_departure(const char *state_dir, const char *guest,
                                    const struct gw_departure *departure, struct gw_fault *fault)
{
    char name[FILE_NAME_BYTES];
    uint8_t bytes[GW_DEPARTURE_FILE_BYTES];
    file_name(name, guest, "outgoing");
    gw_departure_encode(departure, bytes);
    return gw_record_file_put(state_dir, name, bytes, sizeof(bytes), fault);
}

static enum gw_status put_history(const char *state_dir, const char *guest,
                                  const struct gw_history *history, struct gw_fault *fault)
{
    char name[FILE_NAME_BYTES];
    uint8_t bytes[GW_RECORD_FILE_BYTES];
    file_name(name, guest, "incoming");
    gw_history_encode(history, bytes);
    return gw_record_file_put(state_dir, name, bytes, sizeof(bytes), fault);
}

enum gw_status gw_records_put_departure(const struct gw_run_config *config,
                                        const struct gw_departure *departure,
                                        struct gw_fault *fault)
{
    struct gw_history history;
    struct gw_fault ignored = {0};
    bool is_leaving = departure->state == GW_DEPARTURE_LEAVING;
    /* What was once opened here and never came would read as its way back (read_records). */
    if (is_leaving && gw_records_get_history(config, &history, &ignored) == GW_OK &&
        gw_history_abort_opened(&history)) {
        enum gw_status status = gw_records_put_history(config, &history, fault);
        if (status) {
            return status;
        }
    }
    return put_departure(config->state_dir, config->name, departure, fault);
}

enum gw_status gw_records_clear_departure(const struct gw_run_config *config,
                                          struct gw_fault *fault)
{
    char name[FILE_NAME_BYTES];
    file_name(name, config->name, "outgoing");
    return gw_record_file_clear(config->state_dir, name, fault);
}

enum gw_status gw_records_get_history(const struct gw_run_config *config,
                                      struct gw_history *history, struct gw_fault *fault)
{
    bool is_found = false;
    return get_history(config->state_dir, config->name, history, &is_found, fault);
}

enum gw_status gw_records_put_history(const struct gw_run_config *config,
                                      const struct gw_history *history, struct gw_fault *fault)
{
    return put_history(config->state_dir, config->name, history, fault);
}

/* One that was killed holds them until the kernel has taken its guest's memory apart. */
enum { HOLD_TRIES = 40 };
#define HOLD_PAUSE_NS (50 * (long)GW_NS_PER_MS)

enum gw_status gw_records_hold(const struct gw_run_config *config, int *lock_fd,
                               struct gw_fault *fault)
{
    char name[FILE_NAME_BYTES];
    file_name(name, config->name, "lock");
    enum gw_status status = gw_record_file_lock(config->state_dir, name, lock_fd, fault);
    for (int i = 0; i < HOLD_TRIES && status == GW_REFUSED; i++) {
        const struct timespec pause = {.tv_nsec = HOLD_PAUSE_NS};
        (void)nanosleep(&pause, NULL);
        gw_fault_clear(fault);
        status = gw_record_file_lock(config->state_dir, name, lock_fd, fault);
    }
    if (status == GW_REFUSED) {
        gw_fault_clear(fault);
        return gw_fault_set(
            fault, GW_ARGUMENT,
            "another godwit has guest %s, and its records in %s (--state-dir): give "
            "this guest another name, or end that one",
            config->name, config->state_dir);
    }
    return status;
}

enum gw_status gw_records_check_hold(const struct gw_run_config *config, int lock_fd,
                                     struct gw_fault *fault)
{
    char path[PATH_MAX];
    struct stat found = {0}; /* inode 0: none */
    struct stat wanted = {0};
    (void)snprintf(path, sizeof(path), "%s/%s.lock", config->state_dir, config->name);
    (void)lstat(path, &found);
    (void)fstat(lock_fd, &wanted);
    return found.st_dev == wanted.st_dev && found.st_ino == wanted.st_ino
               ? GW_OK
               : gw_fault_set(fault, GW_REFUSED,
                              "%s has inode %llu of device %llx, wanted %llu of %llx: the old "
                              "godwit's records are elsewhere",
                              path, (unsigned long long)found.st_ino,
                              (unsigned long long)found.st_dev, (unsigned long long)wanted.st_ino,
                              (unsigned long long)wanted.st_dev);
}

enum gw_status gw_records_check_boot(const struct gw_run_config *config, struct gw_fault *fault)
{
    struct gw_departure departure;
    bool is_found = false;
    enum gw_status status =
        get_departure(config->state_dir, config->name, &departure, &is_found, fault);
    if (status || !is_found || departure.state == GW_DEPARTURE_KEPT) {
        return status;
    }
    return gw_fault_set(fault, GW_ARGUMENT,
                        "guest %s %s %s: booting it here would make a second one. If it is gone "
                        "for good over there: godwit resolve %s --run --other-is-dead",
                        config->name,
                        departure.state == GW_DEPARTURE_LEFT ? "moved to" : "was being moved to",
                        departure.peer, config->name);
}

/* Resolving where no monitor is left. */

static void explain_departure(const char *guest, const struct gw_departure *departure,
                              struct gw_run_dead *dead)
{
    dead->is_open = departure->state == GW_DEPARTURE_LEAVING;
    (void)snprintf(dead->result.text, sizeof(dead->result.text),
                   dead->is_open ? "%s was being moved to %s when its monitor here died, and with "
                                   "it this copy; it may run there"
                                 : "%s is no longer this side's: it moved to %s, or was given up",
                   guest, departure->peer);
}

static enum gw_status give_up_departure(const char *state_dir, const char *guest,
                                        struct gw_departure *departure, struct gw_run_dead *dead,
                                        struct gw_fault *fault)
{
    const struct gw_token token = {
        .session = departure->session, .epoch = departure->epoch, .who = 's'};
    departure->state = GW_DEPARTURE_LEFT;
    enum gw_status status = put_departure(state_dir, guest, departure, fault);
    if (status) {
        return status;
    }
    gw_token_encode(&token, dead->result.token);
    (void)snprintf(dead->result.text, sizeof(dead->result.text),
                   "recorded: this side never runs %s; on %s: godwit resolve %s --run TOKEN", guest,
                   departure->peer, guest);
    return GW_OK;
}

static enum gw_status give_up_history(const char *state_dir, const char *guest,
                                      struct gw_history *history, struct gw_run_dead *dead,
                                      struct gw_fault *fault)
{
    const struct gw_session session = history->entry[0].session;
    const struct gw_token token = {.session = session, .epoch = UINT64_MAX, .who = 't'};
    gw_history_put(history, &session, GW_RECORD_ABORTED, UINT64_MAX);
    enum gw_status status = put_history(state_dir, guest, history, fault);
    if (status) {
        return status;
    }
    gw_token_encode(&token, dead->result.token);
    (void)snprintf(dead->result.text, sizeof(dead->result.text),
                   "recorded: this side never runs %s; on the source: godwit resolve %s --run "
                   "TOKEN",
                   guest, guest);
    return GW_OK;
}

static bool has_taken(const struct gw_history *history)
{
    return history->entry[0].state == GW_RECORD_TOOK ||
           history->entry[0].state == GW_RECORD_PULLING;
}

static void explain_history(const char *guest, const struct gw_history *history,
                            struct gw_run_dead *dead)
{
    const struct gw_record_entry *entry = &history->entry[0];
    bool is_lost = entry->state == GW_RECORD_PULLING;
    bool took = has_taken(history);
    bool is_over = entry->state == GW_RECORD_ABORTED;
    dead->is_open = !took && !is_over;
    (void)snprintf(dead->result.text, sizeof(dead->result.text),
                   is_lost ? "%s came here, ran here without all of its memory, and its monitor is "
                             "gone: it is lost"
                   : took  ? "%s came here, ran here, and its monitor is gone: it ended with it"
                   : is_over
                       ? "%s was to come here, and that is over: it never ran here and never will"
                       : "%s was on its way here when the monitor died; it never ran here",
                   guest);
}

static enum gw_status read_records(const char *state_dir, const char *name,
                                   struct gw_departure *departure, struct gw_history *history,
                                   bool *is_source, bool *has_record, struct gw_fault *fault)
{
    bool has_departure = false;
    bool has_history = false;
    enum gw_status status = get_departure(state_dir, name, departure, &has_departure, fault);
    if (!status) {
        status = get_history(state_dir, name, history, &has_history, fault);
    }
    bool has_arrival = !status && has_history && history->count > 0;
    /* One that left may be on its way back. */
    bool is_back = has_arrival && history->entry[0].state == GW_RECORD_OPENED && has_departure &&
                   departure->state == GW_DEPARTURE_LEFT;
    *is_source = !status && has_departure && departure->state != GW_DEPARTURE_KEPT && !is_back;
    *has_record = *is_source || has_arrival;
    return status;
}

static enum gw_status settle(const char *state_dir, const char *name,
                             enum gw_run_dead_action action, struct gw_run_dead *dead,
                             struct gw_fault *fault)
{
    struct gw_departure departure;
    struct gw_history history;
    bool is_source;
    enum gw_status status =
        read_records(state_dir, name, &departure, &history, &is_source, &dead->has_record, fault);
    if (status || !dead->has_record) {
        return status;
    }
    if (is_source) {
        explain_departure(name, &departure, dead);
    } else {
        explain_history(name, &history, dead);
    }
    if (action == GW_RUN_DEAD_SHOW) {
        return GW_OK;
    }
    if (action == GW_RUN_DEAD_FORGET) {
        char file[FILE_NAME_BYTES];
        file_name(file, name, "outgoing");
        (void)snprintf(dead->result.text, sizeof(dead->result.text),
                       "%s: the next `godwit run` boots %s anew",
                       is_source ? "the record is gone" : "no record keeps it from that", name);
        return gw_record_file_clear(state_dir, file, fault);
    }
    if (!is_source && has_taken(&history)) {
        return gw_fault_set(fault, GW_REFUSED, "%s; there is nothing to give up",
                            dead->result.text);
    }
    /* Once more, where that was done: the token is the same. */
    return is_source ? give_up_departure(state_dir, name, &departure, dead, fault)
                     : give_up_history(state_dir, name, &history, dead, fault);
}

static enum gw_status settle_held(const char *state_dir, const char *name,
                                  enum gw_run_dead_action action, struct gw_run_dead *dead,
                                  struct gw_fault *fault)
{
    char file[FILE_NAME_BYTES];
    int lock_fd;
    file_name(file, name, "lock");
    enum gw_status status = gw_record_file_lock(state_dir, file, &lock_fd, fault);
    if (status != GW_OK && status != GW_REFUSED && action == GW_RUN_DEAD_SHOW) {
        gw_fault_clear(fault); /* who may not hold them may look at them */
        return settle(state_dir, name, action, dead, fault);
    }
    if (status == GW_REFUSED) {
        gw_fault_clear(fault);
        return gw_fault_set(
            fault, GW_REFUSED,
            "a godwit that has guest %s is there, although it does not answer: what "
            "its records say is its own (give its --control, or end it first)",
            name);
    }
    if (!status) {
        status = settle(state_dir, name, action, dead, fault);
        (void)close(lock_fd);
    }
    return status;
}

/* Without a record there is nothing to hold: no file is made for a name that was misspelt. */
enum gw_status gw_run_resolve_dead(const char *state_dir, const char *name,
                                   enum gw_run_dead_action action, struct gw_run_dead *dead,
                                   struct gw_fault *fault)
{
    *dead = (struct gw_run_dead){0};
    (void)snprintf(dead->result.text, sizeof(dead->result.text),
                   "no monitor runs %s here, and no record says that it ever left or came", name);
    enum gw_status status = settle(state_dir, name, GW_RUN_DEAD_SHOW, dead, fault);
    return status || !dead->has_record ? status : settle_held(state_dir, name, action, dead, fault);
}
