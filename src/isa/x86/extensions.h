// Which instruction-set extensions a CPU model has: an encoding of any other is an invalid opcode.
#pragma once

#include <Zydis/MetaInfo.h>
#include <Zydis/Mnemonic.h>

#include "isa/x86/cpu_model.h"

namespace doppel::x86 {

// 128-bit VPCLMULQDQ and VAES* need the older extension beside AVX, which the decoder's sets tell only of AES.
constexpr bool is_supported(const CpuModel& model, ZydisISASet set, ZydisMnemonic mnemonic) {
  switch (set) {
    case ZYDIS_ISA_SET_CLFLUSHOPT:
    case ZYDIS_ISA_SET_CLFSH:
    case ZYDIS_ISA_SET_CMOV:
    case ZYDIS_ISA_SET_CMPXCHG16B:
    case ZYDIS_ISA_SET_FAT_NOP:
    case ZYDIS_ISA_SET_FCMOV:
    case ZYDIS_ISA_SET_FXSAVE:
    case ZYDIS_ISA_SET_FXSAVE64:
    case ZYDIS_ISA_SET_I186:
    case ZYDIS_ISA_SET_I286PROTECTED:
    case ZYDIS_ISA_SET_I286REAL:
    case ZYDIS_ISA_SET_I386:
    case ZYDIS_ISA_SET_I486:
    case ZYDIS_ISA_SET_I486REAL:
    case ZYDIS_ISA_SET_I86:
    case ZYDIS_ISA_SET_INVPCID:
    case ZYDIS_ISA_SET_LAHF:
    case ZYDIS_ISA_SET_LONGMODE:
    case ZYDIS_ISA_SET_PAUSE:
    case ZYDIS_ISA_SET_PENTIUMMMX:
    case ZYDIS_ISA_SET_PENTIUMREAL:
    case ZYDIS_ISA_SET_POPCNT:
    case ZYDIS_ISA_SET_PPRO:
    case ZYDIS_ISA_SET_PREFETCH_NOP:
    case ZYDIS_ISA_SET_RDPMC:
    case ZYDIS_ISA_SET_RDTSCP:
    case ZYDIS_ISA_SET_RDWRFSGS:
    case ZYDIS_ISA_SET_SMAP:
    case ZYDIS_ISA_SET_SSE:
    case ZYDIS_ISA_SET_SSE2:
    case ZYDIS_ISA_SET_SSE2MMX:
    case ZYDIS_ISA_SET_SSE3:
    case ZYDIS_ISA_SET_SSE3X87:
    case ZYDIS_ISA_SET_SSE4:
    case ZYDIS_ISA_SET_SSE42:
    case ZYDIS_ISA_SET_SSEMXCSR:
    case ZYDIS_ISA_SET_SSE_PREFETCH:
    case ZYDIS_ISA_SET_SSSE3:
    case ZYDIS_ISA_SET_SSSE3MMX:
    case ZYDIS_ISA_SET_X87:
    case ZYDIS_ISA_SET_XSAVE:
    case ZYDIS_ISA_SET_XSAVEC:
    case ZYDIS_ISA_SET_XSAVEOPT: return true;
    case ZYDIS_ISA_SET_ADOX_ADCX: return model.has(Feature::adx);
    case ZYDIS_ISA_SET_AES: return model.has(Feature::aes);
    case ZYDIS_ISA_SET_AVX:
      return model.has(Feature::avx) && (mnemonic != ZYDIS_MNEMONIC_VPCLMULQDQ || model.has(Feature::pclmulqdq));
    case ZYDIS_ISA_SET_AVX2:
    case ZYDIS_ISA_SET_AVX2GATHER: return model.has(Feature::avx2);
    case ZYDIS_ISA_SET_AVXAES: return model.has(Feature::avx) && model.has(Feature::aes);
    case ZYDIS_ISA_SET_AVX_GFNI: return model.has(Feature::avx) && model.has(Feature::gfni);
    case ZYDIS_ISA_SET_BMI1: return model.has(Feature::bmi1);
    case ZYDIS_ISA_SET_BMI2: return model.has(Feature::bmi2);
    case ZYDIS_ISA_SET_F16C: return model.has(Feature::f16c);
    case ZYDIS_ISA_SET_FMA: return model.has(Feature::fma);
    case ZYDIS_ISA_SET_GFNI: return model.has(Feature::gfni);
    case ZYDIS_ISA_SET_LZCNT: return model.has(Feature::lzcnt);
    case ZYDIS_ISA_SET_MOVBE: return model.has(Feature::movbe);
    case ZYDIS_ISA_SET_PCLMULQDQ: return model.has(Feature::pclmulqdq);
    case ZYDIS_ISA_SET_RDRAND: return model.has(Feature::rdrand);
    case ZYDIS_ISA_SET_RDSEED: return model.has(Feature::rdseed);
    case ZYDIS_ISA_SET_SHA: return model.has(Feature::sha);
    case ZYDIS_ISA_SET_VAES: return model.has(Feature::vaes);
    case ZYDIS_ISA_SET_VPCLMULQDQ: return model.has(Feature::vpclmulqdq);
    default: return false;
  }
}

}  // namespace doppel::x86
