/**
 * A program without frontswap: orders in an in-memory SQLite database (node-sqlite3-wasm from npm): bulk load, index,
 * scans, lookups, updates, integrity check. Prints a line of JSON at the end: time and answer of each step, and the
 * peak RSS.
 *
 *   node build/examples/memory/database.js ROWS
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import sqlite from 'node-sqlite3-wasm';

/** Comments on orders, most of which repeat. */
const phrases = [
  'leave at the door, ring twice',
  'call before delivery',
  'gift, wrap it please and leave out the bill',
  'fragile: this side up',
  'second floor, no lift',
  'no signature needed',
  'paid in advance',
  'replacement for a parcel that came damaged, do not charge',
  'customer asked to change the address to the one in the account',
  'deliver together with the other order of this week',
  'leave it with the neighbour when the customer is out',
  'part of a larger order, the rest follows when it is in stock',
];
const statuses = ['open', 'packed', 'sent', 'delivered', 'returned'];

/** Random numbers below `limit`, the same in every run. */
let state = 2010;
function below(limit: number): number {
  state = (state + 0x6d2b79f5) | 0;
  let t = Math.imul(state ^ (state >>> 15), 1 | state);
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return Math.floor((((t ^ (t >>> 14)) >>> 0) / 2 ** 32) * limit);
}

function note(): string {
  let text = `ref ${below(1e9)}`;
  for (let i = 1 + below(5); i > 0; i--) text += `; ${phrases[below(phrases.length)]!}`;
  return text;
}

const rows = Number(process.argv[2] ?? 10_000);
const customers = Math.ceil(rows / 20);
const db = new sqlite.Database();
const steps: { name: string; ms: number; answer: string }[] = [];

function step(name: string, work: () => unknown): void {
  const start = performance.now();
  const answer = JSON.stringify(work());
  const short = answer.length > 40 ? createHash('sha256').update(answer).digest('hex') : answer;
  steps.push({ name, ms: Math.round(performance.now() - start), answer: short });
}

db.exec('PRAGMA temp_store = memory');
db.exec(`CREATE TABLE orders (id INTEGER PRIMARY KEY, customer INTEGER NOT NULL, day INTEGER NOT NULL,
  status TEXT NOT NULL, total REAL NOT NULL, note TEXT NOT NULL)`);

step('load', () => {
  const insert = db.prepare('INSERT INTO orders VALUES (?, ?, ?, ?, ?, ?)');
  db.exec('BEGIN');
  for (let id = 1; id <= rows; id++) {
    const total = below(100_000) / 100;
    insert.run([id, below(customers), below(3650), statuses[below(5)]!, total, note()]);
  }
  db.exec('COMMIT');
  insert.finalize();
  return rows;
});
step('index', () => {
  db.exec('CREATE INDEX by_customer ON orders (customer, day)');
  return db.get("SELECT count(*) AS n FROM sqlite_schema WHERE type = 'index'")!['n'];
});
step('scan', () =>
  db.get("SELECT count(*), round(sum(total)), sum(length(note)), sum(status = 'sent') FROM orders"),
);
step('look-ups', () => {
  const find = db.prepare('SELECT id, total, note FROM orders WHERE customer = ? ORDER BY day');
  const hash = createHash('sha256');
  // Most queries are about a few customers.
  for (let i = 0; i < 1000; i++) {
    const customer = below(10) < 9 ? below(Math.ceil(customers / 500)) : below(customers);
    hash.update(JSON.stringify(find.all([customer])));
  }
  find.finalize();
  return hash.digest('hex');
});
step('updates', () => {
  const update = db.prepare("UPDATE orders SET status = 'returned', note = ? WHERE id = ?");
  db.exec('BEGIN');
  for (let i = 0; i < 2000; i++) update.run([note(), 1 + below(rows)]);
  db.exec('COMMIT');
  update.finalize();
  return db.get("SELECT count(*) AS n FROM orders WHERE status = 'returned'")!['n'];
});
step('best', () =>
  db.all(
    `SELECT customer, count(*) AS n, round(sum(total), 2) AS sum FROM orders WHERE customer < ? GROUP BY customer
     ORDER BY sum DESC, customer LIMIT 100`,
    [Math.ceil(customers / 50)],
  ),
);
step('integrity', () => db.get('PRAGMA integrity_check')!['integrity_check']);

const pages = Number(db.get('PRAGMA page_count')!['page_count']);
const pageBytes = Number(db.get('PRAGMA page_size')!['page_size']);
const peak = /VmHWM:\s+(\d+) kB/.exec(readFileSync('/proc/self/status', 'utf8'));
db.close();
console.log(
  JSON.stringify({ steps, bytes: pages * pageBytes, peakBytes: Number(peak![1]) * 1024 }),
);
