#include "trace.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "say.h"

static struct {
    const char *step;
    int64_t microseconds;
} marks[16];
static size_t count;
static bool enabled;

void trace_mark(const char *step)
{
    struct timespec now;

    if (count == sizeof marks / sizeof *marks)
        return;
    clock_gettime(CLOCK_BOOTTIME, &now);
    marks[count].step = step;
    marks[count++].microseconds = now.tv_sec * INT64_C(1000000) + now.tv_nsec / 1000;
}

void trace_enable(void)
{
    enabled = true;
}

void trace_print(void)
{
    for (size_t i = 0; enabled && i < count; i++)
        say("trace ", marks[i].step, " boot_us=", NUMBER(marks[i].microseconds),
            " init_us=", NUMBER(marks[i].microseconds - marks[0].microseconds));
}
