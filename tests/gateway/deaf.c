/* SPDX-License-Identifier: Apache-2.0 */
/*
 * deaf PROGRAM ARGUMENTS: runs it with a terminal for its output and errors that nobody reads, and
 * that has a little room left. Ends as it does.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static void fill(int fd)
{
    char line[64] = {0};
    while (write(fd, line, sizeof(line)) > 0) {
    }
}

static int run(int slave, char **words)
{
    (void)dup2(slave, STDOUT_FILENO);
    (void)dup2(slave, STDERR_FILENO);
    (void)execvp(words[0], words);
    return 127;
}

int main(int argc, char **argv)
{
    char some[300];
    int status = 0;
    int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (argc < 2 || master < 0 || grantpt(master) != 0 || unlockpt(master) != 0) {
        perror("deaf");
        return 125;
    }
    int slave = open(ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC);
    int filler = open(ptsname(master), O_WRONLY | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
    if (slave < 0 || filler < 0) {
        perror("deaf: the terminal");
        return 125;
    }
    fill(filler);
    (void)!read(master, some, sizeof(some));
    pid_t child = fork();
    if (child == 0) {
        return run(slave, argv + 1);
    }
    (void)waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 126;
}
