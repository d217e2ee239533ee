#include "mounts.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "files.h"
#include "power.h"
#include "say.h"

void read_command_line(char *buffer, size_t size)
{
    if (read_file("/proc/cmdline", buffer, size) >= 0)
        return;
    if (errno != ENOENT)
        die_errno("cannot read /proc/cmdline");

    // A read-only root may have no /proc to mount on, but the init's own folder is there.
    if (mkdir("/.fledge", 0755) != 0 && errno != EEXIST && errno != EROFS)
        die_errno("cannot create /.fledge");
    if (mount("proc", "/.fledge", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) != 0)
        die_errno("cannot mount proc on /.fledge");
    if (read_file("/.fledge/cmdline", buffer, size) < 0)
        die_errno("cannot read /.fledge/cmdline");
    if (umount2("/.fledge", 0) != 0)
        die_errno("cannot unmount /.fledge");
}

static void mount_one(const char *type, const char *path, unsigned long flags, const char *options, bool needed)
{
    if (make_folders(path)) {
        // Busy: it is mounted there already, by the kernel or by the init of the boot initramfs.
        if (mount(type, path, type, flags, options) == 0 || errno == EBUSY)
            return;
    }
    if (needed)
        die_errno("cannot mount ", type, " on ", path);
    warn_errno("cannot mount ", type, " on ", path);
}

static void link_device(const char *path, const char *target)
{
    if (symlink(target, path) != 0 && errno != EEXIST)
        warn_errno("cannot create ", path);
}

void mount_devices(void)
{
    mount_one("devtmpfs", "/dev", MS_NOSUID, "mode=0755", true);
}

void mount_system(void)
{
    mount_one("proc", "/proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL, true);
    mount_one("sysfs", "/sys", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL, true);
    mount_devices();
    // Group 5 is tty in every distribution; ptmxmode lets unprivileged users open terminals.
    mount_one("devpts", "/dev/pts", MS_NOSUID | MS_NOEXEC, "mode=0620,gid=5,ptmxmode=0666", false);
    mount_one("tmpfs", "/dev/shm", MS_NOSUID | MS_NODEV, "mode=1777", false);
    link_device("/dev/fd", "/proc/self/fd");
    link_device("/dev/stdin", "/proc/self/fd/0");
    link_device("/dev/stdout", "/proc/self/fd/1");
    link_device("/dev/stderr", "/proc/self/fd/2");

    // What the image has there must stay visible: /run/postgresql with its owner, for one.
    if (!has_entries("/run"))
        mount_one("tmpfs", "/run", MS_NOSUID | MS_NODEV, "mode=0755", false);
    if (!has_entries("/tmp"))
        mount_one("tmpfs", "/tmp", MS_NOSUID | MS_NODEV, "mode=1777", false);
}

void open_console(void)
{
    int fd = open("/dev/console", O_RDWR | O_NOCTTY);

    if (fd < 0) {
        // No console= device has a driver. A program without open standard descriptors goes wrong in strange ways.
        warn_errno("cannot open /dev/console");
        fd = open("/dev/null", O_RDWR);
        if (fd < 0)
            die_errno("cannot open /dev/null");
    }
    for (int standard = STDIN_FILENO; standard <= STDERR_FILENO; standard++)
        if (fd != standard && dup2(fd, standard) < 0)
            die_errno("cannot open the console");
    if (fd > STDERR_FILENO)
        close(fd);
}
