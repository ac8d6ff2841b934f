// SPDX-License-Identifier: MIT
// What survive_heap does, with Boost.Interprocess' managed_shared_memory. A segment that a death
// has made unusable is replaced by a fresh one, so that each process finds one that works.
//
//     survive_boost [PROCESSES]
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <string>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/interprocess/managed_shared_memory.hpp>

namespace bip = boost::interprocess;

namespace {

constexpr int links = 256;

struct table {
    bip::managed_shared_memory::handle_t link[links];
};

void turn(bip::managed_shared_memory &segment, table &table)
{
    auto &link = table.link[std::rand() % links];
    if (link == 0) {
        void *block = segment.allocate(1 + static_cast<std::size_t>(std::rand() % 2000));
        link = segment.get_handle_from_address(block);
    } else {
        void *block = segment.get_address_from_handle(link);
        link = 0;
        segment.deallocate(block);
    }
}

void rename_one(bip::managed_shared_memory &segment)
{
    std::string name = "object " + std::to_string(std::rand() % 50);
    if (!segment.destroy<long>(name.c_str())) {
        segment.construct<long>(name.c_str())[10](0L);
    }
}

void work(bip::managed_shared_memory &segment, table &table, unsigned turns)
{
    for (unsigned i = 0; i < turns || turns == 0; i++) {
        turn(segment, table);
        rename_one(segment);
    }
}

void kill_one(bip::managed_shared_memory &segment, table &table)
{
    pid_t parent = getpid();
    pid_t pid = fork();
    if (pid < 0) {
        std::perror("survive_boost: fork");
        std::exit(1);
    }
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); // should the parent be killed itself
        if (getppid() != parent) {
            _exit(1);
        }
        std::srand(static_cast<unsigned>(getpid()));
        work(segment, table, 0);
    }
    timespec moment{0, 1000000 + std::rand() % 20000000};
    nanosleep(&moment, nullptr);
    kill(pid, SIGKILL);
    waitpid(pid, nullptr, 0);
}

bool still_works(bip::managed_shared_memory &segment, table &table)
{
    int status = 0;
    pid_t pid = fork();
    if (pid == 0) {
        alarm(2);
        try {
            work(segment, table, 100);
        } catch (...) {
            _exit(1);
        }
        _exit(0);
    }
    return waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

long count_usable(long processes)
{
    std::string name = "survive_boost." + std::to_string(getpid());
    long usable = 0;
    for (long i = 0; i < processes;) {
        bip::shared_memory_object::remove(name.c_str());
        bip::managed_shared_memory segment(bip::create_only, name.c_str(), 1 << 20);
        bip::shared_memory_object::remove(name.c_str());
        table &at = *segment.construct<table>("table")();
        for (bool good = true; good && i < processes; i++) {
            kill_one(segment, at);
            good = still_works(segment, at);
            usable += good ? 1 : 0;
        }
    }
    return usable;
}

// 0 for what is no number.
long number(const char *text)
{
    char *end = nullptr;
    long value = std::strtol(text, &end, 10);
    return *end == 0 ? value : 0;
}

} // namespace

int main(int argc, char **argv)
{
    long processes = argc > 1 ? number(argv[1]) : 60;
    if (argc > 2 || processes < 1) {
        (void)std::fputs("usage: survive_boost [PROCESSES]\n", stderr);
        return 2;
    }
    try {
        long usable = count_usable(processes);
        std::printf("the same with Boost.Interprocess\n"
                    "processes killed          %ld\n"
                    "  heap usable afterwards  %ld\n",
                    processes, usable);
    } catch (...) {
        (void)std::fputs("survive_boost: no segment\n", stderr);
        return 1;
    }
    return 0;
}
