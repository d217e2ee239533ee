// Shows what the init's parsers make of hostile input, natively and under sanitizers.
// Usage: parsers KIND <input, or parsers fuzz SEED COUNT
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "params.h"
#include "text.h"
#include "users.h"
#include "workload.h"

static struct params params;
static struct workload workload;
static struct identity identity;

static void print_address(const char *name, const struct address *address)
{
    const uint8_t *octets = address->octets;
    printf("%s=%d.%d.%d.%d\n", name, octets[0], octets[1], octets[2], octets[3]);
}

static void print_string(const char *name, const char *value)
{
    if (value != NULL)
        printf("%s=%s\n", name, value);
}

static void size(char *text)
{
    struct memory_size parsed;

    if (parse_memory_size(text, &parsed))
        printf("%llu %u\n", (unsigned long long)parsed.bytes, parsed.percent);
    else
        printf("malformed\n");
}

static void command_line(char *text)
{
    struct params_error error;

    if (!parse_params(text, &params, &error)) {
        printf("malformed %s=%s\n", error.parameter, error.value);
        return;
    }
    print_string("root", params.root);
    print_string("rootfstype", params.rootfstype);
    print_string("rootflags", params.rootflags);
    print_string("init", params.init);
    print_string("overlay_size", params.overlay_size);
    print_string("unknown", params.unknown);
    printf("ro=%d trace=%d timeout=%u shutdown=%d\n", params.read_only, params.trace, params.root_timeout,
           (int)params.shutdown);
    if (params.network.given) {
        print_address("address", &params.network.address);
        printf("prefix=%u\n", params.network.prefix);
        if (params.network.has_gateway)
            print_address("gateway", &params.network.gateway);
        for (unsigned i = 0; i < params.network.nameservers; i++)
            print_address("nameserver", &params.network.nameserver[i]);
    }
}

static void description(char *text, size_t length)
{
    const char *key;
    const char *wrong = parse_workload(text, length, &workload, &key);

    if (wrong != NULL) {
        printf("%s %s\n", key == NULL ? "it" : key, wrong);
        return;
    }
    for (size_t i = 0; i < workload.arguments; i++)
        print_string("arg", workload.argv[i]);
    for (size_t i = 0; i < workload.variables; i++)
        print_string("env", workload.env[i]);
    print_string("handover", workload.handover);
    print_string("hostname", workload.hostname);
    print_string("overlay_size", workload.overlay_size);
    if (workload.stop_signal != 0)
        printf("stop_signal=%u\n", workload.stop_signal);
    print_string("user", workload.user);
    print_string("workdir", workload.workdir);
    print_string("scratch", workload.scratch);
    print_string("output", workload.output);
    for (size_t i = 0; i < workload.mounts; i++) {
        print_string("mount", workload.mount[i].target);
        print_string("mount_type", workload.mount[i].type);
        print_string("mount_source", workload.mount[i].source);
        print_string("mount_within", workload.mount[i].within);
        print_string("mount_options", workload.mount[i].options);
        if (workload.mount[i].read_only)
            printf("mount_read_only=yes\n");
    }
}

// USER, NUL, passwd, NUL, group
static void user(char *text, size_t length)
{
    char *end = text + length;
    char *passwd = text + strlen(text) + 1;
    passwd = passwd > end ? end : passwd;
    char *passwd_end = memchr(passwd, '\0', (size_t)(end - passwd));
    passwd_end = passwd_end == NULL ? end : passwd_end;
    char *group = passwd_end == end ? end : passwd_end + 1;

    // Exact copies: a read past the end of the mapped file must show.
    size_t sizes[2] = {(size_t)(passwd_end - passwd), (size_t)(end - group)};
    char *passwd_copy = memcpy(malloc(sizes[0] + !sizes[0]), passwd, sizes[0]);
    char *group_copy = memcpy(malloc(sizes[1] + !sizes[1]), group, sizes[1]);
    const char *wrong = resolve_user(text, passwd_copy, sizes[0], group_copy, sizes[1], &identity);
    if (wrong != NULL)
        printf("%s\n", wrong);
    else
        printf("%u:%u %zu %s\n", identity.uid, identity.gid, identity.groups, identity.home);
    free(passwd_copy);
    free(group_copy);
}

static void parse(const char *kind, const char *input, size_t length)
{
    char *text = malloc(length + 1);

    memcpy(text, input, length);
    text[length] = '\0';
    if (strcmp(kind, "size") == 0)
        size(text);
    else if (strcmp(kind, "params") == 0)
        command_line(text);
    else if (strcmp(kind, "workload") == 0)
        description(text, length);
    else if (strcmp(kind, "user") == 0)
        user(text, length);
    else
        abort();
    free(text);
}

static uint64_t random_state;

static unsigned next_random(unsigned limit)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(random_state >> 33) % limit;
}

#define SAMPLE(kind, text) {kind, text, sizeof text - 1}

static void fuzz(unsigned long count)
{
    static const struct {
        const char *kind;
        const char *text;
        size_t length;
    } samples[] = {
        SAMPLE("size", "123456789M"),
        SAMPLE("size", "18446744073709551615TiB"),
        SAMPLE("params", "root=/dev/vda \"a b\" rootflags=\"x y\" ro --"),
        SAMPLE("params", "fledge.ip=10.0.2.15/24,10.0.2.2,10.0.2.3,1.1.1.1 volant.overlay_size=1G"),
        SAMPLE("params", "fledge.shutdown=halt fledge.root_timeout=30 fledge.x init=/a fledge.trace"),
        SAMPLE("workload", "fledge-workload 1\narg=a\0arg=\0env=A=b\0workdir=/srv\0user=web:web\0stop_signal=15\0"),
        SAMPLE("workload", "fledge-workload 1\nhandover=/bin/x\0overlay_size=1G\0hostname=host\0"),
        SAMPLE("workload", "fledge-workload 1\narg=a\0scratch=/dev/vdb\0output=/dev/p\0mount=/a\0mount_type=ext4\0"
                           "mount_source=/dev/vdc\0mount_within=file\0mount_read_only=yes\0mount_options=x\0"),
        SAMPLE("user", "web\0web:x:1000:1001:Web:/srv:/bin/sh\nroot:x:0:0:::\n\0web:x:1001:\nadm:x:4:a,web,b\n"),
        SAMPLE("user", "1000:adm\0web:x:1000:1001:Web:/srv:/bin/sh\n\0adm:x:4:a,web,b"),
    };
    static const char special[] = "\0\n =\"%,.:/09Kk-";
    char buffer[512];

    while (count-- > 0) {
        unsigned which = next_random(sizeof samples / sizeof *samples);
        size_t length = samples[which].length;
        memcpy(buffer, samples[which].text, length);
        for (unsigned changes = 1 + next_random(6); changes > 0 && length > 1; changes--) {
            unsigned at = next_random((unsigned)length);
            switch (next_random(4)) {
            case 0:
                buffer[at] = special[next_random(sizeof special - 1)];
                break;
            case 1:
                buffer[at] = (char)next_random(256);
                break;
            case 2:
                length = at + 1;
                break;
            default:
                if (length < sizeof buffer / 2) {
                    memmove(buffer + at + 8, buffer + at, length - at);
                    length += 8;
                }
            }
        }
        parse(samples[which].kind, buffer, length);
    }
}

int main(int argc, char **argv)
{
    static char input[1 << 20];

    if (argc == 4 && strcmp(argv[1], "fuzz") == 0) {
        random_state = strtoull(argv[2], NULL, 10);
        fuzz(strtoul(argv[3], NULL, 10));
        return 0;
    }
    parse(argv[1], input, fread(input, 1, sizeof input, stdin));
    return 0;
}
