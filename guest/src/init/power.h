// The end of the machine.
#pragma once
#include "params.h"

void power_set(enum shutdown how);

// Writes everything to disk, unmounts what can be unmounted, and switches the machine off.
_Noreturn void power_end(void);
