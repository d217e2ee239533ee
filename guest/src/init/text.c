#include "text.h"

#include <string.h>

const char *decimal(char *buffer, int64_t value)
{
    uint64_t rest = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    char *at = buffer + DECIMAL_SIZE - 1;

    *at = '\0';
    do {
        *--at = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest != 0);
    if (value < 0)
        *--at = '-';
    return memmove(buffer, at, (size_t)(buffer + DECIMAL_SIZE - at));
}

// Reads the digits that `*text` starts with and moves it behind them.
static bool take_number(const char **text, uint64_t limit, uint64_t *value)
{
    const char *at = *text;
    uint64_t number = 0;

    for (; *at >= '0' && *at <= '9'; at++) {
        uint64_t digit = (uint64_t)(*at - '0');
        if (number > (limit - digit) / 10 || digit > limit)
            return false;
        number = number * 10 + digit;
    }
    if (at == *text)
        return false;
    *text = at;
    *value = number;
    return true;
}

bool parse_number(const char *text, uint64_t limit, uint64_t *value)
{
    return take_number(&text, limit, value) && *text == '\0';
}

bool starts_with(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

bool ends_with(const char *text, const char *suffix)
{
    size_t length = strlen(text);
    size_t tail = strlen(suffix);

    return length >= tail && strcmp(text + length - tail, suffix) == 0;
}

const char *after(const char *text, const char *prefix)
{
    return starts_with(text, prefix) ? text + strlen(prefix) : NULL;
}

bool join(char *buffer, size_t size, const char *one, const char *two)
{
    size_t first = strlen(one);
    size_t second = strlen(two);

    if (first >= size || second >= size - first)
        return false;
    memcpy(buffer, one, first);
    memcpy(buffer + first, two, second + 1);
    return true;
}

bool parse_memory_size(const char *text, struct memory_size *size)
{
    static const char units[] = "kmgt";
    uint64_t number;

    if (!take_number(&text, INT64_MAX, &number) || number == 0)
        return false;
    *size = (struct memory_size){0};
    if (strcmp(text, "%") == 0) {
        size->percent = (unsigned)number;
        return number <= 100;
    }
    if (*text != '\0') {
        const char *unit = strchr(units, *text | 0x20);
        if (unit == NULL || *unit == '\0')
            return false;
        unsigned shift = 10 * (unsigned)(unit - units + 1);
        if (number > (uint64_t)INT64_MAX >> shift)
            return false;
        number <<= shift;
        text++;
        if (*text == 'i' && text[1] != '\0')
            text++;
        if (*text == 'B' || *text == 'b')
            text++;
        if (*text != '\0')
            return false;
    }
    size->bytes = number;
    return true;
}
