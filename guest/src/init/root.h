// The root filesystem: what it is, and the device that root= names.
#pragma once
#include <stdbool.h>

#include "params.h"

enum root_kind {
    ROOT_INITRAMFS, // the kernel's own, in memory
    ROOT_READ_ONLY,
    ROOT_WRITABLE,
};

enum root_kind root_kind(void);

// Waits for the device that root= names and mounts it on `target`. Returns whether it can be written to.
bool mount_root(const struct params *params, const char *target);

// Waits for a device and opens it. `what` it is, for messages.
int open_device(const char *what, const char *device, int flags, unsigned seconds);
