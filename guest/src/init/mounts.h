// The kernel's own filesystems, and the console.
#pragma once
#include <stdbool.h>
#include <stddef.h>

// Copies the kernel command line, also where nothing is mounted yet and the root is read-only.
void read_command_line(char *buffer, size_t size);

// Mounts devtmpfs on /dev.
void mount_devices(void);

// Mounts /proc, /sys, /dev and what belongs under it, and an empty /run and /tmp.
void mount_system(void);

// Makes the console this process's standard input, output and error.
void open_console(void);
