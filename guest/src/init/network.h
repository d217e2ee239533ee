// Names and addresses.
#pragma once
#include "params.h"

// Brings the loopback interface up.
void start_loopback(void);

// Gives the first other interface its address, route and name servers.
void start_network(const struct static_network *network);

// Sets the host name: `name`, else what /etc/hostname says, else localhost; and makes localhost known.
void set_host_name(const char *name);
