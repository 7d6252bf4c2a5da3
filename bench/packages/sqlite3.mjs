/**
 * node-sqlite3-wasm: the same orders as in sql.mjs, in a database of `:memory:`, which is in the heap of the module.
 */
import sqlite from 'node-sqlite3-wasm';
import { answer, below, finish, sentence } from './made.mjs';

const ROWS = 1_400_000;
const db = new sqlite.Database();
db.exec('CREATE TABLE orders (id INTEGER PRIMARY KEY, customer INTEGER, day INTEGER, note TEXT)');
const insert = db.prepare('INSERT INTO orders VALUES (?, ?, ?, ?)');
db.exec('BEGIN');
for (let id = 1; id <= ROWS; id++)
  insert.run([id, Math.floor(id / 20), below(3650), sentence(16 + below(16))]);
db.exec('COMMIT');
insert.finalize();
answer(db.get('SELECT count(*), sum(length(note)), sum(day) FROM orders'));
const find = db.prepare('SELECT id, note FROM orders WHERE id BETWEEN ? AND ?');
for (let i = 0; i < 300; i++) {
  const first = below(ROWS / 20);
  answer(find.all([first, first + 20]));
}
find.finalize();
const update = db.prepare("UPDATE orders SET note = 'returned' WHERE id = ?");
for (let i = 0; i < 1000; i++) update.run([1 + below(ROWS / 20)]);
update.finalize();
answer(db.get("SELECT count(*) FROM orders WHERE note = 'returned'"));
db.close();
finish();
