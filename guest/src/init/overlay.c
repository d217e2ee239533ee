#include "overlay.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "power.h"
#include "say.h"
#include "text.h"

#define PAGE 4096

static uint64_t in_bytes(const char *text)
{
    struct memory_size size;
    struct sysinfo memory;

    if (!parse_memory_size(text, &size))
        die("malformed overlay_size ", text);
    if (size.percent == 0)
        return size.bytes;
    if (sysinfo(&memory) != 0)
        die_errno("cannot tell the size of the memory");
    return memory.totalram * memory.mem_unit / 100 * size.percent;
}

static void mount_scratch(const char *scratch, uint64_t bytes)
{
    char options[128] = "mode=0755,size=";
    char number[DECIMAL_SIZE];
    char *end = stpcpy(options + strlen(options), decimal(number, (int64_t)bytes));

    // The kernel's own ratio, one inode a page; its default counts pages of half the memory instead of this size.
    stpcpy(stpcpy(end, ",nr_inodes="), decimal(number, (int64_t)(bytes / PAGE + 16)));
    if (mount("overlay", scratch, "tmpfs", 0, options) != 0)
        die_errno("cannot mount a tmpfs of ", NUMBER(bytes), " bytes on ", scratch);
}

// The root folder of an overlay shows the attributes of the upper one.
static void copy_attributes(const char *from, const char *to)
{
    struct stat status;

    if (stat(from, &status) != 0 || chown(to, status.st_uid, status.st_gid) != 0 ||
        chmod(to, status.st_mode & 07777) != 0 ||
        utimensat(AT_FDCWD, to, (struct timespec[2]){status.st_atim, status.st_mtim}, 0) != 0)
        die_errno("cannot give the root folder's owner, mode and time to ", to);
}

bool mount_layers(const char *lower, const char *scratch, const char *extra)
{
    char root[PATH_MAX];
    char options[3 * PATH_MAX];
    char *end = stpcpy(stpcpy(options, "lowerdir="), lower);

    end = stpcpy(stpcpy(stpcpy(end, ",upperdir="), scratch), "/upper");
    end = stpcpy(stpcpy(stpcpy(end, ",workdir="), scratch), "/work");
    stpcpy(end, extra);
    return join(root, sizeof root, scratch, "/root") && mount("overlay", root, "overlay", 0, options) == 0;
}

void mount_overlay(const char *lower, const char *scratch, const char *size)
{
    static const char *const folders[] = {"/upper", "/work", "/root"};
    char paths[3][PATH_MAX];

    mount_scratch(scratch, in_bytes(size));
    for (size_t i = 0; i < 3; i++)
        if (!join(paths[i], sizeof paths[i], scratch, folders[i]) || mkdir(paths[i], 0755) != 0)
            die_errno("cannot create ", scratch, folders[i]);
    copy_attributes(lower, paths[0]);

    if (!mount_layers(lower, scratch, "")) {
        if (errno == ENODEV)
            die("the root is read-only and the kernel has no overlay driver, built in or in /.fledge/modules");
        die_errno("cannot mount the overlay over ", lower);
    }
}
