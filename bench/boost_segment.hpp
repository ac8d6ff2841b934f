// SPDX-License-Identifier: MIT
// What the rows with a managed_shared_memory of Boost.Interprocess share.
#ifndef HF_BENCH_BOOST_SEGMENT_HPP
#define HF_BENCH_BOOST_SEGMENT_HPP

#include <boost/interprocess/managed_shared_memory.hpp>
#include <boost/interprocess/shared_memory_object.hpp>
#include <exception>
#include <string>
#include <unistd.h>

#include "bench.h"

namespace bip = boost::interprocess;

// Its name is gone at once, so that nothing is left if we are killed; forked children have the
// mapping.
struct boost_segment {
    static constexpr std::size_t size = std::size_t(64) << 20;

    std::string name;
    bip::managed_shared_memory memory;

    boost_segment() : name("bench-boost-" + std::to_string(getpid()))
    {
        bip::shared_memory_object::remove(name.c_str());
        memory = bip::managed_shared_memory(bip::create_only, name.c_str(), size);
        bip::shared_memory_object::remove(name.c_str());
    }
    boost_segment(const boost_segment &) = delete;
    boost_segment &operator=(const boost_segment &) = delete;
};

// What the work gives, or -1 after saying what it has thrown.
template <typename Work> int boost_try(Work work)
{
    try {
        return work();
    } catch (const std::exception &error) {
        return bench_error("boost: %s", error.what());
    }
}

#endif
