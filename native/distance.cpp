// From the caller's label maps to the kernels' images: types, strides, classes, threads.
#include "distance.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <memory>

#include "kernels.h"
#include "memory.h"

namespace boundaryloss {

namespace {

constexpr int classes_at_once = 255;  // a byte holds these and `no_class`
constexpr std::uint8_t no_class = 255;
constexpr std::size_t voxels_per_thread = 1 << 18;  // fewer are not worth a thread
constexpr std::size_t none = std::numeric_limits<std::size_t>::max();

struct Narrowed {
    std::size_t bad = none;  // first label that is neither a class nor ignored
    bool ignored = false;    // whether any voxel is
};

bool ignores_a_class(const Settings& settings) {
    return settings.ignored && *settings.ignored >= 0 && *settings.ignored < settings.num_classes;
}

// The verdict on labels that are bytes already.
Narrowed inspect(const std::uint8_t* bytes, std::size_t size, const Settings& settings) {
    Narrowed result;
    std::uint8_t largest = 0;
    for (std::size_t i = 0; i < size; ++i) largest = std::max(largest, bytes[i]);
    if (largest < settings.num_classes) return result;
    for (std::size_t i = 0; i < size; ++i) {
        if (bytes[i] < settings.num_classes) continue;
        if (!settings.ignored || bytes[i] != *settings.ignored) {
            result.bad = i;
            return result;
        }
        result.ignored = true;
    }
    return result;
}

// Copies one map to bytes as it is. False if some label is none.
template <class T>
bool copy_bytes(const T* map, const LabelMaps& maps, std::uint8_t* bytes) {
    const std::size_t depth = maps.shape[2], height = maps.shape[3], width = maps.shape[4];
    T others = 0;
    for (std::size_t z = 0; z < depth; ++z) {
        for (std::size_t y = 0; y < height; ++y, bytes += width) {
            const T* row = map + static_cast<std::ptrdiff_t>(z) * maps.strides[2] +
                           static_cast<std::ptrdiff_t>(y) * maps.strides[3];
            const std::ptrdiff_t step = maps.strides[4];
            auto copy = [&](std::ptrdiff_t stride) {
                for (std::size_t x = 0; x < width; ++x) {
                    const T label = row[static_cast<std::ptrdiff_t>(x) * stride];
                    bytes[x] = static_cast<std::uint8_t>(label);
                    others |= label;
                }
            };
            step == 1 ? copy(1) : copy(step);
        }
    }
    return (others & ~T(255)) == 0 && others >= 0;
}

// Copies one map to bytes: classes [first, first + classes_at_once) as 0.., all other labels as no_class.
template <class T>
Narrowed narrow(const T* map, const LabelMaps& maps, const Settings& settings, std::int64_t base,
                std::uint8_t* bytes) {
    const std::size_t depth = maps.shape[2], height = maps.shape[3], width = maps.shape[4];
    const std::int64_t classes = settings.num_classes;
    const std::int64_t shown = std::min<std::int64_t>(classes - base, classes_at_once);
    const std::int64_t ignored = settings.ignored.value_or(classes);
    if (shown == classes && !ignores_a_class(settings) && copy_bytes(map, maps, bytes))
        return inspect(bytes, depth * height * width, settings);
    Narrowed result{none, ignores_a_class(settings)};
    for (std::size_t z = 0; z < depth; ++z) {
        for (std::size_t y = 0; y < height; ++y, bytes += width) {
            const T* row = map + static_cast<std::ptrdiff_t>(z) * maps.strides[2] +
                           static_cast<std::ptrdiff_t>(y) * maps.strides[3];
            const std::ptrdiff_t step = maps.strides[4];
            std::uint8_t outside = 0;
            auto convert = [&](std::ptrdiff_t stride) {
                for (std::size_t x = 0; x < width; ++x) {
                    const auto label =
                        static_cast<std::int64_t>(row[static_cast<std::ptrdiff_t>(x) * stride]);
                    outside |= static_cast<std::uint64_t>(label) >= static_cast<std::uint64_t>(classes);
                    const bool in =
                        static_cast<std::uint64_t>(label - base) < static_cast<std::uint64_t>(shown) &&
                        label != ignored;
                    bytes[x] = in ? static_cast<std::uint8_t>(label - base) : no_class;
                }
            };
            step == 1 ? convert(1) : convert(step);
            if (!outside) continue;
            for (std::size_t x = 0; x < width; ++x) {
                const auto label = static_cast<std::int64_t>(row[static_cast<std::ptrdiff_t>(x) * step]);
                if (label >= 0 && label < classes) continue;
                if (!settings.ignored || label != *settings.ignored) {
                    result.bad = (z * height + y) * width + x;
                    return result;
                }
                result.ignored = true;
            }
        }
    }
    return result;
}

const void* map_data(const LabelMaps& maps, std::size_t batch, std::size_t map, std::size_t item_size) {
    const auto offset = static_cast<std::ptrdiff_t>(batch) * maps.strides[0] +
                        static_cast<std::ptrdiff_t>(map) * maps.strides[1];
    return static_cast<const char*>(maps.data) + offset * static_cast<std::ptrdiff_t>(item_size);
}

Narrowed narrow_map(const LabelMaps& maps, std::size_t b, std::size_t m, const Settings& s, std::int64_t base,
                    std::uint8_t* bytes) {
    switch (maps.type) {
        case LabelType::uint8:
            return narrow(static_cast<const std::uint8_t*>(map_data(maps, b, m, 1)), maps, s, base, bytes);
        case LabelType::int8:
            return narrow(static_cast<const std::int8_t*>(map_data(maps, b, m, 1)), maps, s, base, bytes);
        case LabelType::int16:
            return narrow(static_cast<const std::int16_t*>(map_data(maps, b, m, 2)), maps, s, base, bytes);
        case LabelType::int32:
            return narrow(static_cast<const std::int32_t*>(map_data(maps, b, m, 4)), maps, s, base, bytes);
        default:
            return narrow(static_cast<const std::int64_t*>(map_data(maps, b, m, 8)), maps, s, base, bytes);
    }
}

bool readable_in_place(const LabelMaps& maps, const Settings& settings) {
    const auto& [batch, count, depth, height, width] = maps.shape;
    auto steps = [](std::size_t length, std::ptrdiff_t stride, std::size_t wanted) {
        return length == 1 || stride == static_cast<std::ptrdiff_t>(wanted);
    };
    return maps.type == LabelType::uint8 && settings.num_classes <= classes_at_once &&
           !ignores_a_class(settings) && steps(width, maps.strides[4], 1) &&
           steps(height, maps.strides[3], width) && steps(depth, maps.strides[2], height * width);
}

Metric make_metric(const LabelMaps& maps, const Settings& s) {
    return {Costs(maps.shape[2], s.spacing[0], s.face_offset),
            Costs(maps.shape[3], s.spacing[1], s.face_offset),
            Costs(maps.shape[4], s.spacing[2], s.face_offset), s.face_offset == 0};
}

// Calls work(map index, bytes, team) for every map: maps side by side where there are enough of
// them, otherwise one after the other with all threads.
template <class Work>
void each_map(const LabelMaps& maps, const Settings& settings, std::size_t planes, bool need_bytes,
              Work work) {
    const std::size_t count = maps.shape[0] * maps.shape[1];
    const std::size_t voxels = maps.shape[2] * maps.shape[3] * maps.shape[4];
    const std::size_t worth = std::max<std::size_t>(count * voxels * planes / voxels_per_thread, 1);
    const int threads = static_cast<int>(std::min<std::size_t>(std::max(settings.threads, 1), worth));
    const bool side_by_side = count >= static_cast<std::size_t>(threads);
    Team outer(side_by_side ? threads : 1);
    std::vector<std::unique_ptr<std::uint8_t[]>> bytes(outer.size());
    if (need_bytes)
        for (auto& own : bytes) own.reset(new std::uint8_t[voxels]);
    Team alone(1), together(side_by_side ? 1 : threads);
    outer.each(count, [&](std::size_t item, int worker) {
        work(item, bytes[worker].get(), side_by_side ? alone : together);
    });
}

}  // namespace

Costs::Costs(std::size_t length, double spacing, double face_offset)
    : reach_(static_cast<std::ptrdiff_t>(length) + 16),
      face_offset_(static_cast<float>(face_offset)),
      squared_spacing_(static_cast<float>(spacing * spacing)),
      table_(2 * reach_ + 33) {
    for (std::ptrdiff_t k = -reach_; k <= reach_ + 32; ++k) {
        const float steps = std::max(std::abs(static_cast<float>(k)) - face_offset_, 0.0f);
        table_[k + reach_] = steps * steps * squared_spacing_;
    }
}

std::optional<std::size_t> signed_distance(const LabelMaps& maps, const Settings& settings, float* out) {
    const std::size_t voxels = maps.shape[2] * maps.shape[3] * maps.shape[4];
    const auto planes = static_cast<std::size_t>(settings.num_classes - settings.first_class);
    const bool in_place = readable_in_place(maps, settings);
    const Metric metric = make_metric(maps, settings);
    expect_writes(out, maps.shape[0] * maps.shape[1] * planes * voxels);
    std::atomic<std::size_t> bad{none};

    each_map(maps, settings, planes, !in_place, [&](std::size_t item, std::uint8_t* bytes, Team& team) {
        const std::size_t batch = item / maps.shape[1], map = item % maps.shape[1];
        float* own = out + item * planes * voxels;
        Image image{bytes, maps.shape[2], maps.shape[3], maps.shape[4]};
        if (in_place) image.labels = static_cast<const std::uint8_t*>(map_data(maps, batch, map, 1));
        for (std::int64_t base = 0; base < settings.num_classes; base += classes_at_once) {
            const Narrowed seen = in_place ? inspect(image.labels, voxels, settings)
                                           : narrow_map(maps, batch, map, settings, base, bytes);
            if (seen.bad != none) {
                std::size_t position = item * voxels + seen.bad, earliest = bad;
                while (position < earliest && !bad.compare_exchange_weak(earliest, position)) {
                }
                return;
            }
            int first = static_cast<int>(std::max<std::int64_t>(settings.first_class - base, 0));
            const int end =
                static_cast<int>(std::min<std::int64_t>(settings.num_classes - base, classes_at_once));
            float* target = own + (base + first - settings.first_class) * voxels;
            // Of two classes that share their interface, one is minus the other.
            const bool mirror =
                settings.num_classes == 2 && first == 0 && settings.face_offset != 0 && !seen.ignored;
            if (mirror) first = 1;
            float* computed = mirror ? target + voxels : target;
            kernels().signed_distance(image, first, end - first, metric, team, computed);
            if (mirror) std::transform(computed, computed + voxels, target, [](float d) { return -d; });
        }
    });
    const std::size_t position = bad;
    return position == none ? std::nullopt : std::optional(position);
}

void distance_transform(const LabelMaps& maps, const Settings& settings, float* out) {
    const std::size_t voxels = maps.shape[2] * maps.shape[3] * maps.shape[4];
    const bool in_place = readable_in_place(maps, settings);
    const Metric metric = make_metric(maps, settings);
    each_map(maps, settings, 1, !in_place, [&](std::size_t item, std::uint8_t* bytes, Team& team) {
        Image image{bytes, maps.shape[2], maps.shape[3], maps.shape[4]};
        const std::size_t batch = item / maps.shape[1], map = item % maps.shape[1];
        if (in_place)
            image.labels = static_cast<const std::uint8_t*>(map_data(maps, batch, map, 1));
        else
            narrow_map(maps, batch, map, settings, 0, bytes);
        float* const to = out + item * voxels;
        if (!kernels().distance_transform(image, metric, team, to))
            std::fill(to, to + voxels, std::numeric_limits<float>::infinity());
    });
}

}  // namespace boundaryloss
