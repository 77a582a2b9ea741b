// Which binder serves which mnemonic.
#include "engine/interpreter/system/handlers.h"

namespace doppel::interpreter {
namespace {

// Always invalid on this processor; bound so that the tables say so.
Binding bind_undefined(const x86::Instruction&, Op&) { return {execute_invalid_opcode, true}; }

constexpr BindRow system_table[] = {
    // MOV, PUSH and POP: the forms with segment, control and debug registers; the binder refuses the others.
    {ZYDIS_MNEMONIC_MOV, bind_mov_system},
    {ZYDIS_MNEMONIC_PUSH, bind_push_segment},
    {ZYDIS_MNEMONIC_POP, bind_pop_segment},
    {ZYDIS_MNEMONIC_LDS, bind_load_far_pointer},
    {ZYDIS_MNEMONIC_LES, bind_load_far_pointer},
    {ZYDIS_MNEMONIC_LFS, bind_load_far_pointer},
    {ZYDIS_MNEMONIC_LGS, bind_load_far_pointer},
    {ZYDIS_MNEMONIC_LSS, bind_load_far_pointer},
    {ZYDIS_MNEMONIC_RDFSBASE, bind_fsgsbase},
    {ZYDIS_MNEMONIC_RDGSBASE, bind_fsgsbase},
    {ZYDIS_MNEMONIC_WRFSBASE, bind_fsgsbase},
    {ZYDIS_MNEMONIC_WRGSBASE, bind_fsgsbase},
    {ZYDIS_MNEMONIC_SWAPGS, bind_swapgs},

    {ZYDIS_MNEMONIC_CLTS, bind_machine_status},
    {ZYDIS_MNEMONIC_LMSW, bind_machine_status},
    {ZYDIS_MNEMONIC_SMSW, bind_machine_status},
    {ZYDIS_MNEMONIC_INVLPG, bind_cache_and_tlb},
    {ZYDIS_MNEMONIC_INVPCID, bind_cache_and_tlb},
    {ZYDIS_MNEMONIC_INVD, bind_cache_and_tlb},
    {ZYDIS_MNEMONIC_WBINVD, bind_cache_and_tlb},

    {ZYDIS_MNEMONIC_LGDT, bind_descriptor_table},
    {ZYDIS_MNEMONIC_LIDT, bind_descriptor_table},
    {ZYDIS_MNEMONIC_SGDT, bind_descriptor_table},
    {ZYDIS_MNEMONIC_SIDT, bind_descriptor_table},
    {ZYDIS_MNEMONIC_LLDT, bind_task_and_ldt},
    {ZYDIS_MNEMONIC_LTR, bind_task_and_ldt},
    {ZYDIS_MNEMONIC_SLDT, bind_task_and_ldt},
    {ZYDIS_MNEMONIC_STR, bind_task_and_ldt},
    {ZYDIS_MNEMONIC_LAR, bind_verify},
    {ZYDIS_MNEMONIC_LSL, bind_verify},
    {ZYDIS_MNEMONIC_VERR, bind_verify},
    {ZYDIS_MNEMONIC_VERW, bind_verify},
    {ZYDIS_MNEMONIC_ARPL, bind_arpl},

    {ZYDIS_MNEMONIC_CLI, bind_interrupt_flag},
    {ZYDIS_MNEMONIC_STI, bind_interrupt_flag},
    {ZYDIS_MNEMONIC_PUSHF, bind_pushf},
    {ZYDIS_MNEMONIC_PUSHFD, bind_pushf},
    {ZYDIS_MNEMONIC_PUSHFQ, bind_pushf},
    {ZYDIS_MNEMONIC_POPF, bind_popf},
    {ZYDIS_MNEMONIC_POPFD, bind_popf},
    {ZYDIS_MNEMONIC_POPFQ, bind_popf},
    {ZYDIS_MNEMONIC_CLAC, bind_access_check},
    {ZYDIS_MNEMONIC_STAC, bind_access_check},
    {ZYDIS_MNEMONIC_HLT, bind_halt},

    {ZYDIS_MNEMONIC_RDMSR, bind_msr},
    {ZYDIS_MNEMONIC_WRMSR, bind_msr},
    {ZYDIS_MNEMONIC_CPUID, bind_information},
    {ZYDIS_MNEMONIC_RDTSC, bind_information},
    {ZYDIS_MNEMONIC_RDTSCP, bind_information},
    {ZYDIS_MNEMONIC_RDPMC, bind_information},
    {ZYDIS_MNEMONIC_XGETBV, bind_information},
    {ZYDIS_MNEMONIC_XSETBV, bind_information},

    {ZYDIS_MNEMONIC_IN, bind_in},
    {ZYDIS_MNEMONIC_OUT, bind_out},
    {ZYDIS_MNEMONIC_INSB, bind_ins},
    {ZYDIS_MNEMONIC_INSW, bind_ins},
    {ZYDIS_MNEMONIC_INSD, bind_ins},
    {ZYDIS_MNEMONIC_OUTSB, bind_outs},
    {ZYDIS_MNEMONIC_OUTSW, bind_outs},
    {ZYDIS_MNEMONIC_OUTSD, bind_outs},

    {ZYDIS_MNEMONIC_RSM, bind_undefined},
    {ZYDIS_MNEMONIC_UD0, bind_undefined},
    {ZYDIS_MNEMONIC_UD1, bind_undefined},
    {ZYDIS_MNEMONIC_UD2, bind_undefined},
};

constexpr BindRow control_table[] = {
    // The far forms; the binder refuses the near ones.
    {ZYDIS_MNEMONIC_JMP, bind_far_jump},
    {ZYDIS_MNEMONIC_CALL, bind_far_call},
    {ZYDIS_MNEMONIC_RET, bind_far_return},
    {ZYDIS_MNEMONIC_IRET, bind_iret},
    {ZYDIS_MNEMONIC_IRETD, bind_iret},
    {ZYDIS_MNEMONIC_IRETQ, bind_iret},
    {ZYDIS_MNEMONIC_INT, bind_software_interrupt},
    {ZYDIS_MNEMONIC_INT1, bind_software_interrupt},
    {ZYDIS_MNEMONIC_INT3, bind_software_interrupt},
    {ZYDIS_MNEMONIC_INTO, bind_software_interrupt},
    {ZYDIS_MNEMONIC_BOUND, bind_bound},
    {ZYDIS_MNEMONIC_SYSCALL, bind_syscall},
    {ZYDIS_MNEMONIC_SYSRET, bind_syscall},
    {ZYDIS_MNEMONIC_SYSENTER, bind_sysenter},
    {ZYDIS_MNEMONIC_SYSEXIT, bind_sysenter},
};

}  // namespace

std::span<const BindRow> system_rows() { return system_table; }
std::span<const BindRow> control_rows() { return control_table; }

}  // namespace doppel::interpreter
