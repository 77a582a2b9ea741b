// The tables that sse_rows() joins, one per file.
#pragma once

#include "engine/interpreter/bind.h"

namespace doppel::interpreter {

std::span<const BindRow> sse_integer_rows();
std::span<const BindRow> sse_float_rows();
std::span<const BindRow> sse_convert_rows();
std::span<const BindRow> sse_move_rows();
std::span<const BindRow> sse_immediate_rows();
std::span<const BindRow> sse_string_rows();
std::span<const BindRow> sse_control_rows();
std::span<const BindRow> sse_sha_rows();

// CMPSD between vectors; the string instruction of that name is bound elsewhere.
Binding bind_cmpsd_vector(const x86::Instruction& instruction, Op& op);

}  // namespace doppel::interpreter
