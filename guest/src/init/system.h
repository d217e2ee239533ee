// System calls that the C library's headers do not declare.
#pragma once

int finit_module(int fd, const char *parameters, int flags);
int pivot_root(const char *root, const char *put_old);
