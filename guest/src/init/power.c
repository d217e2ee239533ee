#include "power.h"

#include <errno.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <termios.h>
#include <unistd.h>

#include "files.h"
#include "say.h"

static enum shutdown chosen;

void power_set(enum shutdown how)
{
    chosen = how;
}

// proc(5): space, tab, newline and backslash are \ooo in the fields of a mount table.
static void unescape(char *text)
{
    char *to = text;

    for (const char *from = text; *from != '\0'; to++) {
        if (from[0] == '\\' && from[1] >= '0' && from[1] <= '3' && from[2] != '\0' && from[3] != '\0') {
            *to = (char)((from[1] - '0') * 64 + (from[2] - '0') * 8 + (from[3] - '0'));
            from += 4;
        } else {
            *to = *from++;
        }
    }
    *to = '\0';
}

// The last mounted comes first; a disk that stays busy, as the root does, is made read-only.
static void unmount_disks(void)
{
    static char table[64 * 1024];
    ssize_t size = read_file("/proc/self/mounts", table, sizeof table);

    if (size < 0) // too early or too many; the root is what matters
        mount(NULL, "/", NULL, MS_REMOUNT | MS_RDONLY, NULL);
    for (char *line; size > 0; size = line - table) {
        table[size - 1] = '\0';
        char *newline = strrchr(table, '\n');
        line = newline == NULL ? table : newline + 1;
        if (!starts_with(line, "/dev/"))
            continue;
        char *path = strchr(line, ' ');
        char *end = path == NULL ? NULL : strchr(path + 1, ' ');
        if (end == NULL)
            continue;
        *end = '\0';
        unescape(++path);
        if (umount2(path, 0) != 0 && mount(NULL, path, NULL, MS_REMOUNT | MS_RDONLY, NULL) != 0)
            warn_errno("cannot unmount ", path);
    }
}

// Without ACPI there is no way to cut the power of an x86 machine: the kernel would halt for ever, while a reset ends
// Firecracker, and QEMU with -no-reboot. Elsewhere (PSCI on arm64) power-off works.
static bool can_power_off(void)
{
#ifdef __x86_64__
    if (access("/sys/firmware", F_OK) == 0)
        return access("/sys/firmware/acpi", F_OK) == 0;
    if (mount("sysfs", "/.fledge", "sysfs", MS_RDONLY, NULL) == 0)
        return access("/.fledge/firmware/acpi", F_OK) == 0;
#endif
    return true;
}

_Noreturn void power_end(void)
{
    int command = RB_POWER_OFF;

    sync();
    unmount_disks();
    if (chosen == SHUTDOWN_REBOOT || (chosen == SHUTDOWN_AUTO && !can_power_off()))
        command = RB_AUTOBOOT;
    else if (chosen == SHUTDOWN_HALT)
        command = RB_HALT_SYSTEM;

    // The kernel writes to the console past the tty's buffer: what is still in there would be cut in two or lost.
    tcdrain(STDERR_FILENO);
    reboot(command);
    complain_errno("reboot");
    // The end of process 1 would be a kernel panic.
    for (;;)
        pause();
}
