/* SPDX-License-Identifier: Apache-2.0 */
/* The guest's console: see console.h. */
#include "run/console.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "godwit/clock.h"
#include "godwit/terminal.h"
#include "godwit/unix_socket.h"
#include "run/storage.h"

#define CONSOLE (&gw_run_storage.console)

enum { ESCAPE = 1 /* Ctrl-A, as in QEMU */ };

static void read_input(void *context, uint32_t events);
static void write_queued(void *context, uint32_t events);

/* What it typed last is still the guest's. */
static void drop_client(struct gw_console *console)
{
    gw_loop_remove(&console->in_watch);
    (void)close(console->in_fd);
    console->in_fd = -1;
    console->out_fd = -1;
    console->out_count = 0;
}

static void watch_client(struct gw_console *console)
{
    struct gw_fault fault = {0};
    if (gw_loop_add(&gw_run_storage.monitor.loop, &console->in_watch, console->in_fd, EPOLLIN,
                    read_input, console, &fault) != GW_OK) {
        gw_monitor_say("%s", fault.text);
        (void)close(console->in_fd);
        console->in_fd = -1;
        console->out_fd = -1;
    }
}

static void accept_client(void *context, uint32_t events)
{
    struct gw_console *console = context;
    struct gw_fault fault = {0};
    int fd;
    (void)events;
    if (gw_unix_accept(console->listener_fd, &fd, &fault) != GW_OK) {
        return;
    }
    if (console->in_fd >= 0) {
        drop_client(console); /* the newest is whom the operator means */
        console->in_count = 0;
    }
    console->in_fd = fd;
    console->out_fd = fd;
    watch_client(console);
}

static enum gw_status watch_listener(struct gw_console *console, struct gw_fault *fault)
{
    return gw_loop_add(&gw_run_storage.monitor.loop, &console->listener_watch, console->listener_fd,
                       EPOLLIN, accept_client, console, fault);
}

static enum gw_status open_unix(struct gw_console *console, const char *path,
                                struct gw_fault *fault)
{
    enum gw_status status = gw_unix_listen(path, &console->listener_fd, fault);
    console->is_ours = status == GW_OK;
    return status ? status : watch_listener(console, fault);
}

static void watch_output(struct gw_console *console)
{
    /* A regular file cannot be polled: it is always ready, or it is at its end. */
    console->is_out_pollable =
        gw_loop_add(&gw_run_storage.monitor.loop, &console->out_watch, console->out_fd,
                    console->out_count > 0 ? EPOLLOUT : 0, write_queued, console, NULL) == GW_OK;
}

static enum gw_status open_file(struct gw_console *console, const char *path,
                                struct gw_fault *fault)
{
    console->out_fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NONBLOCK, 0600);
    if (console->out_fd < 0) {
        return gw_fault_set_os(fault, errno, "the console's file %s cannot be opened", path);
    }
    watch_output(console);
    return GW_OK;
}

static void set_raw(struct gw_console *console)
{
    struct termios raw;
    if (tcgetattr(STDIN_FILENO, &console->terminal) != 0) {
        return;
    }
    raw = console->terminal;
    raw.c_iflag &= ~(tcflag_t)(ICRNL | INLCR | IXON | ISTRIP);
    raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO | ISIG | IEXTEN);
    console->is_terminal = tcsetattr(STDIN_FILENO, TCSANOW, &raw) == 0;
    if (console->is_terminal) {
        gw_monitor_say("the console is this terminal; Ctrl-A x ends godwit");
    }
}

static void watch_input(struct gw_console *console)
{
    bool is_pollable = gw_loop_add(&gw_run_storage.monitor.loop, &console->in_watch, STDIN_FILENO,
                                   EPOLLIN, read_input, console, NULL) == GW_OK;
    console->in_fd = is_pollable ? STDIN_FILENO : -1;
}

/* Others may write to it as well: a description of its own, if it is a terminal. */
static int own_output(void)
{
    int fd = gw_terminal_open_own(STDOUT_FILENO);
    return fd >= 0 ? fd : STDOUT_FILENO;
}

/* Who reads from its terminal in the background, or sets it, is stopped (SIGTTIN, SIGTTOU). One
 * that does not control this session stops nobody, and has no answer to the question. */
static bool is_foreground(void)
{
    pid_t group = tcgetpgrp(STDIN_FILENO);
    return group < 0 || group == getpgrp();
}

static void open_stdio(struct gw_console *console)
{
    bool is_terminal = isatty(STDIN_FILENO) != 0;
    console->out_fd = own_output();
    watch_output(console);
    if (is_terminal && !is_foreground()) {
        gw_monitor_say("started in the background: the console takes no input");
        return;
    }
    watch_input(console);
    if (console->in_fd >= 0 && is_terminal) {
        set_raw(console);
    }
}

static void reset(struct gw_console *console, const struct gw_run_config *config)
{
    console->kind = config->console;
    console->out_fd = -1;
    console->in_fd = -1;
    console->listener_fd = -1;
}

enum gw_status gw_console_open(const struct gw_run_config *config, struct gw_fault *fault)
{
    struct gw_console *console = CONSOLE;
    reset(console, config);
    switch (config->console) {
    case GW_RUN_CONSOLE_FILE:
        return open_file(console, config->console_path, fault);
    case GW_RUN_CONSOLE_UNIX:
        return open_unix(console, config->console_path, fault);
    case GW_RUN_CONSOLE_STDIO:
        open_stdio(console);
        return GW_OK;
    }
    return GW_OK;
}

/* Writes what can be written without waiting; returns how much, or -1 when it cannot be. */
static ssize_t write_some(struct gw_console *console, const uint8_t *bytes, size_t count)
{
    ssize_t done = console->kind == GW_RUN_CONSOLE_UNIX
                       ? send(console->out_fd, bytes, count, MSG_NOSIGNAL | MSG_DONTWAIT)
                       : write(console->out_fd, bytes, count);
    if (done < 0 && (errno == EAGAIN || errno == EINTR)) {
        return 0;
    }
    if (done < 0 && !console->is_fault_told && console->kind != GW_RUN_CONSOLE_UNIX) {
        console->is_fault_told = true;
        gw_monitor_say("the console cannot be written (%s): its output is dropped until it can",
                       strerror(errno));
    }
    return done;
}

/* Who connects is one socket for both ways. */
static void watch_more(struct gw_console *console)
{
    bool has_room = console->in_count < sizeof(console->in);
    bool is_waiting = console->kind == GW_RUN_CONSOLE_UNIX && console->out_count > 0;
    if (console->in_fd >= 0 && !console->is_frozen) {
        gw_loop_change(&console->in_watch,
                       (has_room ? EPOLLIN : 0u) | (is_waiting ? EPOLLOUT : 0u));
    }
}

static void flush(struct gw_console *console)
{
    while (console->out_count > 0) {
        ssize_t done = write_some(console, console->out + console->out_at, console->out_count);
        if (done == 0) {
            break;
        }
        if (done < 0) {
            console->out_count = 0;
            break;
        }
        console->is_fault_told = false;
        console->out_at += (size_t)done;
        console->out_count -= (size_t)done;
    }
    if (console->out_count == 0) {
        console->out_at = 0;
    }
    watch_more(console);
}

/* Standard output may be shared with others, so it is not switched to non-blocking: it is written
 * only when the kernel says there is room, and little at a time. (A terminal is written through a
 * description of its own.) */
static void write_queued(void *context, uint32_t events)
{
    struct gw_console *console = context;
    (void)events;
    enum { ROOM = 512 }; /* PIPE_BUF: so much fits when a pipe is writable (POSIX write(2)) */
    size_t count = console->out_count < ROOM ? console->out_count : ROOM;
    ssize_t done = count ? write_some(console, console->out + console->out_at, count) : 0;
    if (done < 0) {
        console->out_count = 0;
    } else {
        console->out_at += (size_t)done;
        console->out_count -= (size_t)done;
    }
    if (console->out_count == 0) {
        console->out_at = 0;
        gw_loop_change(&console->out_watch, 0);
    }
}

/* What a guest said last is not lost to a reader who takes it; who reads a byte now and then does
 * not keep godwit from ending. */
#define DRAIN_NS (200 * GW_NS_PER_MS)

static void drain(struct gw_console *console)
{
    uint64_t end_ns = gw_clock_now_ns() + DRAIN_NS;
    struct pollfd wait = {.fd = console->out_fd, .events = POLLOUT};
    while (console->out_count > 0) {
        uint64_t now_ns = gw_clock_now_ns();
        if (now_ns >= end_ns || poll(&wait, 1, (int)((end_ns - now_ns) / GW_NS_PER_MS)) <= 0) {
            return;
        }
        if (console->is_out_pollable) {
            write_queued(console, EPOLLOUT);
        } else {
            flush(console);
        }
    }
}

void gw_console_close(void)
{
    struct gw_console *console = CONSOLE;
    if (!console->is_frozen) { /* else another godwit says the rest */
        drain(console);
    }
    if (console->is_terminal) {
        (void)tcsetattr(STDIN_FILENO, TCSANOW, &console->terminal);
    }
    if (console->kind == GW_RUN_CONSOLE_UNIX && console->listener_fd >= 0 && console->is_ours) {
        gw_unix_close(console->listener_fd, gw_run_storage.monitor.config->console_path);
    }
}

static void queue(struct gw_console *console, const uint8_t *bytes, size_t count)
{
    if (console->out_at > 0) {
        memmove(console->out, console->out + console->out_at, console->out_count);
        console->out_at = 0;
    }
    size_t room = sizeof(console->out) - console->out_count;
    size_t take = count < room ? count : room;
    memcpy(console->out + console->out_count, bytes, take);
    console->out_count += take;
}

void gw_console_write(const uint8_t *bytes, size_t count)
{
    struct gw_console *console = CONSOLE;
    if (console->out_fd < 0 && !console->is_frozen) {
        return;
    }
    queue(console, bytes, count);
    if (console->is_frozen) {
        return;
    }
    if (console->is_out_pollable) {
        gw_loop_change(&console->out_watch, EPOLLOUT);
    } else {
        flush(console);
    }
}

static void feed(struct gw_console *console)
{
    size_t taken = gw_vm_console_put(&gw_run_storage.vm, console->in, console->in_count);
    memmove(console->in, console->in + taken, console->in_count - taken);
    console->in_count -= taken;
    watch_more(console);
}

void gw_console_feed(void)
{
    feed(CONSOLE);
}

/* Ctrl-A x ends; Ctrl-A Ctrl-A types one. Returns how many bytes are for the guest. */
static size_t take_escapes(struct gw_console *console, uint8_t *bytes, size_t count)
{
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        if (console->is_escape) {
            console->is_escape = false;
            if (bytes[i] == 'x') {
                gw_monitor_quit();
            } else if (bytes[i] == ESCAPE) {
                bytes[kept++] = bytes[i];
            }
        } else if (bytes[i] == ESCAPE) {
            console->is_escape = true;
        } else {
            bytes[kept++] = bytes[i];
        }
    }
    return kept;
}

static void read_input(void *context, uint32_t events)
{
    struct gw_console *console = context;
    if ((events & EPOLLOUT) != 0) {
        flush(console);
    }
    if (console->in_count == sizeof(console->in) || (events & ~(uint32_t)EPOLLOUT) == 0) {
        return; /* full: to read nothing would look like the end */
    }
    uint8_t *end = console->in + console->in_count;
    ssize_t got = read(console->in_fd, end, sizeof(console->in) - console->in_count);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (got <= 0 && console->kind == GW_RUN_CONSOLE_UNIX) {
        drop_client(console);
        return;
    }
    if (got <= 0) {
        gw_loop_remove(&console->in_watch);
        console->in_fd = -1;
        return;
    }
    size_t count = (size_t)got;
    console->in_count += console->is_terminal ? take_escapes(console, end, count) : count;
    feed(console);
}

/* Passing on */

void gw_console_freeze(void)
{
    struct gw_console *console = CONSOLE;
    console->is_frozen = true;
    gw_loop_remove(&console->in_watch);
    gw_loop_remove(&console->out_watch);
    gw_loop_remove(&console->listener_watch);
}

static void thaw_unix(struct gw_console *console)
{
    struct gw_fault fault = {0};
    if (console->in_fd >= 0) {
        watch_client(console);
    }
    if (watch_listener(console, &fault) != GW_OK) {
        gw_monitor_say("%s", fault.text);
    }
    console->is_ours = true;
}

void gw_console_thaw(void)
{
    struct gw_console *console = CONSOLE;
    if (!console->is_frozen) {
        return;
    }
    console->is_frozen = false;
    if (console->kind == GW_RUN_CONSOLE_UNIX) {
        thaw_unix(console);
    } else {
        watch_output(console);
    }
    if (console->kind == GW_RUN_CONSOLE_STDIO && console->in_fd >= 0) {
        watch_input(console);
    }
    if (console->out_fd < 0) {
        console->out_count = 0;
    } else if (!console->is_out_pollable) {
        flush(console);
    }
    feed(console);
}

void gw_console_let_go(void)
{
    CONSOLE->is_ours = false;
}

void gw_console_adopt(const struct gw_run_config *config, int fd)
{
    struct gw_console *console = CONSOLE;
    reset(console, config);
    console->is_frozen = true;
    switch (config->console) {
    case GW_RUN_CONSOLE_FILE:
        console->out_fd = fd;
        break;
    case GW_RUN_CONSOLE_UNIX:
        console->listener_fd = fd;
        break;
    case GW_RUN_CONSOLE_STDIO:
        console->out_fd = own_output();
        console->in_fd = isatty(STDIN_FILENO) ? -1 : STDIN_FILENO;
        break;
    }
}

/* Puts bytes before those that are queued; what has no room is dropped from the end, as it would
 * have been had they come in this order. */
static void queue_before(struct gw_console *console, const uint8_t *bytes, size_t count)
{
    if (console->out_at > 0) {
        memmove(console->out, console->out + console->out_at, console->out_count);
        console->out_at = 0;
    }
    size_t take = count < sizeof(console->out) ? count : sizeof(console->out);
    size_t room = sizeof(console->out) - take;
    size_t kept = console->out_count < room ? console->out_count : room;
    memmove(console->out + take, console->out, kept);
    memcpy(console->out, bytes, take);
    console->out_count = take + kept;
}

void gw_console_continue(const struct gw_take_over_rest *rest, int client_fd)
{
    struct gw_console *console = CONSOLE;
    size_t room = sizeof(console->in) - console->in_count;
    size_t take = rest->console_in.count < room ? rest->console_in.count : room;
    GW_ASSERT(console->is_frozen);
    if (take > 0) {
        memcpy(console->in + console->in_count, rest->console_in.at, take);
        console->in_count += take;
    }
    if (rest->console_out.count > 0) {
        queue_before(console, rest->console_out.at, rest->console_out.count);
    }
    if (client_fd >= 0 && console->kind == GW_RUN_CONSOLE_UNIX) {
        console->in_fd = client_fd;
        console->out_fd = client_fd;
    } else if (client_fd >= 0) {
        (void)close(client_fd);
    }
}

int gw_console_get_rest(struct gw_take_over_rest *rest)
{
    const struct gw_console *console = CONSOLE;
    rest->console_in = (struct gw_take_over_bytes){console->in, (uint32_t)console->in_count};
    rest->console_out =
        (struct gw_take_over_bytes){console->out + console->out_at, (uint32_t)console->out_count};
    return console->kind == GW_RUN_CONSOLE_UNIX ? console->in_fd : -1;
}
