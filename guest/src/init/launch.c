#include "launch.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "say.h"

// The #! line's or the ELF header's interpreter of a program, into `interpreter`.
static bool find_interpreter(const char *path, char *interpreter, size_t size)
{
    _Alignas(Elf64_Ehdr) char head[4096];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? -1 : read(fd, head, sizeof head - 1);
    const char *start = NULL;
    size_t length = 0;

    if (fd >= 0)
        close(fd);
    if (got < (ssize_t)sizeof(Elf64_Ehdr))
        memset(head + (got < 0 ? 0 : got), 0, sizeof head - (size_t)(got < 0 ? 0 : got));
    head[sizeof head - 1] = '\0';
    if (memcmp(head, "#!", 2) == 0) {
        start = head + 2 + strspn(head + 2, " \t");
        length = strcspn(start, " \t\n");
    } else if (memcmp(head, ELFMAG, SELFMAG) == 0 && head[EI_CLASS] == ELFCLASS64) {
        const Elf64_Ehdr *elf = (const Elf64_Ehdr *)head;
        for (unsigned i = 0; i < elf->e_phnum; i++) {
            Elf64_Phdr segment;
            if (elf->e_phoff > sizeof head || elf->e_phoff + (i + 1) * sizeof segment > sizeof head)
                return false;
            memcpy(&segment, head + elf->e_phoff + i * sizeof segment, sizeof segment);
            if (segment.p_type != PT_INTERP || segment.p_offset >= sizeof head)
                continue;
            start = head + segment.p_offset;
            length = strlen(start);
        }
    }
    if (start == NULL || length == 0 || length >= size)
        return false;
    memcpy(interpreter, start, length);
    interpreter[length] = '\0';
    return true;
}

static void explain(const char *path)
{
    char interpreter[256];
    int error = errno;

    if (error == ENOENT && access(path, F_OK) == 0 && find_interpreter(path, interpreter, sizeof interpreter))
        complain("cannot execute ", path, ": its interpreter ", interpreter, " is missing");
    else if (error == ENOEXEC)
        complain("cannot execute ", path, ": neither a program for this machine nor a script with a #! line");
    else {
        errno = error;
        complain_errno("cannot execute ", path);
    }
}

void launch_program(const char *const *argv, const char *const *env, const char *path)
{
    const char *name = argv[0];
    char candidate[PATH_MAX];
    char denied[PATH_MAX] = "";

    if (strchr(name, '/') != NULL) {
        execve(name, (char *const *)argv, (char *const *)env);
        explain(name);
        return;
    }
    for (const char *at = path;; at++) {
        size_t length = strcspn(at, ":");
        if (length + strlen(name) + 3 <= sizeof candidate) {
            memcpy(candidate, at, length);
            // An empty entry is the working directory.
            stpcpy(stpcpy(candidate + length, length == 0 ? "./" : "/"), name);
            execve(candidate, (char *const *)argv, (char *const *)env);
            // A folder, or a file that may not be executed, does not end the search.
            if (errno == EACCES) {
                strcpy(denied, candidate);
            } else if ((errno != ENOENT && errno != ENOTDIR) || access(candidate, F_OK) == 0) {
                explain(candidate);
                return;
            }
        }
        at += length;
        if (*at == '\0')
            break;
    }
    if (*denied != '\0') {
        errno = EACCES;
        explain(denied);
    } else {
        complain("cannot execute ", name, ": not in PATH ", path);
    }
}
