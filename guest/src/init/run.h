// Process 1 while the workload runs.
#pragma once
#include "workload.h"

// Starts the workload, passes signals on, reaps, says how it ended, and ends the machine.
_Noreturn void run_workload(struct workload *workload);
