// Numbers and words, without stdio, locale or memory allocation.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DECIMAL_SIZE 24

// Writes `value` into `buffer`, which holds DECIMAL_SIZE bytes, and returns it.
const char *decimal(char *buffer, int64_t value);

// Digits only, at most `limit`; no sign, no spaces.
bool parse_number(const char *text, uint64_t limit, uint64_t *value);

bool starts_with(const char *text, const char *prefix);
bool ends_with(const char *text, const char *suffix);

// The text after `prefix`, or NULL when it does not start with it.
const char *after(const char *text, const char *prefix);

// Joins two strings; false when `size` bytes don't hold the result.
bool join(char *buffer, size_t size, const char *one, const char *two);

// A size of memory: bytes, with K, M, G or T (powers of 1024, also written KiB or KB), or a share, 1% to 100%.
struct memory_size {
    uint64_t bytes;    // when percent is 0
    unsigned percent;
};
bool parse_memory_size(const char *text, struct memory_size *size);
