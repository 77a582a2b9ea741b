// The tables that x87_rows() joins, one per file.
#pragma once

#include "engine/interpreter/bind.h"

namespace doppel::interpreter {

std::span<const BindRow> x87_arithmetic_rows();
std::span<const BindRow> x87_compare_rows();
std::span<const BindRow> x87_load_store_rows();
std::span<const BindRow> x87_move_rows();
std::span<const BindRow> x87_integer_rows();
std::span<const BindRow> x87_bcd_rows();
std::span<const BindRow> x87_transcendental_rows();
std::span<const BindRow> x87_control_rows();
std::span<const BindRow> x87_environment_rows();
std::span<const BindRow> fxsave_rows();
std::span<const BindRow> xsave_rows();

}  // namespace doppel::interpreter
