// SPDX-License-Identifier: MIT
// Boost.Interprocess beside us: its recursive mutex, its condition and its semaphore.
#include <boost/interprocess/anonymous_shared_memory.hpp>
#include <boost/interprocess/mapped_region.hpp>
#include <boost/interprocess/sync/interprocess_condition.hpp>
#include <boost/interprocess/sync/interprocess_mutex.hpp>
#include <boost/interprocess/sync/interprocess_recursive_mutex.hpp>
#include <boost/interprocess/sync/interprocess_semaphore.hpp>
#include <boost/interprocess/sync/scoped_lock.hpp>
#include <exception>
#include <memory>
#include <new>

#include "condition.h"

namespace bip = boost::interprocess;

namespace {

struct boost_room {
    alignas(64) bip::interprocess_mutex mutex;
    bip::interprocess_condition condition;
    unsigned turn = 0;
    alignas(64) bip::interprocess_recursive_mutex recursive;
    alignas(64) bip::interprocess_semaphore plain{1};
    alignas(64) bip::interprocess_semaphore first{1}; // whose turn it is has a permit
    alignas(64) bip::interprocess_semaphore second{0};
};

struct boost_sync {
    bip::mapped_region region;
    boost_room *room;

    boost_sync()
        : region(bip::anonymous_shared_memory(4096)), room(new (region.get_address()) boost_room)
    {
    }
    boost_sync(const boost_sync &) = delete;
    boost_sync &operator=(const boost_sync &) = delete;
    ~boost_sync()
    {
        room->~boost_room();
    }
};

boost_room &room_of(void *state)
{
    return *static_cast<boost_sync *>(state)->room;
}

// Runs it so many times; what it throws is told.
template <class Call> int time_calls(int calls, double *cost, Call call)
{
    try {
        const int64_t start = bench_now_ns();
        for (int i = 0; i < calls; i++) {
            call();
        }
        *cost = static_cast<double>(bench_now_ns() - start) / calls;
        return 0;
    } catch (const std::exception &error) {
        return bench_error("boost: %s", error.what());
    }
}

} // namespace

extern "C" int boost_sync_setup(void *, void **state)
{
    try {
        *state = std::make_unique<boost_sync>().release();
        return 0;
    } catch (const std::exception &error) {
        return bench_error("boost: %s", error.what());
    }
}

extern "C" void boost_sync_teardown(void *state)
{
    std::unique_ptr<boost_sync>(static_cast<boost_sync *>(state)).reset();
}

extern "C" int boost_recursive_pair(void *state, double *cost)
{
    bip::interprocess_recursive_mutex &mutex = room_of(state).recursive;
    return time_calls(RECURSIVE_PAIRS, cost, [&] {
        mutex.lock();
        mutex.unlock();
    });
}

extern "C" int boost_notify_nobody(void *state, double *cost)
{
    bip::interprocess_condition &condition = room_of(state).condition;
    return time_calls(NOBODY_CALLS, cost, [&] { condition.notify_one(); });
}

extern "C" {
static int boost_turns(void *state, unsigned side, int count)
{
    boost_room &room = room_of(state);
    double cost;
    return time_calls(count, &cost, [&] {
        bip::scoped_lock<bip::interprocess_mutex> lock(room.mutex);
        while (room.turn != side) {
            room.condition.wait(lock);
        }
        room.turn = 1 - side;
        lock.unlock();
        room.condition.notify_one();
    });
}
}

extern "C" int boost_asleep(void *state, double *cost)
{
    return bench_turns(boost_turns, state, ASLEEP_TURNS, cost);
}

extern "C" int boost_semaphore_pair(void *state, int pairs, double *cost)
{
    bip::interprocess_semaphore &semaphore = room_of(state).plain;
    return time_calls(pairs, cost, [&] {
        semaphore.wait();
        semaphore.post();
    });
}

extern "C" int boost_semaphore_turns(void *state, unsigned side, int count)
{
    boost_room &room = room_of(state);
    bip::interprocess_semaphore &mine = side == 0 ? room.first : room.second;
    bip::interprocess_semaphore &other = side == 0 ? room.second : room.first;
    double cost;
    return time_calls(count, &cost, [&] {
        mine.wait();
        other.post();
    });
}
