// Splits the items 0 .. n into runs of neighbours and works on the runs in threads.
#pragma once

#include <algorithm>
#include <cstddef>
#include <exception>
#include <stdexcept>
#include <thread>
#include <vector>

namespace dupo {

inline std::size_t checked_threads(int threads) {
    if (threads < 1) throw std::invalid_argument("threads: expected at least 1");
    return static_cast<std::size_t>(threads);
}

// Calls work(run, begin, end) for every run. Waits for all runs, then throws the error of the first run that
// failed, so that the number of threads does not change which item is blamed.
template <class Work>
void parallel(std::size_t n, std::size_t runs, Work work) {
    std::vector<std::exception_ptr> errors(runs);
    const auto guarded = [&](std::size_t run) {
        try {
            work(run, n * run / runs, n * (run + 1) / runs);
        } catch (...) {
            errors[run] = std::current_exception();
        }
    };
    std::vector<std::thread> others;
    others.reserve(runs);
    std::size_t started = 1;
    try {
        for (; started < runs; ++started) others.emplace_back(guarded, started);
    } catch (const std::exception&) {  // no more threads: the calling thread does the remaining runs
    }
    for (std::size_t run = started; run < runs; ++run) guarded(run);
    guarded(0);
    for (std::thread& other : others) other.join();
    for (const std::exception_ptr& error : errors) {
        if (error) std::rethrow_exception(error);
    }
}

// One run per thread, and no run without an item.
inline std::size_t runs_for(std::size_t n, int threads) {
    return std::max<std::size_t>(1, std::min(checked_threads(threads), n));
}

}  // namespace dupo
