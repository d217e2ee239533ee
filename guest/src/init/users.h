// Who the workload runs as, from the image's own /etc/passwd and /etc/group.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define GROUPS_MAX 256

struct identity {
    uid_t uid;
    gid_t gid;
    size_t groups;
    gid_t group[GROUPS_MAX];
    char home[256]; // "/" when passwd has none
};

// Resolves `user` ("name", "uid", "name:group", "uid:gid", NULL for root) against the texts of passwd(5) and group(5).
// Returns NULL, or what is wrong with it.
const char *resolve_user(const char *user, const char *passwd, size_t passwd_size, const char *group,
                         size_t group_size, struct identity *identity);
