// The Python face of the kernels: checks nothing that Python has not checked, holds no lock while it works.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/array.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <stdexcept>
#include <string>

#include "components.h"
#include "contours.h"
#include "distance.h"
#include "kernels.h"

namespace nb = nanobind;
using namespace boundaryloss;

namespace {

using Maps = nb::ndarray<nb::ro, nb::ndim<5>, nb::device::cpu>;
using Masks = nb::ndarray<const bool, nb::ndim<4>, nb::c_contig, nb::device::cpu>;
using Sizes = nb::ndarray<const float, nb::ndim<3>, nb::c_contig, nb::device::cpu>;
using Result = nb::ndarray<float, nb::c_contig, nb::device::cpu>;
using Ids = nb::ndarray<std::int32_t, nb::c_contig, nb::device::cpu>;

LabelType label_type(nb::dlpack::dtype type) {
    if (type == nb::dtype<bool>() || type == nb::dtype<std::uint8_t>()) return LabelType::uint8;
    if (type == nb::dtype<std::int8_t>()) return LabelType::int8;
    if (type == nb::dtype<std::int16_t>()) return LabelType::int16;
    if (type == nb::dtype<std::int32_t>()) return LabelType::int32;
    if (type == nb::dtype<std::int64_t>()) return LabelType::int64;
    throw std::invalid_argument("labels of this type are not supported");
}

LabelMaps as_label_maps(const Maps& maps) {
    LabelMaps result{maps.data(), label_type(maps.dtype()), {}, {}};
    for (std::size_t axis = 0; axis < 5; ++axis) {
        result.shape[axis] = maps.shape(axis);
        result.strides[axis] = maps.stride(axis);
    }
    return result;
}

Contour as_contour(const std::string& name) {
    if (name == "faces") return Contour::faces;
    if (name == "centers") return Contour::centers;
    if (name == "surfels") return Contour::surfels;
    throw std::invalid_argument("there is no contour " + name);
}

}  // namespace

NB_MODULE(_native, m) {
    m.def(
        "signed_distance",
        [](const Maps& maps, Result out, std::int64_t num_classes, std::int64_t first_class,
           std::optional<std::int64_t> ignored, std::array<double, 3> spacing, double face_offset,
           int threads) {
            const LabelMaps labels = as_label_maps(maps);
            const Settings settings{num_classes, first_class, ignored, spacing, face_offset, threads};
            nb::gil_scoped_release release;
            return signed_distance(labels, settings, out.data());
        },
        nb::arg("maps"), nb::arg("out"), nb::arg("num_classes"), nb::arg("first_class"),
        nb::arg("ignored").none(), nb::arg("spacing"), nb::arg("face_offset"), nb::arg("threads"));
    m.def(
        "distance_transform",
        [](const Maps& maps, Result out, std::array<double, 3> spacing, int threads) {
            const LabelMaps labels = as_label_maps(maps);
            const Settings settings{2, 0, std::nullopt, spacing, 0.0, threads};
            nb::gil_scoped_release release;
            distance_transform(labels, settings, out.data());
        },
        nb::arg("maps"), nb::arg("out"), nb::arg("spacing"), nb::arg("threads"));
    m.def(
        "components",
        [](const Masks& masks, Ids out, int threads) {
            const auto* bytes = reinterpret_cast<const std::uint8_t*>(masks.data());
            const std::array shape{masks.shape(1), masks.shape(2), masks.shape(3)};
            nb::gil_scoped_release release;
            components(bytes, masks.shape(0), shape, threads, out.data());
        },
        nb::arg("masks"), nb::arg("out"), nb::arg("threads"));
    m.def(
        "component_factors",
        [](const Sizes& sizes, Ids numbers, double most, int threads, Result out) {
            nb::gil_scoped_release release;
            component_factors(sizes.data(), numbers.data(), sizes.shape(0), sizes.shape(1), sizes.shape(2),
                              most, threads, out.data());
        },
        nb::arg("sizes"), nb::arg("numbers"), nb::arg("most"), nb::arg("threads"), nb::arg("out"));
    m.def(
        "contour_distances",
        [](const Maps& predictions, const Maps& truths, std::size_t batch, std::size_t map,
           std::int64_t label, const std::string& contour, bool flat, std::array<double, 3> spacing,
           std::vector<double> areas, double tolerance, int threads) {
            const LabelMaps predicted = as_label_maps(predictions), true_maps = as_label_maps(truths);
            const ContourSettings settings{as_contour(contour), flat,      spacing,
                                           std::move(areas),    tolerance, threads};
            ContourComparison found;
            {
                nb::gil_scoped_release release;
                found = contour_distances(predicted, true_maps, batch, map, label, settings);
            }
            return nb::make_tuple(found.to_truth.distances, found.to_truth.areas,
                                  found.to_prediction.distances, found.to_prediction.areas, found.band_shared,
                                  found.band_either);
        },
        nb::arg("predictions"), nb::arg("truths"), nb::arg("batch"), nb::arg("map"), nb::arg("label"),
        nb::arg("contour"), nb::arg("flat"), nb::arg("spacing"), nb::arg("areas"), nb::arg("tolerance"),
        nb::arg("threads"));
    // For tests and benchmarks: the levels, the best one last, and the choice of one for the whole process.
    m.def("levels", [] {
        nb::list names;
        for (const Level& level : levels()) names.append(level.name);
        return names;
    });
    m.def("use_level", [](const std::string& name) {
        for (std::size_t index = 0; index < levels().size(); ++index)
            if (levels()[index].name == name) return use_level(index);
        throw std::invalid_argument("this processor or this build has no level " + name);
    });
}
