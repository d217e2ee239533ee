#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "files.h"
#include "launch.h"
#include "power.h"
#include "say.h"

#define OPEN_FILES_SOFT 1024
#define OPEN_FILES_HARD 524288

void find_identity(const struct workload *workload, struct identity *identity)
{
    size_t passwd_size = 0;
    size_t group_size = 0;
    const char *passwd = map_file("/etc/passwd", &passwd_size);
    const char *group = map_file("/etc/group", &group_size);

    const char *wrong = resolve_user(workload->user, passwd == NULL ? "" : passwd, passwd == NULL ? 0 : passwd_size,
                                     group == NULL ? "" : group, group == NULL ? 0 : group_size, identity);
    if (wrong != NULL)
        die("the workload's user ", workload->user == NULL ? "root" : workload->user, " ", wrong);
}

void add_defaults(struct workload *workload, const struct identity *identity)
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

void set_limits(void)
{
    struct rlimit files = {OPEN_FILES_SOFT, OPEN_FILES_HARD};

    if (!write_file("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0") && errno != ENOENT)
        warn_errno("cannot let unprivileged users listen on ports below 1024");
    if (setrlimit(RLIMIT_NOFILE, &files) != 0)
        warn_errno("cannot raise the limit of open files");
}

pid_t start_process(void (*become)(void *context), void *context)
{
    int failure[2];
    char byte;

    // Its write end closes when the program is executed.
    if (pipe2(failure, O_CLOEXEC) != 0)
        die_errno("cannot create a pipe");
    pid_t pid = fork();
    if (pid < 0)
        die_errno("cannot start a process");
    if (pid == 0) {
        become(context);
        (void)!write(failure[1], "", 1);
        _exit(127);
    }
    close(failure[1]);
    ssize_t got;
    while ((got = read(failure[0], &byte, 1)) < 0 && errno == EINTR)
        continue;
    close(failure[0]);
    if (got != 0)
        power_end(); // the child said why
    return pid;
}

void become_workload(const struct workload *workload, const struct identity *identity)
{
    const char *workdir = workload->workdir == NULL ? "/" : workload->workdir;
    sigset_t none;

    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    // Before the user changes, as container engines do it: the folder may be closed to that user.
    if (chdir(workdir) != 0)
        complain_errno("cannot enter the working directory ", workdir);
    else if (setgroups(identity->groups, identity->group) != 0 ||
        setresgid(identity->gid, identity->gid, identity->gid) != 0 ||
        setresuid(identity->uid, identity->uid, identity->uid) != 0)
        complain_errno("cannot run as user ", NUMBER(identity->uid), ", group ", NUMBER(identity->gid));
    else
        launch_program(workload->argv, workload->env, workload_variable(workload, "PATH"));
}

bool reap(pid_t pid, int *status, bool *children)
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

void say_end(int status)
{
    if (WIFSIGNALED(status))
        say("workload killed by signal ", NUMBER(WTERMSIG(status)));
    else
        say("workload exited with ", NUMBER(WEXITSTATUS(status)));
}
