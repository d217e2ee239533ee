#include "files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

ssize_t read_file(const char *path, char *buffer, size_t size)
{
    size_t length = 0;
    ssize_t got = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return -1;
    while (length < size && (got = read(fd, buffer + length, size - length)) > 0)
        length += (size_t)got;
    int error = got < 0 ? errno : length == size ? EFBIG : 0;
    close(fd);
    if (error != 0) {
        errno = error;
        return -1;
    }
    buffer[length] = '\0';
    return (ssize_t)length;
}

const char *map_file(const char *path, size_t *size)
{
    struct stat status;
    const char *text = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return NULL;
    if (fstat(fd, &status) == 0) {
        *size = (size_t)status.st_size;
        text = "";
        if (*size > 0) {
            void *map = mmap(NULL, *size, PROT_READ, MAP_PRIVATE, fd, 0);
            text = map == MAP_FAILED ? NULL : map;
        }
    }
    int error = errno;
    close(fd);
    errno = error;
    return text;
}

bool write_file(const char *path, const char *text)
{
    size_t size = strlen(text);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

    if (fd < 0)
        return false;
    ssize_t written = write(fd, text, size);
    int error = written < 0 ? errno : EIO;
    close(fd);
    errno = error;
    return written == (ssize_t)size;
}

bool make_folders(const char *path)
{
    char buffer[PATH_MAX];
    size_t length = strlen(path);
    struct stat status;

    if (stat(path, &status) == 0) {
        errno = ENOTDIR;
        return S_ISDIR(status.st_mode);
    }
    if (length >= sizeof buffer) {
        errno = ENAMETOOLONG;
        return false;
    }
    memcpy(buffer, path, length + 1);
    for (char *at = buffer + 1;; at++) {
        char here = *at;
        if (here != '/' && here != '\0')
            continue;
        *at = '\0';
        if (mkdir(buffer, 0755) != 0 && errno != EEXIST)
            return false;
        if (here == '\0')
            return true;
        *at = here;
    }
}

bool for_each_entry(int folder, bool (*visit)(int, const char *, void *), void *context)
{
    _Alignas(struct dirent) char buffer[2048];

    for (;;) {
        int got = getdents(folder, (struct dirent *)buffer, sizeof buffer);
        if (got <= 0)
            return got == 0;
        for (int at = 0; at < got;) {
            const struct dirent *entry = (const struct dirent *)(buffer + at);
            at += entry->d_reclen;
            if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
                continue;
            if (!visit(folder, entry->d_name, context))
                return true;
        }
    }
}

static bool note_entry(int folder, const char *name, void *context)
{
    (void)folder;
    (void)name;
    *(bool *)context = true;
    return false;
}

bool has_entries(const char *path)
{
    bool found = false;
    int folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (folder < 0)
        return false;
    for_each_entry(folder, note_entry, &found);
    close(folder);
    return found;
}
