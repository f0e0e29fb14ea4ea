// Distances between contours, on bits: a bit a voxel, and a bit a point of the grid on which contours lie.
//
//   pack     both masks, cut to the box around them, with a margin of zeros
//   grid     the points of each contour: every second point lies between voxels, the others at their centres
//   search   for every point of one contour, the nearest of the other: rows of the grid by their distance, in
//            each the next bit on either side, until no row can hold a nearer one. It begins with what was
//            nearest to the point before, and to the one in the row before: contours are smooth
//   tally    distances that occur often are few: the area at each
//
// A face's nearest point to a point of the half-voxel grid lies between voxels along every axis, or at the
// point's own coordinate. So "faces" looks at every second row only, and at its own.
#include "contours.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

#include "team.h"

namespace boundaryloss {

namespace {

using Word = std::uint64_t;
using std::size_t;

constexpr size_t voxels_per_thread = 1 << 16;

struct Range {
    int first = std::numeric_limits<int>::max(), last = -1;
    bool empty() const { return last < 0; }
    int size() const { return empty() ? 0 : last - first + 1; }
    void add(int at) { first = std::min(first, at), last = std::max(last, at); }
    void add(const Range& other) { first = std::min(first, other.first), last = std::max(last, other.last); }
    int gap(int at) const { return std::max({first - at, at - last, 0}); }
};

// Rows of bits, each with a spare word at its end.
class Bits {
public:
    Bits(size_t planes, size_t rows, size_t width)
        : planes(planes), rows(rows), words(width / 64 + 2), data_(planes * rows * words) {}
    Word* row(size_t plane, size_t row) { return &data_[(plane * rows + row) * words]; }
    const Word* row(size_t plane, size_t row) const { return &data_[(plane * rows + row) * words]; }

    size_t planes, rows, words;

private:
    std::vector<Word> data_;
};

bool bit(const Word* row, unsigned at) { return row[at / 64] >> (at % 64) & 1; }

// The bits from at - 32 to at + 31.
Word window(const Word* row, unsigned at) {
    if (at < 32) return row[0] << (32 - at);
    const unsigned first = (at - 32) / 64, shift = (at - 32) % 64;
    return shift ? row[first] >> shift | row[first + 1] << (64 - shift) : row[first];
}

Range range_of(const Word* row, size_t words) {
    Range range;
    for (size_t w = 0; w < words; ++w) {
        if (!row[w]) continue;
        range.add(static_cast<int>(64 * w) + std::countr_zero(row[w]));
        range.add(static_cast<int>(64 * w) + 63 - std::countl_zero(row[w]));
    }
    return range;
}

// ---- pack

// Which of the next 8 bytes are `label`.
Word eight_equal(const std::uint8_t* bytes, std::uint8_t label) {
    constexpr Word ones = 0x0101010101010101u, low = 0x7f * ones;
    Word word;
    std::memcpy(&word, bytes, 8);
    if constexpr (std::endian::native == std::endian::big) word = __builtin_bswap64(word);
    word ^= ones * label;
    const Word zeros = ~(((word & low) + low) | word | low) >> 7;
    return zeros * 0x0102040810204080u >> 56;
}

template <class T>
Word up_to_64(const T* row, std::ptrdiff_t step, size_t count, T label) {
    Word word = 0;
    size_t x = 0;
    if constexpr (sizeof(T) == 1)
        if (step == 1)
            for (; x + 8 <= count; x += 8)
                word |= eight_equal(reinterpret_cast<const std::uint8_t*>(row) + x, label) << x;
    for (; x < count; ++x) word |= Word{row[static_cast<std::ptrdiff_t>(x) * step] == label} << x;
    return word;
}

// Bit x + 1 of a row stands for voxel x.
template <class T>
Bits pack(const LabelMaps& maps, size_t batch, size_t map, std::int64_t label, Team& team) {
    const size_t depth = maps.shape[2], rows = maps.shape[3], width = maps.shape[4];
    Bits bits(depth, rows, width + 1);
    if (static_cast<std::int64_t>(static_cast<T>(label)) != label) return bits;
    const T* const voxels = static_cast<const T*>(maps.data) +
                            static_cast<std::ptrdiff_t>(batch) * maps.strides[0] +
                            static_cast<std::ptrdiff_t>(map) * maps.strides[1];
    const std::ptrdiff_t step = maps.strides[4];
    team.each(depth, [&](size_t z, int) {
        for (size_t y = 0; y < rows; ++y) {
            const T* const row = voxels + static_cast<std::ptrdiff_t>(z) * maps.strides[2] +
                                 static_cast<std::ptrdiff_t>(y) * maps.strides[3];
            Word carry = 0, *out = bits.row(z, y);
            for (size_t x = 0; x < width; x += 64) {
                const Word word = up_to_64(row + static_cast<std::ptrdiff_t>(x) * step, step,
                                           std::min<size_t>(64, width - x), static_cast<T>(label));
                *out++ = word << 1 | carry;
                carry = word >> 63;
            }
            *out = carry;
        }
    });
    return bits;
}

Bits pack(const LabelMaps& maps, size_t batch, size_t map, std::int64_t label, Team& team) {
    switch (maps.type) {
        case LabelType::uint8:
            return pack<std::uint8_t>(maps, batch, map, label, team);
        case LabelType::int8:
            return pack<std::int8_t>(maps, batch, map, label, team);
        case LabelType::int16:
            return pack<std::int16_t>(maps, batch, map, label, team);
        case LabelType::int32:
            return pack<std::int32_t>(maps, batch, map, label, team);
        default:
            return pack<std::int64_t>(maps, batch, map, label, team);
    }
}

struct Box {
    Range z, y, x;
    void add(const Bits& bits) {
        for (size_t plane = 0; plane < bits.planes; ++plane)
            for (size_t row = 0; row < bits.rows; ++row) {
                const Range range = range_of(bits.row(plane, row), bits.words);
                if (range.empty()) continue;
                z.add(static_cast<int>(plane)), y.add(static_cast<int>(row)), x.add(range);
            }
    }
};

// What lies in the box, with a voxel of nothing around it.
Bits cut(const Bits& bits, const Box& box) {
    Bits result(box.z.size() + 2, box.y.size() + 2, box.x.size() + 2);
    const size_t skipped = (box.x.first - 1) / 64, shift = (box.x.first - 1) % 64;
    for (int z = 0; z < box.z.size(); ++z)
        for (int y = 0; y < box.y.size(); ++y) {
            const Word* const from = bits.row(box.z.first + z, box.y.first + y) + skipped;
            Word* const to = result.row(z + 1, y + 1);
            const size_t count = std::min(result.words, bits.words - skipped);
            for (size_t w = 0; w < count; ++w) {
                const Word next = w + 1 < count ? from[w + 1] : 0;
                to[w] = shift ? from[w] >> shift | next << (64 - shift) : from[w];
            }
        }
    return result;
}

// ---- grid

// Points along an axis of n voxels in half voxels: even ones lie between voxels, odd ones at centres.
struct Axis {
    int first, stride, count;
    int at(int index) const { return first + stride * index; }
};

Axis axis_of(size_t voxels, Contour contour, bool none) {
    const int n = static_cast<int>(voxels);
    if (none) return {1, 2, 1};
    if (contour == Contour::faces) return {0, 1, 2 * n + 1};
    return contour == Contour::surfels ? Axis{0, 2, n + 1} : Axis{1, 2, n};
}

// Of the voxels with a margin, those before and after a point; one and the same at a centre.
int before(int at) { return (at + 1) / 2; }
int after(int at) { return at / 2 + 1; }

// Bit k goes to 2 k.
Word spread(Word half) {
    half &= 0xffffffffu;
    half = (half | half << 16) & 0x0000ffff0000ffffu;
    half = (half | half << 8) & 0x00ff00ff00ff00ffu;
    half = (half | half << 4) & 0x0f0f0f0f0f0f0f0fu;
    half = (half | half << 2) & 0x3333333333333333u;
    return (half | half << 1) & 0x5555555555555555u;
}

struct Around {  // the rows of voxels around a row of points
    const Word* rows[4];
    Around(const Bits& mask, int z, int y)
        : rows{mask.row(before(z), before(y)), mask.row(before(z), after(y)), mask.row(after(z), before(y)),
               mask.row(after(z), after(y))} {}
    unsigned code(unsigned x) const {
        unsigned result = 0;
        for (const Word* row : rows) result = result << 2 | bit(row, (x + 1) / 2) << 1 | bit(row, x / 2 + 1);
        return result;
    }
};

class Grid {
public:
    Grid(const Bits& mask, Contour contour, bool flat, Team& team)
        : mask(mask),
          z(axis_of(mask.planes - 2, contour, flat)),
          y(axis_of(mask.rows - 2, contour, false)),
          // The width is a row's of the mask, its words' worth at most.
          x_stride(contour == Contour::faces ? 1 : 2),
          x_first(contour == Contour::centers ? 1 : 0),
          points(z.count, y.count, 64 * mask.words * (contour == Contour::faces ? 2 : 1)),
          in_row(points.planes * points.rows),
          in_plane(points.planes) {
        team.each(points.planes, [&](size_t plane, int) {
            for (size_t row = 0; row < points.rows; ++row) {
                const int z_at = z.at(static_cast<int>(plane)), y_at = y.at(static_cast<int>(row));
                Word* const out = points.row(plane, row);
                contour == Contour::centers ? fill_rim(before(z_at), before(y_at), flat, out)
                                            : fill(Around(mask, z_at, y_at), contour, out);
                const Range range = range_of(out, points.words);
                in_row[plane * points.rows + row] = range;
                if (!range.empty()) in_plane[plane].add(static_cast<int>(row));
            }
        });
        for (size_t plane = 0; plane < points.planes; ++plane)
            if (!in_plane[plane].empty()) planes.add(static_cast<int>(plane));
    }

    const Bits& mask;
    Axis z, y;
    int x_stride, x_first;
    Bits points;
    std::vector<Range> in_row, in_plane;
    Range planes;

private:
    // A point belongs to a contour if the voxels around it differ.
    void fill(const Around& around, Contour contour, Word* out) const {
        auto some = [&](size_t w) {
            return around.rows[0][w] | around.rows[1][w] | around.rows[2][w] | around.rows[3][w];
        };
        auto every = [&](size_t w) {
            return around.rows[0][w] & around.rows[1][w] & around.rows[2][w] & around.rows[3][w];
        };
        for (size_t w = 0; w + 1 < mask.words; ++w) {
            const Word s = some(w), e = every(w);
            const Word next_s = s >> 1 | some(w + 1) << 63, next_e = e >> 1 | every(w + 1) << 63;
            const Word between = (s | next_s) & ~(e & next_e), centres = next_s & ~next_e;
            if (contour == Contour::surfels) {
                out[w] = between;
            } else {
                out[2 * w] = spread(between) | spread(centres) << 1;
                out[2 * w + 1] = spread(between >> 32) | spread(centres >> 32) << 1;
            }
        }
    }

    void fill_rim(int z, int y, bool flat, Word* out) const {
        const Word* const own = mask.row(z, y);
        for (size_t w = 0; w + 1 < mask.words; ++w) {
            auto shifted = [&](const Word* row) { return row[w] >> 1 | row[w + 1] << 63; };
            Word inside = own[w] & (own[w] >> 2 | own[w + 1] << 62) & shifted(mask.row(z, y - 1)) &
                          shifted(mask.row(z, y + 1));
            if (!flat) inside &= shifted(mask.row(z - 1, y)) & shifted(mask.row(z + 1, y));
            out[w] = shifted(own) & ~inside;
        }
    }
};

// ---- search

struct Point {
    int z, y, x;
};

class Search {
public:
    Search(const Grid& to, Contour contour, const std::array<double, 3>& spacing)
        : to_(to),
          every_(contour == Contour::faces ? 2 : 1),
          z_(squares(to.points.planes, spacing[0])),
          y_(squares(to.points.rows, spacing[1])),
          x_(squares(64 * to.points.words, spacing[2])),
          last_(64 * to.points.words, Point{-1, 0, 0}) {}

    // Squared distance of a point to the nearest.
    double operator()(const Point& from) {
        if (bit(to_.points.row(from.z, from.y), from.x)) return remember(from, 0);
        from_ = from;
        best_ = std::numeric_limits<double>::infinity();
        for (const Point& guess : {nearest_, last_[from.x]})
            if (guess.z >= 0) offer(z_[std::abs(guess.z - from.z)] + y_[std::abs(guess.y - from.y)], guess);
        each(from.z, to_.planes, z_, 0, [this](int z, double cost) {
            each(from_.y, to_.in_plane[z], y_, cost, [this, z](int y, double cost) { row(z, y, cost); });
        });
        return remember(nearest_, best_);
    }

private:
    static std::vector<double> squares(size_t count, double spacing) {
        std::vector<double> result(count);
        for (size_t k = 0; k < count; ++k) result[k] = (k * spacing) * (k * spacing);
        return result;
    }

    double remember(const Point& nearest, double squared) {
        nearest_ = last_[squared == 0 ? nearest.x : from_.x] = nearest;
        return squared;
    }

    void offer(double cost, const Point& point) {
        cost += x_[std::abs(point.x - from_.x)];
        if (cost < best_) best_ = cost, nearest_ = point;
    }

    // Calls visit(index, cost) for the indices in a range, the nearest first, while something can be nearer.
    template <class Visit>
    void each(int from, const Range& range, const std::vector<double>& costs, double cost, Visit visit) {
        if (range.empty()) return;
        int step = range.gap(from);
        if (step > 0 && every_ == 2 && (from + step) % 2) ++step;
        for (const int end = std::max(from - range.first, range.last - from); step <= end;) {
            const double sum = cost + costs[step];
            if (sum >= best_) return;
            if (from + step <= range.last && from + step >= range.first) visit(from + step, sum);
            if (step > 0 && from - step >= range.first && from - step <= range.last && sum < best_)
                visit(from - step, sum);
            step += step > 0 ? every_ : every_ - from % every_;
        }
    }

    // The next points in a row to the left and right: mostly there is none within 32, which settles it.
    void row(int z, int y, double cost) {
        const Word near = window(to_.points.row(z, y), from_.x);
        if (!near && cost + x_[std::min<size_t>(32, x_.size() - 1)] >= best_) return;
        if (near) {
            const Word left = near & 0x1ffffffffu, right = near >> 32;
            const int to_left = left ? std::countl_zero(left) - 31 : 64;
            const int to_right = right ? std::countr_zero(right) : 64;
            return offer(cost, {z, y, to_left < to_right ? from_.x - to_left : from_.x + to_right});
        }
        const Range& range = to_.in_row[z * to_.points.rows + y];
        if (range.empty() || cost + x_[range.gap(from_.x)] >= best_) return;
        const Word* const bits = to_.points.row(z, y);
        if (const int start = std::min(from_.x, range.last); start >= range.first) {
            int w = start / 64;
            Word word = bits[w] & ~Word{0} >> (63 - start % 64);
            while (!word && 64 * w > range.first && cost + x_[from_.x - 64 * w + 1] < best_) word = bits[--w];
            if (word) offer(cost, {z, y, 64 * w + 63 - std::countl_zero(word)});
        }
        if (const int start = std::max(from_.x, range.first); start <= range.last) {
            int w = start / 64;
            Word word = bits[w] & ~Word{0} << start % 64;
            while (!word && 64 * w + 63 < range.last && cost + x_[64 * w + 64 - from_.x] < best_)
                word = bits[++w];
            if (word) offer(cost, {z, y, 64 * w + std::countr_zero(word)});
        }
    }

    const Grid& to_;
    const int every_;
    const std::vector<double> z_, y_, x_;
    std::vector<Point> last_;  // what was nearest to the last point that was asked for at an x
    Point nearest_{-1, 0, 0}, from_{};
    double best_ = 0;
};

// ---- tally

// Sums of whole numbers, so that threads may add in any order.
class Tally {
public:
    void add(double key, std::int64_t area) {
        if (key == 0) {
            zero_ += area;
            return;
        }
        if (2 * used_ >= keys_.size()) grow();
        const auto code = std::bit_cast<Word>(key);
        size_t slot = (code * 0x9e3779b97f4a7c15u >> 32) & (keys_.size() - 1);
        while (keys_[slot] != 0 && keys_[slot] != key) slot = (slot + 1) & (keys_.size() - 1);
        if (keys_[slot] == 0) keys_[slot] = key, ++used_;
        areas_[slot] += area;
    }

    void add(const Tally& other) {
        zero_ += other.zero_;
        for (size_t slot = 0; slot < other.keys_.size(); ++slot)
            if (other.keys_[slot] != 0) add(other.keys_[slot], other.areas_[slot]);
    }

    Spectrum spectrum(double unit) const {
        std::vector<size_t> order;
        for (size_t slot = 0; slot < keys_.size(); ++slot)
            if (keys_[slot] != 0) order.push_back(slot);
        std::sort(order.begin(), order.end(), [this](size_t a, size_t b) { return keys_[a] < keys_[b]; });
        Spectrum result;
        auto put = [&](double squared, std::int64_t area) {
            result.distances.push_back(std::sqrt(squared));
            result.areas.push_back(static_cast<double>(area) * unit);
        };
        if (zero_) put(0, zero_);
        for (size_t slot : order) put(keys_[slot], areas_[slot]);
        return result;
    }

private:
    void grow() {
        Tally larger;
        larger.zero_ = zero_;
        larger.keys_.resize(std::max<size_t>(1024, 4 * keys_.size()));
        larger.areas_.resize(larger.keys_.size());
        for (size_t slot = 0; slot < keys_.size(); ++slot)
            if (keys_[slot] != 0) larger.add(keys_[slot], areas_[slot]);
        *this = std::move(larger);
    }

    std::vector<double> keys_;  // 0: free
    std::vector<std::int64_t> areas_;
    std::int64_t zero_ = 0;
    size_t used_ = 0;
};

Spectrum measure(const Grid& from, const Grid& to, const ContourSettings& settings, Team& team) {
    const double largest = *std::max_element(settings.areas.begin(), settings.areas.end());
    const double unit = std::ldexp(1.0, std::ilogb(largest) - 30);
    std::array<std::int64_t, 256> areas;
    for (size_t code = 0; code < 256; ++code) areas[code] = std::llround(settings.areas[code] / unit);
    std::array<double, 3> spacing = settings.spacing;
    if (settings.contour == Contour::faces)
        for (double& step : spacing) step /= 2;

    std::vector<Tally> tallies(team.size());
    std::vector<Search> searches(team.size(), Search(to, settings.contour, spacing));
    const bool reachable = !to.planes.empty();
    team.each(from.points.planes, [&](size_t plane, int worker) {
        const int z = static_cast<int>(plane);
        for (int y = from.in_plane[z].first; y <= from.in_plane[z].last; ++y) {
            const Around around(from.mask, from.z.at(z), from.y.at(y));
            const Word* const row = from.points.row(z, y);
            const Range& range = from.in_row[z * from.points.rows + y];
            for (int w = range.first / 64; !range.empty() && w <= range.last / 64; ++w)
                for (Word word = row[w]; word; word &= word - 1) {
                    const int x = 64 * w + std::countr_zero(word);
                    const double squared =
                        reachable ? searches[worker]({z, y, x}) : std::numeric_limits<double>::infinity();
                    tallies[worker].add(squared, areas[around.code(from.x_first + from.x_stride * x)]);
                }
        }
    });
    for (size_t worker = 1; worker < tallies.size(); ++worker) tallies[0].add(tallies[worker]);
    return tallies[0].spectrum(unit);
}

// ---- bands

// Rows of a band's reach: how far to both sides within `tolerance` of a voxel's centre voxels begin.
struct Reach {
    int z, y, x;
};

std::vector<Reach> reaches(const ContourSettings& settings, const Bits& mask) {
    auto cost = [](int k, double spacing) {
        const double steps = std::max(std::abs(k) - 0.5, 0.0) * spacing;
        return steps * steps;
    };
    const double limit = settings.tolerance * settings.tolerance;
    const auto& [sz, sy, sx] = settings.spacing;
    auto farthest = [&](double spent, double spacing, size_t size) {
        const double steps = std::sqrt(limit - spent) / spacing + 0.5;
        int k = static_cast<int>(std::min<double>(steps, static_cast<double>(size)));
        while (k > 0 && spent + cost(k, spacing) > limit) --k;
        while (k < static_cast<int>(size) && spent + cost(k + 1, spacing) <= limit) ++k;
        return k;
    };
    std::vector<Reach> result;
    const int most_z = settings.flat ? 0 : farthest(0, sz, mask.planes);
    for (int z = -most_z; z <= most_z; ++z) {
        const int most_y = farthest(cost(z, sz), sy, mask.rows);
        for (int y = -most_y; y <= most_y; ++y)
            result.push_back({z, y, farthest(cost(z, sz) + cost(y, sy), sx, 64 * mask.words)});
    }
    // The farthest first: they empty a small object at once.
    std::sort(result.begin(), result.end(), [](const Reach& a, const Reach& b) {
        return std::abs(a.z) + std::abs(a.y) > std::abs(b.z) + std::abs(b.y);
    });
    return result;
}

// row[x] and both row[x - step], row[x + step].
void shrink(const Word* row, int step, size_t words, Word* out) {
    const size_t whole = step / 64, part = step % 64;
    auto at = [&](std::ptrdiff_t w) { return w < 0 || w >= static_cast<std::ptrdiff_t>(words) ? 0 : row[w]; };
    for (size_t i = 0; i < words; ++i) {
        const auto w = static_cast<std::ptrdiff_t>(i), jump = static_cast<std::ptrdiff_t>(whole);
        const Word left = at(w - jump) << part | (part ? at(w - jump - 1) >> (64 - part) : 0);
        const Word right = at(w + jump) >> part | (part ? at(w + jump + 1) << (64 - part) : 0);
        out[i] = row[i] & left & right;
    }
}

class Band {
public:
    Band(const Bits& mask, const std::vector<Reach>& reaches)
        : mask_(mask), reaches_(reaches), other_(mask.words) {}

    // The voxels of a row within reach of what is not in the mask.
    const std::vector<Word>& row(int z, int y) {
        const Word* const own = mask_.row(z, y);
        deep_.assign(own, own + mask_.words);
        for (const Reach& reach : reaches_) {
            if (std::none_of(deep_.begin(), deep_.end(), [](Word word) { return word != 0; })) break;
            const int z_at = z + reach.z, y_at = y + reach.y;
            const bool outside = z_at < 0 || y_at < 0 || z_at >= static_cast<int>(mask_.planes) ||
                                 y_at >= static_cast<int>(mask_.rows);
            if (outside) {
                std::fill(deep_.begin(), deep_.end(), 0);
                break;
            }
            const Word* const source = mask_.row(z_at, y_at);
            row_.assign(source, source + mask_.words);
            for (int done = 0; done < reach.x;) {
                const int step = std::min(2 * done + 1, reach.x - done);
                shrink(row_.data(), step, mask_.words, other_.data());
                row_.swap(other_);
                done += step;
            }
            for (size_t w = 0; w < mask_.words; ++w) deep_[w] &= row_[w];
        }
        for (size_t w = 0; w < mask_.words; ++w) deep_[w] = own[w] & ~deep_[w];
        return deep_;
    }

private:
    const Bits& mask_;
    const std::vector<Reach>& reaches_;
    std::vector<Word> row_, other_, deep_;
};

void compare_bands(const Bits& one, const Bits& other, const ContourSettings& settings, Team& team,
                   ContourComparison& result) {
    const std::vector<Reach> reach = reaches(settings, one);
    std::vector<std::int64_t> shared(one.planes), either(one.planes);
    team.each(one.planes, [&](size_t z, int) {
        Band first(one, reach), second(other, reach);
        for (size_t y = 1; y + 1 < one.rows; ++y) {
            const auto& a = first.row(static_cast<int>(z), static_cast<int>(y));
            const auto& b = second.row(static_cast<int>(z), static_cast<int>(y));
            for (size_t w = 0; w < one.words; ++w) {
                shared[z] += std::popcount(a[w] & b[w]);
                either[z] += std::popcount(a[w] | b[w]);
            }
        }
    });
    result.band_shared = std::accumulate(shared.begin(), shared.end(), std::int64_t{0});
    result.band_either = std::accumulate(either.begin(), either.end(), std::int64_t{0});
}

}  // namespace

ContourComparison contour_distances(const LabelMaps& predictions, const LabelMaps& truths, size_t batch,
                                    size_t map, std::int64_t label, const ContourSettings& settings) {
    const size_t voxels = truths.shape[2] * truths.shape[3] * truths.shape[4];
    const size_t worth = std::max<size_t>(voxels / voxels_per_thread, 1);
    Team team(static_cast<int>(std::min<size_t>(std::max(settings.threads, 1), worth)));

    std::vector<Bits> masks;
    {
        const Bits prediction = pack(predictions, batch, map, label, team);
        const Bits truth = pack(truths, batch, map, label, team);
        Box box;
        box.add(prediction);
        box.add(truth);
        if (box.z.empty()) return {};
        for (const Bits* bits : {&prediction, &truth}) masks.push_back(cut(*bits, box));
    }
    const Grid prediction(masks[0], settings.contour, settings.flat, team);
    const Grid truth(masks[1], settings.contour, settings.flat, team);
    ContourComparison result{};
    result.to_truth = measure(prediction, truth, settings, team);
    result.to_prediction = measure(truth, prediction, settings, team);
    compare_bands(masks[0], masks[1], settings, team, result);
    return result;
}

}  // namespace boundaryloss
