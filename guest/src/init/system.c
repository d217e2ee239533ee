// The entry point and the system calls. musl's headers describe the interface of 64-bit Linux exactly; the init uses
// them without the library, which would triple its size and take a minute to compile for each architecture.
#include "system.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define KERNEL_SIGSET_SIZE 8 // _NSIG / 8; the library's sigset_t is larger

#if defined __x86_64__

__asm__(".globl _start\n"
        "_start:\n"
        "    xor %ebp, %ebp\n"
        "    mov %rsp, %rdi\n"
        "    and $-16, %rsp\n"
        "    call enter\n");

static long system_call(long number, long a, long b, long c, long d, long e)
{
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = 0;
    long result;

    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}

#elif defined __aarch64__

__asm__(".globl _start\n"
        "_start:\n"
        "    mov x29, #0\n"
        "    mov x30, #0\n"
        "    mov x0, sp\n"
        "    b enter\n");

static long system_call(long number, long a, long b, long c, long d, long e)
{
    register long x8 __asm__("x8") = number;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d;
    register long x4 __asm__("x4") = e;
    register long x5 __asm__("x5") = 0;

    __asm__ volatile("svc #0"
                     : "+r"(x0)
                     : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
                     : "memory");
    return x0;
}

#else
#error "no system calls for this architecture"
#endif

static int error_number;

int *__errno_location(void)
{
    return &error_number;
}

static long checked(long result)
{
    if (result < 0 && result > -4096) {
        errno = (int)-result;
        return -1;
    }
    return result;
}

#define CALL5(name, a, b, c, d, e) \
    checked(system_call(SYS_##name, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e)))
#define CALL4(name, a, b, c, d) CALL5(name, a, b, c, d, 0)
#define CALL3(name, a, b, c) CALL5(name, a, b, c, 0, 0)
#define CALL2(name, a, b) CALL5(name, a, b, 0, 0, 0)
#define CALL1(name, a) CALL5(name, a, 0, 0, 0, 0)
#define CALL0(name) CALL5(name, 0, 0, 0, 0, 0)

int main(int argc, char **argv, char **environment);

__attribute__((used)) _Noreturn void enter(long *stack)
{
    char **argv = (char **)(stack + 1);

    _exit(main((int)*stack, argv, argv + *stack + 1));
}

_Noreturn void _exit(int status)
{
    for (;;)
        CALL1(exit_group, status);
}

// Processes

pid_t getpid(void)
{
    return (pid_t)CALL0(getpid);
}

pid_t fork(void)
{
    return (pid_t)CALL1(clone, SIGCHLD);
}

int execve(const char *path, char *const argv[], char *const environment[])
{
    return (int)CALL3(execve, path, argv, environment);
}

pid_t waitpid(pid_t pid, int *status, int options)
{
    return (pid_t)CALL3(wait4, pid, status, options);
}

pid_t setsid(void)
{
    return (pid_t)CALL0(setsid);
}

int setgroups(size_t count, const gid_t groups[])
{
    return (int)CALL2(setgroups, count, groups);
}

int setresgid(gid_t real, gid_t effective, gid_t saved)
{
    return (int)CALL3(setresgid, real, effective, saved);
}

int setresuid(uid_t real, uid_t effective, uid_t saved)
{
    return (int)CALL3(setresuid, real, effective, saved);
}

int setrlimit(int resource, const struct rlimit *limit)
{
    return (int)CALL2(setrlimit, resource, limit);
}

// Signals

int kill(pid_t pid, int signal)
{
    return (int)CALL2(kill, pid, signal);
}

int sigemptyset(sigset_t *set)
{
    memset(set, 0, sizeof *set);
    return 0;
}

int sigfillset(sigset_t *set)
{
    memset(set, 0xff, sizeof *set);
    return 0;
}

int sigprocmask(int how, const sigset_t *restrict set, sigset_t *restrict old)
{
    return (int)CALL4(rt_sigprocmask, how, set, old, KERNEL_SIGSET_SIZE);
}

int sigtimedwait(const sigset_t *restrict set, siginfo_t *restrict info, const struct timespec *restrict timeout)
{
    return (int)CALL4(rt_sigtimedwait, set, info, timeout, KERNEL_SIGSET_SIZE);
}

int signalfd(int fd, const sigset_t *set, int flags)
{
    return (int)CALL4(signalfd4, fd, set, KERNEL_SIGSET_SIZE, flags);
}

int poll(struct pollfd *watched, nfds_t count, int milliseconds)
{
    const struct timespec time = {milliseconds / 1000, milliseconds % 1000 * 1000000};

    return (int)CALL5(ppoll, watched, count, milliseconds < 0 ? NULL : &time, NULL, 0);
}

int pause(void)
{
    return (int)CALL4(ppoll, NULL, 0, NULL, NULL);
}

// Time

int clock_gettime(clockid_t clock, struct timespec *time)
{
    return (int)CALL2(clock_gettime, clock, time);
}

int nanosleep(const struct timespec *duration, struct timespec *rest)
{
    return (int)CALL2(nanosleep, duration, rest);
}

// Open files

int open(const char *path, int flags, ...)
{
    // Every file that the init creates may be read by all.
    return (int)CALL4(openat, AT_FDCWD, path, flags, 0644);
}

int openat(int folder, const char *path, int flags, ...)
{
    return (int)CALL4(openat, folder, path, flags, 0644);
}

int close(int fd)
{
    return (int)CALL1(close, fd);
}

ssize_t read(int fd, void *buffer, size_t size)
{
    return CALL3(read, fd, buffer, size);
}

ssize_t pread(int fd, void *buffer, size_t size, off_t offset)
{
    return CALL4(pread64, fd, buffer, size, offset);
}

ssize_t write(int fd, const void *buffer, size_t size)
{
    return CALL3(write, fd, buffer, size);
}

int getdents(int folder, struct dirent *entries, size_t size)
{
    return (int)CALL3(getdents64, folder, entries, size);
}

int dup2(int from, int to)
{
    return (int)CALL3(dup3, from, to, 0);
}

int pipe2(int ends[2], int flags)
{
    return (int)CALL2(pipe2, ends, flags);
}

int fstat(int fd, struct stat *status)
{
    return (int)CALL2(fstat, fd, status);
}

int fchown(int fd, uid_t uid, gid_t gid)
{
    return (int)CALL3(fchown, fd, uid, gid);
}

int ioctl(int fd, int request, ...)
{
    __builtin_va_list arguments;

    __builtin_va_start(arguments, request);
    long argument = __builtin_va_arg(arguments, long);
    __builtin_va_end(arguments);
    return (int)CALL3(ioctl, fd, (unsigned)request, argument);
}

int tcdrain(int fd)
{
    return ioctl(fd, TCSBRK, 1L);
}

int socket(int family, int type, int protocol)
{
    return (int)CALL3(socket, family, type, protocol);
}

// Names

int access(const char *path, int mode)
{
    return (int)CALL3(faccessat, AT_FDCWD, path, mode);
}

int stat(const char *restrict path, struct stat *restrict status)
{
    return (int)CALL4(newfstatat, AT_FDCWD, path, status, 0);
}

int fstatat(int folder, const char *restrict path, struct stat *restrict status, int flags)
{
    return (int)CALL4(newfstatat, folder, path, status, flags);
}

int statfs(const char *path, struct statfs *status)
{
    return (int)CALL2(statfs, path, status);
}

int mkdir(const char *path, mode_t mode)
{
    return (int)CALL3(mkdirat, AT_FDCWD, path, mode);
}

int mknod(const char *path, mode_t mode, dev_t device)
{
    return (int)CALL4(mknodat, AT_FDCWD, path, mode, device);
}

int symlink(const char *target, const char *path)
{
    return (int)CALL3(symlinkat, target, AT_FDCWD, path);
}

int unlink(const char *path)
{
    return unlinkat(AT_FDCWD, path, 0);
}

int unlinkat(int folder, const char *path, int flags)
{
    return (int)CALL3(unlinkat, folder, path, flags);
}

int chown(const char *path, uid_t uid, gid_t gid)
{
    return (int)CALL5(fchownat, AT_FDCWD, path, uid, gid, 0);
}

int chmod(const char *path, mode_t mode)
{
    return (int)CALL3(fchmodat, AT_FDCWD, path, mode);
}

int utimensat(int folder, const char *path, const struct timespec times[2], int flags)
{
    return (int)CALL4(utimensat, folder, path, times, flags);
}

int chdir(const char *path)
{
    return (int)CALL1(chdir, path);
}

// The system

void *mmap(void *start, size_t size, int protection, int flags, int fd, off_t offset)
{
    // The sixth argument of the system call is 0 here: files are mapped from their start.
    (void)offset;
    return (void *)CALL5(mmap, start, size, protection, flags, fd);
}

int mount(const char *source, const char *target, const char *type, unsigned long flags, const void *options)
{
    return (int)CALL5(mount, source, target, type, flags, options);
}

int unshare(int flags)
{
    return (int)CALL1(unshare, flags);
}

int umount2(const char *target, int flags)
{
    return (int)CALL2(umount2, target, flags);
}

int chroot(const char *path)
{
    return (int)CALL1(chroot, path);
}

int pivot_root(const char *root, const char *put_old)
{
    return (int)CALL2(pivot_root, root, put_old);
}

int finit_module(int fd, const char *parameters, int flags)
{
    return (int)CALL3(finit_module, fd, parameters, flags);
}

int sethostname(const char *name, size_t size)
{
    return (int)CALL2(sethostname, name, size);
}

int sysinfo(struct sysinfo *information)
{
    return (int)CALL1(sysinfo, information);
}

int uname(struct utsname *names)
{
    return (int)CALL1(uname, names);
}

int syncfs(int fd)
{
    return (int)CALL1(syncfs, fd);
}

void sync(void)
{
    CALL0(sync);
}

int reboot(int command)
{
    return (int)CALL3(reboot, 0xfee1dead, 672274793, command); // reboot(2): LINUX_REBOOT_MAGIC1 and 2
}
