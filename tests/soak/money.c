/* SPDX-License-Identifier: MIT */
/* Transactions: money that is moved and never made, and a range that is larger than a slot's log.
 */
#include "soak/soak.h"

/* Two accounts of one kind, in their order. */
struct pair {
    struct account *first;
    struct account *second;
};

static struct pair choose(struct actor *a, struct account *accounts, unsigned n)
{
    uint64_t i = below(&a->chance, n - 1);
    uint64_t j = i + 1 + below(&a->chance, n - 1 - i);
    return (struct pair){&accounts[i], &accounts[j]};
}

static void save(struct actor *a, struct account *account)
{
    must(a,
         CALL(a, 0, hf_tx_add(a->segment, (const void *)&account->money, sizeof account->money)));
}

static void move_money(struct actor *a, struct pair pair)
{
    int64_t amount = (int64_t)below(&a->chance, 200) - 100;
    save(a, pair.first);
    pair.first->money = pair.first->money - amount;
    linger(a);
    save(a, pair.second);
    if (one_in(&a->chance, 4)) { /* again, and in part */
        save(a, pair.first);
    }
    pair.second->money = pair.second->money + amount;
    linger(a);
}

/* In its own level of a transaction, which may be the outermost. */
void transfer_strictly(struct actor *a)
{
    struct pair pair = choose(a, a->table->strict, STRICT);
    must(a, CALL(a, 0, hf_tx_begin(a->segment)));
    if (take(a, &pair.first->guard, false) != HAD_GOOD ||
        take(a, &pair.second->guard, false) != HAD_GOOD) {
        fail(a, "a lock that is only held inside transactions says that its owner died");
    }
    move_money(a, pair);
    give(a, &pair.first->guard);
    linger(a);
    give(a, &pair.second->guard);
    must(a, CALL(a, 0, hf_tx_commit(a->segment)));
    count(a->seat, COUNT_COMMITS, 1);
}

/* ---- loosely ----------------------------------------------------------------------------- */

/* Money needs no mending. */
static hold take_loosely(struct actor *a, struct account *account)
{
    hold had = take(a, &account->guard, false);
    if (had == HAD_SUSPECT) {
        mended(a, &account->guard);
    }
    return had;
}

/* What was undone is as it was. */
static void must_be(struct actor *a, struct pair pair, int64_t first, int64_t second)
{
    if (pair.first->money != first || pair.second->money != second) {
        fail(a, "an aborted transaction leaves %lld and %lld, there were %lld and %lld",
             (long long)pair.first->money, (long long)pair.second->money, (long long)first,
             (long long)second);
    }
}

static void abort_inside(struct actor *a, struct pair pair)
{
    move_money(a, pair);
    must(a, CALL(a, 0, hf_tx_begin(a->segment)));
    move_money(a, pair);
    must(a, CALL(a, 0, hf_tx_abort(a->segment)));
    if (CALL(a, 0, hf_tx_add(a->segment, (const void *)&pair.first->money, 8)) != -ECANCELED ||
        CALL(a, 0, hf_tx_commit(a->segment)) != -ECANCELED) {
        fail(a, "a transaction that was aborted inside goes on");
    }
}

/* Is it committed? */
static bool commit_or_abort(struct actor *a, struct pair pair)
{
    int64_t first = pair.first->money;
    int64_t second = pair.second->money;
    uint64_t way = below(&a->chance, 4);
    if (way >= 2) {
        move_money(a, pair);
        must(a, CALL(a, 0, hf_tx_commit(a->segment)));
        count(a->seat, COUNT_COMMITS, 1);
        return true;
    }
    if (way == 1) {
        abort_inside(a, pair);
    } else {
        move_money(a, pair);
        must(a, CALL(a, 0, hf_tx_abort(a->segment)));
    }
    must_be(a, pair, first, second);
    return false;
}

/* With the locks taken before the transaction or inside it, and given after it. */
void transfer_loosely(struct actor *a)
{
    struct pair pair = choose(a, a->table->loose, LOOSE);
    bool inside = one_in(&a->chance, 2);
    if (inside) {
        must(a, CALL(a, 0, hf_tx_begin(a->segment)));
    }
    hold first = take_loosely(a, pair.first);
    hold second = take_loosely(a, pair.second);
    if (!inside) {
        must(a, CALL(a, 0, hf_tx_begin(a->segment)));
    }
    bool committed = commit_or_abort(a, pair);
    linger(a);
    if (inside && !committed) { /* what was said inside is undone as well */
        if (first == HAD_SUSPECT) {
            mended(a, &pair.first->guard);
        }
        if (second == HAD_SUSPECT) {
            mended(a, &pair.second->guard);
        }
    }
    give(a, &pair.second->guard);
    give(a, &pair.first->guard);
}

/* ---- all of them ------------------------------------------------------------------------- */

void audit(struct actor *a)
{
    int64_t sum = 0;
    must(a, CALL(a, 0, hf_tx_begin(a->segment)));
    for (unsigned i = 0; i < STRICT; i++) {
        if (take(a, &a->table->strict[i].guard, false) != HAD_GOOD) {
            fail(a, "a lock that is only held inside transactions says that its owner died");
        }
        sum += a->table->strict[i].money;
    }
    if (sum != (int64_t)STRICT * MONEY) {
        fail(a, "the accounts hold %lld, not %d", (long long)sum, (int)STRICT * MONEY);
    }
    for (unsigned i = 0; i < STRICT; i++) {
        give(a, &a->table->strict[i].guard);
    }
    must(a, CALL(a, 0, hf_tx_commit(a->segment)));
}

/* ---- a large range ----------------------------------------------------------------------- */

/* Saves it in pieces. Room that was reserved for them is there. */
static bool save_big(struct actor *a)
{
    char *big = (char *)(uintptr_t)a->table->big;
    size_t piece = 700 + (size_t)below(&a->chance, BIG - 700);
    size_t pieces = BIG / piece + 1;
    bool reserved = one_in(&a->chance, 2);
    if (reserved &&
        PERMIT(a, CALL(a, BIG, hf_tx_reserve(a->segment, BIG + 48 * pieces)), -ENOMEM) != 0) {
        return false;
    }
    for (size_t at = 0; at < BIG; at += piece) {
        size_t length = BIG - at < piece ? BIG - at : piece;
        int result = CALL(a, length, hf_tx_add(a->segment, big + at, length));
        if (reserved) {
            must(a, result);
        } else if (PERMIT(a, result, -ENOMEM) != 0) {
            return false;
        }
    }
    return true;
}

static void write_big(struct actor *a, uint8_t value)
{
    for (unsigned i = 0; i < BIG; i++) {
        a->table->big[i] = value;
        if (i % 1500 == 0) {
            linger(a);
        }
    }
}

void change_big(struct actor *a)
{
    struct table *t = a->table;
    must(a, CALL(a, 0, hf_tx_begin(a->segment)));
    if (take(a, &t->big_guard, false) != HAD_GOOD) {
        fail(a, "a lock that is only held inside transactions says that its owner died");
    }
    for (unsigned i = 1; i < BIG; i++) {
        if (t->big[i] != t->big[0]) {
            fail(a, "the large range is torn: byte 0 is %u, byte %u is %u", t->big[0], i,
                 t->big[i]);
        }
    }
    bool saved = save_big(a);
    if (saved) {
        write_big(a, (uint8_t)(t->big[0] + 1));
    }
    give(a, &t->big_guard);
    if (saved && !one_in(&a->chance, 4)) {
        must(a, CALL(a, 0, hf_tx_commit(a->segment)));
        count(a->seat, COUNT_COMMITS, 1);
    } else {
        must(a, CALL(a, 0, hf_tx_abort(a->segment)));
    }
}
