/* SPDX-License-Identifier: MIT */
/*
 * holdfast-mutants, the mutation gate: deletes each store that the promise rests on, and swaps it
 * with the next one, one at a time; some scenario must fail. A mutant that none of them notices is
 * named in equivalent_mutants.def, with the reason why no observer can tell; one that is named
 * there and noticed all the same is a failure, too.
 *
 * First every scenario is run on the unchanged library, to see which sites it comes by; then each
 * mutant is put to the scenarios that come by its site, the quickest first, until one fails.
 */
#include <getopt.h>
#include <jansson.h>
#include <regex.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "proof/mutant_store.h" /* before atomic.h: in place of the stores there */

#include "base/atomic.h"
#include "os/os.h"
#include "proof/harness.h"

#define SITES_MAX   2048u
#define MUTANTS_MAX 1024u
#define CASES_MAX   512u
#define DUE_MAX     256u
#define TEXT        200u
/* A mutant that makes a scenario take longer than this, and so many times as long as without it,
   makes it hang. */
#define CASE_SECONDS 120u
#define CASE_TIMES   10u
/* For a mutant that level 1 does not notice: states of a scenario at the other levels, and
   scenarios; of one that is said to be equivalent, fewer of both, and not all of level 1. */
#define FAULTS_STATES 10ul
#define KILL_STATES   2ul
#define DEEP_CASES    32ul
#define KNOWN_FROZEN  24ul
#define KNOWN_CASES   6ul
#define KNOWN_STATES  2ul
#define SCHEDULES     4ul

/* ---- sites ------------------------------------------------------------------------------- */

extern struct mutant_site *const __start_mutant_sites[]; /* the linker's */
extern struct mutant_site *const __stop_mutant_sites[];

static size_t site_count(void)
{
    return (size_t)(__stop_mutant_sites - __start_mutant_sites);
}

/* What a swap has put off. */
static _Thread_local struct {
    const struct mutant_site *site;
    void *place;
    uint64_t value;
    size_t size;
} late;

static void make_late_store(void)
{
    if (late.site != NULL) {
        if (late.size == 4) {
            store_release((_Atomic uint32_t *)late.place, (uint32_t)late.value);
        } else {
            store_release((_Atomic uint64_t *)late.place, late.value);
        }
        late.site = NULL;
    }
}

bool mutant_store_is_due(struct mutant_site *site, void *place, uint64_t value, size_t size)
{
    if (site->visited != NULL) {
        *site->visited = true;
    }
    if (site->kind == MUTATION_SWAP) {
        make_late_store();
        late.site = site;
        late.place = place;
        late.value = value;
        late.size = size;
    }
    return site->kind == MUTATION_NONE;
}

void mutant_store_passed(const struct mutant_site *site)
{
    if (late.site != NULL && late.site != site) {
        make_late_store();
    }
}

/* ---- mutants ----------------------------------------------------------------------------- */

/* All sites of one line: an inline function has a copy in each file that calls it. */
struct mutant {
    const char *file; /* without the folders */
    const char *function;
    int line;
    unsigned ordinal; /* of the line among the function's */
    mutation kind;
    const char *why_equivalent; /* NULL: it is to be noticed */
};

static struct mutant mutants[MUTANTS_MAX];
static size_t mutant_count;

/* A scenario or a pair, and what it comes by on the unchanged library. */
struct test_case {
    const char *name;
    const struct scenario *scenario; /* NULL: a pair */
    const struct pair *pair;
    bool failed;
    uint64_t ns; /* that it takes at level 1 */
    unsigned long due[DUE_MAX];
    unsigned long due_count;
    bool visits[SITES_MAX];
};

/* What children find out. */
struct shared {
    struct test_case cases[CASES_MAX];
    char caught_by[MUTANTS_MAX][TEXT];
};
static struct shared *shared;
static struct test_case *cases;
static size_t case_count;

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash == NULL ? path : slash + 1;
}

static bool is_of(const struct mutant *mutant, const struct mutant_site *site)
{
    return mutant->line == site->line && strcmp(mutant->file, base_name(site->file)) == 0;
}

static int compare_mutants(const void *left, const void *right)
{
    const struct mutant *a = left;
    const struct mutant *b = right;
    int files = strcmp(a->file, b->file);
    return files != 0           ? files
           : a->line != b->line ? a->line - b->line
                                : (int)a->kind - (int)b->kind;
}

static bool is_known(const struct mutant_site *site)
{
    for (size_t i = 0; i < mutant_count; i++) {
        if (is_of(&mutants[i], site)) {
            return true;
        }
    }
    return false;
}

/* Lines of a function are numbered from 1: that outlives changes elsewhere in the file. */
static void number_lines(void)
{
    for (size_t i = 0; i < mutant_count; i++) {
        const struct mutant *before = i >= 2 ? &mutants[i - 2] : NULL; /* two kinds a line */
        bool same = before != NULL && strcmp(before->file, mutants[i].file) == 0 &&
                    strcmp(before->function, mutants[i].function) == 0;
        mutants[i].ordinal = same ? before->ordinal + 1 : 1;
    }
}

static void find_mutants(void)
{
    require(site_count() > 0 && site_count() <= SITES_MAX, "sites");
    for (size_t i = 0; i < site_count(); i++) {
        const struct mutant_site *site = __start_mutant_sites[i];
        if (!is_known(site)) {
            require(mutant_count + 2 <= MUTANTS_MAX, "too many mutants");
            for (mutation kind = MUTATION_DELETE; kind <= MUTATION_SWAP; kind++) {
                mutants[mutant_count++] = (struct mutant){.file = base_name(site->file),
                                                          .function = site->function,
                                                          .line = site->line,
                                                          .kind = kind};
            }
        }
    }
    qsort(mutants, mutant_count, sizeof *mutants, compare_mutants);
    number_lines();
}

/* In a child: from here on the library is this mutant. */
static void become(const struct mutant *mutant)
{
    for (size_t i = 0; i < site_count(); i++) {
        if (is_of(mutant, __start_mutant_sites[i])) {
            __start_mutant_sites[i]->kind = mutant->kind;
        }
    }
}

static const char *kind_word(mutation kind)
{
    return kind == MUTATION_DELETE ? "delete" : "swap";
}

/* ---- the list of equivalent ones ---------------------------------------------------------- */

/* file function ordinal kind reason. Lines that begin with # are comments. */
static bool read_equivalents(const char *path)
{
    static char lines[MUTANTS_MAX][512];
    FILE *file = fopen(path, "r");
    size_t used = 0;
    bool good = file != NULL;
    while (good && used < MUTANTS_MAX && fgets(lines[used], sizeof lines[used], file) != NULL) {
        char *line = lines[used++];
        char name[64];
        char function[64];
        char kind[16];
        unsigned ordinal;
        int reason = 0;
        line[strcspn(line, "\n")] = 0;
        if (line[0] == '#' || line[0] == 0) {
            continue;
        }
        /* NOLINTNEXTLINE(cert-err34-c) */
        good = sscanf(line, "%63s %63s %u %15s %n", name, function, &ordinal, kind, &reason) == 4 &&
               line[reason] != 0;
        bool found = false;
        for (size_t i = 0; good && i < mutant_count; i++) {
            struct mutant *m = &mutants[i];
            if (strcmp(m->file, name) == 0 && strcmp(m->function, function) == 0 &&
                m->ordinal == ordinal && strcmp(kind_word(m->kind), kind) == 0) {
                m->why_equivalent = line + reason;
                found = true;
            }
        }
        if (!good || !found) {
            (void)fprintf(stderr, "mutants: %s: no such mutant: %s\n", path, line);
            good = false;
        }
    }
    if (file != NULL) {
        (void)fclose(file);
    } else {
        (void)fprintf(stderr, "mutants: cannot read %s\n", path);
    }
    return good;
}

/* ---- cases ------------------------------------------------------------------------------- */

typedef enum level { LEVEL_FREEZE, LEVEL_FAULTS, LEVEL_KILL, LEVELS } level;
static const char *const level_words[] = {"freeze", "faults", "kill"};

static void add_case(const regex_t *among, struct test_case c)
{
    require(case_count < CASES_MAX, "too many scenarios");
    if (regexec(among, c.name, 0, NULL, 0) == 0) {
        cases[case_count++] = c;
    }
}

static void find_cases(const regex_t *among)
{
    static const struct scenario_table *const tables[] = {
        &pipe_scenarios,      &segment_scenarios,   &mutex_scenarios,
        &tx_scenarios,        &heap_scenarios,      &object_scenarios,
        &rwlock_scenarios,    &semaphore_scenarios, &recursive_mutex_scenarios,
        &condition_scenarios, &event_scenarios,     &barrier_scenarios};
    for (size_t t = 0; t < sizeof tables / sizeof tables[0]; t++) {
        for (size_t i = 0; i < tables[t]->count; i++) {
            const struct scenario *scenario = &tables[t]->scenarios[i];
            add_case(among, (struct test_case){.name = scenario->name, .scenario = scenario});
        }
    }
    static const struct pair_table *const pair_tables[] = {&pair_scenarios, &sync_pair_scenarios};
    for (size_t t = 0; t < sizeof pair_tables / sizeof pair_tables[0]; t++) {
        for (size_t i = 0; i < pair_tables[t]->count; i++) {
            const struct pair *pair = &pair_tables[t]->pairs[i];
            add_case(among, (struct test_case){.name = pair->name, .pair = pair});
        }
    }
}

static void note_due(struct test_case *c, const struct findings *f)
{
    c->due_count = f->due_count < DUE_MAX ? f->due_count : DUE_MAX;
    for (unsigned long i = 0; i < c->due_count; i++) {
        c->due[i] = f->due[i];
    }
}

/* Does the case pass at that level? In a child, whose library may be a mutant: NULL if it is not.
 */
static bool passes(struct test_case *c, level l, const struct mutant *mutant)
{
    bool known = mutant != NULL && mutant->why_equivalent != NULL;
    unsigned long due[DUE_MAX];
    memcpy(due, c->due, sizeof due);
    struct findings f = {.due = due, .due_count = c->due_count};
    struct wish wish = {.only_due = true};
    if (c->pair != NULL) {
        if (l == LEVEL_FREEZE) {
            prove_pair(c->pair, 1, SCHEDULES, &wish, &f);
        }
        return f.failures == 0;
    }
    switch (l) {
    case LEVEL_FREEZE:
        f = (struct findings){0};
        prove_frozen(c->scenario, &wish, &f);
        if (mutant == NULL) {
            note_due(c, &f);
        }
        break;
    case LEVEL_FAULTS:
        wish.at_most = known ? KNOWN_STATES : FAULTS_STATES;
        prove_faults(c->scenario, &wish, &f);
        break;
    default:
        wish.at_most = KILL_STATES;
        prove_killed(c->scenario, &wish, &f);
        break;
    }
    return f.failures == 0;
}

static unsigned patience(const struct test_case *c, const struct mutant *mutant)
{
    uint64_t seconds = c->ns / UINT64_C(1000000000);
    return mutant == NULL ? CASE_TIMES * CASE_SECONDS
                          : CASE_SECONDS + CASE_TIMES * (unsigned)seconds;
}

/* Runs a case in a child; false if it fails, falls or hangs. */
static bool run_case(struct test_case *c, level l, const struct mutant *mutant, bool quietly)
{
    (void)fflush(NULL);
    pid_t pid = fork();
    require(pid >= 0, "fork");
    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void)alarm(patience(c, mutant));
        if (quietly && freopen("/dev/null", "w", stderr) == NULL) {
            _exit(2);
        }
        if (mutant != NULL) {
            become(mutant);
        }
        _exit(passes(c, l, mutant) ? 0 : 1);
    }
    int status;
    require(waitpid(pid, &status, 0) == pid, "wait for a case");
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static int compare_cases(const void *left, const void *right)
{
    const struct test_case *a = left;
    const struct test_case *b = right;
    return a->ns < b->ns ? -1 : a->ns > b->ns;
}

/* Processes at work: as many as there are processors, at least. */
#define WORKERS 2u
static unsigned working;

static void await_worker(void)
{
    require(wait(NULL) > 0, "wait for a worker");
    working--;
}

/* Goes on twice: 0 in a new worker, which is to exit. */
static pid_t fork_worker(void)
{
    if (working == WORKERS) {
        await_worker();
    }
    (void)fflush(NULL);
    pid_t pid = fork();
    require(pid >= 0, "fork");
    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        working = 0;
    } else {
        working++;
    }
    return pid;
}

static void await_workers(void)
{
    while (working > 0) {
        await_worker();
    }
}

/* In a worker. */
static void visit(struct test_case *c)
{
    for (size_t i = 0; i < site_count(); i++) {
        __start_mutant_sites[i]->visited = &c->visits[i];
    }
    uint64_t start = os_now_ns();
    c->failed = !run_case(c, LEVEL_FREEZE, NULL, false);
    c->ns = os_now_ns() - start;
    if (c->failed) {
        (void)fprintf(stderr, "FAILED %s: without any mutant\n", c->name);
    }
}

/* Every case on the unchanged library. */
static bool visit_all(void)
{
    bool good = true;
    for (size_t i = 0; i < case_count; i++) {
        if (fork_worker() == 0) {
            visit(&cases[i]);
            _exit(0);
        }
    }
    await_workers();
    for (size_t i = 0; i < case_count; i++) {
        good = good && !cases[i].failed && cases[i].ns > 0;
    }
    qsort(cases, case_count, sizeof *cases, compare_cases);
    return good;
}

static bool comes_by(const struct test_case *c, const struct mutant *mutant)
{
    for (size_t i = 0; i < site_count(); i++) {
        if (c->visits[i] && is_of(mutant, __start_mutant_sites[i])) {
            return true;
        }
    }
    return false;
}

/* The cases that come by it, and at the other levels an even choice of the scenarios among them. */
static size_t choose(const struct mutant *mutant, level l, struct test_case *chosen[CASES_MAX])
{
    size_t count = 0;
    size_t kept = 0;
    bool known = mutant->why_equivalent != NULL;
    unsigned long enough = l == LEVEL_FREEZE ? (known ? KNOWN_FROZEN : CASES_MAX)
                           : known           ? KNOWN_CASES
                                             : DEEP_CASES;
    for (size_t i = 0; i < case_count; i++) {
        if (comes_by(&cases[i], mutant) && (l == LEVEL_FREEZE || cases[i].pair == NULL)) {
            chosen[count++] = &cases[i];
        }
    }
    for (size_t i = 0; i < count; i++) {
        if (is_sampled(i, count, enough)) {
            chosen[kept++] = chosen[i];
        }
    }
    return kept;
}

/* Puts the mutant to the cases until one fails. */
static void try_mutant(size_t n)
{
    struct test_case *chosen[CASES_MAX];
    bool known = mutants[n].why_equivalent != NULL;
    for (level l = LEVEL_FREEZE; l < (known ? LEVEL_KILL : LEVELS); l++) {
        size_t count = choose(&mutants[n], l, chosen);
        for (size_t i = 0; i < count; i++) {
            if (!run_case(chosen[i], l, &mutants[n], true)) {
                (void)snprintf(shared->caught_by[n], TEXT, "%s (%s)", chosen[i]->name,
                               chosen[i]->pair != NULL ? "pairs" : level_words[l]);
                return;
            }
        }
    }
}

/* ---- the gate ---------------------------------------------------------------------------- */

struct options {
    regex_t only;  /* mutants */
    regex_t cases; /* what they are put to */
    const char *equivalents;
    const char *output;
    unsigned long sample;
};

/* file:line:kind, as it is selected. */
static void name_mutant(const struct mutant *m, char name[TEXT])
{
    (void)snprintf(name, TEXT, "%s:%d:%s", m->file, m->line, kind_word(m->kind));
}

static bool selected(const struct options *o, size_t n)
{
    char name[TEXT];
    name_mutant(&mutants[n], name);
    return regexec(&o->only, name, 0, NULL, 0) == 0 && is_sampled(n, mutant_count, o->sample);
}

/* What became of it, in words. */
static const char *verdict_of(const struct mutant *m, const char *caught_by)
{
    if (caught_by[0] != 0) {
        return caught_by;
    }
    return m->why_equivalent != NULL ? m->why_equivalent : "";
}

/* Is it noticed, or said to be equivalent, and not both? */
static bool is_good(const struct mutant *m, const char *caught_by)
{
    return (caught_by[0] != 0) == (m->why_equivalent == NULL);
}

static void report(const struct mutant *m, const char *caught_by)
{
    bool caught = caught_by[0] != 0;
    (void)printf("%-6s %s:%d %s (%s %u): %s%s\n", is_good(m, caught_by) ? "ok" : "FAILED", m->file,
                 m->line, kind_word(m->kind), m->function, m->ordinal,
                 caught                      ? "caught by "
                 : m->why_equivalent != NULL ? "equivalent: "
                                             : "nobody notices",
                 verdict_of(m, caught_by));
    if (!is_good(m, caught_by)) {
        (void)printf("       %s\n       replay: make mutants ONLY='^%s:%d:%s$'\n",
                     caught ? "it is said to be equivalent: strike it from equivalent_mutants.def"
                            : "a scenario is missing, or the store is not needed",
                     m->file, m->line, kind_word(m->kind));
    }
    (void)fflush(stdout);
}

static json_t *json_of(const struct mutant *m, const char *caught_by)
{
    json_t *entry = json_pack("{s:s, s:s, s:i, s:s}", "file", m->file, "function", m->function,
                              "line", m->line, "kind", kind_word(m->kind));
    (void)json_object_set_new(entry, caught_by[0] != 0 ? "caught_by" : "why_equivalent",
                              json_string(verdict_of(m, caught_by)));
    return entry;
}

static void try_all(const struct options *o)
{
    for (size_t n = 0; n < mutant_count; n++) {
        if (selected(o, n) && fork_worker() == 0) {
            try_mutant(n);
            report(&mutants[n], shared->caught_by[n]);
            _exit(0);
        }
    }
    await_workers();
}

/* Adds the mutants to what holdfast-proof has written. */
static bool write_results(const char *path, json_t *results)
{
    json_t *all = json_load_file(path, 0, NULL);
    if (!json_is_object(all)) {
        json_decref(all);
        all = json_pack("{s:[]}", "scenarios");
    }
    (void)json_object_set(all, "mutants", results);
    bool good = json_dump_file(all, path, JSON_INDENT(2)) == 0;
    json_decref(all);
    if (!good) {
        (void)fprintf(stderr, "mutants: cannot write %s\n", path);
    }
    return good;
}

static bool compile(regex_t *regex, const char *text)
{
    bool good = regcomp(regex, text, REG_EXTENDED | REG_NOSUB) == 0;
    if (!good) {
        (void)fprintf(stderr, "mutants: not a regular expression: %s\n", text);
    }
    return good;
}

static bool any_selected(const struct options *o)
{
    size_t n = 0;
    while (n < mutant_count && !selected(o, n)) {
        n++;
    }
    return n < mutant_count;
}

static const char usage[] = "usage: holdfast-mutants --equivalents FILE [--only REGEX] "
                            "[--cases REGEX] [--sample N] [--output FILE]\n";

/* What is wrong it says itself. */
static bool parse(int argc, char **argv, struct options *o)
{
    static const struct option options[] = {
        {"only", required_argument, NULL, 'o'},        {"cases", required_argument, NULL, 'c'},
        {"equivalents", required_argument, NULL, 'e'}, {"sample", required_argument, NULL, 's'},
        {"output", required_argument, NULL, 'f'},      {0}};
    const char *only = "";
    const char *among = "";
    int option;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case 'o':
            only = optarg;
            break;
        case 'c':
            among = optarg;
            break;
        case 'e':
            o->equivalents = optarg;
            break;
        case 's':
            o->sample = strtoul(optarg, NULL, 10);
            break;
        case 'f':
            o->output = optarg;
            break;
        default:
            (void)fputs(usage, stderr);
            return false;
        }
    }
    if (o->equivalents == NULL) {
        (void)fputs(usage, stderr);
        return false;
    }
    return compile(&o->only, only) && compile(&o->cases, among);
}

int main(int argc, char **argv)
{
    struct options o = {0};
    if (!parse(argc, argv, &o)) {
        return 2;
    }
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    require(shared != MAP_FAILED, "memory");
    cases = shared->cases;
    find_mutants();
    if (!any_selected(&o)) {
        (void)fprintf(stderr, "mutants: no mutant of that name\n");
        return 2;
    }
    find_cases(&o.cases);
    if (!read_equivalents(o.equivalents) || !visit_all()) {
        return 1;
    }
    try_all(&o);
    json_t *results = json_array();
    unsigned long run = 0;
    unsigned long failures = 0;
    unsigned long equivalent = 0;
    for (size_t n = 0; n < mutant_count; n++) {
        if (selected(&o, n)) {
            run++;
            failures += is_good(&mutants[n], shared->caught_by[n]) ? 0 : 1;
            equivalent += shared->caught_by[n][0] == 0 ? 1 : 0;
            (void)json_array_append_new(results, json_of(&mutants[n], shared->caught_by[n]));
        }
    }
    bool written = o.output == NULL || write_results(o.output, results);
    json_decref(results);
    regfree(&o.only);
    regfree(&o.cases);
    (void)printf("%lu mutants, %lu caught, %lu equivalent, %lu failures\n", run, run - equivalent,
                 equivalent, failures);
    return run == 0 ? 2 : failures == 0 && written ? 0 : 1;
}
