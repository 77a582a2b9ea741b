// Small workloads for V8's compilers: prints a line of results for each. Equal everywhere, whatever the machine.
"use strict";

function digest(text) {
  let a = 1, b = 0;
  for (let i = 0; i < text.length; i++) {
    a = (a + text.charCodeAt(i)) % 65521;
    b = (b + a) % 65521;
  }
  return `${(b * 65536 + a).toString(16)} of ${text.length}`;
}

function generator(seed) {
  return (limit) => {
    seed ^= seed << 13;
    seed ^= seed >>> 17;
    seed ^= seed << 5;
    return (seed >>> 0) % limit;
  };
}

function matrices() {
  const n = 200, random = generator(1);
  const matrix = () => Float64Array.from({ length: n * n }, () => random(2000) / 7 - 100);
  const a = matrix(), b = matrix(), c = new Float64Array(n * n);
  for (let i = 0; i < n; i++)
    for (let j = 0; j < n; j++) {
      let sum = 0;
      for (let k = 0; k < n; k++) sum += a[i * n + k] * b[k * n + j];
      c[i * n + j] = sum;
    }
  return digest(Array.from(c).join(" "));
}

function queens() {
  function solutions(n, row, columns, rising, falling) {
    if (row === n) return 1;
    let count = 0;
    for (let free = ~(columns | rising | falling) & ((1 << n) - 1); free; free &= free - 1) {
      const one = free & -free;
      count += solutions(n, row + 1, columns | one, ((rising | one) << 1), (falling | one) >> 1);
    }
    return count;
  }
  return [4, 5, 6, 7, 8, 9, 10].map((n) => solutions(n, 0, 0, 0, 0)).join(" ");
}

function strings() {
  const random = generator(2), words = [];
  for (let i = 0; i < 30000; i++) words.push(`${"abcdefghij".slice(random(9)).toUpperCase()}-${random(1000)}`);
  const text = words.join(" ");
  const changed = text.replace(/([A-Z]+)-(\d+)/g, (_, letters, digits) => digits + [...letters.toLowerCase()].reverse().join(""));
  return `${digest(text)}, ${digest(changed)}, ${JSON.parse(JSON.stringify(words)).length}`;
}

function tables() {
  const random = generator(3), live = new Map();
  let sum = 0;
  for (let i = 0; i < 300000; i++) {
    const key = random(4096), old = live.get(key);
    if (old) sum = (sum + old.value * old.names[0]) % 1000000007;
    live.set(key, { value: i, names: [random(100), key] });
    if (i % 3 === 0) live.delete(random(4096));
  }
  const keys = [...live.keys()].sort((left, right) => live.get(left).value - live.get(right).value);
  return `${sum} ${keys.length} ${keys[0]} ${keys[keys.length - 1]}`;
}

// Types that a compiled function was not compiled for: it is thrown away and compiled again.
function deoptimized() {
  const add = (left, right) => left + right;
  let sum = 0, text = "";
  for (let round = 0; round < 20; round++) {
    for (let i = 0; i < 20000; i++) sum = add(sum, i & round);
    sum = add(sum, 0.5);
    text = add(text, `${round}`);
    sum += new Function("n", `let s = 0; for (let i = 0; i < n; i++) s += i % ${round + 2}; return s;`)(20000);
  }
  return `${sum} ${text}`;
}

for (const workload of [matrices, queens, strings, tables, deoptimized]) console.log(`node ${workload.name}: ${workload()}`);
