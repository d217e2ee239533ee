#include "workload.h"

#include <string.h>

#include "text.h"

static const char HEADER[] = "fledge-workload 1\n";

static const char *add_string(const char **strings, size_t *count, const char *value)
{
    if (*count == WORKLOAD_STRINGS_MAX)
        return "is there too often";
    strings[(*count)++] = value;
    return NULL;
}

static const char *set_string(const char **field, const char *value)
{
    if (*field != NULL)
        return "is there twice";
    if (*value == '\0')
        return "is empty";
    *field = value;
    return NULL;
}

static const char *set_path(const char **field, const char *value)
{
    return *value == '/' ? set_string(field, value) : "is not an absolute path";
}

static const char *begin_mount(struct workload *workload, const char *target)
{
    if (workload->mounts == WORKLOAD_MOUNTS_MAX)
        return "is there too often";
    return set_path(&workload->mount[workload->mounts++].target, target);
}

// What `key`, without its "mount_", says of the last mount.
static const char *set_mount_field(struct workload *workload, const char *key, const char *value)
{
    if (workload->mounts == 0)
        return "comes before any mount";
    struct step_mount *last = &workload->mount[workload->mounts - 1];
    if (strcmp(key, "type") == 0)
        return set_string(&last->type, value);
    if (strcmp(key, "source") == 0)
        return set_path(&last->source, value);
    if (strcmp(key, "within") == 0)
        return set_string(&last->within, value);
    if (strcmp(key, "options") == 0)
        return set_string(&last->options, value);
    if (strcmp(key, "read_only") == 0) {
        last->read_only = strcmp(value, "yes") == 0;
        return last->read_only ? NULL : "is not yes";
    }
    return "is not known";
}

static const char *set_field(struct workload *workload, const char *key, const char *value)
{
    struct memory_size size;
    uint64_t number;

    if (strcmp(key, "arg") == 0)
        return add_string(workload->argv, &workload->arguments, value);
    if (strcmp(key, "env") == 0) {
        const char *equals = strchr(value, '=');
        if (equals == NULL || equals == value)
            return "is not NAME=VALUE";
        return add_string(workload->env, &workload->variables, value);
    }
    if (strcmp(key, "handover") == 0)
        return set_path(&workload->handover, value);
    if (strcmp(key, "workdir") == 0)
        return set_path(&workload->workdir, value);
    if (strcmp(key, "user") == 0)
        return set_string(&workload->user, value);
    if (strcmp(key, "hostname") == 0)
        return strlen(value) > 64 ? "is longer than 64 bytes" : set_string(&workload->hostname, value);
    if (strcmp(key, "overlay_size") == 0)
        return parse_memory_size(value, &size) ? set_string(&workload->overlay_size, value) : "is not a size";
    if (strcmp(key, "stop_signal") == 0) {
        if (workload->stop_signal != 0)
            return "is there twice";
        if (!parse_number(value, 64, &number) || number == 0)
            return "is not a signal number, 1 to 64";
        workload->stop_signal = (unsigned)number;
        return NULL;
    }
    if (strcmp(key, "scratch") == 0)
        return set_path(&workload->scratch, value);
    if (strcmp(key, "output") == 0)
        return set_path(&workload->output, value);
    if (strcmp(key, "mount") == 0)
        return begin_mount(workload, value);
    if (starts_with(key, "mount_"))
        return set_mount_field(workload, key + strlen("mount_"), value);
    return "is not known";
}

const char *parse_workload(char *text, size_t size, struct workload *workload, const char **key)
{
    const size_t header = sizeof HEADER - 1;
    char *end = text + size;
    char *at = text + header;

    *key = NULL;
    memset(workload, 0, sizeof *workload);
    if (size < header || memcmp(text, HEADER, header) != 0)
        return "does not start with the line 'fledge-workload 1'";
    if (size > header && end[-1] != '\0')
        return "is cut off: its last field has no end";
    while (at < end) {
        char *next = at + strlen(at) + 1;
        char *equals = strchr(at, '=');
        *key = at;
        if (equals == NULL)
            return "has no value";
        *equals = '\0';
        const char *wrong = set_field(workload, at, equals + 1);
        if (wrong != NULL)
            return wrong;
        at = next;
    }
    *key = NULL;
    if (workload->handover == NULL && workload->arguments == 0)
        return "names neither a program to hand over to nor an entrypoint";
    if (workload->arguments > 0 && *workload->argv[0] == '\0')
        return "has an empty entrypoint";
    if ((workload->scratch == NULL) != (workload->output == NULL) || (workload->mounts > 0 && workload->scratch == NULL))
        return "names only a part of scratch, output and mount";
    return NULL;
}

const char *workload_variable(const struct workload *workload, const char *name)
{
    size_t length = strlen(name);

    for (size_t i = 0; i < workload->variables; i++)
        if (strncmp(workload->env[i], name, length) == 0 && workload->env[i][length] == '=')
            return workload->env[i] + length + 1;
    return NULL;
}
