// Which binder serves which string instruction. INS and OUTS are in system/.
#include "engine/interpreter/strings/binders.h"

namespace doppel::interpreter {
namespace {

constexpr BindRow rows[] = {
    {ZYDIS_MNEMONIC_MOVSB, bind_movsb}, {ZYDIS_MNEMONIC_MOVSW, bind_movsw}, {ZYDIS_MNEMONIC_MOVSD, bind_movsd},
    {ZYDIS_MNEMONIC_MOVSQ, bind_movsq}, {ZYDIS_MNEMONIC_STOSB, bind_stosb}, {ZYDIS_MNEMONIC_STOSW, bind_stosw},
    {ZYDIS_MNEMONIC_STOSD, bind_stosd}, {ZYDIS_MNEMONIC_STOSQ, bind_stosq}, {ZYDIS_MNEMONIC_LODSB, bind_lodsb},
    {ZYDIS_MNEMONIC_LODSW, bind_lodsw}, {ZYDIS_MNEMONIC_LODSD, bind_lodsd}, {ZYDIS_MNEMONIC_LODSQ, bind_lodsq},
    {ZYDIS_MNEMONIC_SCASB, bind_scasb}, {ZYDIS_MNEMONIC_SCASW, bind_scasw}, {ZYDIS_MNEMONIC_SCASD, bind_scasd},
    {ZYDIS_MNEMONIC_SCASQ, bind_scasq}, {ZYDIS_MNEMONIC_CMPSB, bind_cmpsb}, {ZYDIS_MNEMONIC_CMPSW, bind_cmpsw},
    {ZYDIS_MNEMONIC_CMPSD, bind_cmpsd}, {ZYDIS_MNEMONIC_CMPSQ, bind_cmpsq},
};

}  // namespace

std::span<const BindRow> string_rows() { return rows; }

}  // namespace doppel::interpreter
