/**
 * Batches of puts and gets on a store in this thread, then on a store in a worker, which leaves this thread free.
 *
 *   node build/examples/async.js
 */
import { AsyncPages, type PageCalls, WorkerPages } from 'frontswap/async';
import { Budget, GetResult, PAGE_BYTES, PutResult, Store, slot } from 'frontswap/store';

const count = 2000;
const slots = Array.from({ length: count }, (_, n) => slot(n));
const text = (n: number): string => `row ${n} of a table, `.repeat(300).slice(0, PAGE_BYTES);
const pages = slots.map((n) => Buffer.from(text(n).padEnd(PAGE_BYTES)));

async function run(name: string, calls: PageCalls): Promise<void> {
  const start = performance.now();
  let ticks = 0;
  const timer = setInterval(() => ticks++, 1);
  const put = await calls.putMany(slots, pages);
  const into = pages.map(() => new Uint8Array(PAGE_BYTES));
  const got = await calls.getMany(slots, into);
  clearInterval(timer);
  if (put.some((result) => result !== PutResult.stored)) throw new Error('a page was refused');
  for (const [n, result] of got.entries())
    if (result !== GetResult.found || Buffer.compare(into[n]!, pages[n]!) !== 0)
      throw new Error(`page ${n} is not the page that was put`);
  const ms = (performance.now() - start).toFixed(0);
  console.log(
    `${name}: ${count} pages put and read back in ${ms} ms, the timer ran ${ticks} times`,
  );
}

{
  await using calls = new AsyncPages(new Store({ slots: count, budget: new Budget(0) }));
  await run('this thread', calls);
}
{
  await using calls = new WorkerPages({ slots: count, limitBytes: 0 });
  await run('a worker', calls);
}
