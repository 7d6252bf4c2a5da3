/**
 * sql.js keeps its database file in a Uint8Array of Emscripten's file system, outside of its WebAssembly memory. Run
 * plain and under register by buffers.test.ts.
 *
 *   node sql-file.js ROWS
 *
 * Prints sums over the rows, and a hash of the exported file.
 */
import { createHash } from 'node:crypto';
import { createRequire } from 'node:module';

interface Database {
  run(sql: string, values?: readonly (string | number)[]): void;
  exec(sql: string): readonly { readonly values: readonly unknown[] }[];
  export(): Uint8Array;
}
type Sql = () => Promise<{ readonly Database: new (file?: Uint8Array) => Database }>;
const require = createRequire(import.meta.url);
const { Database } = await (require('sql.js') as Sql)();

const rows = Number(process.argv[2]);
const db = new Database();
db.run('CREATE TABLE orders (id INTEGER PRIMARY KEY, customer INTEGER, note TEXT)');
db.run('BEGIN');
for (let id = 0; id < rows; id++)
  db.run('INSERT INTO orders VALUES (?, ?, ?)', [id, (id * 7919) % 1000, `order ${id} is paid`]);
db.run('COMMIT');
db.run('CREATE INDEX by_customer ON orders (customer)');
db.run('UPDATE orders SET note = upper(note) WHERE customer < 100');
const sums = 'SELECT count(*), sum(length(note)), sum(customer = 7), max(note) FROM orders';
const file = db.export();
const again = new Database(file).exec(sums);
process.stdout.write(JSON.stringify([db.exec(sums), again]));
process.stdout.write(`\n${createHash('sha256').update(file).digest('hex')}\n`);
