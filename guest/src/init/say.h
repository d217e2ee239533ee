// Lines on the console. Each is one write, begins with "fledge: " and has control bytes escaped, because names in it
// may come from an image.
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "text.h"

#define SAY_STRINGS(...) ((const char *const[]){__VA_ARGS__, NULL})
#define NUMBER(value) decimal((char[DECIMAL_SIZE]){0}, (int64_t)(value))

// Lines go to this descriptor from now on; before, to the standard error.
void say_on(int fd);

void say_line(const char *kind, const char *const *parts, int error);

// The parts are joined without spaces; NULL ends them.
#define say(...) say_line("", SAY_STRINGS(__VA_ARGS__), 0)
#define warn(...) say_line("warning: ", SAY_STRINGS(__VA_ARGS__), 0)
#define warn_errno(...) say_line("warning: ", SAY_STRINGS(__VA_ARGS__), errno)
#define complain(...) say_line("error: ", SAY_STRINGS(__VA_ARGS__), 0)
#define complain_errno(...) say_line("error: ", SAY_STRINGS(__VA_ARGS__), errno)

// Says what failed, then ends the machine.
#define die(...) (complain(__VA_ARGS__), power_end())
#define die_errno(...) (complain_errno(__VA_ARGS__), power_end())

_Noreturn void power_end(void);
