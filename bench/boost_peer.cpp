// SPDX-License-Identifier: MIT
// Boost.Interprocess beside us: its mutexes for memory shared between processes.
#include <boost/interprocess/anonymous_shared_memory.hpp>
#include <boost/interprocess/mapped_region.hpp>
#include <boost/interprocess/sync/interprocess_mutex.hpp>
#include <boost/interprocess/sync/interprocess_sharable_mutex.hpp>
#include <exception>
#include <memory>
#include <new>

#include "locks.h"

namespace bip = boost::interprocess;

namespace {

constexpr int pairs_of_a_run = 2000000; // as ours

struct boost_lock {
    bip::mapped_region region;
    bip::interprocess_mutex *mutex;

    boost_lock()
        : region(bip::anonymous_shared_memory(4096)),
          mutex(new (region.get_address()) bip::interprocess_mutex)
    {
    }
    boost_lock(const boost_lock &) = delete;
    boost_lock &operator=(const boost_lock &) = delete;
    ~boost_lock()
    {
        mutex->~interprocess_mutex();
    }
};

struct boost_rwlock {
    bip::mapped_region region;
    bip::interprocess_sharable_mutex *mutex;

    boost_rwlock()
        : region(bip::anonymous_shared_memory(4096)),
          mutex(new (region.get_address()) bip::interprocess_sharable_mutex)
    {
    }
    boost_rwlock(const boost_rwlock &) = delete;
    boost_rwlock &operator=(const boost_rwlock &) = delete;
    ~boost_rwlock()
    {
        mutex->~interprocess_sharable_mutex();
    }
};

} // namespace

extern "C" int boost_mutex_setup(void *, void **state)
{
    try {
        *state = std::make_unique<boost_lock>().release();
        return 0;
    } catch (const std::exception &error) {
        return bench_error("boost: %s", error.what());
    }
}

extern "C" int boost_mutex_pair(void *state, double *cost)
{
    bip::interprocess_mutex &mutex = *static_cast<boost_lock *>(state)->mutex;
    try {
        const int64_t start = bench_now_ns();
        for (int i = 0; i < pairs_of_a_run; i++) {
            mutex.lock();
            mutex.unlock();
        }
        *cost = static_cast<double>(bench_now_ns() - start) / pairs_of_a_run;
        return 0;
    } catch (const std::exception &error) {
        return bench_error("boost: %s", error.what());
    }
}

extern "C" void boost_mutex_teardown(void *state)
{
    std::unique_ptr<boost_lock>(static_cast<boost_lock *>(state)).reset();
}

extern "C" int boost_rwlock_setup(void *, void **state)
{
    try {
        *state = std::make_unique<boost_rwlock>().release();
        return 0;
    } catch (const std::exception &error) {
        return bench_error("boost: %s", error.what());
    }
}

extern "C" int boost_rwlock_read(void *state, int pairs)
{
    bip::interprocess_sharable_mutex &mutex = *static_cast<boost_rwlock *>(state)->mutex;
    try {
        for (int i = 0; i < pairs; i++) {
            mutex.lock_sharable();
            mutex.unlock_sharable();
        }
        return 0;
    } catch (const std::exception &) {
        return -1;
    }
}

extern "C" int boost_rwlock_write(void *state, int pairs)
{
    bip::interprocess_sharable_mutex &mutex = *static_cast<boost_rwlock *>(state)->mutex;
    try {
        for (int i = 0; i < pairs; i++) {
            mutex.lock();
            mutex.unlock();
        }
        return 0;
    } catch (const std::exception &) {
        return -1;
    }
}

extern "C" void boost_rwlock_teardown(void *state)
{
    std::unique_ptr<boost_rwlock>(static_cast<boost_rwlock *>(state)).reset();
}
