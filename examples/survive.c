/* SPDX-License-Identifier: MIT */
/*
 * Two accounts in a segment. A child moves money between them and is killed with SIGKILL, again and
 * again, most times in the middle of a transfer. The parent goes on at once and finds every coin.
 *
 *     survive [KILLS]
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <holdfast/holdfast.h>

#define MONEY 1000

/* What lies in the segment. A fresh one is all zero, and that is a mutex as well. */
struct bank {
    hf_mutex mutex;
    long account[2];
    long transfers; /* made, whole */
    int halfway;    /* between taking and giving: to count, not part of the transaction */
};

static void must(int error, const char *what)
{
    if (error != 0) {
        (void)fprintf(stderr, "survive: %s: %s\n", what, hf_strerror(error));
        exit(1);
    }
}

static double milliseconds(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

static void dawdle(void)
{
    double start = milliseconds();
    while (milliseconds() < start + 0.01) {
    }
}

/* All of it happens, or nothing. */
static void transfer(hf_segment *segment, struct bank *bank, long amount)
{
    must(hf_tx_begin(segment), "begin");
    must(hf_mutex_lock(&bank->mutex), "lock");
    must(hf_tx_add(segment, bank->account, sizeof bank->account), "save the accounts");
    must(hf_tx_add(segment, &bank->transfers, sizeof bank->transfers), "save the count");
    bank->account[0] -= amount;
    bank->halfway = 1;
    dawdle(); /* gives the parent a chance to strike here */
    bank->halfway = 0;
    bank->account[1] += amount;
    bank->transfers++;
    must(hf_mutex_unlock(&bank->mutex), "unlock"); /* kept until the commit */
    must(hf_tx_commit(segment), "commit");
}

static void child(hf_segment *segment, struct bank *bank)
{
    for (long amount = 1;; amount = -amount) {
        transfer(segment, bank, amount);
    }
}

/* Starts a child, kills it, and takes the mutex that it may have held: how long that took. */
static double kill_one(hf_segment *segment, struct bank *bank, long *halfway)
{
    pid_t parent = getpid();
    pid_t pid = fork();
    if (pid < 0) {
        perror("survive: fork");
        exit(1);
    }
    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* should the parent be killed itself */
        if (getppid() != parent) {
            _exit(1);
        }
        child(segment, bank);
    }
    struct timespec moment = {0, 500000 + rand() % 1000000};
    (void)nanosleep(&moment, NULL);
    (void)kill(pid, SIGKILL);
    double start = milliseconds();
    must(hf_mutex_lock(&bank->mutex), "lock after a death");
    double took = milliseconds() - start;
    *halfway += bank->halfway;
    bank->halfway = 0;
    must(hf_mutex_unlock(&bank->mutex), "unlock");
    (void)waitpid(pid, NULL, 0);
    return took;
}

/* 0 for what is no number. */
static long number(const char *text)
{
    char *end;
    long value = strtol(text, &end, 10);
    return *end == 0 ? value : 0;
}

int main(int argc, char **argv)
{
    long kills = argc > 1 ? number(argv[1]) : 1000;
    hf_segment *segment;
    void *root;
    if (argc > 2 || kills < 1) {
        (void)fprintf(stderr, "usage: survive [KILLS]\n");
        return 2;
    }
    must(hf_segment_create_anonymous(65536, NULL, &segment), "create a segment");
    must(hf_segment_root(segment, sizeof(struct bank), &root), "make the root");
    struct bank *bank = root;
    bank->account[0] = MONEY;
    long intact = 0;
    long halfway = 0;
    double longest = 0;
    for (long i = 0; i < kills; i++) {
        double took = kill_one(segment, bank, &halfway);
        longest = took > longest ? took : longest;
        intact += bank->account[0] + bank->account[1] == MONEY;
    }
    (void)printf("killed                    %ld\n"
                 "  halfway in a transfer   %ld\n"
                 "  sum intact afterwards   %ld\n"
                 "transfers made            %ld\n"
                 "longest wait for the lock %.2f ms\n",
                 kills, halfway, intact, bank->transfers, longest);
    hf_segment_close(segment);
    return intact == kills ? 0 : 1;
}
