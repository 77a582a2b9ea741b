#include "engine/interpreter/x87/rows.h"

#include <vector>

namespace doppel::interpreter {

std::span<const BindRow> x87_rows() {
  static const std::vector<BindRow> all = [] {
    std::vector<BindRow> rows;
    for (auto part : {x87_arithmetic_rows(), x87_compare_rows(), x87_load_store_rows(), x87_move_rows(),
                      x87_integer_rows(), x87_bcd_rows(), x87_transcendental_rows(), x87_control_rows(),
                      x87_environment_rows(), fxsave_rows(), xsave_rows()})
      rows.insert(rows.end(), part.begin(), part.end());
    return rows;
  }();
  return all;
}

}  // namespace doppel::interpreter
