# Guest tests: tests/guest/NAME.asm -> tests/guest/NAME.bin and NAME.map (its labels), by NASM. The runner reads both, and the comments
# of the source. Without an assembler there are none, and the stage that runs them fails.

find_program(NASM nasm)
if(BUILD_TESTING AND NASM AND NOT DOPPEL_FUZZ)
  file(GLOB guest_sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/guest/*.asm)
  file(GLOB guest_includes CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/guest/include/*.inc)
  set(guest_folder ${CMAKE_BINARY_DIR}/tests/guest)
  file(MAKE_DIRECTORY ${guest_folder})
  set(guest_binaries "")
  foreach(source IN LISTS guest_sources)
    cmake_path(GET source STEM name)
    set(binary ${guest_folder}/${name}.bin)
    add_custom_command(OUTPUT ${binary} BYPRODUCTS ${guest_folder}/${name}.map
      COMMAND ${NASM} -f bin -Werror -I ${CMAKE_SOURCE_DIR}/tests/guest/include/ -DMAP_FILE=${guest_folder}/${name}.map
              -o ${binary} ${source}
      DEPENDS ${source} ${guest_includes} COMMENT "Assembling guest test ${name}" VERBATIM)
    list(APPEND guest_binaries ${binary})
  endforeach()
  add_custom_target(guest_tests ALL DEPENDS ${guest_binaries})
endif()
