"""Writes a small C project into a folder: a few files of functions that call each other, and a Makefile."""

import pathlib
import sys

FILES, FUNCTIONS = 6, 30

folder = pathlib.Path(sys.argv[1])
folder.mkdir(exist_ok=True)
names = [f"part{i}" for i in range(FILES)]
header = ["#include <stdint.h>", "#include <stdio.h>", "#include <stdlib.h>", "#include <string.h>", "struct item { uint32_t key; double weight; char name[24]; };"]
header += [f"uint32_t {name}_{i}(struct item* items, unsigned count);" for name in names for i in range(FUNCTIONS)]
(folder / "project.h").write_text("#pragma once\n" + "\n".join(header) + "\n")
for number, name in enumerate(names):
    text = ['#include "project.h"', "static int order(const void* a, const void* b) {",
            "  const struct item *x = a, *y = b;", "  return (x->key > y->key) - (x->key < y->key);", "}"]  # fmt: skip
    for i in range(FUNCTIONS):
        callee = f"{name}_{i - 1}(items, count / 2)" if i else "count"
        text += [
            f"uint32_t {name}_{i}(struct item* items, unsigned count) {{",
            "  uint32_t sum = 1;",
            "  for (unsigned i = 0; i < count; ++i) {",
            f"    items[i].key = items[i].key * {1664525 + 4 * i}u + {number * 77 + i}u;",
            f"    items[i].weight += items[i].key % {i + 3} * 0.25;",
            f"    switch (items[i].key >> 28) {{",
            *(f"      case {k}: sum = sum * {2 * k + 3}u + (items[i].name[{k % 24}] ^ {k * i % 251}); break;" for k in range(12)),
            "      default: sum ^= (uint32_t)items[i].weight;",
            "    }",
            f"    if (strlen(items[i].name) > {i % 20}) snprintf(items[i].name, sizeof items[i].name, \"%08x%s\", sum, \"{name}\");",
            "  }",
            "  qsort(items, count, sizeof *items, order);",
            f"  return sum ^ {callee};",
            "}",
        ]
    (folder / f"{name}.c").write_text("\n".join(text) + "\n")
calls = "\n".join(f'  printf("{name} %08x\\n", {name}_{FUNCTIONS - 1}(items, 400));' for name in names)
(folder / "main.c").write_text(f'#include "project.h"\nint main(void) {{\n  static struct item items[400];\n{calls}\n}}\n')
objects = " ".join(f"{name}.o" for name in [*names, "main"])
(folder / "Makefile").write_text(
    f"CC = gcc\nCFLAGS = -O2 -Wall\nprogram: {objects}\n\t$(CC) -o $@ $^\n{objects}: project.h\nclean:\n\trm -f program *.o\n.PHONY: clean\n"
)
