/* SPDX-License-Identifier: Apache-2.0 */
/* Small files replaced as a whole. The contract: godwit/record_file.h. */
#include "godwit/record_file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum gw_status gw_state_directory_check(const char *path, struct gw_fault *fault)
{
    struct stat found;
    if (stat(path, &found) != 0) {
        return gw_fault_set_os(fault, errno, "state directory %s", path);
    }
    if (!S_ISDIR(found.st_mode)) {
        return gw_fault_set(fault, GW_ARGUMENT, "state directory %s: is no directory", path);
    }
    if (found.st_uid != geteuid()) {
        return gw_fault_set(fault, GW_ARGUMENT,
                            "state directory %s: belongs to user %u, wanted user %u", path,
                            (unsigned)found.st_uid, (unsigned)geteuid());
    }
    if ((found.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
        return gw_fault_set(fault, GW_ARGUMENT,
                            "state directory %s: mode %04o lets others write to it, wanted 0700",
                            path, (unsigned)(found.st_mode & 07777));
    }
    return GW_OK;
}

/* A directory that was just made is durable only with its parent. 0 or errno. */
static int sync_parent(const char *path)
{
    char parent[PATH_MAX + 4];
    (void)snprintf(parent, sizeof(parent), "%s/..", path);
    int fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return errno;
    }
    int error = fsync(fd) != 0 ? errno : 0;
    (void)close(fd);
    return error;
}

/* Nothing is done about one that is there. 0 or errno. */
static int make_directory(const char *path)
{
    if (mkdir(path, 0700) != 0) {
        return errno == EEXIST ? 0 : errno;
    }
    return sync_parent(path);
}

enum gw_status gw_state_directory_open(const char *path, struct gw_fault *fault)
{
    char prefix[PATH_MAX];
    size_t length = strlen(path);
    if (length == 0 || length >= sizeof(prefix)) {
        return gw_fault_set(fault, GW_ARGUMENT,
                            "state directory: the path has %zu characters, wanted 1 to %zu", length,
                            sizeof(prefix) - 1);
    }
    memcpy(prefix, path, length + 1);
    for (size_t i = 1; i <= length; i++) {
        if (prefix[i] != '/' && prefix[i] != '\0') {
            continue;
        }
        prefix[i] = '\0';
        int error = make_directory(prefix);
        if (error != 0) {
            return gw_fault_set_os(fault, error, "making state directory %s", prefix);
        }
        prefix[i] = path[i];
    }
    return gw_state_directory_check(path, fault);
}

/* Opens the directory, after a look at the name. */
static enum gw_status open_directory(const char *directory, const char *name, int *fd,
                                     struct gw_fault *fault)
{
    size_t length = strlen(name);
    if (length == 0 || length > GW_RECORD_FILE_NAME_MAX || name[0] == '.' || strchr(name, '/')) {
        return gw_fault_set(fault, GW_ARGUMENT,
                            "record name \"%.80s\": wanted 1 to %d characters, no slash, no dot "
                            "first",
                            name, GW_RECORD_FILE_NAME_MAX);
    }
    *fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return *fd >= 0 ? GW_OK : gw_fault_set_os(fault, errno, "state directory %s", directory);
}

/* 0 or errno. */
static int write_whole(int fd, const void *bytes, size_t size)
{
    const uint8_t *next = bytes;
    while (size > 0) {
        ssize_t written = write(fd, next, size);
        if (written < 0 && errno != EINTR) {
            return errno;
        }
        if (written > 0) {
            next += written;
            size -= (size_t)written;
        }
    }
    return 0;
}

/* Makes the temporary file durable before it gets its name. 0 or errno. */
static int write_temporary(int directory_fd, const char *temporary, const void *bytes, size_t size)
{
    int fd = openat(directory_fd, temporary, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC,
                    0600);
    if (fd < 0) {
        return errno;
    }
    int error = write_whole(fd, bytes, size);
    if (error == 0 && fsync(fd) != 0) {
        error = errno;
    }
    if (close(fd) != 0 && error == 0) {
        error = errno;
    }
    return error;
}

enum gw_status gw_record_file_put(const char *directory, const char *name, const void *bytes,
                                  size_t size, struct gw_fault *fault)
{
    int directory_fd;
    enum gw_status status = open_directory(directory, name, &directory_fd, fault);
    if (status != GW_OK) {
        return status;
    }
    char temporary[GW_RECORD_FILE_NAME_MAX + 8];
    (void)snprintf(temporary, sizeof(temporary), ".%s.new", name);
    int error = write_temporary(directory_fd, temporary, bytes, size);
    if (error == 0 && renameat(directory_fd, temporary, directory_fd, name) != 0) {
        error = errno;
    }
    if (error != 0) {
        (void)unlinkat(directory_fd, temporary, 0);
    } else if (fsync(directory_fd) != 0) { /* the name is durable only with its directory */
        error = errno;
    }
    (void)close(directory_fd);
    return error == 0 ? GW_OK : gw_fault_set_os(fault, error, "writing %s/%s", directory, name);
}

enum gw_status gw_record_file_lock(const char *directory, const char *name, int *fd,
                                   struct gw_fault *fault)
{
    int directory_fd;
    enum gw_status status = open_directory(directory, name, &directory_fd, fault);
    if (status != GW_OK) {
        return status;
    }
    *fd = openat(directory_fd, name, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
    int error = *fd < 0 ? errno : 0;
    (void)close(directory_fd);
    if (error == 0 && flock(*fd, LOCK_EX | LOCK_NB) != 0) {
        error = errno;
        (void)close(*fd);
    }
    if (error == EWOULDBLOCK) {
        return gw_fault_set(fault, GW_REFUSED, "%s/%s: another process holds it", directory, name);
    }
    return error == 0 ? GW_OK
                      : gw_fault_set_os(fault, error,
                                        "holding %s/%s (the state directory needs a file "
                                        "system with flock)",
                                        directory, name);
}

/* Reads up to size_max + 1 bytes in effect: one more than allowed shows that there is more. */
static enum gw_status read_whole(int fd, const char *name, uint8_t *bytes, size_t size_max,
                                 size_t *size, struct gw_fault *fault)
{
    for (;;) {
        uint8_t extra;
        bool is_full = *size == size_max;
        ssize_t got = is_full ? read(fd, &extra, 1) : read(fd, bytes + *size, size_max - *size);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return gw_fault_set_os(fault, errno, "reading %s", name);
        }
        if (got == 0) {
            return GW_OK;
        }
        if (is_full) {
            return gw_fault_set(fault, GW_LIMIT, "the record is larger than the %zu bytes wanted",
                                size_max);
        }
        *size += (size_t)got;
    }
}

enum gw_status gw_record_file_get(const char *directory, const char *name, void *bytes,
                                  size_t size_max, size_t *size, bool *is_found,
                                  struct gw_fault *fault)
{
    *size = 0;
    *is_found = false;
    if (access(directory, F_OK) != 0 && errno == ENOENT) {
        return GW_OK; /* after a boot, say, where it lies in memory */
    }
    int directory_fd;
    enum gw_status status = open_directory(directory, name, &directory_fd, fault);
    if (status != GW_OK) {
        return status;
    }
    /* Not blocking: a pipe put in its place must not hang us. */
    int fd = openat(directory_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    int error = errno;
    (void)close(directory_fd);
    if (fd < 0) {
        return error == ENOENT ? GW_OK
                               : gw_fault_set_os(fault, error, "opening %s/%s", directory, name);
    }
    status = read_whole(fd, name, bytes, size_max, size, fault);
    (void)close(fd);
    *is_found = status == GW_OK;
    return status;
}

enum gw_status gw_record_file_clear(const char *directory, const char *name, struct gw_fault *fault)
{
    int directory_fd;
    enum gw_status status = open_directory(directory, name, &directory_fd, fault);
    if (status != GW_OK) {
        return status;
    }
    int error = 0;
    if (unlinkat(directory_fd, name, 0) != 0) {
        error = errno == ENOENT ? 0 : errno;
    } else if (fsync(directory_fd) != 0) {
        error = errno;
    }
    (void)close(directory_fd);
    return error == 0 ? GW_OK : gw_fault_set_os(fault, error, "removing %s/%s", directory, name);
}
