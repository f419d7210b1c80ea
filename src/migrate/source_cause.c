/* SPDX-License-Identifier: Apache-2.0 */
/* Why a migration ended, or is being tried again, in a sentence. Pure; under the embedder's lock.
 */
#include "migrate/source_private.h"

/* How long a lost link is tried again. */
uint64_t gw_source_patience_ns(const struct gw_source *source)
{
    if (source->config.is_ram_shared) {
        return 0; /* the target is a process of this host: lost is gone */
    }
    uint64_t resume_ns = source->config.resume_ns_max;
    switch (source->state) {
    case GW_SOURCE_PUSH_WAITING:
        return source->config.recover_ns_max;
    case GW_SOURCE_SETTLING_WAITING: /* who would not try again says it again all the same */
        return resume_ns > GW_SETTLING_NS_MIN ? resume_ns : GW_SETTLING_NS_MIN;
    default:
        return resume_ns;
    }
}

/* For what is the reason now: a link that was lost before is past. */
static struct gw_fault *anew(struct gw_source *source)
{
    gw_fault_clear(&source->fault);
    return &source->fault;
}

/* What broke the link stays the reason. */
static void note_exhausted(struct gw_source *source)
{
    struct gw_fault lost = source->fault;
    uint64_t limit_ns = gw_source_patience_ns(source);
    if (limit_ns > 0) {
        (void)gw_fault_set(anew(source), lost.status, "%.*s (tried again for %llu s)",
                           (int)sizeof(lost.text) - 40, lost.text,
                           (unsigned long long)(limit_ns / 1000000000));
    }
}

/* Who ends, and waits for the guest to stop, has its reason. So has who heard that the guest is
 * lost there: that stays true, whatever else the target says later. */
static bool has_reason(const struct gw_source *source, enum gw_source_event_type type)
{
    bool is_ending =
        source->state == GW_SOURCE_FALLING_BACK || source->state == GW_SOURCE_CANCELLING;
    bool is_told_again = type == GW_SOURCE_EV_REFUSE || type == GW_SOURCE_EV_STANDS_UNKNOWN;
    return is_ending || (source->is_lost_there && is_told_again);
}

/* Remembers why it ended, from the event that ends it. */
void gw_source_note_cause(struct gw_source *source, const struct gw_source_event *event,
                          const struct gw_message *message)
{
    if (has_reason(source, event->type)) {
        return;
    }
    switch (event->type) {
    case GW_SOURCE_EV_HOST_FAULT:
        (void)gw_fault_set(anew(source), event->fault->status, "%s", event->fault->text);
        break;
    case GW_SOURCE_EV_CANCEL:
        (void)gw_fault_set(anew(source), GW_CANCELLED, "cancelled by the operator");
        break;
    case GW_SOURCE_EV_REFUSE:
        (void)gw_fault_set(anew(source), GW_REFUSED, "%s", message->verdict.reason);
        break;
    case GW_SOURCE_EV_ABORTED:
        (void)gw_fault_set(anew(source), GW_REFUSED, "the target could not take the guest: %s",
                           message->verdict.reason);
        break;
    case GW_SOURCE_EV_STANDS_ABORTED:
        (void)gw_fault_set(anew(source), GW_REFUSED,
                           "the target gave the guest up before it ran there");
        break;
    case GW_SOURCE_EV_STANDS_UNKNOWN:
        (void)gw_fault_set(anew(source), GW_REFUSED,
                           "the target cannot say how this migration stands: it has no record of "
                           "it, or is writing one");
        break;
    case GW_SOURCE_EV_STANDS_LOST:
        source->is_lost_there = true;
        (void)gw_fault_set(anew(source), GW_LINK,
                           "the guest is lost there: the target was restarted before it had all "
                           "of the guest's memory; see `godwit resolve`");
        break;
    case GW_SOURCE_EV_GIVE_UP:
        if (gw_source_runner(source) == GW_RUNNER_TARGET) {
            (void)gw_fault_set(anew(source), GW_CANCELLED,
                               "resolved by the operator: the rest of its memory is given up");
        } else {
            (void)gw_fault_set(anew(source), GW_CANCELLED,
                               "resolved by the operator: this copy never runs again");
        }
        break;
    case GW_SOURCE_EV_RUN_ANYWAY:
        (void)gw_fault_set(anew(source), GW_CANCELLED,
                           "resolved by the operator: the guest runs here");
        break;
    case GW_SOURCE_EV_MISMATCH:
        source->is_verified = false; /* the acknowledgement may have come first */
        source->is_different = true;
        (void)gw_fault_set(
            anew(source), GW_CORRUPT,
            "RAM differs after the copy: %u pages from page %llu have digest 0x%016llx on the "
            "source, 0x%016llx on the target",
            message->mismatch.count, (unsigned long long)message->mismatch.page,
            (unsigned long long)message->mismatch.digest_source,
            (unsigned long long)message->mismatch.digest_target);
        break;
    case GW_SOURCE_EV_EXHAUSTED:
        note_exhausted(source);
        break;
    case GW_SOURCE_EV_DEADLINE:
        (void)gw_fault_set(anew(source), GW_CANCELLED,
                           "the deadline of %llu ms passed with %llu pages left to send",
                           (unsigned long long)(source->config.deadline_ns / 1000000),
                           (unsigned long long)gw_pages_remaining(&source->pages));
        break;
    case GW_SOURCE_EV_TIME_OUT:
        if (source->state == GW_SOURCE_GREETING || source->state == GW_SOURCE_NEGOTIATING) {
            (void)gw_fault_set(anew(source), GW_LINK, "the target did not answer %s within %u s",
                               source->state == GW_SOURCE_GREETING ? "INTRO" : "HELLO",
                               (unsigned)(GW_GREETING_NS_MAX / 1000000000));
        }
        if (source->state == GW_SOURCE_ACTIVE) {
            (void)gw_fault_set(anew(source), GW_LINK,
                               "the target's devices were not ready within %u s of when the guest "
                               "could have been handed over",
                               (unsigned)(GW_DEVICES_NS_MAX / 1000000000));
        }
        if (source->state == GW_SOURCE_FINISHING) {
            (void)gw_fault_set(anew(source), GW_LINK,
                               "the target took none of the last pages for %u s, while the guest "
                               "stood still",
                               (unsigned)(GW_FINISHING_NS_MAX / 1000000000));
        }
        if (source->state == GW_SOURCE_PREPARED) {
            (void)gw_fault_set(anew(source), GW_LINK,
                               "the target was not ready within %u s of PREPARE, or of what it "
                               "acknowledged last",
                               (unsigned)(GW_PREPARED_NS_MAX / 1000000000));
        }
        if (source->state == GW_SOURCE_SETTLING) {
            (void)gw_fault_set(anew(source), GW_LINK, "the target did not answer DONE within %u s",
                               (unsigned)(GW_SETTLING_NS_MAX / 1000000000));
        }
        break;
    default:
        break;
    }
}
