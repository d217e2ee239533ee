// Process 1 of the microVM: as /init of an initramfs, or as init=/.fledge/init of a disk image. README.md describes
// what it does and the files and parameters it reads.
#include <errno.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "enter.h"
#include "files.h"
#include "launch.h"
#include "modules.h"
#include "mounts.h"
#include "network.h"
#include "overlay.h"
#include "params.h"
#include "power.h"
#include "root.h"
#include "run.h"
#include "say.h"
#include "step.h"
#include "trace.h"
#include "workload.h"

#define WORKLOAD "/.fledge/workload"
#define ROOT_WORKLOAD "/.fledge/root-workload" // in an initramfs: for the root that root= names
#define STEP "/.fledge/step" // in an initramfs: what changes a copy of the root that root= names
#define INIT "/.fledge/init"
#define AGENT "/bin/kestrel"
#define OVERLAY_SIZE "1G"
#define PATH "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

static struct params params;
static struct workload workload;

static void load_params(void)
{
    static char line[8192]; // COMMAND_LINE_SIZE is 2048 on x86 and arm64
    struct params_error error;

    read_command_line(line, sizeof line);
    if (!parse_params(line, &params, &error))
        die("kernel parameter ", error.parameter, "=", error.value, ": allowed is ", error.allowed);
    power_set(params.shutdown);
    if (params.trace)
        trace_enable();
    if (params.unknown != NULL)
        warn("unknown kernel parameter ", params.unknown);
}

// False when there is no such file.
static bool load_workload(const char *path)
{
    static char text[WORKLOAD_SIZE_MAX];
    const char *key;
    ssize_t size = read_file(path, text, sizeof text);

    if (size < 0) {
        if (errno == ENOENT || errno == ENOTDIR)
            return false;
        die_errno("cannot read ", path);
    }
    const char *wrong = parse_workload(text, (size_t)size, &workload, &key);
    if (wrong != NULL)
        die(path, ": ", key == NULL ? "it" : key, " ", wrong);
    return true;
}

static const char *overlay_size(void)
{
    if (params.overlay_size != NULL)
        return params.overlay_size;
    return workload.overlay_size != NULL ? workload.overlay_size : OVERLAY_SIZE;
}

// Becomes `program`, which is process 1 from now on.
_Noreturn static void hand_over(const char *program, char **arguments, char **environment)
{
    const char *argv[64] = {program};
    const char *env[64];
    size_t count = 0;
    bool has_path = false;

    for (; arguments[count] != NULL && count < 62; count++)
        argv[count + 1] = arguments[count];
    // The kernel gives HOME, TERM and the parameters that it does not know; not PATH.
    for (count = 0; environment[count] != NULL && count < 62; count++) {
        env[count] = environment[count];
        has_path = has_path || starts_with(env[count], "PATH=");
    }
    if (!has_path)
        env[count++] = PATH;
    env[count] = NULL;

    trace_mark("exec");
    trace_print();
    say("handing over to ", program);
    launch_program(argv, env, "");
    power_end();
}

// From the initramfs of a boot into the disk that root= names. Returns when that disk's workload is to be run here.
static void enter_disk(char **arguments, char **environment)
{
    const bool described = load_workload(ROOT_WORKLOAD);
    const char *root = "/.fledge/disk";

    mount_devices();
    if (!make_folders(root))
        die_errno("cannot create ", root);
    if (!mount_root(&params, root)) {
        if (!described)
            load_workload("/.fledge/disk" WORKLOAD);
        if (!make_folders("/.fledge/scratch"))
            die_errno("cannot create /.fledge/scratch");
        mount_overlay(root, "/.fledge/scratch", overlay_size());
        root = "/.fledge/scratch/root";
    }
    umount2("/dev", MNT_DETACH);
    switch_root(root);
    trace_mark("root");
    if (described)
        return;
    mount_devices(); // where the kernel would have mounted it without an initramfs
    hand_over(params.init == NULL ? INIT : params.init, arguments, environment);
}

// A disk is mounted read-only by the kernel unless told otherwise; a workload expects to write.
static void make_root_writable(void)
{
    if (!params.read_only && mount(NULL, "/", NULL, MS_REMOUNT, NULL) == 0 && root_kind() == ROOT_WRITABLE)
        return;
    mount_overlay("/", "/.fledge", overlay_size());
    pivot_into("/.fledge/root");
}

int main(int argc, char **argv, char **environment)
{
    static char *const none[] = {NULL};

    (void)argc;
    if (getpid() != 1) {
        complain("the init of a virtual machine runs as process 1 only");
        return 2;
    }
    trace_mark("start");
    load_params();
    load_modules();
    trace_mark("modules");

    bool described = load_workload(WORKLOAD);
    enum root_kind kind = root_kind();
    if (kind == ROOT_INITRAMFS && !described && load_workload(STEP))
        run_step(&workload, &params);
    if (kind == ROOT_INITRAMFS && !described && params.root != NULL) {
        enter_disk(argv + 1, environment);
        described = true;
    } else if (kind == ROOT_READ_ONLY) {
        make_root_writable();
        trace_mark("root");
    }
    mount_system();
    open_console();
    start_loopback();
    start_network(&params.network);
    trace_mark("system");

    if (!described || workload.handover != NULL)
        hand_over(described ? workload.handover : AGENT, (char **)none, environment);
    run_workload(&workload);
}
