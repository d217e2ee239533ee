// One step of a build: a program that changes a copy of the root.
#pragma once
#include "params.h"
#include "workload.h"

// Runs the workload on an overlay over the root that root= names, whose upper folder is on the disk `scratch`; writes
// how it ended to the file `status` there, unmounts that disk, and ends the machine.
_Noreturn void run_step(struct workload *workload, const struct params *params);
