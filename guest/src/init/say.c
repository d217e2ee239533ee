#include "say.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "errors.h"

#define LINE_MAX_SIZE 2048

struct line {
    char text[LINE_MAX_SIZE];
    size_t length;
};

static int out = STDERR_FILENO;

void say_on(int fd)
{
    out = fd;
}

static void add_byte(struct line *line, char c)
{
    if (line->length < sizeof line->text - 1) // the last one is the newline's
        line->text[line->length++] = c;
}

static void add(struct line *line, const char *text)
{
    static const char hex[] = "0123456789abcdef";

    for (; *text != '\0'; text++) {
        unsigned char byte = (unsigned char)*text;
        if (byte >= ' ' && byte != 0x7f) {
            add_byte(line, *text);
        } else {
            add_byte(line, '\\');
            add_byte(line, 'x');
            add_byte(line, hex[byte >> 4]);
            add_byte(line, hex[byte & 15]);
        }
    }
}

void say_line(const char *kind, const char *const *parts, int error)
{
    struct line line = {.length = 0};

    add(&line, "fledge: ");
    add(&line, kind);
    for (; *parts != NULL; parts++)
        add(&line, *parts);
    if (error != 0) {
        const char *text = error_text(error);
        add(&line, ": ");
        add(&line, text == NULL ? "errno " : text);
        if (text == NULL)
            add(&line, NUMBER(error));
    }
    line.text[line.length++] = '\n';

    if (write(out, line.text, line.length) < 0) {
        // Before the console is open; <3> is KERN_ERR.
        int log = open("/dev/kmsg", O_WRONLY | O_CLOEXEC);
        if (log >= 0) {
            char record[LINE_MAX_SIZE + 3] = "<3>";
            __builtin_memcpy(record + 3, line.text, line.length);
            (void)!write(log, record, line.length + 3);
            close(log);
        }
    }
    errno = error;
}
