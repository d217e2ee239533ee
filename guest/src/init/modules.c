#include "modules.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "files.h"
#include "power.h"
#include "say.h"
#include "system.h"

#define COMPRESSED_FILE 4 // MODULE_INIT_COMPRESSED_FILE of linux/module.h

struct index {
    const char *text;
    size_t size;
};

static struct utsname kernel;
static char folder[sizeof kernel.release + 32];
static struct index dependencies;

static void load_file(const char *path)
{
    bool plain = ends_with(path, ".ko");
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        die_errno("cannot open the module ", path);
    if (finit_module(fd, "", plain ? 0 : COMPRESSED_FILE) != 0 && errno != EEXIST) {
        if (!plain && (errno == EINVAL || errno == EOPNOTSUPP || errno == ENOEXEC))
            die("cannot load the module ", path, ": kernel ", kernel.release,
                " does not decompress it (CONFIG_MODULE_DECOMPRESS); it is needed as plain .ko");
        if (errno == ENOEXEC)
            die("cannot load the module ", path, ": it is damaged or for another kernel than ", kernel.release);
        die_errno("cannot load the module ", path);
    }
    close(fd);
}

static void load_under_folder(const char *name, size_t length)
{
    char relative[PATH_MAX];
    char path[PATH_MAX];

    if (length >= sizeof relative)
        die("a path in ", folder, "modules.dep is too long");
    memcpy(relative, name, length);
    relative[length] = '\0';
    if (!join(path, sizeof path, *relative == '/' ? "" : folder, relative))
        die("a path in ", folder, "modules.dep is too long");
    load_file(path);
}

// Whether `path` is the file of the module `name`: - and _ are the same in module names.
static bool is_module(const char *path, size_t length, const char *name)
{
    const char *slash = memrchr(path, '/', length);
    const char *at = slash == NULL ? path : slash + 1;
    const char *end = path + length;

    for (; *name != '\0'; name++, at++)
        if (at == end || (*at == '-' ? '_' : *at) != (*name == '-' ? '_' : *name))
            return false;
    return end - at >= 3 && memcmp(at, ".ko", 3) == 0 && (end - at == 3 || at[3] == '.');
}

// The line of `index` that starts with the module's path (up to `separator`), or NULL.
static const char *find_module(struct index index, const char *name, char separator, const char **line_end)
{
    const char *end = index.text + index.size;

    for (const char *line = index.text; line < end;) {
        const char *stop = memchr(line, '\n', (size_t)(end - line));
        if (stop == NULL)
            stop = end;
        const char *path_end = memchr(line, separator, (size_t)(stop - line));
        if (path_end == NULL)
            path_end = stop;
        if (is_module(line, (size_t)(path_end - line), name)) {
            *line_end = stop;
            return line;
        }
        line = stop + 1;
    }
    return NULL;
}

static void load_index(void)
{
    char path[sizeof folder + 16];

    if (dependencies.text != NULL)
        return;
    stpcpy(stpcpy(path, folder), "modules.dep");
    dependencies.text = map_file(path, &dependencies.size);
    if (dependencies.text == NULL)
        die_errno("no modules for the running kernel ", kernel.release, ": cannot read ", path);
}

static bool is_builtin(const char *name)
{
    char path[sizeof folder + 16];
    struct index builtin;
    const char *end;

    stpcpy(stpcpy(path, folder), "modules.builtin");
    builtin.text = map_file(path, &builtin.size);
    return builtin.text != NULL && find_module(builtin, name, '\n', &end) != NULL;
}

static void load_name(const char *name)
{
    const char *end;

    load_index();
    const char *line = find_module(dependencies, name, ':', &end);
    if (line == NULL) {
        if (is_builtin(name))
            return;
        die("unknown module ", name, ": not in ", folder, "modules.dep or modules.builtin");
    }
    // `path: dependency ...`, where each dependency comes before what it needs itself.
    while (end > line) {
        const char *space = memrchr(line, ' ', (size_t)(end - line));
        const char *start = space == NULL ? line : space + 1;
        size_t length = (size_t)(end - start);
        if (length > 0 && start[length - 1] == ':')
            length--;
        if (length > 0)
            load_under_folder(start, length);
        end = space == NULL ? line : space;
    }
}

void load_modules(void)
{
    static char list[16 * 1024];

    if (read_file(MODULES_LIST, list, sizeof list) < 0) {
        if (errno == ENOENT)
            return;
        die_errno("cannot read " MODULES_LIST);
    }
    if (uname(&kernel) != 0)
        die_errno("cannot tell the kernel's release");
    stpcpy(stpcpy(stpcpy(folder, "/lib/modules/"), kernel.release), "/");

    for (char *line = list; *line != '\0';) {
        char *end = strchrnul(line, '\n');
        char *next = *end == '\0' ? end : end + 1;
        *end = '\0';
        if (*line == '/')
            load_file(line);
        else if (*line != '\0' && *line != '#')
            load_name(line);
        line = next;
    }
}
