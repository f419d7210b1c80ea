/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The remote control of an emulated gateway: runs commands for the harness on the PC, over one
 * virtio-serial port per client (harness/agent.py is the other side). A process of its own serves
 * each port; it owns its memory, and blocks only in poll, in the port's write, and in a write to a
 * command's input.
 *
 * A frame is: length of payload (4 bytes, little-endian), command number (4), type (1), payload.
 *   to the gateway    E run: flags (1: with a terminal), then arguments each ended by a NUL
 *                     I input (empty: end of input)    K signal (1 byte) to the command's group
 *                     N hello (answered with the same payload)
 *                     T clock wanted    A move the clock by (8 bytes, ns, signed)
 *   from the gateway  O output   R error output   X exit status (1 byte; 128 + signal)
 *                     N hello    T clock (8 bytes, ns)   F could not run (a sentence)
 * When the client disconnects, its commands are killed (not what they put in the background).
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    HEADER_BYTES = 9,
    PAYLOAD_BYTES_MAX = 65536,
    ARGUMENTS_MAX = 256,
    COMMANDS_MAX = 32,
    FLAG_TERMINAL = 1,
};

struct command {
    bool used;
    uint32_t number;
    pid_t pid;
    int input;  /* -1 when closed, as the next two */
    int output; /* a terminal's master serves as input too, by a descriptor of its own */
    int error;
};

static struct command commands[COMMANDS_MAX];
static uint8_t payload[PAYLOAD_BYTES_MAX + 1];
static int port;

static void put_le32(uint8_t *at, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        at[i] = (uint8_t)(value >> (8 * i));
}

static uint32_t get_le32(const uint8_t *at)
{
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static bool write_all(int fd, const void *bytes, size_t length)
{
    const uint8_t *at = bytes;
    while (length > 0) {
        ssize_t n = write(fd, at, length);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        at += n;
        length -= (size_t)n;
    }
    return true;
}

/* Header and payload leave in one write: the port hands over whole buffers. */
static void send_frame(uint32_t number, char type, const void *bytes, size_t length)
{
    static uint8_t frame[HEADER_BYTES + PAYLOAD_BYTES_MAX];
    put_le32(frame, (uint32_t)length);
    put_le32(frame + 4, number);
    frame[8] = (uint8_t)type;
    if (length > 0)
        memcpy(frame + HEADER_BYTES, bytes, length);
    (void)write_all(port, frame, HEADER_BYTES + length); /* a lost client shows as a hang-up */
}

static void send_failure(uint32_t number, const char *what)
{
    char text[160];
    int n = snprintf(text, sizeof text, "%s: %s", what, strerror(errno));
    send_frame(number, 'F', text, (size_t)n);
}

static void close_if_open(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static struct command *find_command(uint32_t number)
{
    for (int i = 0; i < COMMANDS_MAX; i++)
        if (commands[i].used && commands[i].number == number)
            return &commands[i];
    return NULL;
}

static struct command *free_command(void)
{
    for (int i = 0; i < COMMANDS_MAX; i++)
        if (!commands[i].used)
            return &commands[i];
    errno = EBUSY;
    return NULL;
}

static void exec_child(char **arguments, int in, int out, int err, bool terminal)
{
    setsid();
    if (terminal)
        (void)ioctl(in, TIOCSCTTY, 0);
    if (dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(err, 2) < 0)
        _exit(126);
    signal(SIGPIPE, SIG_DFL);
    execvp(arguments[0], arguments);
    dprintf(2, "%s: %s\n", arguments[0], strerror(errno));
    _exit(127);
}

static bool open_pipes(int pipes[3][2])
{
    for (int i = 0; i < 3; i++)
        if (pipe2(pipes[i], O_CLOEXEC) != 0)
            return false;
    return true;
}

static bool start_with_pipes(struct command *command, char **arguments)
{
    int pipes[3][2] = {{-1, -1}, {-1, -1}, {-1, -1}};
    bool opened = open_pipes(pipes);
    pid_t pid = opened ? fork() : -1;
    if (pid == 0)
        exec_child(arguments, pipes[0][0], pipes[1][1], pipes[2][1], false);
    close_if_open(&pipes[0][0]);
    close_if_open(&pipes[1][1]);
    close_if_open(&pipes[2][1]);
    if (pid < 0) {
        close_if_open(&pipes[0][1]);
        close_if_open(&pipes[1][0]);
        close_if_open(&pipes[2][0]);
        return false;
    }
    command->input = pipes[0][1];
    command->output = pipes[1][0];
    command->error = pipes[2][0];
    command->pid = pid;
    return true;
}

static bool start_with_terminal(struct command *command, char **arguments)
{
    const struct winsize size = {.ws_row = 40, .ws_col = 100};
    int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    int slave = -1;
    pid_t pid = -1;
    if (master >= 0 && unlockpt(master) == 0) {
        slave = open(ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC);
        (void)ioctl(master, TIOCSWINSZ, &size);
    }
    if (slave >= 0)
        pid = fork();
    if (pid == 0)
        exec_child(arguments, slave, slave, slave, true);
    close_if_open(&slave);
    if (pid < 0) {
        close_if_open(&master);
        return false;
    }
    command->output = master;
    command->input = fcntl(master, F_DUPFD_CLOEXEC, 0);
    command->error = -1;
    command->pid = pid;
    return true;
}

static void start_command(uint32_t number, uint8_t *bytes, size_t length)
{
    char *arguments[ARGUMENTS_MAX + 1];
    size_t count = 0;
    struct command *command = free_command();
    if (command == NULL || length < 2) {
        send_failure(number, "no place for one more command");
        return;
    }
    bytes[length] = 0;
    for (size_t at = 1; at < length && count < ARGUMENTS_MAX; count++) {
        arguments[count] = (char *)bytes + at;
        at += strlen(arguments[count]) + 1;
    }
    arguments[count] = NULL;
    *command = (struct command){.used = true, .number = number};
    bool started = (bytes[0] & FLAG_TERMINAL) != 0 ? start_with_terminal(command, arguments)
                                                   : start_with_pipes(command, arguments);
    if (!started) {
        command->used = false;
        send_failure(number, arguments[0]);
    }
}

static int64_t clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void adjust_clock(uint32_t number, const uint8_t *bytes)
{
    int64_t delta_ns;
    memcpy(&delta_ns, bytes, sizeof delta_ns);
    int64_t ns = clock_ns() + delta_ns;
    const struct timespec then = {.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};
    if (clock_settime(CLOCK_REALTIME, &then) != 0)
        send_failure(number, "clock_settime");
}

static void take_input(uint32_t number, const uint8_t *bytes, size_t length)
{
    struct command *command = find_command(number);
    if (command == NULL || command->input < 0)
        return;
    if (length == 0 || !write_all(command->input, bytes, length))
        close_if_open(&command->input);
}

static void take_frame(uint32_t number, char type, uint8_t *bytes, size_t length)
{
    const struct command *command;
    int64_t now_ns;
    switch (type) {
    case 'E':
        start_command(number, bytes, length);
        break;
    case 'I':
        take_input(number, bytes, length);
        break;
    case 'K':
        command = find_command(number);
        /* It may not have come as far as to lead a group. */
        if (command != NULL && length == 1 && kill(-command->pid, bytes[0]) != 0)
            kill(command->pid, bytes[0]);
        break;
    case 'N':
        send_frame(number, 'N', bytes, length);
        break;
    case 'T':
        now_ns = clock_ns();
        send_frame(number, 'T', &now_ns, sizeof now_ns);
        break;
    case 'A':
        if (length == sizeof(int64_t))
            adjust_clock(number, bytes);
        break;
    default:
        break;
    }
}

/* Passes on what can be read now. Returns false when the pipe is at its end. */
static bool pass_output(uint32_t number, char type, int fd)
{
    uint8_t bytes[4096];
    ssize_t n = read(fd, bytes, sizeof bytes);
    if (n > 0)
        send_frame(number, type, bytes, (size_t)n);
    return n > 0 || (n < 0 && errno == EINTR);
}

/* What a command that has ended wrote last; never waits, since it may have left a child behind. */
static void drain_output(uint32_t number, char type, int *fd)
{
    while (*fd >= 0) {
        struct pollfd ready = {.fd = *fd, .events = POLLIN};
        if (poll(&ready, 1, 0) <= 0 || !pass_output(number, type, *fd))
            break;
    }
    close_if_open(fd);
}

static void reap_commands(void)
{
    for (int i = 0; i < COMMANDS_MAX; i++) {
        struct command *command = &commands[i];
        int status;
        if (!command->used || waitpid(command->pid, &status, WNOHANG) != command->pid)
            continue;
        uint8_t code = (uint8_t)(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
        drain_output(command->number, 'O', &command->output);
        drain_output(command->number, 'R', &command->error);
        close_if_open(&command->input);
        send_frame(command->number, 'X', &code, 1);
        command->used = false;
    }
}

static void drop_commands(void)
{
    for (int i = 0; i < COMMANDS_MAX; i++) {
        struct command *command = &commands[i];
        if (!command->used)
            continue;
        kill(-command->pid, SIGKILL);
        kill(command->pid, SIGKILL);
        waitpid(command->pid, NULL, 0);
        close_if_open(&command->input);
        close_if_open(&command->output);
        close_if_open(&command->error);
        command->used = false;
    }
}

/* Reads exactly that much. Returns false when the client has gone. */
static bool read_all(uint8_t *at, size_t length)
{
    while (length > 0) {
        ssize_t n = read(port, at, length);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        at += n;
        length -= (size_t)n;
    }
    return true;
}

static bool receive_frame(void)
{
    uint8_t header[HEADER_BYTES];
    if (!read_all(header, sizeof header))
        return false;
    size_t length = get_le32(header);
    if (length > PAYLOAD_BYTES_MAX || !read_all(payload, length))
        return false;
    take_frame(get_le32(header + 4), (char)header[8], payload, length);
    return true;
}

/* One turn of the loop. Returns false when the client has gone. */
static bool serve_once(int child_event)
{
    struct pollfd fds[2 + 2 * COMMANDS_MAX];
    struct command *owner[2 + 2 * COMMANDS_MAX];
    nfds_t count = 0;
    fds[count++] = (struct pollfd){.fd = port, .events = POLLIN};
    fds[count++] = (struct pollfd){.fd = child_event, .events = POLLIN};
    for (int i = 0; i < COMMANDS_MAX; i++) {
        if (!commands[i].used)
            continue;
        owner[count] = &commands[i];
        fds[count++] = (struct pollfd){.fd = commands[i].output, .events = POLLIN};
        owner[count] = &commands[i];
        fds[count++] = (struct pollfd){.fd = commands[i].error, .events = POLLIN};
    }
    if (poll(fds, count, -1) < 0)
        return errno == EINTR;
    for (nfds_t i = 2; i < count; i++) {
        struct command *command = owner[i];
        bool is_output = (i % 2) == 0;
        int *fd = is_output ? &command->output : &command->error;
        if (fds[i].revents != 0 && !pass_output(command->number, is_output ? 'O' : 'R', *fd))
            close_if_open(fd);
    }
    if (fds[1].revents != 0) {
        char byte;
        (void)!read(child_event, &byte, 1);
        reap_commands();
    }
    if ((fds[0].revents & POLLIN) != 0)
        return receive_frame();
    return (fds[0].revents & POLLHUP) == 0;
}

/* A port without a client always polls as hung up, so its changes are awaited edge-triggered. */
static void await_client(int epoll)
{
    struct pollfd state = {.fd = port, .events = POLLIN};
    struct epoll_event event;
    while (poll(&state, 1, 0) < 0 || (state.revents & POLLHUP) != 0)
        (void)epoll_wait(epoll, &event, 1, -1);
}

static int child_event_write;

static void on_child(int signal_number)
{
    int saved = errno;
    (void)signal_number;
    (void)!write(child_event_write, "c", 1);
    errno = saved;
}

int main(int argc, char **argv)
{
    int child_event[2];
    struct sigaction action = {.sa_handler = on_child, .sa_flags = SA_RESTART};
    if (argc != 2 || (port = open(argv[1], O_RDWR | O_CLOEXEC)) < 0 ||
        pipe2(child_event, O_CLOEXEC | O_NONBLOCK) != 0) {
        perror("usage: agent PORT");
        return 2;
    }
    child_event_write = child_event[1];
    sigaction(SIGCHLD, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event edge = {.events = EPOLLIN | EPOLLET};
    if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, port, &edge) != 0) {
        perror("epoll");
        return 1;
    }
    for (;;) {
        await_client(epoll);
        while (serve_once(child_event[0]))
            ;
        drop_commands();
    }
}
