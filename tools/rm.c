/* SPDX-License-Identifier: MIT */
/* holdfast rm: removes a dead server's rendezvous. */
#include <getopt.h>
#include <stdio.h>
#include <unistd.h>

#include "commands.h"
#include "names.h"
#include "report.h"
#include "transfer/rendezvous.h"

static const char help[] =
    "usage: holdfast rm [NAME]\n\n"
    "Removes what a killed server of that name (default: " DEFAULT_NAME ") left in shared memory.\n"
    "The next server of the name does so by itself. A live server's is refused.\n\n"
    "  -h, --help  this text\n";

int command_rm(int argc, char **argv)
{
    static const struct option options[] = {{"help", no_argument, NULL, 'h'}, {0}};
    int option;
    while ((option = getopt_long(argc, argv, "h", options, NULL)) != -1) {
        if (option != 'h') {
            return usage_error("rm");
        }
        return print_asked(help);
    }
    if (argc - optind > 1) {
        (void)fprintf(stderr, "holdfast: rm takes one name\n");
        return usage_error("rm");
    }
    const char *name = optind < argc ? argv[optind] : DEFAULT_NAME;
    struct report report;
    report_init(&report, false, false);
    char object[HF_SHM_NAME_MAX + 1];
    int error = rendezvous_object(object, name, geteuid());
    if (error == 0) {
        error = rendezvous_remove(object);
    }
    return error == 0 ? EXIT_DONE : rendezvous_failed(&report, name, error);
}
