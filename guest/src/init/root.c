#include "root.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "files.h"
#include "power.h"
#include "say.h"

static const struct superblock {
    const char *type;
    const char *magic;
    off_t offset;
} superblocks[] = {
    {"squashfs", "hsqs", 0},
    {"ext4", "\x53\xef", 1024 + 0x38},
    {"xfs", "XFSB", 0},
    {"btrfs", "_BHRfS_M", 0x10000 + 0x40},
    {"erofs", "\xe2\xe1\xf5\xe0", 1024},
};

enum root_kind root_kind(void)
{
    struct statfs status;

    if (statfs("/", &status) != 0)
        die_errno("cannot examine the root filesystem");
    // rootfs is a ramfs where root= is given, else a tmpfs. A tmpfs that was pivoted to is not distinguishable, and
    // writable too.
    if ((unsigned long)status.f_type == RAMFS_MAGIC || (unsigned long)status.f_type == TMPFS_MAGIC)
        return ROOT_INITRAMFS;
    return (status.f_flags & ST_RDONLY) != 0 ? ROOT_READ_ONLY : ROOT_WRITABLE;
}

static bool add_block_device(int folder, const char *name, void *context)
{
    char *list = context; // of 128 bytes
    size_t length = strlen(list);
    struct stat status;

    if (fstatat(folder, name, &status, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISBLK(status.st_mode))
        return true;
    if (length + strlen(name) + 2 > 128)
        return false;
    stpcpy(stpcpy(list + length, " "), name);
    return true;
}

_Noreturn static void die_of_missing_device(const char *what, const char *device, unsigned seconds)
{
    char list[128] = "";
    int folder = open("/dev", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (folder >= 0)
        for_each_entry(folder, add_block_device, list);
    die("no ", what, " ", device, " after ", NUMBER(seconds),
        " s; block devices here:", *list == '\0' ? " none" : list);
}

int open_device(const char *what, const char *device, int flags, unsigned seconds)
{
    const struct timespec pause = {.tv_nsec = 2000000};
    struct timespec now;
    struct timespec start;

    clock_gettime(CLOCK_MONOTONIC, &start);
    for (;;) {
        // A device without a medium yet says ENXIO or ENOMEDIUM.
        int fd = open(device, flags | O_CLOEXEC);
        if (fd >= 0)
            return fd;
        if (errno != ENOENT && errno != ENXIO && errno != ENOMEDIUM)
            die_errno("cannot open the ", what, " ", device);
        clock_gettime(CLOCK_MONOTONIC, &now);
        if (now.tv_sec - start.tv_sec >= (time_t)seconds)
            die_of_missing_device(what, device, seconds);
        nanosleep(&pause, NULL);
    }
}

static const char *recognise(int fd, const char *device)
{
    char found[8];

    for (size_t i = 0; i < sizeof superblocks / sizeof *superblocks; i++) {
        const struct superblock *superblock = &superblocks[i];
        size_t length = strlen(superblock->magic);
        ssize_t got = pread(fd, found, length, superblock->offset);
        if (got < 0)
            die_errno("cannot read the root device ", device);
        if ((size_t)got == length && memcmp(found, superblock->magic, length) == 0)
            return superblock->type;
    }
    die("the root device ", device,
        " has no squashfs, ext4, xfs, btrfs or erofs filesystem; name its type with rootfstype=");
}

// Volant names the device without its folder.
static void find_path(const char *root, char *path, size_t size)
{
    const char *folder = strchr(root, '/') == NULL ? "/dev/" : "";

    if (strchr(root, '=') != NULL || !join(path, size, folder, root) || *path != '/')
        die("root=", root, ": only the path of a device is understood, such as /dev/vda");
}

bool mount_root(const struct params *params, const char *target)
{
    char device[PATH_MAX];
    struct stat status;

    find_path(params->root, device, sizeof device);
    int fd = open_device("root device", device, O_RDONLY, params->root_timeout);
    if (fstat(fd, &status) != 0 || !S_ISBLK(status.st_mode))
        die("the root device ", device, " is not a block device");
    const char *type = params->rootfstype != NULL ? params->rootfstype : recognise(fd, device);
    close(fd);

    errno = EROFS;
    if (!params->read_only && mount(device, target, type, 0, params->rootflags) == 0) {
        // The kernel mounts what can't be written to as such, unasked and in silence: squashfs, isofs, romfs.
        struct statfs mounted;
        if (statfs(target, &mounted) != 0)
            die_errno("cannot examine the root filesystem");
        return (mounted.f_flags & ST_RDONLY) == 0;
    }
    // Also where the device itself turns out to be read-only.
    if ((errno == EROFS || errno == EACCES) && mount(device, target, type, MS_RDONLY, params->rootflags) == 0)
        return false;
    if (errno == ENODEV)
        die("cannot mount ", device, ": kernel has no driver for ", type, ", built in or in /.fledge/modules");
    if (errno == EINVAL)
        die_errno("cannot mount ", device, " as ", type,
                  " (another filesystem, a damaged one, a feature that this kernel lacks, or wrong rootflags)");
    die_errno("cannot mount ", device, " as ", type);
}
