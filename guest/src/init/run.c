#include "run.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "files.h"
#include "launch.h"
#include "network.h"
#include "power.h"
#include "say.h"
#include "trace.h"
#include "users.h"

#define STOP_SECONDS 10    // Docker's own patience between the stop signal and SIGKILL
#define LEFTOVER_SECONDS 2 // after the workload's end
#define OPEN_FILES_SOFT 1024
#define OPEN_FILES_HARD 524288

static void find_identity(const char *user, struct identity *identity)
{
    size_t passwd_size = 0;
    size_t group_size = 0;
    const char *passwd = map_file("/etc/passwd", &passwd_size);
    const char *group = map_file("/etc/group", &group_size);

    const char *wrong = resolve_user(user, passwd == NULL ? "" : passwd, passwd == NULL ? 0 : passwd_size,
                                     group == NULL ? "" : group, group == NULL ? 0 : group_size, identity);
    if (wrong != NULL)
        die("the workload's user ", user == NULL ? "root" : user, " ", wrong);
}

static void add_defaults(struct workload *workload, const struct identity *identity)
{
    static char home[sizeof identity->home + 8];

    if (workload_variable(workload, "PATH") == NULL)
        workload->env[workload->variables++] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    if (workload_variable(workload, "HOME") == NULL) {
        stpcpy(stpcpy(home, "HOME="), identity->home);
        workload->env[workload->variables++] = home;
    }
    workload->env[workload->variables] = NULL;
}

// The workload finds here what container engines give it.
static void prepare(const struct workload *workload, const struct identity *identity)
{
    struct rlimit files = {OPEN_FILES_SOFT, OPEN_FILES_HARD};

    set_host_name(workload->hostname);
    if (workload->workdir != NULL && !make_folders(workload->workdir))
        die_errno("cannot create the working directory ", workload->workdir);
    if (!write_file("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0") && errno != ENOENT)
        warn_errno("cannot let unprivileged users listen on ports below 1024");
    if (setrlimit(RLIMIT_NOFILE, &files) != 0)
        warn_errno("cannot raise the limit of open files");
    // /dev/stdout is opened anew by name, which root's console would refuse to others.
    if (identity->uid != 0 && fchown(STDOUT_FILENO, identity->uid, (gid_t)-1) != 0)
        warn_errno("cannot give the console to the workload's user");
    // Ctrl-alt-del reaches process 1 as SIGINT instead of resetting the machine.
    if (reboot(RB_DISABLE_CAD) != 0)
        warn_errno("cannot disable the reset by ctrl-alt-del");
}

_Noreturn static void become_workload(const struct workload *workload, const struct identity *identity, int failure)
{
    const char *workdir = workload->workdir == NULL ? "/" : workload->workdir;
    sigset_t none;

    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    // Its own session with the console as its terminal, so that ctrl-c and job control work there.
    setsid();
    ioctl(STDIN_FILENO, TIOCSCTTY, 1);

    // Before the user changes, as container engines do it: the folder may be closed to that user.
    if (chdir(workdir) != 0)
        complain_errno("cannot enter the working directory ", workdir);
    else if (setgroups(identity->groups, identity->group) != 0 ||
        setresgid(identity->gid, identity->gid, identity->gid) != 0 ||
        setresuid(identity->uid, identity->uid, identity->uid) != 0)
        complain_errno("cannot run as user ", NUMBER(identity->uid), ", group ", NUMBER(identity->gid));
    else
        launch_program(workload->argv, workload->env, workload_variable(workload, "PATH"));
    (void)!write(failure, "", 1);
    _exit(127);
}

static pid_t start(const struct workload *workload, const struct identity *identity)
{
    int failure[2];
    char byte;

    // Its write end closes when the program is executed.
    if (pipe2(failure, O_CLOEXEC) != 0)
        die_errno("cannot create a pipe");
    pid_t pid = fork();
    if (pid < 0)
        die_errno("cannot start a process");
    if (pid == 0)
        become_workload(workload, identity, failure[1]);
    close(failure[1]);
    ssize_t got;
    while ((got = read(failure[0], &byte, 1)) < 0 && errno == EINTR)
        continue;
    close(failure[0]);
    if (got != 0)
        power_end(); // the child said why
    say("workload started");
    return pid;
}

static time_t seconds_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec;
}

// Reaps whatever has ended. Returns whether `pid` was among it; `children` is false when none are left.
static bool reap(pid_t pid, int *status, bool *children)
{
    bool ended = false;
    int one;
    pid_t got;

    while ((got = waitpid(-1, &one, WNOHANG)) > 0)
        if (got == pid) {
            *status = one;
            ended = true;
        }
    *children = got == 0;
    return ended;
}

// A request from outside the machine, as opposed to a signal that a process sent: ctrl-alt-del, or power failing.
static bool is_stop_request(const siginfo_t *signal)
{
    return signal->si_code == SI_KERNEL && (signal->si_signo == SIGINT || signal->si_signo == SIGPWR);
}

static int supervise(pid_t pid, unsigned stop_signal, const sigset_t *signals)
{
    const struct timespec second = {.tv_sec = 1};
    siginfo_t signal;
    time_t deadline = 0;
    bool children;
    int status = 0;

    for (;;) {
        int number = sigtimedwait(signals, &signal, deadline == 0 ? NULL : &second);
        if (number == SIGCHLD) {
            if (reap(pid, &status, &children))
                return status;
        } else if (number > 0 && is_stop_request(&signal)) {
            kill(pid, stop_signal == 0 ? SIGTERM : (int)stop_signal);
            if (deadline == 0)
                deadline = seconds_now() + STOP_SECONDS;
        } else if (number > 0) {
            kill(pid, number);
        }
        if (deadline != 0 && seconds_now() >= deadline)
            kill(pid, SIGKILL);
    }
}

// What the workload left running gets a moment to finish, is killed then, and given up when even that does not end it.
static void end_leftovers(const sigset_t *signals)
{
    const struct timespec moment = {.tv_nsec = 100000000};
    const time_t start = seconds_now();
    siginfo_t signal;
    bool children;
    int status;

    kill(-1, SIGTERM);
    for (;;) {
        reap(0, &status, &children);
        time_t passed = seconds_now() - start;
        if (!children || passed >= 2 * LEFTOVER_SECONDS)
            return;
        if (passed >= LEFTOVER_SECONDS)
            kill(-1, SIGKILL);
        sigtimedwait(signals, &signal, &moment);
    }
}

_Noreturn void run_workload(struct workload *workload)
{
    static struct identity identity;
    sigset_t signals;

    find_identity(workload->user, &identity);
    add_defaults(workload, &identity);
    prepare(workload, &identity);
    sigfillset(&signals);
    sigprocmask(SIG_SETMASK, &signals, NULL);

    trace_mark("exec");
    trace_print();
    int status = supervise(start(workload, &identity), workload->stop_signal, &signals);
    end_leftovers(&signals);
    // Last of all, when nothing else can write to the console any more.
    if (WIFSIGNALED(status))
        say("workload killed by signal ", NUMBER(WTERMSIG(status)));
    else
        say("workload exited with ", NUMBER(WEXITSTATUS(status)));
    power_end();
}
