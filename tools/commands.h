/* SPDX-License-Identifier: MIT */
/* The subcommands. Each gets its own argv (argv[0] is "holdfast") and returns an exit code. */
#ifndef TOOLS_COMMANDS_H
#define TOOLS_COMMANDS_H

int command_serve(int argc, char **argv);
int command_send(int argc, char **argv);
int command_rm(int argc, char **argv);
int command_lock(int argc, char **argv);

/* Prints a text that was asked for; returns EXIT_DONE, or EXIT_FAILED if it cannot be written. */
int print_asked(const char *text);

/* "Try holdfast COMMAND --help", after what getopt has said; returns EXIT_USAGE. */
int usage_error(const char *command);

/* Says why a rendezvous could not be made, found or removed; returns the exit code. */
struct report;
int rendezvous_failed(struct report *report, const char *name, int error);

#endif
