// The description of what runs in the machine: the file /.fledge/workload. README.md has its format.
#pragma once
#include <stdbool.h>
#include <stddef.h>

#define WORKLOAD_SIZE_MAX (256 * 1024)
#define WORKLOAD_STRINGS_MAX 4096
#define WORKLOAD_MOUNTS_MAX 64

// What a step sees at `target`: a file or folder of the initramfs, a disk or a part of it, or a filesystem in memory.
struct step_mount {
    const char *target;
    const char *type;    // NULL: `source` is a path of the initramfs
    const char *source;  // NULL: `type` needs none
    const char *within;  // the part of the disk, a name at its root; NULL: all of it
    const char *options; // for the filesystem; NULL: none
    bool read_only;
};

struct workload {
    const char *handover; // process 1 becomes this; NULL: the init runs argv itself
    const char *workdir;
    const char *user;
    const char *hostname;
    const char *overlay_size;
    unsigned stop_signal;
    const char *scratch; // of a step: the device that takes what it changes
    const char *output;  // of a step: the device that takes what it prints
    size_t mounts;
    struct step_mount mount[WORKLOAD_MOUNTS_MAX];
    size_t arguments;
    size_t variables;
    const char *argv[WORKLOAD_STRINGS_MAX + 1]; // ends with NULL
    const char *env[WORKLOAD_STRINGS_MAX + 3];  // room for PATH and HOME
};

// Parses `size` bytes at `text` strictly and keeps pointers into them. Returns NULL, or what is wrong, and then `key`
// is the key at fault or NULL.
const char *parse_workload(char *text, size_t size, struct workload *workload, const char **key);

// The value of `name` in the workload's environment, or NULL.
const char *workload_variable(const struct workload *workload, const char *name);
