// SPDX-License-Identifier: MIT
// Boost.Interprocess beside us: the heap of its managed_shared_memory.
#include <memory>

#include "boost_segment.hpp"
#include "heap_sides.h"

namespace {

struct boost_heap : heap_room {
    boost_segment segment;

    boost_heap() : heap_room(), segment()
    {
        heap = &segment.memory;
    }
};

void *take(void *heap, size_t size)
{
    return static_cast<bip::managed_shared_memory *>(heap)->allocate(size);
}

int give(void *heap, void *block)
{
    static_cast<bip::managed_shared_memory *>(heap)->deallocate(block);
    return 0;
}

heap_room *room_of(void *state)
{
    return static_cast<boost_heap *>(state);
}

} // namespace

extern "C" int boost_heap_setup(void *, void **state)
{
    return boost_try([&] {
        *state = std::make_unique<boost_heap>().release();
        return 0;
    });
}

extern "C" void boost_heap_teardown(void *state)
{
    std::unique_ptr<boost_heap>(static_cast<boost_heap *>(state)).reset();
}

extern "C" int boost_heap_lifo(void *state, double *cost)
{
    return boost_try([&] { return work_lifo(take, give, room_of(state), cost); });
}

extern "C" int boost_heap_batch(void *state, double *cost)
{
    return boost_try([&] { return work_batches(take, give, room_of(state), cost); });
}

extern "C" int boost_heap_pairs(void *state, unsigned pairs)
{
    return boost_try([&] { return work_pairs(take, give, room_of(state)->heap, pairs); });
}

extern "C" void boost_churn_teardown(void *state)
{
    (void)boost_try([&] { return work_empty(give, room_of(state)); });
    boost_heap_teardown(state);
}

extern "C" int boost_churn_setup(void *shared, void **state)
{
    if (boost_heap_setup(shared, state) != 0) {
        return -1;
    }
    if (boost_try([&] { return work_fill(take, room_of(*state)); }) != 0) {
        boost_churn_teardown(*state);
        return -1;
    }
    return 0;
}

extern "C" int boost_churn_run(void *state, double *cost)
{
    return boost_try([&] { return work_churn(take, give, room_of(state), cost); });
}

extern "C" int boost_overhead_run(void *state, double *cost)
{
    if (boost_churn_run(state, cost) != 0) {
        return -1;
    }
    const bip::managed_shared_memory &memory = static_cast<boost_heap *>(state)->segment.memory;
    const auto held = static_cast<double>(memory.get_size() - memory.get_free_memory());
    *cost = held / static_cast<double>(work_live(room_of(state)));
    return 0;
}
