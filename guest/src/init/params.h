// The kernel command line, as far as it is for the init.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum shutdown { SHUTDOWN_AUTO, SHUTDOWN_POWEROFF, SHUTDOWN_REBOOT, SHUTDOWN_HALT };

#define NAMESERVERS_MAX 3 // resolv.conf(5): MAXNS

struct address {
    uint8_t octets[4];
};

struct static_network {
    bool given;
    bool has_gateway;
    struct address address;
    unsigned prefix; // 0 to 32
    struct address gateway;
    unsigned nameservers;
    struct address nameserver[NAMESERVERS_MAX];
};

struct params {
    const char *root;       // a device path; NULL when none was given
    const char *rootfstype; // NULL: recognised by its superblock
    const char *rootflags;
    const char *init;
    const char *overlay_size;
    bool read_only; // `ro`; the last of ro and rw counts, as in the kernel
    bool trace;
    unsigned root_timeout; // seconds to wait for the root device
    enum shutdown shutdown;
    struct static_network network;
    const char *unknown; // the first fledge.* parameter that is not known
};

struct params_error {
    const char *parameter;
    const char *value;
    const char *allowed;
};

// Reads `line` and keeps pointers into it; it is changed. False with `error` filled when a value is malformed.
bool parse_params(char *line, struct params *params, struct params_error *error);

// `ADDRESS/PREFIX[,GATEWAY[,NAMESERVER...]]`, IPv4, an empty gateway for none.
bool parse_static_network(const char *text, struct static_network *network);
