#include "errors.h"

#include <errno.h>
#include <stddef.h>

// What the system calls of the init return. musl's strerror would bring its locale code along.
static const struct {
    int number;
    const char *text;
} errors[] = {
    {EPERM, "operation not permitted (EPERM)"},
    {ENOENT, "no such file or directory (ENOENT)"},
    {ESRCH, "no such process (ESRCH)"},
    {EINTR, "interrupted (EINTR)"},
    {EIO, "input/output error (EIO)"},
    {ENXIO, "no such device or address (ENXIO)"},
    {E2BIG, "argument list too long (E2BIG)"},
    {ENOEXEC, "exec format error (ENOEXEC)"},
    {EBADF, "bad file descriptor (EBADF)"},
    {ECHILD, "no child processes (ECHILD)"},
    {EAGAIN, "resource temporarily unavailable (EAGAIN)"},
    {ENOMEM, "out of memory (ENOMEM)"},
    {EACCES, "permission denied (EACCES)"},
    {ENOTBLK, "not a block device (ENOTBLK)"},
    {EBUSY, "device or resource busy (EBUSY)"},
    {EEXIST, "file exists (EEXIST)"},
    {EXDEV, "cross-device link (EXDEV)"},
    {ENODEV, "no such device (ENODEV)"},
    {ENOTDIR, "not a directory (ENOTDIR)"},
    {EISDIR, "is a directory (EISDIR)"},
    {EINVAL, "invalid argument (EINVAL)"},
    {ENFILE, "too many open files in the system (ENFILE)"},
    {EMFILE, "too many open files (EMFILE)"},
    {ETXTBSY, "text file busy (ETXTBSY)"},
    {EFBIG, "file too large (EFBIG)"},
    {ENOSPC, "no space left on device (ENOSPC)"},
    {EROFS, "read-only file system (EROFS)"},
    {EMLINK, "too many links (EMLINK)"},
    {ENAMETOOLONG, "file name too long (ENAMETOOLONG)"},
    {ENOSYS, "function not implemented (ENOSYS)"},
    {ENOTEMPTY, "directory not empty (ENOTEMPTY)"},
    {ELOOP, "too many levels of symbolic links (ELOOP)"},
    {EOVERFLOW, "value too large (EOVERFLOW)"},
    {ELIBBAD, "corrupted interpreter (ELIBBAD)"},
    {EUCLEAN, "structure needs cleaning (EUCLEAN)"},
    {EOPNOTSUPP, "operation not supported (EOPNOTSUPP)"},
    {EADDRNOTAVAIL, "cannot assign the address (EADDRNOTAVAIL)"},
    {ENETUNREACH, "network is unreachable (ENETUNREACH)"},
    {ENOKEY, "required key not available (ENOKEY)"},
    {EKEYREJECTED, "key was rejected (EKEYREJECTED)"},
    {EBADMSG, "bad message (EBADMSG)"},
};

const char *error_text(int error)
{
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
        if (errors[i].number == error)
            return errors[i].text;
    return NULL;
}
