// The instruction-set levels that this build and this processor have, and the one in use.
#include <atomic>

#include "kernels.h"
#ifdef HAVE_avx2
#include <cpuid.h>
#endif

namespace boundaryloss {

namespace baseline {
extern const Kernels table;
}
#ifdef HAVE_avx2  // and so all
namespace avx2 {
extern const Kernels table;
}
namespace avx512 {
extern const Kernels table;
}
#endif

#ifdef HAVE_avx2
// What -march=x86-64-v3 and -v4 take for granted. Not by __builtin_cpu_supports: clang-cl does not link it.
static int best_level() {
    const auto has = [](unsigned word, unsigned bits) { return (word & bits) == bits; };
    unsigned a, b, c, d, features, saved;
    if (!__get_cpuid(1, &a, &b, &c, &d)) return 0;
    if (!has(c, bit_OSXSAVE | bit_AVX | bit_FMA | bit_F16C | bit_MOVBE)) return 0;
    if (!__get_cpuid_count(7, 0, &a, &features, &c, &d) || !__get_cpuid(0x80000001, &a, &b, &c, &d)) return 0;
    __asm__("xgetbv" : "=a"(saved), "=d"(d) : "c"(0));  // the registers that the system saves
    if (!has(saved, 0x06) || !has(features, bit_AVX2 | bit_BMI | bit_BMI2) || !has(c, bit_LZCNT)) return 0;
    constexpr unsigned v4 = bit_AVX512F | bit_AVX512BW | bit_AVX512CD | bit_AVX512DQ | bit_AVX512VL;
    return has(saved, 0xe6) && has(features, v4) ? 2 : 1;
}
#endif

const std::vector<Level>& levels() {
    static const std::vector<Level> found = [] {
        std::vector<Level> result{{"baseline", &baseline::table}};
#ifdef HAVE_avx2
        if (best_level() >= 1) result.push_back({"avx2", &avx2::table});
        if (best_level() >= 2) result.push_back({"avx512", &avx512::table});
#endif
        return result;
    }();
    return found;
}

static std::atomic<const Kernels*> in_use = levels().back().table;

void use_level(std::size_t index) { in_use = levels().at(index).table; }

const Kernels& kernels() { return *in_use; }

}  // namespace boundaryloss
