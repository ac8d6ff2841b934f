/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "holdfast/holdfast.h"
#include "support/support.h"

struct row {
    uint32_t number;
    int error;
    const char *text;
};

static const struct row table[] = {
#define ROW(number, name, text) {number, name, text},
    HF_ERROR_TABLE(ROW)
#undef ROW
};

static const size_t rows = sizeof table / sizeof table[0];

TEST(every_error_has_its_sentence_given_negative_or_positive)
{
    for (size_t i = 0; i < rows; i++) {
        assert_string_equal(hf_strerror(-table[i].error), table[i].text);
        assert_string_equal(hf_strerror(table[i].error), table[i].text);
        assert_true(strlen(table[i].text) > 0);
    }
}

TEST(success_is_a_sentence_too)
{
    assert_string_equal(hf_strerror(0), "success");
    assert_int_equal(hf_error_number(0), 0);
    assert_int_equal(hf_error_from_number(0), 0);
}

TEST(numbers_go_there_and_back)
{
    for (size_t i = 0; i < rows; i++) {
        assert_int_equal(hf_error_number(-table[i].error), table[i].number);
        assert_int_equal(hf_error_number(table[i].error), table[i].number);
        assert_int_equal(hf_error_from_number(table[i].number), -table[i].error);
    }
}

TEST(numbers_errnos_and_sentences_are_unique)
{
    for (size_t i = 0; i < rows; i++) {
        for (size_t j = 0; j < i; j++) {
            assert_int_not_equal(table[i].number, table[j].number);
            assert_int_not_equal(table[i].error, table[j].error);
            assert_string_not_equal(table[i].text, table[j].text);
        }
    }
}

/* They stand in shared memory and go to other processes: what is out never moves. */
TEST(numbers_that_are_out_never_change)
{
    static const int in_order[] = {
        EINVAL,       ENOENT, EEXIST, EACCES,    EPERM,  ENOSPC,     ENOMEM,
        ENAMETOOLONG, EBUSY,  EAGAIN, ETIMEDOUT, EPIPE,  ECONNRESET, EBADMSG,
        EOPNOTSUPP,   ERANGE, EFBIG,  EMFILE,    ENFILE, EIO,
    };
    for (size_t i = 0; i < sizeof in_order / sizeof in_order[0]; i++) {
        assert_int_equal(hf_error_number(-in_order[i]), i + 1);
    }
}

TEST(what_is_not_in_the_table_is_unknown_and_counts_as_eio)
{
    static const int strangers[] = {ECHILD,    -ECHILD,    12345,    -12345,
                                    INT32_MAX, -INT32_MAX, INT32_MIN};
    for (size_t i = 0; i < sizeof strangers / sizeof strangers[0]; i++) {
        assert_string_equal(hf_strerror(strangers[i]), "unknown error");
        assert_int_equal(hf_error_number(strangers[i]), hf_error_number(EIO));
    }
    assert_int_equal(hf_error_from_number((uint32_t)rows + 1), -EIO);
    assert_int_equal(hf_error_from_number(UINT32_MAX), -EIO);
}

TEST(the_library_that_runs_is_of_the_headers_version)
{
    assert_string_equal(hf_version(), HF_VERSION);
}
