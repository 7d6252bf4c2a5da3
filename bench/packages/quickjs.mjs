/** quickjs-emscripten: a sandboxed program with a large log in its heap. */
import { getQuickJS } from 'quickjs-emscripten';
import { answer, finish } from './made.mjs';

const quickjs = await getQuickJS();
const context = quickjs.newContext();
const result = context.evalCode(`
  let state = 2010;
  const below = (limit) => ((state = (Math.imul(state, 1664525) + 1013904223) | 0) >>> 8) % limit;
  const words = 'order parcel customer address invoice payment delivery warehouse returned pending shipped'.split(' ');
  const log = [];
  for (let i = 0; i < 900000; i++) {
    let line = i + ' day ' + Math.floor(i / 300) + ' customer ' + below(5000);
    for (let n = 0; n < 20; n++) line += ' ' + words[below(11)];
    log.push(line);
  }
  const late = log.reduce((n, line) => n + (line.includes('returned pending') ? 1 : 0), 0);
  const last = log.slice(-20000).filter((line) => line.includes('shipped shipped'));
  JSON.stringify([log.length, late, last]);
`);
answer(context.dump(context.unwrapResult(result)));
finish();
