/*
 * Preloaded into a process by the fault tests: moves its clock, and has its files find the disk full.
 *
 * What to do is read, each time, from the 16 bytes of the file that FAULT_SHIM names: microseconds that are added to the
 * time of day, and whether the disk is full. As on a disk that is, what has a block already can be written again.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

struct wishes {
    volatile int64_t moved_us;
    volatile int64_t disk_full;
};

static const struct wishes nothing;
static const struct wishes *wishes = &nothing;

__attribute__((constructor)) static void open_wishes(void)
{
    const char *path = getenv("FAULT_SHIM");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0)
        return;
    void *found = mmap(NULL, sizeof(struct wishes), PROT_READ, MAP_SHARED, fd, 0);
    close(fd);
    if (found != MAP_FAILED)
        wishes = found;
}

static void *next(const char *name)
{
    return dlsym(RTLD_NEXT, name);
}

/* The clock. */

int clock_gettime(clockid_t clock, struct timespec *now)
{
    static int (*real)(clockid_t, struct timespec *);
    if (!real)
        real = next("clock_gettime");
    int failed = real(clock, now);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE) && wishes->moved_us) {
        int64_t ns = (int64_t)now->tv_sec * 1000000000 + now->tv_nsec + wishes->moved_us * 1000;
        now->tv_sec = ns / 1000000000;
        now->tv_nsec = ns % 1000000000;
    }
    return failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    (void)zone;
    struct timespec exact;
    int failed = clock_gettime(CLOCK_REALTIME, &exact);
    if (!failed) {
        now->tv_sec = exact.tv_sec;
        now->tv_usec = exact.tv_nsec / 1000;
    }
    return failed;
}

time_t time(time_t *now)
{
    struct timespec exact;
    clock_gettime(CLOCK_REALTIME, &exact);
    if (now)
        *now = exact.tv_sec;
    return exact.tv_sec;
}

/* The disk. */

static int no_room(int fd, off_t end)
{
    struct stat file;
    if (!wishes->disk_full || fstat(fd, &file) || !S_ISREG(file.st_mode))
        return 0;
    if (end <= (off_t)file.st_blocks * 512)
        return 0;
    errno = ENOSPC;
    return 1;
}

static off_t length(const struct iovec *parts, int count)
{
    off_t all = 0;
    for (int n = 0; n < count; n++)
        all += parts[n].iov_len;
    return all;
}

ssize_t write(int fd, const void *data, size_t size)
{
    static ssize_t (*real)(int, const void *, size_t);
    if (!real)
        real = next("write");
    if (wishes->disk_full) {
        int kept = errno;
        off_t at = lseek(fd, 0, SEEK_CUR);
        errno = kept;
        if (at >= 0 && no_room(fd, at + (off_t)size))
            return -1;
    }
    return real(fd, data, size);
}

#define POSITIONED(name)                                                      \
    ssize_t name(int fd, const void *data, size_t size, off_t at)             \
    {                                                                         \
        static ssize_t (*real)(int, const void *, size_t, off_t);             \
        if (!real)                                                            \
            real = next(#name);                                               \
        return no_room(fd, at + (off_t)size) ? -1 : real(fd, data, size, at); \
    }

POSITIONED(pwrite)
POSITIONED(pwrite64)

#define GATHERED(name)                                                                      \
    ssize_t name(int fd, const struct iovec *parts, int count, off_t at)                    \
    {                                                                                       \
        static ssize_t (*real)(int, const struct iovec *, int, off_t);                      \
        if (!real)                                                                          \
            real = next(#name);                                                             \
        return no_room(fd, at + length(parts, count)) ? -1 : real(fd, parts, count, at);    \
    }

GATHERED(pwritev)
GATHERED(pwritev64)

/* These give the error instead of setting it. */
#define ALLOCATING(name)                                                  \
    int name(int fd, off_t at, off_t size)                                \
    {                                                                     \
        static int (*real)(int, off_t, off_t);                            \
        if (!real)                                                        \
            real = next(#name);                                           \
        return no_room(fd, at + size) ? ENOSPC : real(fd, at, size);      \
    }

ALLOCATING(posix_fallocate)
ALLOCATING(posix_fallocate64)
