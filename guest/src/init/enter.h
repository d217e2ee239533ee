// Into another root.
#pragma once

// From an initramfs: deletes its contents to free the memory, and makes `root`, a mount point, the root.
void switch_root(const char *root);

// From a mounted disk: makes `root`, a mount point, the root and lets go of the old one.
void pivot_into(const char *root);
