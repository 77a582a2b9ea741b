; 32-bit and PAE paging, and none. Intel SDM vol. 3 §4.3, §4.4, §4.7 (edition 085).
; mode: paged32
%include "guest.inc"
bits 32

PAGE0 equ TEST_PAGES
PAGE1 equ TEST_PAGES + 0x1000
PAGE0_PTE32 equ PTE32(PAGE0)
PAGE1_PTE32 equ PTE32(PAGE1)
PAGE0_PTE equ PTE(PAGE0)
PAGE1_PTE equ PTE(PAGE1)
UNMAPPED_PDE32 equ PDE32(UNMAPPED)
UNMAPPED_PDE equ PDE(UNMAPPED)

%macro fetch 1
  resume_at %%behind
  mov eax, %1
  call eax
%%behind:
  stop_at_next
%endmacro
%macro reload_cr3 0
  mov eax, cr3
  mov cr3, eax
%endmacro

; Without PAE there is no I/D bit in the error code.
; events: #PF(0), #PF(2), #PF(0)@UNMAPPED+4
; expect: e0.cr2=UNMAPPED, e1.cr2=UNMAPPED+1
not_present:
  attempt mov eax, [UNMAPPED]
  attempt inc byte [UNMAPPED + 1]
  fetch UNMAPPED + 4
  done

; … unless SMEP is on.
; events: #PF(0x10)@UNMAPPED, #PF(0x11)@PAGE0
fetch_with_smep:
  mov edi, PDPT
.entry:
  and byte [edi], ~U & 0xff
  add edi, 4
  cmp edi, PDPT + 0x1000
  jb .entry
  mov byte [PTE32(PAGE0)], P | W | U
  reload_cr3
  set_cr cr4, CR4_SMEP
  fetch UNMAPPED
  fetch PAGE0
  done

; mode: paged32 user
; events: #PF(4), #PF(6), #PF(7), #PF(5), #PF(5)@PAGE1, int(0x80)
; expect: e2.cr2=PAGE0
user_rights:
  mov byte [PTE32(PAGE0)], P | U
  mov byte [PTE32(PAGE1)], P | W
  attempt mov eax, [UNMAPPED]
  attempt mov [UNMAPPED], eax
  attempt mov [PAGE0], eax
  attempt mov eax, [PAGE1]
  fetch PAGE1
  int 0x80

; events: #PF(3), #PF(3)
; expect: dword[PAGE0]=0x55, dword[PAGE0_PTE32]=PAGE0|P|U|A|D
write_protect:
  mov byte [PTE32(PAGE0)], P | U
  attempt mov [PAGE0], eax
  clear_cr cr0, CR0_WP
  mov dword [PAGE0], 0x55
  set_cr cr0, CR0_WP
  attempt mov dword [PAGE0], 0x66
  done

; expect: dword[PAGE0_PTE32]=PAGE0|P|W|U|A, dword[PAGE1_PTE32]=PAGE1|P|W|U|A|D, ebx=PDPT|P|W|U|A
accessed_and_dirty:
  mov eax, [PAGE0]
  mov [PAGE1], eax
  mov dword [PAGING + 4], PDPT | P | W | U
  mov eax, [UNMAPPED]
  mov ebx, [PAGING + 4]
  done

; events: #PF(3), #PF(7)@.user
rights_of_directory:
  mov dword [PAGING + 4], PDPT | P | U
  mov eax, [UNMAPPED]
  attempt mov [UNMAPPED], eax
  enter_user .user
.user:
  mov [UNMAPPED], eax

; 4 MiB pages; bit 12 is PAT.
; expect: eax=0x1234, dword[UNMAPPED_PDE32]=P|W|U|A|D|PS|0x1000, dword[DATA+4]=0x77
page_4m:
  mov dword [DATA], 0x1234
  mov dword [PDE32(UNMAPPED)], P | W | U | PS | 0x1000
  mov eax, [UNMAPPED + DATA]
  mov dword [UNMAPPED + DATA + 4], 0x77
  done

; Bits 13–20 are bits 32–39 of the address; 21 is reserved. What is not RAM reads as all ones.
; events: #PF(9), #PF(0xb)
; expect: ebx=0xffffffff
page_4m_high:
  mov dword [PDE32(UNMAPPED)], P | W | U | PS | 1 << 21
  attempt mov eax, [UNMAPPED]
  attempt mov [UNMAPPED], eax
  mov dword [PDE32(UNMAPPED)], P | W | U | PS | 1 << 13
  mov ebx, [UNMAPPED]
  done

; Without CR4.PSE the bit is ignored: a page table.
; expect: eax=0x4321
no_page_size_extension:
  mov dword [PDE32(UNMAPPED)], PDPT | P | W | U | PS
  mov dword [DATA], 0x4321
  clear_cr cr4, CR4_PSE
  mov eax, [UNMAPPED + DATA]
  done

; The top of the linear address space.
; expect: eax=0x1234
last_page:
  mov dword [DATA + 0xffc], 0x1234
  mov dword [PAGING + 0xffc], FREE_TABLES | P | W | U
  mov dword [FREE_TABLES + 0xffc], DATA | P | W | U
  mov eax, [0xfffffffc]
  done

; events: #PF(2), #PF(3)
; expect: e0.cr2=PAGE1, e1.cr2=PAGE0+0xffd, dword[PAGE0+0xffc]=0
store_across_pages:
  mov eax, -1
  mov byte [PTE32(PAGE1)], 0
  attempt mov [PAGE0 + 0xffd], eax
  mov byte [PTE32(PAGE1)], P | W | U
  mov byte [PTE32(PAGE0)], P | U
  invlpg [PAGE0]
  attempt mov [PAGE0 + 0xffd], eax
  done

; ---- PAE ----

; mode: pae32
; events: #PF(0), #PF(2), #PF(0x10)@UNMAPPED, #PF(0x11)@PAGE0
pae_faults:
  attempt mov eax, [UNMAPPED]
  attempt mov [UNMAPPED], eax
  fetch UNMAPPED
  mov byte [PTE(PAGE0) + 7], 0x80
  fetch PAGE0
  done

; mode: pae32 user
; events: #PF(7), #PF(5), #PF(0x15)@PAGE1, int(0x80)
pae_user_rights:
  mov byte [PTE(PAGE0)], P | U
  mov byte [PTE(PAGE1)], P | W
  attempt mov [PAGE0], eax
  attempt mov eax, [PAGE1]
  fetch PAGE1
  int 0x80

; Directory pointers have no accessed bit.
; mode: pae32
; expect: qword[PAGE0_PTE]=PAGE0|P|W|U|A, qword[PAGE1_PTE]=PAGE1|P|W|U|A|D, dword[PDPT]=PD|P, ebx&0x60=A
pae_accessed_and_dirty:
  mov eax, [PAGE0]
  mov [PAGE1], eax
  mov ebx, [PD]
  done

; mode: pae32
; expect: eax=0x1234, qword[UNMAPPED_PDE]=P|W|U|A|D|PS, dword[DATA+4]=0x77
pae_page_2m:
  mov dword [DATA], 0x1234
  store8 PDE(UNMAPPED), P | W | U | PS
  mov eax, [UNMAPPED + DATA]
  mov dword [UNMAPPED + DATA + 4], 0x77
  done

; In PAE entries bits 52–62 are reserved, too.
; mode: pae32
; events: #PF(9) x5, #PF(9)
pae_reserved_bits:
  store8 PTE(PAGE0), PAGE0 | P | W | U | 1 << 40
  attempt mov eax, [PAGE0]
  store8 PTE(PAGE0), PAGE0 | P | W | U | 1 << 52
  attempt mov eax, [PAGE0]
  store8 PTE(PAGE0), PAGE0 | P | W | U | 1 << 62
  attempt mov eax, [PAGE0]
  store8 PDE(UNMAPPED), P | W | U | PS | 1 << 13
  attempt mov eax, [UNMAPPED]
  store8 PDE(UNMAPPED), PT | P | W | U | 1 << 60
  attempt mov eax, [UNMAPPED]
  store8 PTE(PAGE1), PAGE1 | P | W | U | NX
  write_msr MSR_EFER, 0
  attempt mov eax, [PAGE1]
  done

; §4.4.1: MOV to CR3 loads the directory pointers and refuses reserved bits in present ones; then CR3 is as it was.
; mode: pae32
; events: #GP(0) x5
; expect: cr3=PDPT, ebx=0x1234, ecx=FREE_TABLES
pae_pointers_checked:
  store8 FREE_TABLES, PD | P
  mov eax, FREE_TABLES
  %macro try_pointer 1
    store8 FREE_TABLES + 16, %1
    attempt mov cr3, eax
  %endmacro
  try_pointer PD | P | W
  try_pointer PD | P | U
  try_pointer PD | P | 0x20
  try_pointer PD | P | 1 << 40
  try_pointer PD | P | NX
  mov dword [DATA], 0x1234
  mov ebx, [DATA]
  try_pointer PD | NX | W | 0x1e0               ; not present: anything
  mov ecx, cr3
  mov eax, PDPT
  mov cr3, eax
  done

; They stay what they were when memory changes, until CR3 is written again. INVLPG is not enough.
; mode: pae32
; events: #PF(0), #PF(0)
; expect: eax=0x55, ebx=0x55
pae_pointers_kept:
  mov dword [DATA], 0x55
  store8 PDPT + 8, PD | P
  attempt mov ebx, [0x40000000 + DATA]
  invlpg [0x40000000 + DATA]
  attempt mov ebx, [0x40000000 + DATA]
  reload_cr3
  mov eax, [0x40000000 + DATA]
  store8 PDPT + 8, 0
  invlpg [0x40000000 + DATA]
  mov ebx, [0x40000000 + DATA]
  done

; CR3 holds bits 5–31 of the table's address.
; mode: pae32
; expect: eax=0x66
pae_unaligned_table:
  mov dword [DATA], 0x66
  store8 FREE_TABLES + 0x120, PD | P
  store8 FREE_TABLES + 0x128, PD | P
  store8 FREE_TABLES + 0x130, 0
  store8 FREE_TABLES + 0x138, 0
  mov eax, FREE_TABLES + 0x120
  mov cr3, eax
  mov eax, [0x40000000 + DATA]
  done

; Turning PAE on with paging on loads the pointers as well: the page directory of 32-bit paging is not a good table of them.
; events: #GP(0)
; expect: cr4&CR4_PAE=0, eax=0x99
pae_turned_on:
  mov dword [DATA], 0x99
  mov eax, cr4
  or eax, CR4_PAE
  attempt mov cr4, eax
  mov eax, [DATA]
  done

; From PAE paging to none and to 32-bit paging.
; mode: pae32
; expect: eax=0x31, ebx=0x31, cr0&CR0_PG=CR0_PG
change_of_modes:
  clear_cr cr0, CR0_PG
  mov dword [DATA], 0x31
  mov ebx, [DATA]
  clear_cr cr4, CR4_PAE
  set_cr cr4, CR4_PSE
  mov dword [PAGING], P | W | PS
  mov dword [PAGING + 4], P | W | PS
  mov eax, PAGING
  mov cr3, eax
  set_cr cr0, CR0_PG
  mov eax, [0x400000 + DATA]
  done

; ---- no paging ----

; A segment's base and an offset wrap at 4 GiB.
; mode: protected32 | compat32
; expect: eax=0x1234, ebx=0x1234
linear_wrap:
  mov dword [DATA], 0x1234
  store8 gdt + FREE, DESCRIPTOR(0xfffff000, 0xfffff, RIGHTS_DATA | BIG | GRANULAR)
  mov ax, FREE
  mov fs, ax
  mov eax, [fs:DATA + 0x1000]
  mov ecx, 0x80000000
  mov ebx, [ecx * 2 + DATA]
  done

; The page tables are the identity of what no paging sees.
; mode: protected32 | paged32 | pae32
; expect: eax=0xffffffff
no_memory:
  clear_cr cr0, CR0_PG
  mov eax, [0xe0000000]
  done
