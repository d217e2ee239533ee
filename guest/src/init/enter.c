#include "enter.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include <unistd.h>

#include "files.h"
#include "power.h"
#include "say.h"
#include "system.h"

static bool delete_entry(int folder, const char *name, void *context)
{
    const dev_t device = *(const dev_t *)context;
    struct stat status;

    // What is mounted there is not the initramfs's.
    if (fstatat(folder, name, &status, AT_SYMLINK_NOFOLLOW) != 0 || status.st_dev != device)
        return true;
    if (S_ISDIR(status.st_mode)) {
        int inner = openat(folder, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (inner >= 0) {
            for_each_entry(inner, delete_entry, context);
            close(inner);
        }
        (void)unlinkat(folder, name, AT_REMOVEDIR);
    } else if (unlinkat(folder, name, 0) != 0) {
        warn_errno("cannot delete ", name, " of the initramfs");
    }
    return true;
}

void switch_root(const char *root)
{
    struct stat old;
    int folder = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (folder < 0 || fstat(folder, &old) != 0)
        die_errno("cannot open the root of the initramfs");
    // The kernel forbids pivot_root(2) from its initial root; it is covered instead.
    if (chdir(root) != 0 || mount(".", "/", NULL, MS_MOVE, NULL) != 0 || chroot(".") != 0 || chdir("/") != 0)
        die_errno("cannot make ", root, " the root");
    for_each_entry(folder, delete_entry, &old.st_dev);
    close(folder);
}

void pivot_into(const char *root)
{
    // pivot_root(2): with both at the same place the old root ends up on top, to be unmounted.
    if (chdir(root) != 0 || pivot_root(".", ".") != 0 || umount2(".", MNT_DETACH) != 0 || chdir("/") != 0)
        die_errno("cannot make ", root, " the root");
}
