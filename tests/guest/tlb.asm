; What must be gone from the TLB after each way of invalidation. What may stay is not asked about. Intel SDM vol. 3 §4.10 (edition 085).
; mode: long64
%include "guest.inc"
bits 64

PAGE0 equ TEST_PAGES
PAGE1 equ TEST_PAGES + 0x1000
PAGE2 equ TEST_PAGES + 0x2000
PAGE3 equ TEST_PAGES + 0x3000

; Each of these pages says its number; PAGE0 is cached, then mapped to PAGE1's frame with rights `%1`.
%macro remap 0-1 P | W | U
  mov dword [PAGE0], 0x10
  mov dword [PAGE1], 0x11
  mov ebx, [PAGE0]
  mov qword [PTE(PAGE0)], PAGE1 | %1
%endmacro
%macro expect_new 0
  mov eax, [PAGE0]
  done
%endmacro

; expect: rax=0x11, rbx=0x10
invlpg_page:
  remap
  invlpg [PAGE0 + 0x7ff]
  expect_new

; expect: rax=0x11
mov_cr3:
  remap
  mov rax, cr3
  mov cr3, rax
  expect_new

; expect: rax=0x11
invlpg_global:
  set_cr cr4, CR4_PGE
  mov qword [PTE(PAGE0)], PAGE0 | P | W | U | G
  invlpg [PAGE0]
  remap P | W | U | G
  invlpg [PAGE0]
  expect_new

; A change of CR4.PGE empties the TLB, global translations included.
; expect: rax=0x11
global_by_pge:
  set_cr cr4, CR4_PGE
  mov qword [PTE(PAGE0)], PAGE0 | P | W | U | G
  invlpg [PAGE0]
  remap P | W | U | G
  clear_cr cr4, CR4_PGE
  set_cr cr4, CR4_PGE
  expect_new

; An entry that was not present is never cached.
; events: #PF(0)
; expect: rax=0x11
not_present_is_not_cached:
  mov dword [PAGE1], 0x11
  mov qword [PTE(PAGE0)], 0
  attempt mov eax, [PAGE0]
  mov qword [PTE(PAGE0)], PAGE1 | P | W | U
  expect_new

; A page fault drops what it was about: the retry after the tables were mended works.
; events: #PF(3)
; expect: dword[PAGE0]=1
mended_after_fault:
  mov byte [PTE(PAGE0)], P | U
  invlpg [PAGE0]
  mov eax, [PAGE0]
  attempt mov dword [PAGE0], 1
  mov byte [PTE(PAGE0)], P | W | U
  mov dword [PAGE0], 1
  done

; Less rights need an invalidation, and then hold.
; events: #PF(3), #PF(0)
less_rights:
  mov [PAGE0], eax
  mov byte [PTE(PAGE0)], P | U
  invlpg [PAGE0]
  attempt mov [PAGE0], eax
  mov byte [PTE(PAGE0)], 0
  invlpg [PAGE0]
  attempt mov eax, [PAGE0]
  done

; The same for code: a page that was executed is mapped elsewhere.
; expect: rax=1, rbx=2
code_remapped:
  mov dword [PAGE0], 0xc301b0                   ; mov al, 1; ret
  mov dword [PAGE1], 0xc302b0
  mov edx, PAGE0
  call rdx
  mov ebx, eax
  mov qword [PTE(PAGE0)], PAGE1 | P | W | U
  invlpg [PAGE0]
  call rdx
  xchg eax, ebx
  done

; events: #PF(0x11)@PAGE0
code_becomes_data:
  mov byte [PAGE0], 0xc3
  mov edx, PAGE0
  call rdx
  mov byte [PTE(PAGE0) + 7], 0x80
  invlpg [PAGE0]
  call rdx

; A page is mapped elsewhere by the code that runs in it: what follows INVLPG comes from the new frame. Both frames begin alike.
; The function is called %1 times, and each time changes frames by `%2`; PAGE1's returns 1, PAGE2's returns 2. RBX is their sum.
%macro remaps_itself 2+
  mov esi, %%template
  mov edi, PAGE1
  mov ecx, %%template_end - %%template
  rep movsb
  mov esi, %%template
  mov edi, PAGE2
  mov ecx, %%template_end - %%template
  rep movsb
  mov byte [PAGE2 + %%number - %%template + 1], 2
  mov dword [PTE(PAGE0)], PAGE1 | P | W | U
  invlpg [PAGE0]
  mov esi, PAGE0
  mov ecx, %1
  %%again:
  call rsi
  add ebx, eax
  dec ecx
  jnz %%again
  done
  %%template:
  mov edx, [PTE(PAGE0)]
  xor edx, PAGE1 ^ PAGE2
  mov [PTE(PAGE0)], edx
  %2
  %%number:
  mov eax, 1
  ret
  %%template_end:
%endmacro

; expect: rbx=30
remaps_itself_invlpg:
  remaps_itself 20, invlpg [PAGE0]

; expect: rbx=30
remaps_itself_mov_cr3:
  %macro load_cr3_again 0
    mov rax, cr3
    mov cr3, rax
  %endmacro
  remaps_itself 20, load_cr3_again

; expect: rbx=30
remaps_itself_invpcid:
  mov qword [DATA + 8], PAGE0
  %macro invalidate_page 0
    xor eax, eax
    invpcid rax, [DATA]
  %endmacro
  remaps_itself 20, invalidate_page

; The page is global; CR4.PGE goes off and on again.
; expect: rbx=30
remaps_itself_global:
  set_cr cr4, CR4_PGE
  %macro toggle_pge 0
    or dword [PTE(PAGE0)], G
    clear_cr cr4, CR4_PGE
    set_cr cr4, CR4_PGE
  %endmacro
  remaps_itself 20, toggle_pge

; A loop of several blocks that jump to each other moves to another frame while it runs: it adds 1 in the one, 16 in the other.
; expect: rbx=0x1a9, rcx=0
loop_remapped:
  mov esi, .template
  mov edi, PAGE1
  mov ecx, .template_end - .template
  rep movsb
  mov esi, .template
  mov edi, PAGE2
  mov ecx, .template_end - .template
  rep movsb
  mov byte [PAGE2 + .add - .template + 2], 16
  mov dword [PTE(PAGE0)], PAGE1 | P | W | U
  invlpg [PAGE0]
  mov esi, PAGE0
  mov ecx, 100
  call rsi
  done
.template:
  test ecx, 1
  jz .even
.add:
  add ebx, 1
  jmp .next
.even:
  nop
.next:
  cmp ecx, 50
  je .remap
.back:
  dec ecx
  jnz .template
  ret
.remap:
  mov dword [PTE(PAGE0)], PAGE2 | P | W | U
  invlpg [PAGE0]
  jmp .back
.template_end:

; One INVLPG is enough for a large page, whichever address inside of it.
; expect: rax=0, rbx=0x22, rcx=0x33, rdx=0
invlpg_2m:
  store8 PDE(UNMAPPED), P | W | U | PS
  mov dword [DATA], 0x22
  mov dword [DATA + 0x5000], 0x33
  mov ebx, [UNMAPPED + DATA]
  mov ecx, [UNMAPPED + DATA + 0x5000]
  store8 PDE(UNMAPPED), SECOND_2M | P | W | U | PS
  invlpg [UNMAPPED + 0x1ff000]
  mov eax, [UNMAPPED + DATA]
  mov edx, [UNMAPPED + DATA + 0x5000]
  done

; expect: rax=0, rbx=0x22, rcx=0x33, rdx=0
invlpg_1g:
  store8 PDPT + 8, P | W | U | PS
  mov dword [DATA], 0x22
  mov dword [0x40800000], 0x33
  mov ebx, [0x40000000 + DATA]
  mov ecx, [0x40800000]
  store8 FREE_TABLES, SECOND_2M | P | W | U | PS
  store8 FREE_TABLES + 32, 0xa00000 | P | W | U | PS
  store8 PDPT + 8, FREE_TABLES | P | W | U
  invlpg [0x40000000]
  mov eax, [0x40000000 + DATA]
  mov edx, [0x40800000]
  done

; A table page is split: the same translation through a page table instead of a large page.
; expect: rax=0x11, rbx=0x10, rcx=0x10
large_page_split:
  mov dword [PAGE0], 0x10
  mov dword [PAGE1], 0x11
  store8 PDE(UNMAPPED), P | W | U | PS
  mov ebx, [UNMAPPED + PAGE0]
  mov dword [PDE(UNMAPPED)], PT | P | W | U
  invlpg [UNMAPPED]
  mov ecx, [UNMAPPED + PAGE0]
  mov dword [PTE(PAGE0)], PAGE1 | P | W | U
  invlpg [UNMAPPED + PAGE0]
  mov eax, [UNMAPPED + PAGE0]
  done

; Upper levels are cached as well and go with any INVLPG.
; expect: rax=0, rbx=0x44
upper_level_changed:
  mov dword [DATA], 0x44
  store8 PDE(UNMAPPED), PT | P | W | U
  mov ebx, [UNMAPPED + DATA]
  store8 PDE(UNMAPPED), PT + 0x1000 | P | W | U
  invlpg [UNMAPPED + DATA]
  mov eax, [UNMAPPED + DATA]
  done

; INVLPG of what is not mapped, or not canonical, does nothing.
; expect: rax=0x10
invlpg_nowhere:
  invlpg [UNMAPPED]
  mov rax, 0x8000000000000000
  invlpg [rax]
  mov dword [PAGE0], 0x10
  expect_new

; mode: long64 user
; events: #GP(0), int(0x80)
invlpg_user:
  attempt invlpg [PAGE0]
  int 0x80

; ---- EFER.NXE, CR0.WP, CR4.SMEP and SMAP act at once ----

; events: #PF(3), #PF(9)
changes_act_at_once:
  mov byte [PTE(PAGE0)], P | U
  invlpg [PAGE0]
  clear_cr cr0, CR0_WP
  mov [PAGE0], eax
  set_cr cr0, CR0_WP
  attempt mov [PAGE0], eax
  store8 PTE(PAGE1), PAGE1 | P | W | U | NX
  mov eax, [PAGE1]
  write_msr MSR_EFER, EFER_LME | EFER_SCE
  attempt mov eax, [PAGE1]
  done

; ---- process-context identifiers ----

%macro enable_pcid 0
  set_cr cr4, CR4_PCIDE
%endmacro
KEEP equ 1 << 63
%macro load_cr3 1
  mov rax, %1
  mov cr3, rax
%endmacro

; CR4.PCIDE: only with CR3[11:0] = 0. CR3 reads back without bit 63.
; events: #GP(0)
; expect: cr3=PAGING|5, rbx=PAGING|5
pcid_enable:
  load_cr3 PAGING | 0x18
  mov rax, cr4
  or rax, CR4_PCIDE
  attempt mov cr4, rax
  load_cr3 PAGING
  enable_pcid
  load_cr3 PAGING | 5 | KEEP
  mov rbx, cr3
  done

; Without PCIDE bit 63 is reserved, with it bits 40–62 are.
; events: #GP(0), #GP(0), #GP(0)
cr3_reserved:
  mov rax, PAGING | KEEP
  attempt mov cr3, rax
  mov rax, PAGING | 1 << 40
  attempt mov cr3, rax
  enable_pcid
  mov rax, PAGING | 1 << 62
  attempt mov cr3, rax
  done

; A write without bit 63 drops what the new PCID had.
; expect: rax=0x11
pcid_dropped_by_cr3:
  enable_pcid
  load_cr3 PAGING | 1
  remap
  load_cr3 PAGING | 2
  load_cr3 PAGING | 1
  expect_new

; Two PCIDs have two address spaces; with bit 63 neither sees the other's.
; expect: rax=0x10, rbx=0x11, rcx=0x10
pcid_separate:
  enable_pcid
  mov dword [PAGE0], 0x10
  mov dword [PAGE1], 0x11
  ; A second tree: PML4 → PDPT → PD → PT in FREE_TABLES, where PAGE0 is PAGE1's frame.
  mov esi, PAGING
  mov edi, FREE_TABLES
  mov ecx, 0x4000 / 8
  rep movsq
  mov dword [FREE_TABLES], FREE_TABLES + 0x1000 | P | W | U
  mov dword [FREE_TABLES + 0x1000], FREE_TABLES + 0x2000 | P | W | U
  mov dword [FREE_TABLES + 0x2000], FREE_TABLES + 0x3000 | P | W | U
  mov dword [FREE_TABLES + 0x3000 + (PAGE0 >> 12) * 8], PAGE1 | P | W | U
  load_cr3 PAGING | 1
  mov ecx, [PAGE0]
  load_cr3 FREE_TABLES | 2 | KEEP
  mov ebx, [PAGE0]
  load_cr3 PAGING | 1 | KEEP
  mov eax, [PAGE0]
  done

; A PCID's translations must not outlive an INVPCID of any type that names them.
%macro invpcid_case 3   ; type, PCID, address
  enable_pcid
  load_cr3 PAGING | 1
  remap
  load_cr3 PAGING | 3
  mov qword [DATA], %2
  mov qword [DATA + 8], %3
  mov eax, %1
  invpcid rax, [DATA]
  load_cr3 PAGING | 1 | KEEP
  expect_new
%endmacro

; expect: rax=0x11
invpcid_address:
  invpcid_case 0, 1, PAGE0
; expect: rax=0x11
invpcid_context:
  invpcid_case 1, 1, 0
; expect: rax=0x11
invpcid_all:
  invpcid_case 2, 0, 0
; expect: rax=0x11
invpcid_all_but_global:
  invpcid_case 3, 0, 0

; expect: rax=0x11
invpcid_all_takes_global:
  set_cr cr4, CR4_PGE
  mov qword [PTE(PAGE0)], PAGE0 | P | W | U | G
  invlpg [PAGE0]
  remap P | W | U | G
  mov eax, 2
  invpcid rax, [DATA]
  expect_new

; events: #GP(0) x5, #PF(0)
invpcid_refusals:
  mov qword [DATA], 1
  xor eax, eax
  attempt invpcid rax, [DATA]                   ; PCID 1 without CR4.PCIDE
  mov eax, 1
  attempt invpcid rax, [DATA]
  enable_pcid
  mov eax, 4
  attempt invpcid rax, [DATA]
  mov qword [DATA], 0x1001
  xor eax, eax
  attempt invpcid rax, [DATA]
  mov qword [DATA], 1
  mov rcx, 0x8000000000000000
  mov [DATA + 8], rcx
  attempt invpcid rax, [DATA]
  mov eax, 1
  invpcid rax, [DATA]                           ; the address does not matter
  attempt invpcid rax, [UNMAPPED]
  done

; mode: long64 user
; events: #GP(0), int(0x80)
invpcid_user:
  attempt invpcid rax, [DATA]
  int 0x80

; MOV to CR4 that turns PCIDE off drops everything.
; expect: rax=0x11
pcid_disable:
  enable_pcid
  remap
  clear_cr cr4, CR4_PCIDE
  expect_new
