// Becoming another program.
#pragma once

// Executes argv[0], looked for in `path` when it has no slash. Returns only on failure, after saying why.
void launch_program(const char *const *argv, const char *const *env, const char *path);
