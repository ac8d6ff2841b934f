/* SPDX-License-Identifier: MIT */
/* The error table's three readings: sentence, number, and back. */
#include <errno.h>
#include <limits.h>

#include "holdfast/error.h"

/* The errno of an error given either way. */
static int plain(int error)
{
    return error < 0 && error != INT_MIN ? -error : error;
}

const char *hf_strerror(int error)
{
    switch (plain(error)) {
    case 0:
        return "success";
#define TEXT(number, name, text)                                                                   \
    case name:                                                                                     \
        return text;
        HF_ERROR_TABLE(TEXT)
#undef TEXT
    default:
        return "unknown error";
    }
}

uint32_t hf_error_number(int error)
{
    switch (plain(error)) {
    case 0:
        return 0;
#define NUMBER(number, name, text)                                                                 \
    case name:                                                                                     \
        return number;
        HF_ERROR_TABLE(NUMBER)
#undef NUMBER
    default:
        return hf_error_number(EIO);
    }
}

int hf_error_from_number(uint32_t number)
{
    switch (number) {
    case 0:
        return 0;
#define ERRNO(number, name, text)                                                                  \
    case number:                                                                                   \
        return -(name);
        HF_ERROR_TABLE(ERRNO)
#undef ERRNO
    default:
        break;
    }
    return -EIO;
}
