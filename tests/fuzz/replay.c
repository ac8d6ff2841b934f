/* SPDX-License-Identifier: MIT */
/* Runs a fuzzer's inputs once each, with any compiler: for `make check`. A directory stands for
   the files in it. usage: NAME-replay FILE|DIRECTORY... */
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fuzz/world.h"

/* One input may take this long, under any sanitizer, beside anything else. */
#define SECONDS_EACH 30

static unsigned ran;

/* What is being run when it crashes or hangs. */
static const char *current = "";

static void tell_hang(int signal_number)
{
    static const char words[] = "fuzz: it hangs: ";
    (void)signal_number;
    (void)!write(STDERR_FILENO, words, sizeof words - 1);
    (void)!write(STDERR_FILENO, current, strlen(current));
    (void)!write(STDERR_FILENO, "\n", 1);
    abort();
}

static void run_file(const char *path)
{
    static uint8_t bytes[1 << 16];
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        world_fail("%s cannot be read", path);
    }
    size_t size = fread(bytes, 1, sizeof bytes, file);
    (void)fclose(file);
    /* Of its exact size, so that a read past the end shows. */
    uint8_t *exact = malloc(size + (size == 0 ? 1 : 0));
    if (exact == NULL) {
        world_fail("no memory");
    }
    memcpy(exact, bytes, size);
    current = path;
    (void)fprintf(stderr, "%s\n", path);
    (void)alarm(SECONDS_EACH);
    (void)LLVMFuzzerTestOneInput(exact, size);
    (void)alarm(0);
    free(exact);
    ran++;
}

static void run_directory(const char *path)
{
    DIR *directory = opendir(path);
    struct dirent *entry;
    while (directory != NULL && (entry = readdir(directory)) != NULL) {
        char file[4096];
        if (entry->d_name[0] != '.') {
            (void)snprintf(file, sizeof file, "%s/%s", path, entry->d_name);
            run_file(file);
        }
    }
    if (directory != NULL) {
        (void)closedir(directory);
    }
}

int main(int argc, char **argv)
{
    (void)signal(SIGALRM, tell_hang);
    for (int i = 1; i < argc; i++) {
        struct stat st;
        bool is_directory = stat(argv[i], &st) == 0 && S_ISDIR(st.st_mode);
        if (is_directory) {
            run_directory(argv[i]);
        } else {
            run_file(argv[i]);
        }
    }
    (void)printf("%u inputs\n", ran);
    return ran > 0 ? 0 : 1;
}
