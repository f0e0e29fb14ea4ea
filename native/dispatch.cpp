// The instruction-set levels that this build and this processor have, and the one in use.
#include <atomic>

#include "kernels.h"

namespace boundaryloss {

namespace baseline {
extern const Kernels table;
}
#ifdef HAVE_avx2
namespace avx2 {
extern const Kernels table;
}
#endif
#ifdef HAVE_avx512
namespace avx512 {
extern const Kernels table;
}
#endif

const std::vector<Level>& levels() {
    static const std::vector<Level> found = [] {
        std::vector<Level> result{{"baseline", &baseline::table}};
#ifdef HAVE_avx2
        if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2"))
            result.push_back({"avx2", &avx2::table});
#endif
#ifdef HAVE_avx512
        if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
            __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
            __builtin_cpu_supports("avx512cd"))
            result.push_back({"avx512", &avx512::table});
#endif
        return result;
    }();
    return found;
}

static std::atomic<const Kernels*> in_use = levels().back().table;

void use_level(std::size_t index) { in_use = levels().at(index).table; }

const Kernels& kernels() { return *in_use; }

}  // namespace boundaryloss
