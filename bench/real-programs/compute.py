"""Python programs of a few kinds; prints a line for each. Nothing here depends on how mathematical functions round."""

import hashlib
import json
import random
import re
import sys
import zlib


def digest(value):
    return hashlib.sha256(repr(value).encode()).hexdigest()[:16]


def bodies(steps):
    state = [[i * 1.5, 2.0 - i, i * 0.25, 0.0, 0.1 * i, 0.0, 1.0 + i] for i in range(5)]
    for _ in range(steps):
        for i, a in enumerate(state):
            for b in state[i + 1 :]:
                dx, dy, dz = a[0] - b[0], a[1] - b[1], a[2] - b[2]
                square = dx * dx + dy * dy + dz * dz + 0.01
                force = 0.001 / (square * square)
                for k, d in enumerate((dx, dy, dz)):
                    a[3 + k] -= d * b[6] * force
                    b[3 + k] += d * a[6] * force
        for a in state:
            for k in range(3):
                a[k] += 0.001 * a[3 + k]
    return state


class Node:
    def __init__(self, key):
        self.key, self.left, self.right = key, None, None

    def insert(self, key):
        node = self
        while True:
            side = "left" if key < node.key else "right"
            following = getattr(node, side)
            if following is None:
                return setattr(node, side, Node(key))
            node = following

    def walk(self):
        if self.left:
            yield from self.left.walk()
        yield self.key
        if self.right:
            yield from self.right.walk()


def trees(count):
    numbers = random.Random(1)
    root = Node(0.5)
    for _ in range(count):
        root.insert(numbers.random())
    return list(root.walk())


def documents(count):
    numbers = random.Random(2)
    document = {f"key{i}": [numbers.random(), numbers.getrandbits(60), None, "é" * (i % 5), {"nested": [i]}] for i in range(count)}
    text = json.dumps(document, sort_keys=True)
    return json.loads(text) == document, len(text), zlib.crc32(zlib.compress(text.encode(), 6))


def expressions(count):
    text = " ".join(f"user{i}@host{i % 7}.example.org {i * 37 % 1000:03d}-{i:05d}; " for i in range(count))
    found = re.findall(r"(\w+)@(\w+)\.example\.org (\d{3})-0*(\d+)", text)
    return found, re.sub(r"(\d{3})-(\d{5})", lambda match: f"{match[2]}/{match[1]}", text)


def integers(bits):
    a, b = 3**bits, 7 ** (bits // 2)
    return a % b, a // b, pow(5, b, (1 << 521) - 1), str(b)[:100]


def counting(count):
    numbers, counts = random.Random(3), {}
    for _ in range(count):
        key = numbers.randrange(5000)
        counts[key] = counts.get(key, 0) + 1
    return sorted(counts.items(), key=lambda item: (item[1], item[0]))


for round_number in range(int(sys.argv[1])):
    for function, size in ((bodies, 1500), (trees, 8000), (documents, 4000), (expressions, 5000), (integers, 3000), (counting, 80000)):
        print(function.__name__, digest(function(size)), flush=True)
