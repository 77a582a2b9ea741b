-- A scripted SQLite workload: tables, indexes, transactions, joins, windows, text, floating point, integrity.
PRAGMA journal_mode = WAL;
CREATE TABLE author (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, born REAL);
CREATE TABLE book (id INTEGER PRIMARY KEY, author INTEGER REFERENCES author(id), title TEXT, pages INTEGER, price REAL);
BEGIN;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200)
INSERT INTO author SELECT i, printf('author %05d', i * 7919 % 10007), 1900 + i * 0.37 FROM n;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 8000)
INSERT INTO book SELECT i, 1 + i * 31 % 200, printf('title %08X', i * 2654435761 % 4294967296), i * 17 % 900, i * 0.01 / 3 FROM n;
COMMIT;
CREATE INDEX book_author ON book(author, pages);
SELECT 'counts', count(*), sum(pages), round(sum(price), 6), total(price) FROM book;
SELECT 'join', a.name, count(*), avg(b.pages), max(b.title) FROM author a JOIN book b ON b.author = a.id
  GROUP BY a.id ORDER BY avg(b.pages) DESC, a.id LIMIT 5;
UPDATE book SET price = price * 1.19 WHERE author % 3 = 0;
DELETE FROM book WHERE pages < 50;
BEGIN;
DELETE FROM book;
ROLLBACK;
SELECT 'after', count(*), sum(price) FROM book;
SELECT 'window', id, sum(pages) OVER (ORDER BY id ROWS 10 PRECEDING) FROM book ORDER BY pages DESC, id LIMIT 5;
SELECT 'text', upper(substr(title, 7)), instr(title, 'FF'), length(title) FROM book WHERE title LIKE '%FF%' ORDER BY id LIMIT 5;
SELECT 'group', pages / 100 AS hundred, count(DISTINCT author), group_concat(DISTINCT author % 4) FROM book GROUP BY hundred;
VACUUM;
PRAGMA integrity_check;
