// Changes of the x87 unit's state as a whole, shared by FLDENV, FRSTOR, FXRSTOR and XRSTOR.
#pragma once

#include "engine/interpreter/x87/state.h"

namespace doppel::interpreter {

void initialize(Fpu& f);              // FINIT: everything but the registers' contents
void set_control(Fpu& f, u16 value);  // reserved bits dropped, ES and B brought up to date
void set_status(Fpu& f, u16 value);   // ES and B follow from the flags and the masks: set the control word first
u16 full_tag_word(const Fpu& f);      // two bits a register: valid, zero, special, empty
void set_full_tag_word(Fpu& f, u16 tags);

}  // namespace doppel::interpreter
