PRAGMA journal_mode = WAL;
PRAGMA synchronous = OFF;
CREATE TABLE person (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, born INTEGER);
CREATE TABLE sale (id INTEGER PRIMARY KEY, person INTEGER REFERENCES person(id), article TEXT, pieces INTEGER, cents INTEGER);
BEGIN;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000)
INSERT INTO person SELECT i, printf('person %05d', i * 7919 % 10007), 1930 + i % 80 FROM n;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 60000)
INSERT INTO sale SELECT i, 1 + i * 31 % 1000, printf('article %08X', i * 2654435761 % 4294967296), i * 17 % 90, i * 7 % 10000 FROM n;
COMMIT;
CREATE INDEX sale_person ON sale(person, pieces);
SELECT count(*), sum(pieces), sum(cents * pieces) FROM sale;
SELECT p.name, count(*), sum(s.cents), max(s.article) FROM person p JOIN sale s ON s.person = p.id GROUP BY p.id ORDER BY 3 DESC, p.id LIMIT 20;
SELECT born / 10, count(DISTINCT s.person), sum(s.pieces) FROM person p JOIN sale s ON s.person = p.id GROUP BY 1 ORDER BY 1;
UPDATE sale SET cents = cents * 119 / 100 WHERE person % 3 = 0;
DELETE FROM sale WHERE pieces < 5;
SELECT id, sum(cents) OVER (PARTITION BY person ORDER BY id ROWS 10 PRECEDING) FROM sale ORDER BY 2 DESC, id LIMIT 20;
SELECT article, instr(article, 'FF') FROM sale WHERE article LIKE '%FF0%' ORDER BY article LIMIT 50;
PRAGMA integrity_check;
