#include "params.h"

#include <string.h>

#include "text.h"

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

// Cuts the next parameter out of `*line` the way the kernel does (lib/cmdline.c): quotes keep spaces together and are
// dropped at both ends of the parameter or of its value. Returns NULL at the end.
static char *next_parameter(char **line, char **value)
{
    char *at = *line;
    bool quoted = false;

    while (is_space(*at))
        at++;
    if (*at == '\0')
        return NULL;

    char *name = at;
    if (*name == '"') {
        name++;
        quoted = true;
        at++;
    }
    *value = NULL;
    for (; *at != '\0' && (quoted || !is_space(*at)); at++) {
        if (*at == '=' && *value == NULL)
            *value = at;
        if (*at == '"')
            quoted = !quoted;
    }
    char *end = at;
    if (*at != '\0')
        at++;
    *end = '\0';
    if (end > name && end[-1] == '"')
        end[-1] = '\0';
    if (*value != NULL) {
        *(*value)++ = '\0';
        if (**value == '"')
            ++*value;
    }
    *line = at;
    return name;
}

static const char *take_octet(const char *text, uint8_t *octet)
{
    unsigned value = 0;
    const char *at = text;

    for (; *at >= '0' && *at <= '9' && at - text < 3; at++)
        value = value * 10 + (unsigned)(*at - '0');
    *octet = (uint8_t)value;
    return at == text || value > 255 ? NULL : at;
}

static const char *take_address(const char *text, struct address *address)
{
    for (unsigned i = 0; i < 4; i++) {
        if (i > 0 && *text++ != '.')
            return NULL;
        text = take_octet(text, &address->octets[i]);
        if (text == NULL)
            return NULL;
    }
    return text;
}

bool parse_static_network(const char *text, struct static_network *network)
{
    uint8_t prefix;

    *network = (struct static_network){.given = true};
    text = take_address(text, &network->address);
    if (text == NULL || *text++ != '/')
        return false;
    text = take_octet(text, &prefix);
    if (text == NULL || prefix > 32)
        return false;
    network->prefix = prefix;

    if (*text == ',' && text[1] == ',') {
        text++;
    } else if (*text == ',') {
        text = take_address(text + 1, &network->gateway);
        if (text == NULL)
            return false;
        network->has_gateway = true;
    }
    while (*text == ',') {
        if (network->nameservers == NAMESERVERS_MAX)
            return false;
        text = take_address(text + 1, &network->nameserver[network->nameservers++]);
        if (text == NULL)
            return false;
    }
    return *text == '\0';
}

static bool parse_shutdown(const char *text, enum shutdown *shutdown)
{
    if (strcmp(text, "poweroff") == 0)
        *shutdown = SHUTDOWN_POWEROFF;
    else if (strcmp(text, "reboot") == 0)
        *shutdown = SHUTDOWN_REBOOT;
    else if (strcmp(text, "halt") == 0)
        *shutdown = SHUTDOWN_HALT;
    else
        return false;
    return true;
}

static bool is_fledge_parameter(const char *name, const char *value, struct params *params,
                                struct params_error *error)
{
    struct memory_size size;
    uint64_t seconds;

    if (strcmp(name, "fledge.trace") == 0) {
        params->trace = true;
        return true;
    }
    *error = (struct params_error){name, value == NULL ? "" : value, NULL};
    if (strcmp(name, "fledge.overlay_size") == 0 || strcmp(name, "volant.overlay_size") == 0) {
        if (value == NULL || !parse_memory_size(value, &size))
            error->allowed = "bytes, a number with K, M, G or T, or 1% to 100%";
        params->overlay_size = value;
    } else if (strcmp(name, "fledge.root_timeout") == 0) {
        if (value == NULL || !parse_number(value, 3600, &seconds))
            error->allowed = "seconds, 0 to 3600";
        else
            params->root_timeout = (unsigned)seconds;
    } else if (strcmp(name, "fledge.shutdown") == 0) {
        if (value == NULL || !parse_shutdown(value, &params->shutdown))
            error->allowed = "poweroff, reboot or halt";
    } else if (strcmp(name, "fledge.ip") == 0) {
        if (value == NULL || !parse_static_network(value, &params->network))
            error->allowed = "ADDRESS/PREFIX[,GATEWAY[,NAMESERVER...]] in IPv4, at most 3 name servers";
    } else {
        return false;
    }
    return true;
}

bool parse_params(char *line, struct params *params, struct params_error *error)
{
    char *name;
    char *value;
    bool resets = false;

    *params = (struct params){.root_timeout = 10};
    while ((name = next_parameter(&line, &value)) != NULL) {
        *error = (struct params_error){0};
        if (strcmp(name, "--") == 0 && value == NULL)
            break;
        if (strcmp(name, "ro") == 0 && value == NULL)
            params->read_only = true;
        else if (strcmp(name, "rw") == 0 && value == NULL)
            params->read_only = false;
        else if (is_fledge_parameter(name, value, params, error)) {
            if (error->allowed != NULL)
                return false;
        } else if (starts_with(name, "fledge.")) {
            if (params->unknown == NULL)
                params->unknown = name;
        } else if (value == NULL || *value == '\0')
            continue;
        else if (strcmp(name, "root") == 0 || strcmp(name, "volant.rootfs_device") == 0)
            params->root = value;
        else if (strcmp(name, "rootfstype") == 0 || strcmp(name, "volant.rootfs_fstype") == 0)
            params->rootfstype = value;
        else if (strcmp(name, "rootflags") == 0)
            params->rootflags = value;
        else if (strcmp(name, "init") == 0)
            params->init = value;
        else if (strcmp(name, "reboot") == 0)
            resets = *value == 'k' || *value == 't';
    }
    // Whoever asks for a reset by keyboard controller or triple fault (x86) does so because the reset ends the machine:
    // Firecracker's documented parameters. It may have ACPI tables all the same, and still no way to cut the power.
    if (resets && params->shutdown == SHUTDOWN_AUTO)
        params->shutdown = SHUTDOWN_REBOOT;
    return true;
}
