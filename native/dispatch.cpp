// Chooses the kernels for the processor at hand.
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

const Kernels& kernels() {
#ifdef HAVE_avx512
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512cd"))
        return avx512::table;
#endif
#ifdef HAVE_avx2
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2"))
        return avx2::table;
#endif
    return baseline::table;
}

}  // namespace boundaryloss
