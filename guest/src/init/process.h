// Programs of the image's: who runs them, how they begin, and that they have ended.
#pragma once
#include <stdbool.h>
#include <sys/types.h>

#include "users.h"
#include "workload.h"

// Resolves the workload's user against /etc/passwd and /etc/group, or ends the machine.
void find_identity(const struct workload *workload, struct identity *identity);

// Adds PATH and HOME where the workload's environment has none.
void add_defaults(struct workload *workload, const struct identity *identity);

// What container engines give every process: open files, and ports below 1024.
void set_limits(void);

// Forks. The child calls `become`, which executes a program, or says why it can't and returns; the machine ends then.
pid_t start_process(void (*become)(void *context), void *context);

// Becomes the workload's program as its user, in its working directory. Returns only on failure, after saying why.
void become_workload(const struct workload *workload, const struct identity *identity);

// Reaps whatever has ended. Returns whether `pid` was among it; `children` is false when none are left.
bool reap(pid_t pid, int *status, bool *children);

// Says how the workload ended; `status` is of wait(2).
void say_end(int status);
