/** @duckdb/duckdb-wasm: an analytical table in memory, grouped and joined, without a worker. */
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { answer, finish } from './made.mjs';

const require = createRequire(import.meta.url);
const duckdb = require('@duckdb/duckdb-wasm/blocking');
const folder = dirname(require.resolve('@duckdb/duckdb-wasm'));
const bundles = {
  mvp: { mainModule: join(folder, 'duckdb-mvp.wasm'), mainWorker: '' },
  eh: { mainModule: join(folder, 'duckdb-eh.wasm'), mainWorker: '' },
};
const db = await duckdb.createDuckDB(bundles, new duckdb.VoidLogger(), duckdb.NODE_RUNTIME);
await db.instantiate();
const connection = db.connect();
const ask = (sql) =>
  connection
    .query(sql)
    .toArray()
    .map((row) =>
      JSON.parse(JSON.stringify(row, (_, v) => (typeof v === 'bigint' ? String(v) : v))),
    );
connection.query(`CREATE TABLE sales AS SELECT i AS id, (i * 7919) % 50000 AS customer, (i * 104729) % 3650 AS day,
  'order ' || (i % 977) || ' of customer ' || ((i * 7919) % 50000) || ', sent by ' || (i % 13) AS note,
  ((i * 31) % 10007) / 100.0 AS total FROM range(6000000) t(i)`);
answer(ask('SELECT count(*), sum(total), sum(length(note)) FROM sales'));
answer(
  ask(
    'SELECT customer, count(*) AS n, sum(total) AS s FROM sales GROUP BY customer ORDER BY s DESC, customer LIMIT 50',
  ),
);
answer(
  ask("SELECT day, count(*) AS n FROM sales WHERE note LIKE '%by 7' GROUP BY day ORDER BY day"),
);
answer(
  ask(
    'SELECT a.id, b.day FROM sales a JOIN sales b ON a.id = b.id WHERE a.day = 17 ORDER BY a.id LIMIT 100',
  ),
);
finish();
