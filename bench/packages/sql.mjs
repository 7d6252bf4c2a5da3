/** sql.js: orders in an in-memory SQLite database, loaded, indexed, queried and updated. */
import initSqlJs from 'sql.js';
import { answer, below, finish, sentence } from './made.mjs';

const ROWS = 900_000;
const { Database } = await initSqlJs();
const db = new Database();
db.run('CREATE TABLE orders (id INTEGER PRIMARY KEY, customer INTEGER, day INTEGER, note TEXT)');
const insert = db.prepare('INSERT INTO orders VALUES (?, ?, ?, ?)');
db.run('BEGIN');
for (let id = 1; id <= ROWS; id++)
  insert.run([id, below(ROWS / 20), below(3650), sentence(16 + below(16))]);
db.run('COMMIT');
db.run('CREATE INDEX by_customer ON orders (customer, day)');
answer(db.exec('SELECT count(*), sum(length(note)), sum(day) FROM orders'));
const find = db.prepare('SELECT id, note FROM orders WHERE customer = ? ORDER BY day, id');
for (let i = 0; i < 300; i++) {
  find.bind([below(100)]);
  while (find.step()) answer(find.get());
}
const update = db.prepare("UPDATE orders SET note = 'returned' WHERE id = ?");
for (let i = 0; i < 1000; i++) update.run([1 + below(ROWS / 20)]);
answer(db.exec("SELECT count(*) FROM orders WHERE note = 'returned'"));
finish();
