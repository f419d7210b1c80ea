/* SPDX-License-Identifier: Apache-2.0 */
/*
 * slay WHAT NUMBER before|after|freeze|fail PROGRAM ARGUMENTS: runs a program and kills it at one
 * exact moment, as a crash would; or stops the thread there for good; or has the call fail.
 *
 *   slay frame 35   when it sends the handover's frame of type 35 (COMMIT); fail: its link is reset
 *   slay parcel 3   when it sends an upgrade's message of type 3 (WITHDRAW); fail: there is no
 *                   memory for it, five times
 *   slay rename 3   when it renames a file for the third time (a record becomes valid)
 *
 * A seccomp filter stops the program at that system call alone, so that it is not slower for it.
 * Ends as the program does, and with 137 when it was killed here. arm64 only.
 */
#include <elf.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

enum { FRAME_TYPE_AT = 5, PARCEL_TYPE_AT = 8, LACKS_MAX = 5 };

static struct {
    bool is_frame, is_parcel, is_after, is_freeze, is_fail;
    long number;
    long seen;
} wish;

static void fail(const char *what)
{
    perror(what);
    _exit(126);
}

static void stop_at(uint32_t system_call)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, system_call, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRACE),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const struct sock_fprog program = {.len = 4, .filter = filter};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) {
        fail("seccomp");
    }
}

static bool read_memory(pid_t thread, uint64_t at, void *bytes, size_t count)
{
    struct iovec here = {.iov_base = bytes, .iov_len = count};
    struct iovec there = {.iov_base = (void *)(uintptr_t)at, .iov_len = count};
    return process_vm_readv(thread, &here, 1, &there, 1, 0) == (ssize_t)count;
}

struct registers {
    uint64_t word[34]; /* struct user_pt_regs: x0 to x30, sp, pc, pstate */
};

static bool get_registers(pid_t thread, struct registers *registers)
{
    struct iovec all = {.iov_base = registers, .iov_len = sizeof(*registers)};
    return ptrace(PTRACE_GETREGSET, thread, (void *)NT_PRSTATUS, &all) == 0;
}

/* The call is not made, and says `error`. */
static void let_fail(pid_t thread, int error)
{
    struct registers registers;
    int none = -1;
    struct iovec all = {.iov_base = &registers, .iov_len = sizeof(registers)};
    struct iovec call = {.iov_base = &none, .iov_len = sizeof(none)};
    if (!get_registers(thread, &registers)) {
        fail("registers");
    }
    registers.word[0] = (uint64_t)-error;
    if (ptrace(PTRACE_SETREGSET, thread, (void *)NT_PRSTATUS, &all) != 0 ||
        ptrace(PTRACE_SETREGSET, thread, (void *)NT_ARM_SYSTEM_CALL, &call) != 0) {
        fail("registers");
    }
}

static bool is_the_message(pid_t thread)
{
    struct registers registers;
    struct msghdr message;
    struct iovec part;
    uint8_t header[PARCEL_TYPE_AT + 1];
    int at = wish.is_frame ? FRAME_TYPE_AT : PARCEL_TYPE_AT;
    return get_registers(thread, &registers) &&
           read_memory(thread, registers.word[1], &message, sizeof(message)) &&
           read_memory(thread, (uintptr_t)message.msg_iov, &part, sizeof(part)) &&
           part.iov_len >= sizeof(header) &&
           read_memory(thread, (uintptr_t)part.iov_base, header, sizeof(header)) &&
           memcmp(header, wish.is_frame ? "GDWT" : "GDTO", 4) == 0 && header[at] == wish.number;
}

/* At the entry of the system call. */
static bool is_the_one(pid_t thread)
{
    return wish.is_frame || wish.is_parcel ? is_the_message(thread) : ++wish.seen == wish.number;
}

static void start(char **arguments)
{
    if (ptrace(PTRACE_TRACEME, 0, 0, 0) != 0 || raise(SIGSTOP) != 0) {
        fail("ptrace");
    }
    stop_at(wish.is_frame || wish.is_parcel ? SYS_sendmsg : SYS_renameat);
    execvp(arguments[0], arguments);
    fail(arguments[0]);
}

static int follow(pid_t child)
{
    bool is_leaving = false; /* the call is let through, then it ends */
    for (;;) {
        int how;
        pid_t thread = waitpid(-1, &how, __WALL);
        if (thread < 0) {
            fail("waitpid");
        }
        if (thread == child && (WIFEXITED(how) || WIFSIGNALED(how))) {
            return WIFEXITED(how) ? WEXITSTATUS(how) : 128 + WTERMSIG(how);
        }
        if (!WIFSTOPPED(how)) {
            continue;
        }
        int number = WSTOPSIG(how);
        bool is_entry = how >> 8 == (SIGTRAP | PTRACE_EVENT_SECCOMP << 8);
        if (is_leaving && number == (SIGTRAP | 0x80)) {
            (void)kill(child, SIGKILL);
            continue;
        }
        if (is_entry && is_the_one(thread)) {
            if (wish.is_freeze) {
                continue;
            }
            if (wish.is_fail) {
                if (wish.is_frame || wish.seen++ < LACKS_MAX) {
                    let_fail(thread, wish.is_frame ? ECONNRESET : ENOBUFS);
                }
                (void)ptrace(PTRACE_CONT, thread, 0, 0);
                continue;
            }
            is_leaving = wish.is_after;
            if (!wish.is_after) {
                (void)kill(child, SIGKILL);
                continue;
            }
            (void)ptrace(PTRACE_SYSCALL, thread, 0, 0);
            continue;
        }
        bool is_own = how >> 16 != 0 || number == SIGTRAP || number == SIGSTOP;
        (void)ptrace(PTRACE_CONT, thread, 0, (void *)(intptr_t)(is_own ? 0 : number));
    }
}

int main(int count, char **arguments)
{
    int how;
    if (count < 5) {
        (void)fprintf(stderr,
                      "usage: slay frame|parcel|rename NUMBER before|after|freeze|fail PROGRAM "
                      "ARGUMENTS\n");
        return 126;
    }
    wish.is_frame = strcmp(arguments[1], "frame") == 0;
    wish.is_parcel = strcmp(arguments[1], "parcel") == 0;
    wish.number = strtol(arguments[2], NULL, 10);
    wish.is_after = strcmp(arguments[3], "after") == 0;
    wish.is_freeze = strcmp(arguments[3], "freeze") == 0;
    wish.is_fail = strcmp(arguments[3], "fail") == 0;
    pid_t child = fork();
    if (child == 0) {
        start(arguments + 4);
    }
    /* What the program was given is its own: its end must be seen by whoever has the other end. */
    for (int fd = 3; fd < 64; fd++) {
        (void)close(fd);
    }
    if (child < 0 || waitpid(child, &how, 0) != child ||
        ptrace(PTRACE_SETOPTIONS, child, 0,
               (void *)(intptr_t)(PTRACE_O_TRACESECCOMP | PTRACE_O_TRACECLONE |
                                  PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL)) != 0 ||
        ptrace(PTRACE_CONT, child, 0, 0) != 0) {
        fail("slay");
    }
    return follow(child);
}
