// A writable layer in memory over a read-only root.
#pragma once
#include <stdbool.h>

// Mounts a tmpfs of `size` (see parse_memory_size) on `scratch`, with the upper and the work folder of the overlay, and
// the overlay over `lower` on its folder `root`.
void mount_overlay(const char *lower, const char *scratch, const char *size);

// Mounts an overlay over `lower` on the folder root of `scratch`, whose folders upper and work it takes. `extra`: more
// options, each after a comma. False with errno on failure.
bool mount_layers(const char *lower, const char *scratch, const char *extra);
