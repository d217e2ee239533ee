#include "step.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "files.h"
#include "mounts.h"
#include "network.h"
#include "overlay.h"
#include "power.h"
#include "process.h"
#include "root.h"
#include "say.h"
#include "trace.h"

#define LOWER "/.fledge/lower"
#define SCRATCH "/.fledge/scratch"
#define ROOT SCRATCH "/root"
#define DISKS "/.fledge/disks/"
#define RELEASE_MILLISECONDS 10000

// Plain files in the upper folder, which is read without this kernel; and no wait for the disk at each fsync(2), since
// only what is there at the end counts.
#define PLAIN ",redirect_dir=nofollow,metacopy=off,index=off,xino=off"
#define VOLATILE ",volatile"

struct step {
    struct workload *workload;
    int console;
    int output; // the pipe's write end
};

// Of the mounts that are disks; -1 for the others.
static int disks[WORKLOAD_MOUNTS_MAX];

static void make_mount_point(const char *path)
{
    if (!make_folders(path))
        die_errno("cannot create ", path);
}

// Returns a descriptor of the scratch disk's root.
static int mount_root_and_scratch(const struct workload *workload, const struct params *params)
{
    make_mount_point(LOWER);
    make_mount_point(SCRATCH);
    mount_root(params, LOWER);
    close(open_device("scratch disk", workload->scratch, O_RDONLY, params->root_timeout));
    if (mount(workload->scratch, SCRATCH, "ext4", MS_NOATIME, NULL) != 0)
        die_errno("cannot mount the scratch disk ", workload->scratch);
    int scratch = open(SCRATCH, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (scratch < 0)
        die_errno("cannot open ", SCRATCH);
    // volatile came with Linux 5.10.
    if (!mount_layers(LOWER, SCRATCH, PLAIN VOLATILE) && (errno != EINVAL || !mount_layers(LOWER, SCRATCH, PLAIN)))
        die_errno("cannot mount the overlay for the step");
    return scratch;
}

static void mount_system_at(const char *type, const char *path, unsigned long flags, const char *options)
{
    if (mount(type, path, type, flags, options) != 0)
        die_errno("cannot mount ", type, " on ", path);
}

static void make_device(const char *path, unsigned major, unsigned minor)
{
    // Not by the mode of mknod(2), from which the umask takes away.
    if (mknod(path, S_IFCHR | 0666, makedev(major, minor)) != 0 || chmod(path, 0666) != 0)
        die_errno("cannot create ", path);
}

// The devices that container engines give, and not those of the machine.
static void mount_devices_of_step(void)
{
    mount_system_at("tmpfs", ROOT "/dev", MS_NOSUID, "mode=0755,size=64k");
    make_device(ROOT "/dev/null", 1, 3);
    make_device(ROOT "/dev/zero", 1, 5);
    make_device(ROOT "/dev/full", 1, 7);
    make_device(ROOT "/dev/random", 1, 8);
    make_device(ROOT "/dev/urandom", 1, 9);
    make_device(ROOT "/dev/tty", 5, 0);
    make_mount_point(ROOT "/dev/pts");
    make_mount_point(ROOT "/dev/shm");
    make_mount_point(ROOT "/dev/mqueue");
    mount_system_at("devpts", ROOT "/dev/pts", MS_NOSUID | MS_NOEXEC, "newinstance,mode=0620,gid=5,ptmxmode=0666");
    mount_system_at("tmpfs", ROOT "/dev/shm", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=1777");
    if (mount("mqueue", ROOT "/dev/mqueue", "mqueue", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) != 0 && errno != ENODEV)
        die_errno("cannot mount mqueue");
    if (symlink("pts/ptmx", ROOT "/dev/ptmx") != 0 || symlink("/proc/self/fd", ROOT "/dev/fd") != 0 ||
        symlink("/proc/self/fd/0", ROOT "/dev/stdin") != 0 || symlink("/proc/self/fd/1", ROOT "/dev/stdout") != 0 ||
        symlink("/proc/self/fd/2", ROOT "/dev/stderr") != 0)
        die_errno("cannot create the links in /dev");
}

// Where something is mounted already, nothing of the layer's is made.
static void make_target(const char *path, bool folder)
{
    char parent[PATH_MAX];

    if (access(path, F_OK) == 0)
        return;
    if (folder) {
        make_mount_point(path);
        return;
    }
    if (!join(parent, sizeof parent, path, ""))
        die("too long a path: ", path);
    *strrchr(parent, '/') = '\0';
    make_mount_point(parent);
    if (!write_file(path, ""))
        die_errno("cannot create ", path);
}

static void bind(const char *source, const char *target, bool read_only)
{
    struct stat status;

    if (stat(source, &status) != 0)
        die_errno("cannot find ", source);
    make_target(target, S_ISDIR(status.st_mode));
    if (mount(source, target, NULL, MS_BIND, NULL) != 0 ||
        (read_only && mount(NULL, target, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL) != 0))
        die_errno("cannot mount ", source, " on ", target);
}

// Where a mount's disk, or what is `within` it, is seen outside of the step. `path` has PATH_MAX bytes.
static void disk_path(char *path, size_t number, const char *within)
{
    char digits[DECIMAL_SIZE];
    char *end = stpcpy(stpcpy(path, DISKS), decimal(digits, (int64_t)number));

    if (within != NULL && !join(end, (size_t)(path + PATH_MAX - end), "/", within))
        die("too long a path: ", within);
}

// Outside of the step's mount namespace: that goes with its last process, and with it what the disks have to say.
static void mount_disks(const struct workload *workload)
{
    for (size_t i = 0; i < workload->mounts; i++) {
        const struct step_mount *one = &workload->mount[i];
        char path[PATH_MAX];

        disks[i] = -1;
        if (one->type == NULL || one->source == NULL)
            continue;
        disk_path(path, i, NULL);
        make_mount_point(path);
        if (mount(one->source, path, one->type, one->read_only ? MS_RDONLY : 0, one->options) != 0)
            die_errno("cannot mount ", one->source, " on ", path);
        disks[i] = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (disks[i] < 0)
            die_errno("cannot open ", path);
    }
}

static void mount_for_step(const struct step_mount *one, size_t number)
{
    char target[PATH_MAX];
    char disk[PATH_MAX];

    if (!join(target, sizeof target, ROOT, one->target))
        die("too long a path: ", one->target);
    if (one->source == NULL) {
        if (one->type == NULL)
            die("nothing is to be mounted on ", one->target);
        make_target(target, true);
        mount_system_at(one->type, target, one->read_only ? MS_RDONLY : 0, one->options);
        return;
    }
    if (one->type != NULL)
        disk_path(disk, number, one->within);
    bind(one->type == NULL ? one->source : disk, target, one->read_only);
}

static void enter_root(void)
{
    // A root of its own and not just chroot(2), in which no user namespace could be made.
    if (chdir(ROOT) != 0 || mount(".", "/", NULL, MS_MOVE, NULL) != 0 || chroot(".") != 0 || chdir("/") != 0)
        die_errno("cannot make the overlay the root");
}

static void become_step(void *context)
{
    static struct identity identity;
    struct step *step = context;
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);

    // All that is mounted from here on, by the step too, goes with its last process.
    if (unshare(CLONE_NEWNS) != 0)
        die_errno("cannot create a mount namespace");
    mount_system_at("proc", ROOT "/proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
    mount_system_at("sysfs", ROOT "/sys", MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY, NULL);
    mount_devices_of_step();
    for (size_t i = 0; i < step->workload->mounts; i++)
        mount_for_step(&step->workload->mount[i], i);
    enter_root();
    find_identity(step->workload, &identity);
    add_defaults(step->workload, &identity);
    // /dev/stdout is opened anew by name, which root's pipe would refuse to others.
    if (fchown(step->output, identity.uid, identity.gid) != 0)
        die_errno("cannot give the output to the step's user");
    if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(step->output, STDOUT_FILENO) < 0 ||
        dup2(step->output, STDERR_FILENO) < 0)
        die_errno("cannot open the step's standard descriptors");
    say_on(step->console);
    setsid();
    become_workload(step->workload, &identity);
}

// Passes on what is there to be read. False at the end.
static bool relay(int from, int to)
{
    static char buffer[64 * 1024];
    ssize_t size = read(from, buffer, sizeof buffer);

    for (ssize_t done = 0; done < size;) {
        ssize_t written = write(to, buffer + done, (size_t)(size - done));
        if (written < 0)
            die_errno("cannot pass on what the step prints");
        done += written;
    }
    return size > 0;
}

// Passes on what the step prints until it has ended. Returns its status.
static int follow(pid_t pid, int from, int to)
{
    struct signalfd_siginfo signal;
    struct pollfd watched[2] = {{.fd = from, .events = POLLIN}, {.events = POLLIN}};
    sigset_t ended;
    bool children;
    int status;

    sigemptyset(&ended);
    // sigaddset(3): the kernel counts bits from 1.
    ((unsigned long *)&ended)[0] = 1ul << (SIGCHLD - 1);
    sigprocmask(SIG_SETMASK, &ended, NULL);
    watched[1].fd = signalfd(-1, &ended, SFD_CLOEXEC);
    if (watched[1].fd < 0)
        die_errno("cannot watch for the step's end");
    // What ended before the signal was blocked sent none.
    while (!reap(pid, &status, &children)) {
        if (poll(watched, 2, -1) < 0 && errno != EINTR)
            die_errno("cannot wait for the step");
        if (watched[0].revents != 0 && !relay(from, to))
            watched[0].fd = -1;
        if (watched[1].revents != 0)
            (void)!read(watched[1].fd, &signal, sizeof signal);
    }
    return status;
}

// Only what is all on the disk has ended: the host's own may be full, which the step's writes do not tell.
static void finish(int disk, const char *what, const char *where)
{
    // syncfs(2): an error of any write since the descriptor was opened
    if (syncfs(disk) != 0)
        die_errno("cannot write to ", what, where);
    close(disk);
}

static void write_status(int status)
{
    char text[64];
    char number[DECIMAL_SIZE];
    char *end = stpcpy(text, WIFSIGNALED(status) ? "killed " : "exited ");

    stpcpy(stpcpy(end, decimal(number, WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status))), "\n");
    if (!write_file(SCRATCH "/status", text))
        die_errno("cannot write ", SCRATCH "/status");
}

// A mount namespace goes a moment after its last process, and with it the last users of the disk.
static void release(const char *device)
{
    const struct timespec pause = {.tv_nsec = 1000000};

    for (unsigned waited = 0; waited < RELEASE_MILLISECONDS; waited++) {
        // block devices: EBUSY while a filesystem has it
        int fd = open(device, O_RDONLY | O_EXCL | O_CLOEXEC);
        if (fd >= 0) {
            close(fd);
            return;
        }
        if (errno != EBUSY)
            break;
        nanosleep(&pause, NULL);
    }
    die_errno("cannot unmount the disk ", device);
}

// What is on the disks stays, or the machine ends with an error.
static void end_disks(const struct workload *workload, int scratch, int status)
{
    char path[PATH_MAX];

    for (size_t i = 0; i < workload->mounts; i++)
        if (disks[i] >= 0) {
            finish(disks[i], "the disk on ", workload->mount[i].target);
            disk_path(path, i, NULL);
            umount2(path, MNT_DETACH);
        }
    finish(scratch, "the scratch disk", "");
    write_status(status);
    umount2(SCRATCH, MNT_DETACH);
    umount2(LOWER, MNT_DETACH);
    for (size_t i = 0; i < workload->mounts; i++)
        if (disks[i] >= 0)
            release(workload->mount[i].source);
    release(workload->scratch);
}

_Noreturn void run_step(struct workload *workload, const struct params *params)
{
    int ends[2];
    int status;

    mount_system();
    open_console();
    start_loopback();
    start_network(&params->network);
    if (workload->hostname != NULL && sethostname(workload->hostname, strlen(workload->hostname)) != 0)
        die_errno("cannot set the host name ", workload->hostname);
    set_limits();
    trace_mark("system");
    int scratch = mount_root_and_scratch(workload, params);
    int output = open_device("port", workload->output, O_WRONLY, params->root_timeout);
    int console = open("/dev/console", O_WRONLY | O_NOCTTY | O_CLOEXEC);
    // Not a terminal: nobody sits there, and programs leave out their progress bars.
    if (pipe2(ends, O_CLOEXEC) != 0)
        die_errno("cannot create a pipe");
    mount_disks(workload);
    trace_mark("root");

    pid_t pid = start_process(become_step, &(struct step){workload, console, ends[1]});
    close(ends[1]);
    trace_mark("exec");
    status = follow(pid, ends[0], output);
    // As when a container's process 1 ends.
    kill(-1, SIGKILL);
    while (waitpid(-1, NULL, 0) > 0 || errno == EINTR)
        continue;
    while (relay(ends[0], output))
        continue;
    close(output);
    trace_mark("end");
    umount2(ROOT, MNT_DETACH);
    end_disks(workload, scratch, status);
    trace_mark("unmounted");
    trace_print();
    say_end(status);
    power_end();
}
