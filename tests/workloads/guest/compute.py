"""Small Python workloads; prints a line of results for each. Equal everywhere, whatever the machine."""

import decimal
import fractions
import hashlib
import json
import math
import random
import re
import struct
import zlib


def digest(text):
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def hashing():
    data = bytes(range(256)) * 512
    names = ("md5", "sha1", "sha256", "sha512", "sha3_256", "blake2b", "blake2s")
    return digest(" ".join(hashlib.new(name, data).hexdigest() for name in names) + f" {zlib.crc32(data)} {zlib.adler32(data)}")


def json_round_trips():
    generator = random.Random(1)
    document = {
        f"key{i}": [generator.random(), generator.getrandbits(70), None, i % 3 == 0, "é" * (i % 5), {"nested": [i] * (i % 4)}]
        for i in range(800)
    }
    text = json.dumps(document, sort_keys=True, indent=1)
    if json.loads(text) != document:
        raise ValueError("JSON changed")
    return digest(text)


def floats():
    generator = random.Random(2)
    values = []
    for _ in range(3000):
        x = generator.uniform(-50, 50)
        values += [math.sin(x), math.exp(x / 5), math.atan2(x, 3), math.fmod(x, 0.7), math.sqrt(abs(x)), math.cbrt(x)]
        values += [math.gamma(abs(x) / 10 + 0.1), math.ldexp(x, -1070), x**3, math.fma(x, x, x) if hasattr(math, "fma") else x]
    special = [float("inf"), float("-inf"), -0.0, 5e-324, 1.7976931348623157e308, 1e308 * 10 - 1e308 * 10]
    return digest("".join(struct.pack("<d", v).hex() for v in values) + " ".join(map(repr, special)) + repr(math.fsum(values[:100])))


def regular_expressions():
    text = " ".join(f"user{i}@host{i % 7}.example.org {i * 37 % 1000:03d}-{i:05d}; " for i in range(1500))
    found = re.findall(r"(?P<name>\w+)@(\w+)\.example\.org (\d{3})-0*(\d+)", text)
    swapped = re.sub(r"(\d{3})-(\d{5})", lambda match: f"{match[2]}/{match[1]}", text)
    nested = [bool(re.fullmatch(r"(a|ab)*c", "ab" * n + "c")) for n in range(30)]
    return digest(repr(found) + swapped + repr(nested))


def big_integers():
    power, product = 3**4001, math.factorial(700)
    numbers = [power % product, product // power if power else 0, math.isqrt(power), math.gcd(product, 2**900 * 45)]
    numbers += [pow(7, power, 2**521 - 1), math.comb(900, 450), -product // 977, product.bit_length()]
    return digest(" ".join(map(hex, numbers)) + str(product))


def exact_numbers():
    decimal.getcontext().prec = 120
    root = decimal.Decimal(2).sqrt() + decimal.Decimal(7).ln() + decimal.Decimal("1.1") ** 77
    total = sum(fractions.Fraction(1, i) for i in range(1, 200))
    return digest(f"{root} {total}")


def containers():
    generator = random.Random(3)
    numbers = [generator.randrange(10**6) for _ in range(20000)]
    counted = {}
    for number in numbers:
        counted[number % 997] = counted.get(number % 997, 0) + 1
    generator.shuffle(numbers)
    return digest(repr(sorted(numbers, key=lambda n: (n % 101, n))[::50]) + repr(sorted(counted.items())))


for workload in (hashing, json_round_trips, floats, regular_expressions, big_integers, exact_numbers, containers):
    print(f"python {workload.__name__}: {workload()}", flush=True)
