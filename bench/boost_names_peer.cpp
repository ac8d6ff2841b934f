// SPDX-License-Identifier: MIT
// Boost.Interprocess beside us: the named objects of its managed_shared_memory.
#include <memory>

#include "boost_segment.hpp"
#include "names_work.h"

namespace {

struct boost_names {
    boost_segment segment;
    const names_table *table;

    explicit boost_names(const void *shared)
        : segment(), table(static_cast<const names_table *>(shared))
    {
    }
};

bip::managed_shared_memory &memory_of(void *heap)
{
    return *static_cast<bip::managed_shared_memory *>(heap);
}

int make(void *heap, const char *name, uint64_t number)
{
    return memory_of(heap).construct<names_thing>(name)(names_thing{number, 0}) == nullptr;
}

int find(void *heap, const char *name, uint64_t number)
{
    const names_thing *found = memory_of(heap).find<names_thing>(name).first;
    return found == nullptr || found->number != number;
}

int unmake(void *heap, const char *name, uint64_t)
{
    return memory_of(heap).destroy<names_thing>(name) ? 0 : 1;
}

// What the work gives that wants a heap and the table.
template <typename Work> int with(void *state, Work work)
{
    boost_names *side = static_cast<boost_names *>(state);
    const int errors = boost_try([&] { return work(&side->segment.memory, side->table); });
    return errors <= 0 ? errors : bench_error("boost: an object was not there, or was another");
}

} // namespace

extern "C" int boost_names_setup(void *shared, void **state)
{
    return boost_try([&] {
        *state = std::make_unique<boost_names>(shared).release();
        return 0;
    });
}

extern "C" void boost_names_teardown(void *state)
{
    std::unique_ptr<boost_names>(static_cast<boost_names *>(state)).reset();
}

extern "C" int boost_names_construct(void *state, double *cost)
{
    return with(state, [&](void *heap, const names_table *table) {
        return names_construct(make, unmake, heap, table, cost);
    });
}

extern "C" int boost_names_destroy(void *state, double *cost)
{
    return with(state, [&](void *heap, const names_table *table) {
        return names_destroy(make, unmake, heap, table, cost);
    });
}

extern "C" void boost_find_teardown(void *state)
{
    (void)with(state, [](void *heap, const names_table *table) {
        return names_at_random(unmake, heap, table);
    });
    boost_names_teardown(state);
}

extern "C" int boost_find_setup(void *shared, void **state)
{
    if (boost_names_setup(shared, state) != 0) {
        return -1;
    }
    const int errors = with(*state, [](void *heap, const names_table *table) {
        return names_in_order(make, heap, table);
    });
    if (errors != 0) {
        boost_names_teardown(*state);
    }
    return errors;
}

extern "C" int boost_find_random(void *state, double *cost)
{
    return with(state, [&](void *heap, const names_table *table) {
        return names_find_random(find, heap, table, cost);
    });
}

extern "C" int boost_find_run(void *state, double *cost)
{
    return with(state, [&](void *heap, const names_table *table) {
        return names_find(find, heap, table, cost);
    });
}
