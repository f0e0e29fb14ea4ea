// As many floats as fit a register: the compiler's vectors, and the few operations it has no sign for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#ifdef __SSE4_1__
#include <immintrin.h>
#endif

namespace boundaryloss::LEVEL {

namespace {

// Memory and vectors of this level alone: a function of std::vector<int> that the compiler does not inline
// has one name in all levels, and the linker might give the best level's to all of them.
template <class Item>
struct Own : std::allocator<Item> {
    Own() = default;
    template <class Other>
    Own(const Own<Other>&) {}
    template <class Other>
    struct rebind {
        using other = Own<Other>;
    };
};
template <class Item>
using Vector = std::vector<Item, Own<Item>>;

#if defined(__AVX512F__)
constexpr int lanes = 16;
#elif defined(__AVX2__)
constexpr int lanes = 8;
#else
constexpr int lanes = 4;
#endif
typedef float Floats __attribute__((vector_size(4 * lanes)));
typedef std::int32_t Ints __attribute__((vector_size(4 * lanes)));
typedef std::uint8_t Bytes __attribute__((vector_size(4 * lanes)));

template <class Vector, class T>
Vector load(const T* from) {
    Vector result;
    std::memcpy(&result, from, sizeof(Vector));
    return result;
}

// Not by memcpy, after which the compiler would read every pointer anew.
typedef float Unaligned __attribute__((vector_size(4 * lanes), aligned(4)));
inline void store(float* to, Floats value) { *reinterpret_cast<Unaligned*>(to) = value; }

// The first `count` lanes only: images end where they end.
inline Floats load(const float* from, int count) {
    if (count == lanes) return load<Floats>(from);
    Floats result{};
    std::memcpy(&result, from, 4 * count);
    return result;
}

inline void store(float* to, Floats value, int count) {
    if (count == lanes)
        store(to, value);
    else
        std::memcpy(to, &value, 4 * count);
}

template <class Vector>
Vector min(Vector a, Vector b) {
    return a < b ? a : b;
}

template <class Vector>
Vector max(Vector a, Vector b) {
    return a > b ? a : b;
}

inline __attribute__((always_inline)) Floats sqrt(Floats value) {
    float items[lanes];
    std::memcpy(items, &value, sizeof items);
    for (float& item : items) item = __builtin_sqrtf(item);
    return load<Floats>(items);
}

// The compiler goes through single bytes here.
inline Ints widened(const std::uint8_t* bytes) {
#if defined(__AVX512F__)
    return reinterpret_cast<Ints>(_mm512_cvtepu8_epi32(load<__m128i>(bytes)));
#elif defined(__AVX2__)
    const auto eight = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(bytes));
    return reinterpret_cast<Ints>(_mm256_cvtepu8_epi32(eight));
#elif defined(__SSE4_1__)
    return reinterpret_cast<Ints>(_mm_cvtepu8_epi32(_mm_cvtsi32_si128(load<std::int32_t>(bytes))));
#else
    Ints result;
    for (int i = 0; i < lanes; ++i) result[i] = bytes[i];
    return result;
#endif
}

template <class Mask>
bool any(Mask mask) {
#ifdef __AVX__
    if constexpr (sizeof(Mask) == 32) {
        const auto bits = reinterpret_cast<__m256i>(mask);
        return !_mm256_testz_si256(bits, bits);
    }
#endif
    std::uint64_t words[sizeof(Mask) / 8], all = 0;
    std::memcpy(words, &mask, sizeof words);
    for (auto word : words) all |= word;
    return all != 0;
}

// Lane i gets lane i ^ distance.
template <int distance, class Vector, int... i>
Vector swapped(Vector v, std::integer_sequence<int, i...>) {
#ifdef __clang__
    return __builtin_shufflevector(v, v, (i ^ distance)...);
#else
    return __builtin_shuffle(v, Ints{(i ^ distance)...});
#endif
}

// The best of all lanes, by halves.
template <int distance = lanes / 2, class Vector>
auto reduce(Vector v, Vector (*better)(Vector, Vector)) {
    v = better(v, swapped<distance>(v, std::make_integer_sequence<int, lanes>()));
    if constexpr (distance > 1)
        return reduce<distance / 2>(v, better);
    else
        return v[0];
}

template <class Vector>
auto lowest(Vector v) {
    return reduce(v, min<Vector>);
}

template <class Vector>
auto highest(Vector v) {
    return reduce(v, max<Vector>);
}

}  // namespace

}  // namespace boundaryloss::LEVEL
