// When each step was done: the `fledge.trace` parameter.
#pragma once

// Notes the time. Nothing is printed yet: a serial console takes longer than the step.
void trace_mark(const char *step);

// Makes trace_print print.
void trace_enable(void);

// Prints what was noted, in microseconds since the kernel started and since the init did.
void trace_print(void);
