/**
 * An unmodified program: the readings of sensors in an in-memory SQLite database (node-sqlite3-wasm from npm), a
 * row per sensor and day, each a JSON text of about 16 KiB. Loads, scans, looks up and updates rows. Prints one line of
 * JSON at the end: the time and the answer of each step, and the peak RSS of the process.
 *
 *   node build/examples/memory/readings.js ROWS
 *
 * The text is verbose, like most generated JSON, and compresses well. database.ts is a database that compresses poorly.
 */
import { createHash } from 'node:crypto';
import sqlite from 'node-sqlite3-wasm';
import { Work } from './side-by-side.ts';

const SENSORS = 500;
const SAMPLES = 144; // one every ten minutes
const LEVELS = 80;
/** Bytes of the longest row's text. */
const TEXT_BYTES_MAX = 2 ** 15;

/** Numbers below `limit`, the same in every run. */
let state = 2010;
function below(limit: number): number {
  state = (state + 0x6d2b79f5) | 0;
  let t = Math.imul(state ^ (state >>> 15), 1 | state);
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return Math.floor((((t ^ (t >>> 14)) >>> 0) / 2 ** 32) * limit);
}

const two = (n: number): string => String(n).padStart(2, '0');
const times = Array.from({ length: SAMPLES }, (_, i) =>
  Buffer.from(`${two(Math.floor(i / 6))}:${two((i % 6) * 10)}:00Z","value":`),
);
const values = Array.from({ length: LEVELS }, (_, level) =>
  Buffer.from(`${(level + 20) / 2},"unit":"celsius","quality":"good","calibrated":true}`),
);
const row = Buffer.alloc(TEXT_BYTES_MAX);

/** The text of row `id`, in `row`; valid until the next call. */
function textOf(id: number): Uint8Array {
  const day = Math.floor(id / SENSORS);
  const date = `20${two(20 + (Math.floor(day / 336) % 80))}-${two(1 + (Math.floor(day / 28) % 12))}-${two(1 + (day % 28))}`;
  const start = Buffer.from(`,{"sensor":"boiler-${100 + (id % SENSORS)}","time":"${date}T`);
  let level = below(LEVELS);
  let at = 0;
  for (const time of times) {
    level = Math.max(0, Math.min(LEVELS - 1, level + below(3) - 1));
    for (const piece of [start, time, values[level]!]) {
      row.set(piece, at);
      at += piece.length;
    }
  }
  row.write('[');
  row.write(']', at);
  return row.subarray(0, at + 1);
}

const rows = Number(process.argv[2] ?? 1000);
const db = new sqlite.Database();
const work = new Work();
db.exec('CREATE TABLE readings (id INTEGER PRIMARY KEY, sensor INTEGER NOT NULL, samples TEXT)');

work.step('load', () => {
  const insert = db.prepare('INSERT INTO readings VALUES (?, ?, CAST(? AS TEXT))');
  db.exec('BEGIN');
  for (let id = 0; id < rows; id++) insert.run([id, id % SENSORS, textOf(id)]);
  db.exec('COMMIT');
  insert.finalize();
  return rows;
});
work.step('scan', () => {
  const found = db.get('SELECT count(*) AS n, sum(length(samples)) AS bytes FROM readings')!;
  return `${found['n']} rows, ${found['bytes']} bytes`;
});
work.step('look-ups', () => {
  const find = db.prepare('SELECT samples FROM readings WHERE id = ?');
  const hash = createHash('sha256');
  // 19 of 20 are for an eighth of the rows.
  for (let i = 0; i < 5000; i++) {
    const id = below(20) < 19 ? below(Math.ceil(rows / 8)) : below(rows);
    hash.update(String(find.get([id])!['samples']));
  }
  find.finalize();
  return hash.digest('hex');
});
work.step('updates', () => {
  const update = db.prepare(
    "UPDATE readings SET samples = replace(samples, 'good', 'poor') WHERE id = ? RETURNING samples",
  );
  const hash = createHash('sha256');
  db.exec('BEGIN');
  for (let i = 0; i < 500; i++) hash.update(JSON.stringify(update.all([below(rows)])));
  db.exec('COMMIT');
  update.finalize();
  return hash.digest('hex');
});

const pages = Number(db.get('PRAGMA page_count')!['page_count']);
const pageBytes = Number(db.get('PRAGMA page_size')!['page_size']);
db.close();
work.print(pages * pageBytes);
