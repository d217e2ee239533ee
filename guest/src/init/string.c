// What string.h declares, as far as the init and the compiler use it.
#include <string.h>

#include <stdint.h>

void *memcpy(void *restrict to, const void *restrict from, size_t size)
{
    char *out = to;

    for (const char *in = from; size > 0; size--)
        *out++ = *in++;
    return to;
}

void *memmove(void *to, const void *from, size_t size)
{
    char *out = to;
    const char *in = from;

    if ((uintptr_t)to <= (uintptr_t)from)
        return memcpy(to, from, size);
    while (size-- > 0)
        out[size] = in[size];
    return to;
}

void *memset(void *to, int byte, size_t size)
{
    for (unsigned char *out = to; size > 0; size--)
        *out++ = (unsigned char)byte;
    return to;
}

int memcmp(const void *one, const void *two, size_t size)
{
    const unsigned char *a = one;

    for (const unsigned char *b = two; size > 0; size--, a++, b++)
        if (*a != *b)
            return *a - *b;
    return 0;
}

void *memchr(const void *text, int byte, size_t size)
{
    for (const unsigned char *at = text; size > 0; size--, at++)
        if (*at == (unsigned char)byte)
            return (void *)at;
    return NULL;
}

void *memrchr(const void *text, int byte, size_t size)
{
    const unsigned char *start = text;

    while (size-- > 0)
        if (start[size] == (unsigned char)byte)
            return (void *)(start + size);
    return NULL;
}

size_t strlen(const char *text)
{
    const char *at = text;

    while (*at != '\0')
        at++;
    return (size_t)(at - text);
}

int strncmp(const char *one, const char *two, size_t size)
{
    for (; size > 0; size--, one++, two++)
        if (*one != *two || *one == '\0')
            return (unsigned char)*one - (unsigned char)*two;
    return 0;
}

int strcmp(const char *one, const char *two)
{
    return strncmp(one, two, SIZE_MAX);
}

char *strchrnul(const char *text, int c)
{
    while (*text != '\0' && *text != (char)c)
        text++;
    return (char *)text;
}

char *strchr(const char *text, int c)
{
    char *at = strchrnul(text, c);

    return *at == (char)c ? at : NULL;
}

char *strrchr(const char *text, int c)
{
    return memrchr(text, c, strlen(text) + 1);
}

size_t strspn(const char *text, const char *accepted)
{
    size_t length = 0;

    while (text[length] != '\0' && strchr(accepted, text[length]) != NULL)
        length++;
    return length;
}

size_t strcspn(const char *text, const char *rejected)
{
    size_t length = 0;

    while (strchr(rejected, text[length]) == NULL)
        length++;
    return length;
}

char *stpcpy(char *restrict to, const char *restrict from)
{
    size_t length = strlen(from);

    memcpy(to, from, length + 1);
    return to + length;
}

char *strcpy(char *restrict to, const char *restrict from)
{
    stpcpy(to, from);
    return to;
}
