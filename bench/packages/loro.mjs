/** loro-crdt: a long text with its history, written by one peer, edited by another, and merged. */
import { LoroDoc } from 'loro-crdt';
import { answer, below, finish, sentence } from './made.mjs';

const mine = new LoroDoc();
mine.setPeerId('1');
const text = mine.getText('text');
let cursor = 0;
for (let i = 0; i < 800_000; i++) {
  // As people write: mostly at the cursor, sometimes further up.
  if (i % 500 === 0) cursor = Math.max(0, text.length - below(2000));
  const line = `${sentence(3)}\n`;
  text.insert(cursor, line);
  cursor += line.length;
  if (i % 1000 === 999) mine.commit();
}
const theirs = new LoroDoc();
theirs.setPeerId('2');
theirs.import(mine.export({ mode: 'snapshot' }));
for (let i = 0; i < 500; i++) theirs.getText('text').insert(below(1000), 'theirs ');
mine.import(theirs.export({ mode: 'update', from: mine.version() }));
answer(text.toString());
finish();
