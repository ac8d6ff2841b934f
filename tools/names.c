/* SPDX-License-Identifier: MIT */
#include "names.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Bytes in the well-formed, printable UTF-8 sequence at `s`, or 0. Table 3-7 of the Unicode
 * Standard gives the ranges of the second byte; C1 controls (U+0080 to U+009F) are not printable.
 */
static size_t printable_sequence(const unsigned char *s)
{
    if (s[0] < 0x80) {
        return s[0] >= 0x20 && s[0] != 0x7f && s[0] != '\\' ? 1 : 0;
    }
    unsigned low = 0x80;
    unsigned high = 0xbf;
    size_t length;
    if (s[0] >= 0xc2 && s[0] <= 0xdf) {
        length = 2;
        low = s[0] == 0xc2 ? 0xa0 : low;
    } else if (s[0] >= 0xe0 && s[0] <= 0xef) {
        length = 3;
        low = s[0] == 0xe0 ? 0xa0 : low;
        high = s[0] == 0xed ? 0x9f : high;
    } else if (s[0] >= 0xf0 && s[0] <= 0xf4) {
        length = 4;
        low = s[0] == 0xf0 ? 0x90 : low;
        high = s[0] == 0xf4 ? 0x8f : high;
    } else {
        return 0;
    }
    if (s[1] < low || s[1] > high) {
        return 0;
    }
    for (size_t i = 2; i < length; i++) {
        if (s[i] < 0x80 || s[i] > 0xbf) {
            return 0;
        }
    }
    return length;
}

void printable(char *out, size_t size, const char *name)
{
    const unsigned char *s = (const unsigned char *)name;
    size_t used = 0;
    while (*s != 0 && used + 5 < size) {
        size_t n = printable_sequence(s);
        if (n > 0) {
            memcpy(out + used, s, n);
            used += n;
            s += n;
        } else {
            used += (size_t)snprintf(out + used, size - used, "\\x%02x", *s);
            s++;
        }
    }
    out[used] = 0;
}

bool parse_id(const char *text, uint32_t *id)
{
    char *end;
    errno = 0;
    unsigned long number = strtoul(text, &end, 10);
    bool valid = errno == 0 && text[0] >= '0' && text[0] <= '9' && *end == 0 && number < UINT32_MAX;
    *id = (uint32_t)number;
    return valid;
}

void human_size(char out[32], double bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    size_t unit = 0;
    while (bytes >= 1024 && unit + 1 < sizeof units / sizeof units[0]) {
        bytes /= 1024;
        unit++;
    }
    (void)snprintf(out, 32, unit == 0 ? "%.0f %s" : "%.1f %s", bytes, units[unit]);
}
