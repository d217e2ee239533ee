#include "run.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "files.h"
#include "network.h"
#include "power.h"
#include "process.h"
#include "say.h"
#include "trace.h"

#define STOP_SECONDS 10    // Docker's own patience between the stop signal and SIGKILL
#define LEFTOVER_SECONDS 2 // after the workload's end

struct start {
    const struct workload *workload;
    const struct identity *identity;
};

// The workload finds here what container engines give it.
static void prepare(const struct workload *workload, const struct identity *identity)
{
    set_host_name(workload->hostname);
    if (workload->workdir != NULL && !make_folders(workload->workdir))
        die_errno("cannot create the working directory ", workload->workdir);
    set_limits();
    // /dev/stdout is opened anew by name, which root's console would refuse to others.
    if (identity->uid != 0 && fchown(STDOUT_FILENO, identity->uid, (gid_t)-1) != 0)
        warn_errno("cannot give the console to the workload's user");
    // Ctrl-alt-del reaches process 1 as SIGINT instead of resetting the machine.
    if (reboot(RB_DISABLE_CAD) != 0)
        warn_errno("cannot disable the reset by ctrl-alt-del");
}

static void become(void *context)
{
    const struct start *start = context;

    // Its own session with the console as its terminal, so that ctrl-c and job control work there.
    setsid();
    ioctl(STDIN_FILENO, TIOCSCTTY, 1);
    become_workload(start->workload, start->identity);
}

static time_t seconds_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec;
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

    find_identity(workload, &identity);
    add_defaults(workload, &identity);
    prepare(workload, &identity);
    sigfillset(&signals);
    sigprocmask(SIG_SETMASK, &signals, NULL);

    trace_mark("exec");
    trace_print();
    pid_t pid = start_process(become, &(struct start){workload, &identity});
    say("workload started");
    int status = supervise(pid, workload->stop_signal, &signals);
    end_leftovers(&signals);
    // Last of all, when nothing else can write to the console any more.
    say_end(status);
    power_end();
}
