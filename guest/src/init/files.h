// Files and folders, without memory allocation.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

// Reads the whole file and ends it with NUL. Returns its size, or -1 with errno; EFBIG when `size` bytes don't hold it.
ssize_t read_file(const char *path, char *buffer, size_t size);

// Maps a file to read it. Returns "" with a size of 0 for an empty file, NULL with errno on failure.
const char *map_file(const char *path, size_t *size);

// Creates or overwrites; false with errno on failure.
bool write_file(const char *path, const char *text);

// Creates the folder and its missing parents, mode 0755; false with errno on failure.
bool make_folders(const char *path);

// Calls `visit` with the name of each entry but . and .. until it returns false. Entries may be removed meanwhile.
// False with errno when the folder can't be read.
bool for_each_entry(int folder, bool (*visit)(int folder, const char *name, void *context), void *context);

// Whether the folder is there and has entries.
bool has_entries(const char *path);
