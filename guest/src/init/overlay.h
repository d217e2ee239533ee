// A writable layer in memory over a read-only root.
#pragma once

// Mounts a tmpfs of `size` (see parse_memory_size) on `scratch`, with the upper and the work folder of the overlay, and
// the overlay over `lower` on its folder `root`.
void mount_overlay(const char *lower, const char *scratch, const char *size);
